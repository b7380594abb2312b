"""`claiim serve` in a process of its own: start, signals, stop, crash, and a newcomer's first half hour."""

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

import chron
from support.gate import AGENTS, SKILLS, TOKEN, LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving, assert_sound, claiim, clean_environment, in_thread
from support.targets import Origin

SLOW = "https://origin.test/slow"
ECHO = "https://origin.test/echo"


@pytest.fixture
def site(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Path:
    """A configured folder; nothing runs yet."""
    config = {"proxy": {"drain_timeout_s": 20}}
    return LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, config=config).folder


def add_listener(site: Path, listen: str) -> None:
    """One more way in."""
    path = site / "claiim.yaml"
    listener = {"mode": "reverse", "listen": listen, "target": "https://origin.test"}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "listeners": {"origin": listener}}))


def outcome_of(folder: Path, record_id: str) -> dict[str, object]:
    shown = chron.show(folder / "state" / "chron.db", record_id)
    assert shown is not None
    (outcome,) = shown.outcomes
    return dict(outcome.fields)


def test_it_says_where_it_listens(site: Path) -> None:
    """With port 0 the printed addresses are the real ones; readiness, health and the files it makes are there."""
    with Serving(site, anew=True) as gate:
        assert gate.api("/healthz").json() == {"status": "ok"}
        assert gate.api("/readyz").json() == {"status": "ok", "faults": {}}
        host, port = gate.proxy_address.split(":")
        with socket.create_connection((host, int(port)), timeout=60):
            pass
        with gate.client() as client:
            assert client.get(ECHO).status_code == 200
        (record,) = gate.records()
        assert (record["outcome"], record["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
        assert {path.name for path in (site / "state").iterdir()} >= {"ca.pem", "ca-key.pem", "operator.token"}
    assert gate.wait_exit() == 0
    assert_sound(site)
    kinds = [record.text("event") for record in chron.find(site / "state/chron.db", kind="lifecycle")]
    assert kinds == ["open", "close"]


def test_it_says_where_further_listeners_are(site: Path) -> None:
    """One line for each, with its real address, and it answers there."""
    add_listener(site, "127.0.0.1:0")
    with Serving(site) as gate:
        line = gate.wait_line("listener origin (reverse) on 127.0.0.1:")
        answer = httpx.get(f"http://{line.rpartition(' ')[2]}/echo", trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (407, "agent.no-credentials")
    assert_sound(site)


def test_a_listener_that_cannot_be_opened_ends_the_start(site: Path) -> None:
    """With its address in one line; half a gate is none."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        place = f"127.0.0.1:{busy.getsockname()[1]}"
        add_listener(site, place)
        done = claiim("serve", cwd=site)
    assert done.returncode == 78
    assert f"cannot listen on {place}: address already in use; stop what is there" in done.stderr
    assert not (site / "state" / "operator.token").exists()
    assert_sound(site)


def test_term_drains(site: Path, origin: Origin) -> None:
    """What is under way ends with its outcome; meanwhile nothing new is taken, on new or open connections."""
    with Serving(site) as gate, gate.client() as first, gate.client() as second:
        assert second.get(ECHO).status_code == 200
        with in_thread(lambda: first.get(SLOW)) as slow:
            origin.wait_seen(2)
            gate.signal(signal.SIGTERM)
            gate.wait_ready("gate", failing=True)
            refused = second.get(ECHO)
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.stopping")
            host, port = gate.proxy_address.split(":")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)), timeout=60)
            assert slow == []
            origin.release()
        (response,) = slow
        assert (response.status_code, response.text) == (200, "at last\n")
        assert gate.wait_exit() == 0
    assert [seen.path for seen in origin.seen] == ["/echo", "/slow"]
    outcome = outcome_of(site, response.headers["x-chron-id"])
    assert (outcome["result"], outcome["status"]) == ("sent", 200)
    (denied,) = gate.records(code="gate.stopping")
    assert outcome_of(site, denied["id"])["result"] == "blocked"
    assert_sound(site)


def test_a_drain_has_an_end(site: Path, origin: Origin) -> None:
    """An exchange that does not end in time is cut off and written down as failed; the gate does not hang."""
    settings = yaml.safe_load((site / "claiim.yaml").read_text())
    settings["proxy"]["drain_timeout_s"] = 0
    (site / "claiim.yaml").write_text(yaml.safe_dump(settings))
    with Serving(site) as gate, gate.client() as client:
        with in_thread(lambda: client.get(SLOW)) as slow:
            origin.wait_seen(1)
            gate.signal(signal.SIGTERM)
            assert gate.wait_exit() == 0
        assert isinstance(slow[0], httpx.HTTPError) or slow[0].status_code >= 500
    (record,) = gate.records()
    outcome = outcome_of(site, record["id"])
    assert (record["outcome"], outcome["result"]) == ("ALLOW", "failed")
    assert_sound(site)


def test_a_second_interrupt_stops_at_once(site: Path, origin: Origin) -> None:
    """Ctrl-C drains, Ctrl-C again does not wait; what was cut off is in doubt at the next start."""
    with Serving(site) as gate, gate.client() as client, in_thread(lambda: client.get(SLOW)) as slow:
        origin.wait_seen(1)
        gate.signal(signal.SIGINT)
        gate.wait_line("press Ctrl-C again to stop now")
        gate.wait_ready("gate", failing=True)
        gate.signal(signal.SIGINT)
        assert gate.wait_exit() == 130
    assert isinstance(slow[0], httpx.HTTPError)
    with Serving(site) as gate:
        (record,) = gate.records()
        assert outcome_of(site, record["id"])["result"] == "in_doubt"
    assert_sound(site)


def test_a_crash_leaves_nothing_unsaid(site: Path, origin: Origin) -> None:
    """After kill -9 in the middle the next start says `in_doubt`, guesses nothing, and goes on."""
    with Serving(site) as gate, gate.client() as client:
        assert client.get(ECHO).status_code == 200
        with in_thread(lambda: client.get(SLOW)) as slow:
            origin.wait_seen(2)
            gate.signal(signal.SIGKILL)
            assert gate.wait_exit() == -signal.SIGKILL
        assert isinstance(slow[0], httpx.HTTPError)
    with Serving(site) as gate, gate.client() as client:
        sent, cut = gate.records()
        assert (cut["path"], cut["outcome"]) == ("/slow", "ALLOW")
        outcome = outcome_of(site, cut["id"])
        assert (outcome["result"], outcome["error"]) == ("in_doubt", "the gate stopped before the outcome was known")
        assert outcome_of(site, sent["id"])["result"] in ("sent", "in_doubt")
        assert client.get(ECHO).status_code == 200
        opened = gate.records("lifecycle", event="open")[-1]
        assert opened["clean"] is False
    assert_sound(site)


def test_hup_reloads_or_keeps_what_was(site: Path) -> None:
    """A good set is taken whole; a bad one is refused, recorded and seen in /readyz, and a repair clears it."""
    skill = site / "policies" / "deploy-v2.yaml"
    good = skill.read_text()
    suspended = {**AGENTS, "agents": [{**AGENTS["agents"][0], "state": "suspended"}]}
    with Serving(site) as gate, gate.client() as client:
        assert client.get(ECHO).status_code == 200
        (site / "agents.yaml").write_text(yaml.safe_dump(suspended))
        gate.signal(signal.SIGHUP)
        gate.wait_line("reloaded: rules ")
        refused = client.get(ECHO)
        assert (refused.status_code, refused.json()["reason"]) == (403, "agent:deploy-bot -- suspended")
        (site / "agents.yaml").write_text(yaml.safe_dump(AGENTS))
        skill.write_text(yaml.safe_dump({**SKILLS["deploy-v2"], "allow": ["**"]}))
        gate.signal(signal.SIGHUP)
        gate.wait_line("reload refused, the rules in force stay:")
        changed = 'skill "deploy-v2" version 1 changed since it was first loaded; bump the version'
        assert gate.wait_line(changed).startswith(f"{skill}:")
        assert client.get(ECHO).json()["reason"] == "agent:deploy-bot -- suspended"
        (record,) = gate.records("policy", event="refused")
        assert changed in record["error"]
        token = (site / "state/operator.token").read_text().strip()
        detailed = gate.api("/readyz", headers={"Authorization": f"Bearer {token}"})
        assert changed in detailed.json()["faults"]["rules"]
        skill.write_text(good)
        gate.signal(signal.SIGHUP)
        gate.wait_line("reloaded: rules ", times=2)
        assert gate.api("/readyz").status_code == 200
        assert client.get(ECHO).status_code == 200
        assert not [line for line in gate.printed if "Traceback" in line]
    assert [record["event"] for record in gate.records("policy")] == ["loaded", "loaded", "refused", "loaded"]
    assert_sound(site)


def test_a_newcomers_first_half_hour(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """init, agent add, check, serve, curl, chron, suspend: each command as the last one said, all by name."""
    made = claiim("init", "gate", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stderr.splitlines()[-1].startswith("next: cd gate; claiim agent add NAME")
    gate_folder = tmp_path / "gate"
    added = claiim("agent", "add", "my-bot", "--anchor", "alice@acme.test", "--skill", "deploy-v2", cwd=gate_folder)
    assert added.returncode == 0, added.stderr
    assert "no gate answers" in added.stderr
    token = added.stdout.strip()

    with (gate_folder / "claiim.yaml").open("a") as config:
        config.write(f'resolve:\n  origin.test: {{address: "{origin.address}", ca: {target_ca_pem}}}\n')
    (gate_folder / "mappings/mine.yaml").write_text(
        "version: 1\nrules:\n"
        "- {id: up, match: {host: origin.test, method: POST, path: /staging}, action: deploy:staging}\n"
        "- {id: live, match: {host: origin.test, method: POST, path: /production}, action: deploy:production}\n"
    )
    checked = claiim("check", cwd=gate_folder)
    assert (checked.returncode, checked.stderr) == (0, "ok: 2 agents, 1 skills, 1 policies\n")

    ports = {"CLAIIM_PROXY_LISTEN": "127.0.0.1:0", "CLAIIM_API_LISTEN": f"127.0.0.1:{_free_port()}"}
    with Serving(gate_folder, environ=ports) as gate:
        assert claiim("healthcheck", cwd=gate_folder, **ports).returncode == 0
        assert _curl(gate, token, "staging") == 200
        assert _curl(gate, token, "production") == 403
        assert [seen.path for seen in origin.seen] == ["/staging"]

        tail = claiim("chron", "tail", cwd=gate_folder)
        allowed, denied = tail.stdout.splitlines()
        assert "ALLOW  my-bot <- alice@acme.test  deploy:staging on origin.test" in allowed
        assert "policy:no-prod-v1 -- action not in allow list" in denied
        record_id = denied.split()[-1]
        shown = claiim("chron", "show", record_id, cwd=gate_folder).stdout
        assert re.search(r"policy no-prod-v1@1", shown)
        verified = claiim("chron", "verify", cwd=gate_folder)
        assert verified.returncode == 0, verified.stderr

        suspended = claiim("agent", "suspend", "my-bot", cwd=gate_folder, **ports)
        assert suspended.stderr.splitlines() == ["agent my-bot: suspended", "the gate has loaded the change"]
        assert _curl(gate, token, "staging") == 403
        assert gate.records()[-1]["reason"] == "agent:my-bot -- suspended"
    assert len(origin.seen) == 1
    assert_sound(gate_folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _curl(gate: Serving, token: str, place: str) -> int:
    """The status that an unmodified client gets, from the target or already for its CONNECT."""
    curl = shutil.which("curl")
    if curl is None:
        with gate.client(agent="my-bot", token=token) as client:
            return client.post(f"https://origin.test/{place}").status_code
    wired = {
        "https_proxy": f"http://my-bot:{token}@{gate.proxy_address}",
        "CURL_CA_BUNDLE": str(gate.folder / "state/ca.pem"),
    }
    command = [
        curl,
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_connect}",
        "-X",
        "POST",
        f"https://origin.test/{place}",
    ]
    done = subprocess.run(
        command, env=clean_environment(gate.folder, **wired), capture_output=True, text=True, timeout=60
    )
    inside, tunnel = map(int, done.stdout.split())
    return inside or tunnel


def test_a_token_that_is_not_the_agents_opens_nothing(site: Path, origin: Origin) -> None:
    """407 for another agent's token, recorded, and nothing leaves."""
    with Serving(site) as gate, gate.client(agent="other-bot", token=TOKEN) as client:
        with pytest.raises(httpx.ProxyError, match="407"):
            client.get(ECHO)
        (record,) = gate.records()
    assert (record["outcome"], record["reason"]) == ("DENY", "agent:other-bot -- wrong token")
    assert origin.connections == 0
