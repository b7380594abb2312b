"""Names JSON-RPC calls by their method, and holds the strict reading of JSON-RPC messages for packs that build on it.

Decides nothing about what a method does: no list of methods exists, so no call is marked as known. A server takes
POSTs on whatever path it likes; operators bind its host, and the path stands in the target.

Grammar (JSON-RPC 2.0 Specification, https://www.jsonrpc.org/specification, sections 4 to 6):

    body     = message | [message, ...]           every element of an array is a call
    message  = {"jsonrpc": "2.0", "method": text, "params"?: {...} | [...], "id"?: ...}
    response = {"jsonrpc": "2.0", "result" | "error": ..., "id": ...}       no call; read only for packs that want it

    {"jsonrpc": "2.0", "method": "eth_call", "id": 1}       jsonrpc:eth_call
    {"jsonrpc": "2.0", "Method": "eth_call"}                conflict: some readers fold the case of keys
    {"jsonrpc": "1.0", ...}, no method, "method": 7, []     unreadable
    "method" beside "result"                                conflict: a call to one reader, an answer to another
    "method": "run me"                                      unreadable: no action can be written for it
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mappings.actions import canonical_action
from mappings.bodies import MISSING, Pointer, look_up, read_json, read_pointer
from mappings.naming import MAX_OPERATIONS, TOO_MANY_OPERATIONS
from mappings.recognition import NOT_RECOGNISED, Call, Recognition
from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

VERSION = "2.0"
"""JSON-RPC 2.0 section 4: "MUST be exactly"; without it the message may be of another protocol."""

_NO_PARAMS: Mapping[str, object] = MappingProxyType({})
_FIELDS: Mapping[str, Pointer] = {
    name: read_pointer(name) for name in ("jsonrpc", "method", "params", "result", "error")
}


@dataclass(frozen=True, slots=True)
class Message:
    """One call, notification or response."""

    method: str
    """"" for a response."""
    params: Mapping[str, object]
    """By name; empty when there are none, or only by position."""


class JsonRpcPack:
    """Any JSON-RPC server."""

    name = "jsonrpc"
    family = "jsonrpc"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:
        """The method stands nowhere else."""
        return request.method == "POST"

    def recognise(self, request: Request) -> Recognition:
        """Name every call of the body."""
        if request.method != "POST":
            return NOT_RECOGNISED
        messages = read_messages(request)
        if isinstance(messages, Problem):
            return Recognition((), messages)
        if not all(message.method for message in messages):
            return Recognition((), Problem(UNREADABLE, "the body holds a response where a call belongs"))
        target = f"{request.host}{request.path}"
        return Recognition(
            tuple(
                Call(f"jsonrpc:{message.method}", {"rpc": message.method}, target=target, known=False)
                for message in messages
            )
        )


def read_messages(request: Request) -> tuple[Message, ...] | Problem:
    """Return the messages of a body, at least one, or why two readers could take it for something else."""
    body = read_json(request)
    if isinstance(body, Problem):
        return body
    elements = body if isinstance(body, list) else [body]
    if len(elements) > MAX_OPERATIONS:
        return TOO_MANY_OPERATIONS
    messages: list[Message] = []
    for element in elements:
        message = _message(element)
        if isinstance(message, Problem):
            return message
        messages.append(message)
    return tuple(messages) or _no_message("an empty array")


def _message(element: object) -> Message | Problem:
    if not isinstance(element, dict):
        return _no_message("nothing" if element is MISSING else "something that is no object")
    fields: dict[str, object] = {}
    for name, pointer in _FIELDS.items():
        value = look_up(element, pointer)
        if isinstance(value, Problem):
            return value
        fields[name] = value
    if fields["jsonrpc"] != VERSION:
        return _no_message('a message without "jsonrpc": "2.0"')
    # A result may be null, which says as much as being there.
    answers = "result" in element or "error" in element
    if "method" not in element:
        return Message("", _NO_PARAMS) if answers else _no_message("a message without a method")
    if answers:
        return Problem(CONFLICT, "the body holds a method beside a result, and readers differ in which one counts")
    return _call(fields["method"], fields["params"])


def _call(method: object, params: object) -> Message | Problem:
    if not isinstance(method, str):
        return _no_message("a method that is no text")
    try:
        canonical_action(method)
    except ValueError:
        return _no_message("a method that no action can be written for")
    if params is not MISSING and not isinstance(params, dict | list):
        return _no_message("params that are neither an object nor an array")
    return Message(method, params if isinstance(params, dict) else _NO_PARAMS)


def _no_message(what: str) -> Problem:
    return Problem(UNREADABLE, f"the body holds {what}; send JSON-RPC 2.0")


PACK = JsonRpcPack()
