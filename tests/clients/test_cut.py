"""What is open when an agent is stopped ends there: over real sockets, with a gate that is a process of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from clients.tools import AGENTS, MAPPINGS, SKILLS, Served
from support.gate import LiveGate
from support.serving import in_thread
from support.targets import Origin

SUSPENDED = "agent:deploy-bot -- suspended"
HUMAN = "alice@acme.test"
both_versions = pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])


@pytest.fixture
def gate(served: Callable[..., Served], origin: Origin) -> Served:
    return served(origin)


@contextlib.contextmanager
def client_of(gate: Served, http2: bool, agent: str = "deploy-bot") -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=str(gate.ca))
    with httpx.Client(proxy=gate.proxy(agent), verify=trusted, http2=http2, trust_env=False, timeout=30) as client:
        yield client


def govern(gate: Served, *command: str) -> None:
    """Run a command that the gate loads at once; by default the suspension of the agent."""
    done = gate.claiim(*(command or ("agent", "suspend", "deploy-bot")))
    assert (done.code, "the gate has loaded the change" in done.err) == (0, True), done.said


def cut(gate: Served, reason: str = SUSPENDED, code: str = "agent.suspended", **wanted: Any) -> dict[str, Any]:
    """Stop the gate; the outcome of the one exchange that was cut, which the Chron also tells of its agent."""
    gate.stop()
    (allowed,) = gate.decisions(outcome="ALLOW", agent="deploy-bot", **wanted)
    outcome = gate.outcome_of(allowed)
    assert (outcome["result"], outcome["error"]) == ("failed", reason)
    (told,) = [record for record in gate._records("agent") if record["event"] == "cut"]
    assert (told["agent"], told["anchor"], told["reason"]) == ("deploy-bot", "alice@acme.test", reason)
    assert (told["code"], told["exchanges"]) == (code, 1)
    return outcome


@both_versions
def test_events_end_when_the_agent_is_suspended(gate: Served, origin: Origin, http2: bool) -> None:
    """The stream breaks off; another agent's goes on to its end."""
    with (
        client_of(gate, http2) as mine,
        client_of(gate, http2, "reader-bot") as others,
        mine.stream("GET", f"{origin.url}/sse") as events,
        others.stream("GET", f"{origin.url}/sse") as kept,
    ):
        parts, kept_parts = events.iter_raw(), kept.iter_raw()
        assert next(parts) == next(kept_parts) == b"data: first\n\n"
        govern(gate)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            next(parts)
        origin.release()
        assert b"".join(kept_parts) == b"data: last\n\n"
    outcome = cut(gate)
    assert outcome["response_bytes"] == len("data: first\n\n")
    (other,) = gate.decisions(agent="reader-bot")
    assert gate.outcome_of(other)["result"] == "sent"


@both_versions
def test_a_download_ends_when_the_agent_is_suspended(gate: Served, origin: Origin, http2: bool) -> None:
    """Not even what the gate had read already is passed on: the agent gets less than the target sent."""
    received = 0
    with client_of(gate, http2) as client, client.stream("GET", f"{origin.url}/download?mb=2000") as download:
        parts = download.iter_raw()
        received += len(next(parts))
        govern(gate)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            received += sum(len(part) for part in parts)
    outcome = cut(gate)
    assert 0 < received <= outcome["response_bytes"] < 2000 * 2**20


@both_versions
def test_an_upload_ends_when_the_agent_is_suspended(gate: Served, origin: Origin, http2: bool) -> None:
    """A body on its way stops; the target does not get its end."""

    def body() -> Iterator[bytes]:
        yield b"x" * 65536
        origin.wait_seen()
        govern(gate)
        while True:
            yield b"x" * 65536

    with client_of(gate, http2) as client, pytest.raises(httpx.TransportError) as broken:
        client.post(f"{origin.url}/upload", content=body())
    assert not isinstance(broken.value, httpx.TimeoutException)
    cut(gate)
    (seen,) = origin.seen
    assert not seen.complete


