"""What the workers of a gate have in common: humans, exceptions, rules and limits are one, whichever is reached."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.gate import TOKEN
from support.load import tunnel_to
from support.serving import assert_sound, claiim, in_thread
from support.targets import Origin
from support.until import until
from support.waiting import SKILLS, registry
from support.workers import Workers, workers_site

pytestmark = pytest.mark.engines("fast")

URL = "https://origin.test/things"
MOST = 3

RULES: dict[str, Any] = {
    "deploy-v2": {
        **SKILLS["deploy-v2"],
        "allow": ["data:read", "deploy:staging"],
        "limits": [{"action": "deploy:staging", "most": MOST, "per": "day"}],
        "approve": ["data:write"],
        "deny": [{"action": "infra:destroy", "overridable": "break-glass"}],
    },
    "reader-v1": SKILLS["reader-v1"],
}


@pytest.fixture
def site(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Path:
    """A configured folder; nothing runs yet."""
    return workers_site(
        tmp_path / "site", origin, ca=target_ca_pem, skills=RULES, agents=registry(),
        config={"approvals": {"keep_alive_s": 0}},
    )  # fmt: skip


def pending(gate: Workers) -> list[dict[str, Any]]:
    """What waits for humans, as the API lists it for bob."""
    listed = gate.ask("bob", "/v1/approvals", method="GET").json()["approvals"]
    return [each for each in listed if each["state"] == "pending"]


def answered_when(gate: Workers, clients: list[httpx.Client], verb: str) -> list[int]:
    """What the same request is answered that waits at each worker, when bob says this; lowest first."""
    held = len(gate.records(outcome="HOLD"))

    def write(client: httpx.Client) -> int:
        return client.post(URL, content=verb).status_code

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(write, client) for client in clients]
        until(lambda: len(gate.records(outcome="HOLD")) == held + len(clients))
        (asked,) = pending(gate)
        body = {"fingerprint": asked["fingerprint"]} if verb == "approve" else {}
        said = gate.ask("bob", f"/v1/approvals/{asked['approval']}/{verb}", body)
        assert said.status_code == 200, said.text
        return sorted(each.result(30) for each in waiting)


def test_a_yes_at_the_api_wakes_who_waits_at_any_worker_and_is_used_once(site: Path, origin: Origin) -> None:
    """The same request waits at both workers: one question, one yes, one run; and a no ends both."""
    with Workers(site) as gate, gate.one_client_each(URL) as clients:
        assert answered_when(gate, clients, "approve") == [200, 403]
        assert answered_when(gate, clients, "refuse") == [403, 403]
        assert [seen.body for seen in origin.seen if seen.method == "POST"] == [b"approve"]
        used = [each["approval"] for each in gate.records("approval") if each["event"] == "used"]
        assert len(used) == 1
    assert gate.wait_exit() == 0
    assert_sound(site)


def test_who_waits_and_goes_away_is_not_waited_for(site: Path) -> None:
    """The agent's connection ends, or its worker is killed: the held decision has its end."""
    with Workers(site) as gate:
        with tunnel_to(gate.proxy_address, str(site / "state" / "ca.pem"), "deploy-bot", TOKEN) as raw:
            raw.sendall(b"POST /things HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 3\r\n\r\none")
            (held,) = until(lambda: gate.records(outcome="HOLD"))
        (outcome,) = until(lambda: gate.records("outcome", ref=held["id"]))
        assert outcome["result"] == "held"
        with in_thread(lambda: gate.client().post(URL, content=b"two")):
            until(lambda: len(gate.records(outcome="HOLD")) == 2)
            for pid in gate.workers:
                gate.kill(pid)
        second = gate.records(outcome="HOLD")[1]
        (outcome,) = until(lambda: gate.records("outcome", ref=second["id"]))
        assert outcome["result"] in ("held", "blocked")
        gate.wait_whole()
    assert_sound(site)


def test_an_exception_begins_and_ends_in_all_at_once(site: Path) -> None:
    """When the second human's yes is answered every worker lets it through, and none when its end is."""
    scope = {"agent": "deploy-bot", "action": "infra:destroy", "target": "**", "minutes": 20, "reason": "INC-12"}
    with Workers(site) as gate, gate.one_client_each(URL) as clients:
        assert [client.delete(URL).status_code for client in clients] == [403, 403]
        name = gate.ask("bob", "/v1/exceptions", scope).json()["exception"]
        assert gate.ask("carol", f"/v1/exceptions/{name}/approve", {}).status_code == 200
        assert [client.delete(URL).status_code for client in clients] == [200, 200]
        assert gate.ask("carol", f"/v1/exceptions/{name}/end", {}).status_code == 200
        assert [client.delete(URL).status_code for client in clients] == [403, 403]
    assert_sound(site)


def test_limits_of_use_are_exact_whichever_worker_is_reached(site: Path, origin: Origin) -> None:
    """Three a day are three, of forty that come to both at the same time; and none is left after a crash."""
    with Workers(site) as gate, gate.one_client_each(URL) as clients:

        def run(client: httpx.Client) -> int:
            return client.post("https://origin.test/runs", json={}).status_code

        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(run, clients * 20))
        assert (answered.count(200), answered.count(403)) == (MOST, 40 - MOST)
        assert sum(seen.path == "/runs" for seen in origin.seen) == MOST
        gate.kill(gate.coordinator)
        gate.wait_whole()
        assert [run(client) for client in clients] == [403, 403]
    assert_sound(site)


