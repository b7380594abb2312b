"""Names the messages of the Model Context Protocol over HTTP: each JSON-RPC message of a POST, and what opens or ends.

Decides nothing about what a tool does: ``mcp:tools/call`` bounds nothing, and which tool it is stands in the target
and in the capture ``tool``. Operators bind a server's host. A host often serves more than MCP, so a path that does
not say it is an MCP endpoint is not recognised: else a mild message POSTed elsewhere would lend its name to whatever
happens there.

Grammar (modelcontextprotocol.io/specification; revisions 2024-11-05 to 2026-07-28, "Transports"):

    endpoint = "/" or a path with the word "mcp" in it, or ending in /sse, /message or /messages
    POST endpoint, one message or (2025-03-26) an array     mcp:<method> of each; mcp:response for an answer
    GET endpoint, Accept: text/event-stream                 mcp:stream (until 2025-11-25)
    DELETE endpoint, Mcp-Session-Id                         mcp:session-end (until 2025-11-25)

    Mcp-Method, Mcp-Name    required by 2026-07-28, ignored by older servers: where given they must be what the body
                            says, an array's every message. Mcp-Name may be "=?base64?...?=" ("Value Encoding")

    {"method": "tools/call", "params": {"name": "drop"}}    mcp:tools/call, host/mcp#drop
    the same with Mcp-Name: list                            conflict
    {"method": "tools/call", "params": {}}                  unreadable: a call of no tool
    {"method": "stream"}                                    not recognised: ours alone, and no method of MCP
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping

from mappings.bodies import look_up, read_pointer
from mappings.packs.jsonrpc import Message, read_messages
from mappings.recognition import NOT_RECOGNISED, Call, Recognition
from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

ENDPOINT = re.compile(r"/|(?!/\.well-known/).*(?:[/._-]mcp(?:[/._-].*)?|/(?:sse|messages?)/?)")
"""A convention, not the specification's, whose own example is /mcp; the endings are those of HTTP+SSE (2024-11-05).
What a server keeps under /.well-known/ is about signing in (RFC 8615, RFC 9728)."""

METHODS: Mapping[str, str] = {
    "initialize": "read",
    "ping": "read",
    "server/discover": "read",
    "tools/list": "list",
    "tools/call": "write",
    "resources/list": "list",
    "resources/templates/list": "list",
    "resources/read": "read",
    "resources/subscribe": "write",
    "resources/unsubscribe": "write",
    "subscriptions/listen": "read",
    "prompts/list": "list",
    "prompts/get": "read",
    "completion/complete": "read",
    "logging/setLevel": "write",
    "tasks/get": "read",
    "tasks/list": "list",
    "tasks/result": "read",
    "tasks/update": "write",
    "tasks/cancel": "write",
    "notifications/initialized": "write",
    "notifications/cancelled": "write",
    "notifications/progress": "write",
    "notifications/roots/list_changed": "write",
    "notifications/tasks/status": "write",
}
"""Access by method that a client sends ("Schema Reference" of each revision; tasks also as an extension)."""

SUBJECTS: Mapping[str, tuple[str, str]] = {
    "tools/call": ("name", "tool"),
    "prompts/get": ("name", "prompt"),
    "resources/read": ("uri", "uri"),
    "resources/subscribe": ("uri", "uri"),
    "resources/unsubscribe": ("uri", "uri"),
    "tasks/get": ("taskId", "task"),
    "tasks/result": ("taskId", "task"),
    "tasks/update": ("taskId", "task"),
    "tasks/cancel": ("taskId", "task"),
}
"""The parameter that says what a method is about, and the capture it becomes."""

TRUSTED = frozenset({"tool", "prompt", "uri", "task"})
"""What the server itself obeys: another tool cannot be called by naming this one."""

OURS: Mapping[str, str] = {"response": "write", "stream": "read", "session-end": "write"}
"""Access by name that is no method's; a method of that name would pass for it."""