@both_versions
def test_a_call_that_waits_for_its_answer_ends(gate: Served, origin: Origin, http2: bool) -> None:
    """The target has the request; its answer no longer reaches the agent."""
    with client_of(gate, http2) as client:

        def ask() -> httpx.Response:
            return client.get(f"{origin.url}/slow")

        async def suspended_meanwhile() -> None:
            asking = asyncio.create_task(asyncio.to_thread(ask))
            await asyncio.to_thread(origin.wait_seen)
            await asyncio.to_thread(govern, gate)
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await asking

        asyncio.run(suspended_meanwhile())
    cut(gate)


def test_a_websocket_ends_when_the_agent_is_suspended(gate: Served, origin: Origin) -> None:
    """It carried both ways until then, and nothing after."""

    async def talk() -> tuple[str, aiohttp.WSMsgType]:
        trusted = ssl.create_default_context(cafile=str(gate.ca))
        async with aiohttp.ClientSession() as session:
            connected = session.ws_connect(f"{origin.url}/ws".replace("https", "wss"), proxy=gate.proxy(), ssl=trusted)
            async with connected as socket:
                await socket.send_str("ping")
                said = await socket.receive_str(timeout=30)
                await asyncio.to_thread(govern, gate)
                ended = await socket.receive(timeout=30)
                return said, ended.type

    said, ended = asyncio.run(talk())
    assert said == "ping"
    assert ended in (aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
    outcome = cut(gate)
    # One of the engines passes them unread, and counts them with their heads.
    frames = gate.live.engine_name == "fast"
    assert (outcome["request_bytes"], outcome["response_bytes"]) == ((10, 6) if frames else (4, 4))


@both_versions
def test_a_request_whose_body_is_on_its_way_is_refused(gate: Served, origin: Origin, http2: bool) -> None:
    """What was not decided when the agent was stopped is decided by the rules that stopped it."""

    def body() -> Iterator[bytes]:
        yield b'{"destroy": '
        govern(gate)
        yield b"false}"

    with client_of(gate, http2) as client:
        answer = client.post(f"{origin.url}/runs", content=body(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["reason"]) == (403, SUSPENDED)
    gate.stop()
    (denied,) = gate.decisions()
    assert (denied["outcome"], denied["reason"], denied["code"]) == ("DENY", SUSPENDED, "agent.suspended")
    assert (denied["id"], gate.outcome_of(denied)["result"]) == (answer.json()["chron_id"], "blocked")
    assert not origin.seen


def told(client: httpx.Client, url: str) -> tuple[int, str]:
    """What an agent reads of a refusal: in its tunnel, or of the tunnel itself where its token is worth nothing."""
    try:
        answer = client.get(url)
    except httpx.ProxyError as refused:
        status, reason = str(refused).split(" ", 1)
        return int(status), reason
    return answer.status_code, answer.json()["reason"]


STOPS: dict[str, tuple[list[list[str]], str, str]] = {
    "its human suspended": ([["human", "suspend", HUMAN]], f"anchor:{HUMAN} -- suspended", "anchor.suspended"),
    "its human revoked": ([["human", "revoke", HUMAN]], f"anchor:{HUMAN} -- revoked", "anchor.revoked"),
    "its organisation suspended": (
        [["org", "add", "acme"], ["org", "suspend", "acme"]], "org:acme -- suspended", "org.suspended",
    ),
    "revoked": ([["agent", "revoke", "deploy-bot"]], "agent:deploy-bot -- revoked", "agent.revoked"),
    "its token replaced": (
        [["agent", "rotate", "deploy-bot"]], "agent:deploy-bot -- wrong token", "agent.wrong-token",
    ),
    "its token at an end": (
        [["agent", "rotate", "deploy-bot", "--overlap", "1s"]],
        "agent:deploy-bot -- credential expired", "agent.credential-expired",
    ),
    "itself at an end": (
        [["agent", "resume", "deploy-bot", "--expires", "1s"]], "agent:deploy-bot -- expired", "agent.expired",
    ),
    "its human at an end": (
        [["human", "resume", HUMAN, "--expires", "1s"]], f"anchor:{HUMAN} -- expired", "anchor.expired",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("commands", "reason", "code"), STOPS.values(), ids=STOPS)
def test_whatever_stops_an_agent_ends_what_it_has_open(
    gate: Served, origin: Origin, commands: list[list[str]], reason: str, code: str
) -> None:
    """By command at once, and by an end that comes when it comes; the next request is refused for the same reason."""
    with client_of(gate, True) as client:
        with client.stream("GET", f"{origin.url}/sse") as events:
            parts = events.iter_raw()
            assert next(parts) == b"data: first\n\n"
            for command in commands:
                govern(gate, *command)
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                next(parts)
        status, read = told(client, f"{origin.url}/echo")
    assert (status, reason in read) == (407 if "token" in reason or "credential" in reason else 403, True), read
    cut(gate, reason, code)
    (refused,) = gate.decisions(outcome="DENY")
    assert (refused["reason"], refused["code"]) == (reason, code)
    assert len(origin.seen) == 1


def test_a_transfer_is_told_with_both_names_and_cuts_nothing(gate: Served, origin: Origin) -> None:
    """Somebody else answers from then on; what is open goes on, since its agent may still act."""
    with client_of(gate, False) as client, client.stream("GET", f"{origin.url}/sse") as events:
        parts = events.iter_raw()
        assert next(parts) == b"data: first\n\n"
        done = gate.claiim("human", "add", "bob@acme.test", "--org", "acme", "--no-token")
        assert done.code == 0, done.said
        govern(gate, "agent", "transfer", "deploy-bot", "--to", "bob@acme.test")
        origin.release()
        assert b"".join(parts) == b"data: last\n\n"
        events.close()
        assert client.get(f"{origin.url}/echo").status_code == 200
    gate.stop()
    (told,) = [record for record in gate._records("agent") if record["event"] == "transferred"]
    assert (told["from_anchor"], told["to_anchor"], told["agent"]) == (HUMAN, "bob@acme.test", "deploy-bot")
    before, after = gate.decisions()
    assert (before["anchor"], after["anchor"]) == (HUMAN, "bob@acme.test")
    assert gate.outcome_of(before)["result"] == "sent"


@both_versions
def test_a_request_that_waits_for_a_human_waits_no_longer(
    tmp_path: Path, target_ca_pem: Path, origin: Origin, http2: bool
) -> None:
    """It is refused when its agent is stopped, for that reason, and not only when its window has passed."""
    skills = {**SKILLS, "deploy-v2": {"skill": "deploy-v2", "allow": ["data:read"], "approve": ["data:write"]}}
    live = LiveGate(
        tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=MAPPINGS, skills=skills, agents=AGENTS,
        config={"approvals": {"wait_s": 600}},
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    with Served(live, tmp_path / "work") as gate, client_of(gate, http2) as client:

        def ask() -> httpx.Response:
            return client.post(f"{origin.url}/upload", content=b"x")

        with in_thread(ask) as answers:
            while not gate._records("approval"):  # there is no event of another process to wait for
                threading.Event().wait(0.05)
            govern(gate, "human", "suspend", HUMAN)
        (answer,) = answers
        assert (answer.status_code, answer.json()["reason"]) == (403, f"anchor:{HUMAN} -- suspended"), answers
        gate.stop()
        held, denied = gate.decisions()
        assert (held["outcome"], denied["outcome"], denied["code"]) == ("HOLD", "DENY", "anchor.suspended")
        assert gate.outcome_of(held)["error"] == "its agent may not act any more"
        assert (denied["id"], gate.outcome_of(denied)["result"]) == (answer.json()["chron_id"], "blocked")
    assert not origin.seen
