"""A gate of several processes, started, loaded, killed in parts and stopped: real processes, real sockets."""

import signal
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
import yaml

import chron
from chron.doubt import doubts
from proxy.replaying import Replay
from support.serving import assert_sound, claiim, in_thread
from support.targets import Origin
from support.until import until
from support.workers import Workers, workers_site

pytestmark = pytest.mark.engines("fast")

URL = "https://origin.test/things"
SLOW = "https://origin.test/slow"


@pytest.fixture
def site(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Path:
    """A configured folder; nothing runs yet."""
    listeners = {
        "api": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://origin.test", "proves": "listener"},
        "old": {"mode": "proxy", "listen": "127.0.0.1:0", "engine": "mitmproxy"},
    }
    return workers_site(tmp_path / "site", origin, ca=target_ca_pem, config={"listeners": listeners})


def test_every_worker_serves_every_way_in_and_the_api_answers_for_all(site: Path, origin: Origin) -> None:
    """Both workers are reached by the proxy's listener and the reverse one, the other engine's has a process of its
    own; they write one log, are counted together, and nothing is left of them."""
    with Workers(site) as gate:
        assert len(gate.children) == 4  # the coordinator, two workers, and one for the other engine
        with gate.one_client_each(URL) as clients:
            sessions = {gate.session_of(client.get(URL)) for client in clients}
            refused = [client.delete(URL) for client in clients]
        assert [each.status_code for each in refused] == [403, 403]
        assert {gate.session_of(each) for each in refused} == sessions
        reverse = f"http://{gate.place('api')}/things"
        other: set[str] = set()
        for _ in range(200):
            if (other := other | {gate.session_of(httpx.get(reverse, trust_env=False))}) >= sessions:
                break
        assert other == sessions
        gate.proxy_address = gate.place("old")
        with gate.client() as client:
            answer = client.get(URL)
        (record,) = gate.records(id=answer.headers["x-chron-id"])
        assert (record["engine"], record["session"] in sessions) == ("mitmproxy", False)
        decided = {each["session"] for each in gate.records()}
        assert len(decided) == 3
        counted = gate.api("/metrics").text
        total = sum(int(float(line.split()[-1])) for line in counted.splitlines() if "decisions_total{" in line)
        assert total == len(gate.records())
        until(lambda: 'claiim_outcomes_total{result="sent"}' in gate.api("/metrics").text)
        assert gate.api("/readyz").json() == {"status": "ok", "faults": {}}
        done = claiim("healthcheck", cwd=site, CLAIIM_API_LISTEN=gate.api_address)
        assert (done.returncode, done.stdout) == (0, "ok\n")
        sockets = [path for path in (site / "state").iterdir() if path.is_socket()]
        assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o600, 0o600]
        children = gate.children
    assert gate.wait_exit() == 0
    assert sum("proxy on" in line for line in gate.printed) == 1
    assert sum("control API" in line for line in gate.printed) == 1
    assert [path for path in (site / "state").iterdir() if path.is_socket()] == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert_sound(site)
    # Each worker writes under a session of its own, and it is the coordinator that has loaded the rules.
    again = [each for each in Replay(site / "state" / "chron.db").decisions() if each.left_out != "identity"]
    assert {str(each.record["session"]) for each in again} == decided
    assert [(each.left_out, each.differing) for each in again] == [("", ())] * len(again)


