"""Reads what an agent says over a WebSocket as the request it would be by POST, and says no in the protocol's words.

For hosts that are bound to a pack whose calls are messages, as the first or as one of several; on every other one the
upgrade is the whole decision. All packs of the host read what is asked, as they would read the POST.

    mcp, jsonrpc   each message is a JSON-RPC call, or an array of such: judged as a POST of it
    graphql        {"type": "subscribe", "id": "1", "payload": {"query": ...}}: judged as a POST of the payload
                   (graphql-transport-ws; "start" in the older graphql-ws). What only keeps the connection going
                   (connection_init, ping, pong, complete, stop, connection_terminate) asks for nothing.
    both           what has a "type" is of GraphQL, everything else of JSON-RPC

    not text, not strict JSON, of another type                             refused: wire.message
    {"type": "ping", "Type": "subscribe", ...}, "type" beside "method"     refused: two servers read two things

A refusal is an error that names the id of the call. Where there is no id to name, the connection is closed with 1008
(RFC 6455, 7.4.1: policy violation). Pure.
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

from mappings import Problem
from proxy.facts import Fields, Inbound
from proxy.refusals import Refusal
from proxy.rpcanswers import GRAPHQL, JSONRPC, call_id, graphql_error, jsonrpc_error

POLICY_VIOLATION = 1008
_REASON_BYTES = 123
"""RFC 6455, 5.5 and 5.5.1: a control frame carries 125 bytes, two of them the code."""

_ASKS = frozenset({"subscribe", "start"})
_KEEPS_GOING = frozenset({"connection_init", "ping", "pong", "complete", "stop", "connection_terminate"})
"""https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md and subscriptions-transport-ws, PROTOCOL.md"""

_UNREADABLE = Problem("wire.message", "the message is not strict JSON of the protocol that this host speaks")
_OF_THE_UPGRADE = (b"upgrade", b"connection", b"content-type", b"content-length", b"transfer-encoding", b"expect")


class Word(Enum):
    """What lets a message pass, each in so many words: `None` is also what comes of whatever says nothing."""

    ASKS_NOTHING = "it asks for nothing"
    ALLOWED = "it is allowed"


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a request."""

    body: bytes
    """What is judged; b"" when there is a problem or nothing is asked."""
    id: str | int | None = None
    """Of the call that an error can name."""
    problem: Problem | None = None
    graphql: bool = False
    """Whether an error has the form of GraphQL's protocols, else that of JSON-RPC."""


def judging(packs: Iterable[str]) -> frozenset[str]:
    """By which of a host's packs messages to it are decided on one by one; empty when by none."""
    return frozenset(packs) & (JSONRPC | {GRAPHQL})


def read_message(packs: frozenset[str], content: bytes, *, is_text: bool) -> Message | Literal[Word.ASKS_NOTHING]:
    """What a message asks for."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object) if is_text else None
    except (ValueError, RecursionError):
        value = None
    names = _folded(value) if isinstance(value, dict) else []
    both = bool(packs & JSONRPC and GRAPHQL in packs)
    twice = len(set(names)) < len(names) or (both and "type" in names and not {"jsonrpc", "method"}.isdisjoint(names))
    if twice or not isinstance(value, dict | list):
        return Message(b"", problem=_UNREADABLE)
    if GRAPHQL not in packs or (both and "type" not in value):
        return Message(content, call_id(value))
    return _read_graphql(value)


def _read_graphql(value: dict[str, Any] | list[Any]) -> Message | Literal[Word.ASKS_NOTHING]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return Message(b"", problem=_UNREADABLE, graphql=True)
    if value["type"] in _KEEPS_GOING:
        return Word.ASKS_NOTHING
    if value["type"] not in _ASKS or not isinstance(value.get("payload"), dict):
        return Message(b"", call_id(value), _UNREADABLE, graphql=True)
    return Message(json.dumps(value["payload"]).encode("utf-8", "replace"), call_id(value), graphql=True)


def _folded(value: dict[str, Any]) -> list[str]:
    """The names of an object as a server sees them that folds their case; two alike are two messages."""
    return [unicodedata.normalize("NFKC", name).casefold() for name in value]


def as_post(upgrade: Inbound) -> Inbound:
    """The head of the POST that a message would be, of the connection it came by."""
    kept: Fields = tuple(
        (name, value)
        for name, value in upgrade.fields
        if name.lower() not in _OF_THE_UPGRADE and not name.lower().startswith(b"sec-websocket-")
    )
    return replace(upgrade, method="POST", fields=(*kept, (b"Content-Type", b"application/json")), bodiless=False)


def error_message(asked: Message, refusal: Refusal) -> str | None:
    """The refusal as the protocol's own error; None when there is no call to name, and the connection must close."""
    call = asked.id
    if call is None:
        return None
    if asked.graphql:
        return json.dumps({"type": "error", "id": call, "payload": [graphql_error(refusal)]})
    return json.dumps(jsonrpc_error(call, refusal))


def close_reason(refusal: Refusal) -> str:
    """The refusal in what a close frame has room for, the record first."""
    text = f"{refusal.chron_id} {refusal.reason}".strip()
    return text.encode("utf-8", "replace")[:_REASON_BYTES].decode("utf-8", "ignore")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name given twice: readers differ in which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found
