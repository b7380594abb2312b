"""What MCP and JSON-RPC calls say of themselves, and arrays of them."""

import json

import pytest

from mappings import Recognition, Request
from mappings.packs import jsonrpc, mcp
from mappings.resolution import TOO_MANY

HEADERS = (("content-type", "application/json"),)


def _recognised(pack: object, body: object) -> Recognition:
    request = Request("POST", "https", "mcp.acme.test", 443, "/mcp", (), HEADERS, json.dumps(body).encode())
    recognition = pack.recognise(request)  # type: ignore[attr-defined]
    assert isinstance(recognition, Recognition)
    return recognition


def _message(method: str, **params: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.mark.parametrize(
    ("method", "access", "executes", "known"),
    [
        ("tools/call", "write", True, True),
        ("tools/list", "list", False, True),
        ("prompts/get", "read", False, True),
        ("ping", "read", False, True),
        ("tools/callx", "", False, False),
    ],
)
def test_a_method_says_what_it_does(method: str, access: str, executes: bool, known: bool) -> None:
    """A tool may run anything; a method that nobody knows is not taken for a read."""
    (call,) = _recognised(mcp.PACK, _message(method, name="x")).calls
    assert (call.access, call.executes, call.known) == (access, executes, known)


def test_the_tool_is_what_the_server_obeys() -> None:
    """An environment may be told by the tool, and not by its arguments."""
    (call,) = _recognised(mcp.PACK, _message("tools/call", name="x", env="staging")).calls
    assert call.trusted == {"tool"}
    assert call.captures["tool"] == "x"


def test_a_method_of_a_server_that_nobody_knows_is_not_known() -> None:
    """A JSON-RPC method has a name and nothing else that could be believed."""
    (call,) = _recognised(jsonrpc.PACK, _message("wipe")).calls
    assert (call.name, call.access, call.known) == ("jsonrpc:wipe", "", False)


@pytest.mark.parametrize("pack", [mcp.PACK, jsonrpc.PACK], ids=["mcp", "jsonrpc"])
def test_a_flood_of_messages_is_refused_unread(pack: object) -> None:
    """More messages than are judged at once are refused before any of them is looked at."""
    recognition = _recognised(pack, [{"nonsense": True}] * 201)
    assert recognition.problem is not None
    assert recognition.problem.code == TOO_MANY
    assert recognition.calls == ()