def test_a_worker_that_is_killed_is_replaced_and_leaves_its_doubts(site: Path, origin: Origin) -> None:
    """What it had under way is in doubt, the other goes on, nobody is refused a connection, and what it has counted
    stays counted."""
    with Workers(site) as gate, gate.one_client_each(URL) as (first, second):
        session = gate.session_of(first.get(URL))
        before = gate.workers
        with in_thread(lambda: first.get(SLOW)) as slow:
            origin.wait_seen(len(origin.seen) + 1)
            (open_,) = gate.records(path="/slow")
            assert open_["session"] == session
            counted = _decisions(gate)
            gate.kill(_serving(gate, session))
            assert second.get(URL).status_code == 200
            host, port = gate.proxy_address.split(":")
            for _ in range(50):
                socket.create_connection((host, int(port)), timeout=30).close()
            until(lambda: len(gate.workers) == len(before))
            origin.release()
        (failed,) = slow
        assert isinstance(failed, httpx.HTTPError)
        gate.wait_whole()
        path = site / "state" / "chron.db"
        until(lambda: [each.id for each in doubts(path) if each.state == "in doubt"])
        assert [each.id for each in doubts(path)] == [open_["id"]]
        assert _decisions(gate) >= counted - 1  # the last second of one that is killed is lost
        with gate.one_client_each(URL) as clients:
            assert session not in {gate.session_of(client.get(URL)) for client in clients}
    assert gate.wait_exit() == 0
    assert sum("is replaced" in line for line in gate.printed) == 1
    assert_sound(site)