_POINTERS = {parameter: read_pointer(parameter) for parameter, _ in SUBJECTS.values()}
_ENCODED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


class McpPack:
    """Any MCP server; the operator binds its host."""

    name = "mcp"
    family = "jsonrpc"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    def known_operations(self) -> tuple[Call, ...]:
        """Return every operation there is, as calls without captures."""
        return (*map(_named, METHODS), *(Call(f"mcp:{name}", {}, access=access) for name, access in OURS.items()))

    def needs_body(self, request: Request) -> bool:
        """The headers repeat the body, but older servers ignore them."""
        return request.method == "POST" and bool(ENDPOINT.fullmatch(request.path))

    def recognise(self, request: Request) -> Recognition:
        """Name every message of the request."""
        if not ENDPOINT.fullmatch(request.path):
            return NOT_RECOGNISED
        if request.method == "POST":
            return _posted(request)
        if request.method == "GET" and _accepts_events(request.header_values("accept")):
            return _without_body(request, "stream")
        if request.method == "DELETE" and request.header("mcp-session-id"):
            return _without_body(request, "session-end")
        return NOT_RECOGNISED


def _accepts_events(values: Iterable[str]) -> bool:
    kinds = (kind.partition(";")[0].strip().lower() for value in values for kind in value.split(","))
    return "text/event-stream" in kinds


def _without_body(request: Request, name: str) -> Recognition:
    return Recognition((Call(f"mcp:{name}", {}, target=f"{request.host}{request.path}", access=OURS[name]),))


def _posted(request: Request) -> Recognition:
    messages = read_messages(request)
    if isinstance(messages, Problem):
        return Recognition((), messages)
    calls: list[Call] = []
    for message in messages:
        if message.method in OURS:
            return NOT_RECOGNISED
        subject = _subject(message)
        problem = subject if isinstance(subject, Problem) else _disagreement(request, message, subject)
        if problem is not None:
            return Recognition((), problem)
        calls.append(_call(request, message, str(subject)))
    return Recognition(tuple(calls))


def _subject(message: Message) -> str | Problem:
    """Return what a message is about, "" when its method has no such parameter."""
    if message.method not in SUBJECTS:
        return ""
    parameter, _ = SUBJECTS[message.method]
    value = look_up(message.params, _POINTERS[parameter])
    if isinstance(value, Problem):
        return value
    if isinstance(value, str) and value:
        return value
    return Problem(UNREADABLE, f'the body calls {message.method} without a "{parameter}"')


def _disagreement(request: Request, message: Message, subject: str) -> Problem | None:
    """Return what is wrong with the headers that repeat the body; None when they agree or are not there."""
    for value in request.header_values("mcp-method"):
        if value.strip() != message.method:
            return Problem(CONFLICT, "the header Mcp-Method and the body name different methods")
    for value in request.header_values("mcp-name"):
        if _decoded(value.strip()) != subject:
            return Problem(CONFLICT, "the header Mcp-Name and the body name different things")
    return None


def _decoded(value: str) -> str | None:
    """Return what a header's value stands for; None when it cannot be decoded."""
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    try:
        return b64decode(match[1], validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _named(method: str) -> Call:
    return Call(
        f"mcp:{method}",
        {},
        access=METHODS.get(method, ""),
        executes=method == "tools/call",
        known=method in METHODS,
    )


def _call(request: Request, message: Message, subject: str) -> Call:
    target = f"{request.host}{request.path}"
    if not message.method:
        return Call("mcp:response", {}, target=target, access=OURS["response"])
    captures = {"rpc": message.method}
    if subject:
        captures[SUBJECTS[message.method][1]] = subject
        # A canonical path holds no "#", so that no other path and name look like these.
        target = f"{target}#{subject}"
    named = _named(message.method)
    return Call(
        named.name,
        captures,
        trusted=TRUSTED.intersection(captures),
        target=target,
        access=named.access,
        executes=named.executes,
        known=named.known,
    )


PACK = McpPack()
