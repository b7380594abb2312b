"""`claiim agent suspend` against a running `claiim serve`."""

import ssl
from collections.abc import Callable

import httpx
import pytest

from clients.tools import Served
from proxy.replaying import Replay
from support.targets import Origin

LIMITS = httpx.Limits(keepalive_expiry=None)
"""How long an idle connection is used again may not depend on how busy the machine is."""
_NOT_ASKED_AGAIN = ("", "identity", "identity", "")
"""Who was stopped was asked nothing, so there is nothing to ask again."""


@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])
def test_suspending_counts_from_the_next_request(served: Callable[..., Served], origin: Origin, http2: bool) -> None:
    """Also on a connection that is already open: it is refused there and taken up again after "resume"."""
    gate = served(origin)
    trusted = ssl.create_default_context(cafile=str(gate.ca))
    answers: list[httpx.Response] = []
    ports: set[int] = set()
    with httpx.Client(
        proxy=gate.proxy(), verify=trusted, http2=http2, trust_env=False, timeout=30, limits=LIMITS
    ) as client:
        for command in (None, "suspend", "resume"):
            if command is not None:
                done = gate.claiim("agent", command, "deploy-bot")
                assert (done.code, "the gate has loaded the change" in done.err) == (0, True), done.said
            answers.append(client.get(f"{origin.url}/echo"))
            ports.add(answers[-1].extensions["network_stream"].get_extra_info("client_addr")[1])
    assert [answer.status_code for answer in answers] == [200, 403, 200]
    assert len(ports) == 1, "one connection carried all three"
    gate.stop()
    first, refused, last = gate.decisions()
    assert (first["outcome"], last["outcome"]) == ("ALLOW", "ALLOW")
    assert (refused["outcome"], refused["code"]) == ("DENY", "agent.suspended")
    assert refused["reason"] == answers[1].json()["reason"] == "agent:deploy-bot -- suspended"
    assert refused["id"] == answers[1].json()["chron_id"]
    assert gate.outcome_of(refused)["result"] == "blocked"
    assert len(origin.seen) == 2


def test_stopping_waits_for_no_policy(served: Callable[..., Served], origin: Origin) -> None:
    """While a policy cannot be read, a suspension counts at once; nobody is let act again before it can be read."""
    gate = served(origin)
    trusted = ssl.create_default_context(cafile=str(gate.ca))
    broken = gate.live.folder / "policies" / "broken.yaml"
    answers: list[httpx.Response] = []
    with httpx.Client(proxy=gate.proxy(), verify=trusted, trust_env=False, timeout=30, limits=LIMITS) as client:
        answers.append(client.get(f"{origin.url}/echo"))
        broken.write_text("policy: p\ndenny: [x]\n")
        suspended = gate.claiim("agent", "suspend", "deploy-bot")
        answers.append(client.get(f"{origin.url}/echo"))
        resumed = gate.claiim("agent", "resume", "deploy-bot")
        answers.append(client.get(f"{origin.url}/echo"))
        broken.unlink()
        mended = gate.claiim("agent", "resume", "deploy-bot")
        answers.append(client.get(f"{origin.url}/echo"))
    assert [answer.status_code for answer in answers] == [200, 403, 403, 200]
    assert suspended.code == 0, suspended.said
    assert "the gate has taken away what the change takes away, and cannot load the rest" in suspended.err
    assert 'broken.yaml:2:1: unknown key "denny"' in suspended.err
    assert (resumed.code, mended.code) == (78, 0), resumed.said
    gate.stop()
    assert [record["code"] for record in gate.decisions(outcome="DENY")] == ["agent.suspended"] * 2
    (narrowed,) = [record for record in gate._records("policy") if record["event"] == "narrowed"]
    assert narrowed["rules_digest"] == gate.decisions(outcome="DENY")[0]["rules_digest"]
    replayed = list(Replay(gate.live.config.chron).decisions())
    assert [(each.left_out, each.differing) for each in replayed] == [(why, ()) for why in _NOT_ASKED_AGAIN]
    assert len(origin.seen) == 2
