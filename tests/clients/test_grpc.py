"""gRPC, unary and streaming, over HTTP/2 end to end: decided by the path, denied in gRPC's own words."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from clients.tools import AGENTS, NOT_ALLOWED, SKILLS, ByEnvironment, Ran
from support.gate import LiveGate
from support.targets.grpcs import GrpcServer

CLIENT = """
import sys, threading
import grpc

target, kind = sys.argv[1:]
name = f"/echo.Echo/{kind}"
with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:
    try:
        if kind in ("Unary", "Fail", "Denied"):
            answer, call = channel.unary_unary(name).with_call(b"hello", timeout=30)
            print(answer.decode(), dict(call.trailing_metadata()).get("x-after"))
        elif kind == "Down":
            print(*(each.decode() for each in channel.unary_stream(name)(b"3", timeout=30)))
        elif kind == "Up":
            print(channel.stream_unary(name)(iter([b"x" * 100_000] * 20), timeout=30).decode())
        elif kind == "Both":
            # The next message is made of the last answer: it works only when neither side is held back.
            heard, wait = [], threading.Semaphore(1)
            def ask():
                for _ in range(5):
                    wait.acquire()
                    yield str(len(heard)).encode()
            for answer in channel.stream_stream(name)(ask(), timeout=30):
                heard.append(answer.decode())
                wait.release()
            print(*heard)
    except grpc.RpcError as error:
        print(error.code().value[0], error.details())
        print(dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ()), file=sys.stderr)
        sys.exit(1)
"""

MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [{"host": "grpc.test", "pack": "grpc"}],
    "rules": [
        {
            "id": "echo",
            "match": {"op": "grpc:echo.Echo/{Unary,Down,Up,Both,Fail}"},
            "action": "data:read",
            "target": "${host}",
        },
    ],
}


@pytest.fixture
def grpc_server(target_ca: trustme.CA) -> Iterator[GrpcServer]:
    with GrpcServer(target_ca) as server:
        yield server


@pytest.fixture
def gated(tmp_path: Path, target_ca_pem: Path, grpc_server: GrpcServer) -> Iterator[ByEnvironment]:
    live = LiveGate(
        tmp_path / "gate", grpc_server, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS, agents=AGENTS
    )
    with ByEnvironment(live, tmp_path) as gated:
        yield gated


def call(gated: ByEnvironment, server: GrpcServer, kind: str) -> Ran:
    return gated.run(sys.executable, "-W", "ignore", "-c", CLIENT, f"grpc.test:{server.port}", kind)


CALLS = {"Unary": "hello the end\n", "Down": "0 1 2\n", "Up": "20\n", "Both": "0 1 2 3 4\n"}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_passes_with_its_trailers(gated: ByEnvironment, grpc_server: GrpcServer, kind: str) -> None:
    """Every kind of call, messages and trailers in both directions; one decision each, which the path makes."""
    ran = call(gated, grpc_server, kind)
    assert (ran.code, ran.out) == (0, CALLS[kind]), ran.said
    allowed = gated.only()
    assert (allowed["outcome"], allowed["operation"]) == ("ALLOW", f"grpc:echo.Echo/{kind}")
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["status"]) == ("sent", 200)
    assert [method for method, _ in grpc_server.seen] == [kind]


def test_an_error_of_the_server_is_its_own(gated: ByEnvironment, grpc_server: GrpcServer) -> None:
    """Status and message of a failed call arrive as the server has sent them."""
    ran = call(gated, grpc_server, "Fail")
    assert (ran.code, ran.out) == (1, "5 no such thing\n"), ran.said
    assert gated.only()["outcome"] == "ALLOW"


def test_a_denied_call_is_status_7(gated: ByEnvironment, grpc_server: GrpcServer) -> None:
    """PERMISSION_DENIED with our reason, the record and what to do; the server hears nothing."""
    ran = call(gated, grpc_server, "Denied")
    denied = gated.denied(ran)
    assert (ran.code, ran.out.split(" ")[0]) == (1, "7"), ran.said
    assert (denied["action"], denied["reason"]) == ("grpc:echo.echo/denied", f"skill:deploy-v2 -- {NOT_ALLOWED}")
    assert f"[{denied['id']}]; alice@acme.test answers for deploy-bot" in ran.out
    assert f"'x-chron-id': '{denied['id']}'" in ran.err
    assert grpc_server.seen == []


def test_a_server_that_is_gone_is_unavailable(gated: ByEnvironment, grpc_server: GrpcServer) -> None:
    """Status 14, which clients try again after; not a status that says the agent may not."""
    grpc_server.__exit__()
    ran = call(gated, grpc_server, "Unary")
    assert (ran.code, ran.out.split(" ")[0]) == (1, "14"), ran.said
    assert "upstream -- " in ran.out
    assert {record["outcome"] for record in gated.decisions()} == {"ALLOW"}