def test_what_an_agent_has_under_way_counts_over_all_workers(
    tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """Two at a time are two, one at each worker; what a worker had that is killed is free again."""
    limits = {"agents": {"deploy-bot": {"requests": 2}}}
    site = workers_site(tmp_path / "site", origin, ca=target_ca_pem, config={"limits": limits})
    with Workers(site) as gate, gate.one_client_each(URL) as clients, ThreadPoolExecutor() as pool:
        seen = len(origin.seen)
        slow = [pool.submit(client.get, "https://origin.test/slow") for client in clients]
        origin.wait_seen(seen + 2)
        for _ in range(8):
            with gate.client() as client:
                refused = client.get(URL)
            assert (refused.status_code, refused.json()["code"]) == (429, "limit.requests")
        gate.kill(min(gate.workers))
        with gate.client() as client:
            assert client.get(URL).status_code == 200
        origin.release()
        assert sorted(isinstance(each.exception(30), httpx.HTTPError) for each in slow) == [False, True]


def test_a_suspended_agent_is_stopped_everywhere_when_the_command_returns(site: Path, origin: Origin) -> None:
    """Its next request and its open stream, at each worker; resumed, it goes on at each."""
    with Workers(site) as gate, gate.one_client_each(URL) as clients, ExitStack() as stack:
        environ = {"CLAIIM_API_LISTEN": gate.api_address}
        streams = [stack.enter_context(client.stream("GET", "https://origin.test/sse")) for client in clients]
        pieces = [stream.iter_raw() for stream in streams]
        assert all(next(each) for each in pieces)
        done = claiim("agent", "suspend", "deploy-bot", cwd=site, **environ)
        assert done.returncode == 0, done.stderr
        for each in pieces:
            with pytest.raises(httpx.HTTPError):
                list(each)
        refused = [client.get(URL) for client in clients]
        assert [(each.status_code, each.json()["code"]) for each in refused] == [(403, "agent.suspended")] * 2
        done = claiim("agent", "resume", "deploy-bot", cwd=site, **environ)
        assert done.returncode == 0, done.stderr
        assert [client.get(URL).status_code for client in clients] == [200, 200]
    assert_sound(site)


def test_changed_rules_count_everywhere_when_the_reload_is_answered(site: Path) -> None:
    """By the API and by HUP; what does not load is refused, and the older rules stay in each."""
    policy = site / "policies" / "deploy-v2.yaml"
    whole = policy.read_text()
    with Workers(site) as gate, gate.one_client_each(URL) as clients:

        def answers() -> list[int]:
            return [client.get(URL).status_code for client in clients]

        policy.write_text(yaml.safe_dump({"skill": "deploy-v2", "version": 2, "allow": ["health:check"]}))
        said = gate.api("/v1/reload", method="POST", headers=gate.operator)
        assert said.status_code == 200, said.text
        assert answers() == [403, 403]
        digests = {each["rules_digest"] for each in gate.records(outcome="DENY")}
        assert digests == {said.json()["digest"]}
        policy.write_text("skill: [")
        assert gate.api("/v1/reload", method="POST", headers=gate.operator).status_code == 422
        assert answers() == [403, 403]
        policy.write_text(whole.replace("skill: deploy-v2", "skill: deploy-v2\nversion: 3"))
        gate.signal(signal.SIGHUP)
        gate.wait_line("reloaded: rules")
        assert answers() == [200, 200]
    assert_sound(site)


def test_a_version_that_is_activated_is_in_force_everywhere(
    tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """A second human's yes puts it in force, in each worker, before it is answered."""
    site = workers_site(
        tmp_path / "site", origin, ca=target_ca_pem, skills=RULES, agents=registry(),
        config={"activation": {"require": ["second-approver"]}},
    )  # fmt: skip
    with Workers(site) as gate, gate.one_client_each(URL, status=403) as clients:
        act = gate.ask("bob", "/v1/activations", {"verb": "activate", "texts": ["deploy-v2"]})
        assert act.status_code == 202, act.text
        assert [client.get(URL).json()["code"] for client in clients] == ["skill.not-active"] * 2
        digests = [each["digest"] for each in act.json()["changes"]]
        done = gate.ask("carol", f"/v1/activations/{act.json()['id']}/approve", {"digests": digests})
        assert done.status_code == 200, done.text
        assert [client.get(URL).status_code for client in clients] == [200, 200]
    assert_sound(site)


def test_a_worker_that_does_not_take_changed_rules_over_is_ended(site: Path) -> None:
    """It hangs: when the reload is answered it is no more, and another one has the new rules."""
    with Workers(site) as gate:
        hung = min(gate.workers)
        os.kill(hung, signal.SIGSTOP)
        (site / "policies" / "deploy-v2.yaml").write_text(
            yaml.safe_dump({"skill": "deploy-v2", "version": 2, "allow": ["health:check"]})
        )
        assert gate.api("/v1/reload", method="POST", headers=gate.operator).status_code == 200
        until(lambda: hung not in gate.children)
        gate.wait_whole()
        for _ in range(8):
            with gate.client() as client:
                assert client.get(URL).status_code == 403
    assert_sound(site)