def _decisions(gate: Workers) -> int:
    lines = gate.api("/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("claiim_decisions_total{"))


def _serving(gate: Workers, session: str) -> int:
    """The process of a session, as it has said when it joined the log."""
    (joined,) = gate.records("lifecycle", event="join", session=session)
    return int(joined["pid"])


def test_without_the_coordinator_nothing_is_forwarded_and_with_it_again(site: Path, origin: Origin) -> None:
    """Killed while its rules cannot be loaded: both workers answer 503 and nothing reaches the target; repaired, it
    comes back by itself, and the chain goes on."""
    agents = site / "agents.yaml"
    whole = agents.read_text()
    with Workers(site) as gate, gate.one_client_each(URL) as clients:
        workers = gate.workers
        agents.write_text("agents: [")
        gate.kill(gate.coordinator)
        seen = len(origin.seen)
        for client in clients:
            refused = client.get(URL)
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.audit-unavailable")
        gate.wait_line("the coordinator", times=2)
        for client in clients:
            assert client.get(URL).status_code == 503
        assert len(origin.seen) == seen
        agents.write_text(whole)
        for client in clients:
            until(lambda client=client: client.get(URL).status_code == 200)
        gate.wait_whole()
        assert gate.workers == workers
    assert gate.wait_exit() == 0
    path = site / "state" / "chron.db"
    assert chron.verify(path).ok
    # What the coordinator left open is in doubt at its next start; a worker that knows better tells so after that.
    told = {each.text("ref") for each in chron.find(path, kind="outcome")}
    assert {each.id for each in chron.find(path, kind="decision")} == told
    assert list(doubts(path)) == []


def test_a_coordinator_that_is_killed_under_load_loses_nothing(site: Path, origin: Origin) -> None:
    """What was answered with 200 is on record, and so is what reached the target."""
    answered: list[str] = []
    with Workers(site) as gate:

        def load(number: int) -> None:
            with gate.client() as client:
                while len(answered) < 150:
                    with suppress(httpx.HTTPError):
                        answer = client.get(f"{URL}/{number}-{len(answered)}")
                        if answer.status_code == 200:
                            answered.append(answer.headers["x-chron-id"])

        with ExitStack() as stack:
            ended = [stack.enter_context(in_thread(lambda number=number: load(number))) for number in range(4)]
            for reached in (30, 80):
                until(lambda reached=reached: len(answered) >= reached)
                gate.kill(gate.coordinator)
            until(lambda: all(ended))
        gate.wait_whole()
    assert gate.wait_exit() == 0
    path = site / "state" / "chron.db"
    allowed = {each.id: each.text("path") for each in chron.find(path, kind="decision", outcome="ALLOW")}
    assert set(answered) <= set(allowed)
    assert {seen.path for seen in origin.seen} <= set(allowed.values())
    assert chron.verify(path).ok
    told = {each.text("ref") for each in chron.find(path, kind="outcome")}
    assert set(allowed) <= told


def test_term_drains_every_worker_and_a_second_one_ends_them(site: Path, origin: Origin) -> None:
    """What is under way in each ends well, new connections are refused; with a second TERM nothing is waited for."""
    with Workers(site) as gate, gate.one_client_each(URL) as clients, ExitStack() as stack:
        seen = len(origin.seen)
        slow = [stack.enter_context(in_thread(lambda client=client: client.get(SLOW))) for client in clients]
        origin.wait_seen(seen + 2)
        gate.signal(signal.SIGTERM)
        gate.wait_ready("gate", failing=True)
        host, port = gate.proxy_address.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=60)
        assert slow == [[], []]
        origin.release()
        until(lambda: all(slow))
        assert [(each.status_code, each.text) for (each,) in slow] == [(200, "at last\n")] * 2
        assert gate.wait_exit() == 0
    assert_sound(site)
    origin.hold()
    with Workers(site) as gate, gate.client() as client:
        children = gate.children
        with in_thread(lambda: client.get(SLOW)):
            seen = len(origin.seen)
            origin.wait_seen(seen + 1)
            gate.signal(signal.SIGTERM)
            gate.wait_line("stopping")
            gate.signal(signal.SIGTERM)
            assert gate.wait_exit() == 130
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_nothing_is_left_when_the_supervisor_is_killed(site: Path) -> None:
    """The kernel ends the others, and the next gate finds its log and its ports free."""
    with Workers(site) as gate:
        children = gate.children
        gate.process.kill()
        gate.wait_exit()
        until(lambda: not any(_lives(pid) for pid in children))
    with Workers(site) as gate, gate.client() as client:
        assert client.get(URL).status_code == 200
    assert_sound(site)


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


FAULTS = {
    "rules that do not load": ("policies/broken.yaml", "skill: [", "broken.yaml:2:1"),
    "an engine that has no workers": ("claiim.yaml", {"proxy": {"engine": "mitmproxy"}}, '"proxy.engine: fast"'),
    "a writer of its own": ("claiim.yaml", {"chron_writer": "chron.sock"}, "chron_writer"),
}


@pytest.mark.parametrize(("name", "content", "told"), FAULTS.values(), ids=FAULTS)
def test_what_keeps_it_from_starting_is_said_once(site: Path, name: str, content: object, told: str) -> None:
    """One error, exit 78, and no process stays; `check` says the same of the configuration."""
    if isinstance(content, dict):
        settings = yaml.safe_load((site / name).read_text())
        for section, values in content.items():
            settings[section] = {**settings[section], **values} if isinstance(values, dict) else values
        content = yaml.safe_dump(settings)
        (site / name).write_text(content)
        assert told in claiim("check", cwd=site, CLAIIM_PROXY_ENGINE="").stdout
    (site / name).write_text(str(content))
    done = claiim("serve", cwd=site, CLAIIM_PROXY_ENGINE="")
    assert (done.returncode, done.stderr.count(told)) == (78, 1), done.stderr
    assert "Traceback" not in done.stderr


def test_two_gates_share_neither_a_port_nor_a_log(site: Path, tmp_path: Path) -> None:
    """Who has the ports keeps them, though workers share theirs; who has the log keeps it, and its workers."""
    with Workers(site) as gate:
        settings = yaml.safe_load((site / "claiim.yaml").read_text())
        settings["proxy"]["listen"] = gate.proxy_address
        (site / "claiim.yaml").write_text(yaml.safe_dump(settings))
        done = claiim("serve", cwd=site, CLAIIM_STATE=str(tmp_path / "other"))
        assert (done.returncode, done.stderr.count("address already in use")) == (78, 1), done.stderr
        settings["proxy"]["listen"] = "127.0.0.1:0"
        (site / "claiim.yaml").write_text(yaml.safe_dump(settings))
        done = claiim("serve", cwd=site)
        assert (done.returncode, done.stderr.count("is open in another process")) == (78, 1), done.stderr
        gate.wait_whole()
        with gate.one_client_each(URL):
            pass
