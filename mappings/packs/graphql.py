"""Reads GraphQL over HTTP: which operation of a document is asked for, and each of its root fields.

It knows no schema and decides nothing about a field. The root fields are the calls: aliases hide nothing, fragments
and inline fragments are walked, ``@skip`` and ``@include`` are taken for "included", since their variables may say
anything. Arguments give captures (node ids, owner and name, a review's ``event``), never a trusted one.

What is read (https://graphql.github.io/graphql-over-http/draft/ sections 5 and 6, and what servers add to it):

    POST application/json     {"query": "...", "operationName": "...", "variables": {...}}, or an array of such
    POST application/graphql  the document itself
    GET ?query=...            also operationName and variables

    several operations and no operationName,                            unreadable
    a stored query named by its hash or id, too long, badly formed
    body and URL both say something, a fragment that uses itself,       conflict
    an argument, a fragment, an operation or a JSON key twice

As a pack of its own it names ``graphql:query.FIELD``, ``graphql:mutation.FIELD`` and ``graphql:subscription.FIELD`` on
hosts the operator binds, at paths that end in "graphql", "gql" or "query", or are "/" alone. A subscription is one
request with many answers: by POST they come as events, over a WebSocket as messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mappings.bodies import MISSING, look_up, read_json, read_pointer
from mappings.packs.graphql_documents import TwoReadingsError, UnreadableError, chosen, filled, read_operations
from mappings.paths import split_path
from mappings.recognition import NOT_RECOGNISED, Call, Recognition
from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

MAX_CHARS = 100_000
"""Of all documents of a request."""

MAX_CAPTURE_CHARS = 200
"""Of an argument; a longer one is no id."""

PARAMETERS = ("query", "operationName", "variables")
STORED = ("id", "documentId", "doc_id", "queryId", "hash", "sha256Hash", "extensions.persistedQuery.sha256Hash")
"""Where clients put the name of a query that the server holds: the document drafts, Relay, Apollo and their like."""

CAPTURED = frozenset({"id", "owner", "name", "login", "number", "branchName", "repositoryNameWithOwner"})
"""Arguments kept beside those that end in "Id": what an operation acts on."""

STATED = ("event", "force")
"""Kept from the object ``input`` alone, where GitHub reads them: rules tell milder from graver names by them."""

ACTED_ON = ("id", "pullRequestId", "pullRequestReviewId", "refId", "subjectId", "repositoryId", "organizationId")
"""Of several ids the one that says what is acted on, in this order; else the first by name."""

_QUERY, _NAME, _VARIABLES = (read_pointer(name) for name in PARAMETERS)
_STORED = tuple(read_pointer(name) for name in STORED)
_ENDPOINTS = frozenset({"graphql", "gql", "query"})


@dataclass(frozen=True, slots=True)
class RootField:
    """One root field of the operation that a request asks for."""

    kind: str
    """``query``, ``mutation`` or ``subscription``."""
    name: str
    captures: Mapping[str, str]
    """Arguments by name; ``node`` is the id of what is acted on."""
    arguments: Mapping[str, Any]
    """All of them, variables filled in: texts, numbers, truths, lists, mappings; None for what is none of these."""


def read_graphql(request: Request) -> tuple[RootField, ...] | Problem | None:
    """Return every root field the request asks for, why that cannot be told, or None when it holds no query at all."""
    try:
        found: list[RootField] = []
        chars = 0
        for document, name, variables in _asked(request):
            chars += len(document)
            if chars > MAX_CHARS:
                raise UnreadableError(f"the query has more than {MAX_CHARS:,} characters; put data into variables")
            operation = chosen(read_operations(document), name)
            for field, arguments in operation.fields:
                values = filled(arguments, {**operation.defaults, **variables})
                found.append(RootField(operation.kind, field, _captures(values), values))
        return tuple(found) or None
    except TwoReadingsError as error:
        return Problem(CONFLICT, str(error))
    except UnreadableError as error:
        return Problem(UNREADABLE, str(error))


# --- the request: documents, names and variables ---

Asked = tuple[str, str, Mapping[str, Any]]


def _asked(request: Request) -> Iterator[Asked]:
    """Yield document, operation name and variables of everything asked for."""
    folded = {name.lower() for name in (*PARAMETERS, *STORED)} | {"extensions"}
    given = [name for name, _ in request.query if name.lower() in folded]
    if _opens_websocket(request):
        raise UnreadableError("what a websocket carries is not read; send the query by POST")
    if given:
        if request.body is None or request.body:
            raise TwoReadingsError("the URL and the body both say what is asked for; use one")
        if len(set(given)) < len(given) or not set(given) <= set(PARAMETERS):
            raise TwoReadingsError("the URL names the query in a way that servers read differently")
        yield _from_url(request)
    elif request.body is None or request.body:
        yield from _from_body(request)


def _opens_websocket(request: Request) -> bool:
    return any(value.strip().lower() == "websocket" for value in request.header_values("upgrade"))


def _from_url(request: Request) -> Asked:
    values = dict(request.query)
    if not values.get("query"):
        raise UnreadableError("the request names a query that only the server holds")
    return values["query"], values.get("operationName", ""), _variables(values.get("variables", MISSING), request)


def _from_body(request: Request) -> Iterator[Asked]:
    if _is_document(request):
        try:
            yield (request.body or b"").decode("utf-8"), "", {}
        except UnicodeDecodeError:
            raise UnreadableError("the query is not UTF-8") from None
        return
    body = _known(read_json(request))
    entries = body if isinstance(body, list) else [body]
    if not entries:
        raise UnreadableError("the body is an empty list of queries")
    for entry in entries:
        if not isinstance(entry, dict):
            raise UnreadableError("the body is no GraphQL request")
        document = _known(look_up(entry, _QUERY))
        if not isinstance(document, str) or not document:
            raise UnreadableError("the request holds no query, or names one that only the server holds")
        digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()
        # A client that has the server remember a query sends both, and servers compare them.
        if any(_known(look_up(entry, pointer)) not in (MISSING, digest) for pointer in _STORED):
            raise TwoReadingsError("the request holds a query and names another that only the server holds")
        name = _known(look_up(entry, _NAME))
        if name is not MISSING and not isinstance(name, str):
            raise UnreadableError("operationName is no text")
        yield document, name if isinstance(name, str) else "", _variables(_known(look_up(entry, _VARIABLES)), request)


def _is_document(request: Request) -> bool:
    """Whether the body is declared to be a document, and nothing else."""
    kinds = {value.lower().replace(" ", "") for value in request.header_values("content-type")}
    plain = request.header("content-encoding") is None and request.body is not None and request.body_complete
    return plain and len(kinds) == 1 and kinds <= {"application/graphql", "application/graphql;charset=utf-8"}


def _variables(value: object, request: Request) -> Mapping[str, Any]:
    if isinstance(value, str):
        # In a URL they are JSON in a text; some servers take that in a body too.
        content = replace(request, body=value.encode("utf-8", "replace"), headers=_JSON, body_complete=True)
        value = _known(read_json(content))
    if value is MISSING:
        return {}
    if not isinstance(value, dict):
        raise UnreadableError("the variables are no JSON object")
    return value


_JSON = (("content-type", "application/json"),)


def _known(value: object | Problem) -> object:
    if isinstance(value, Problem):
        raise (TwoReadingsError if value.code == CONFLICT else UnreadableError)(value.message)
    return value


def _captures(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    levels = [arguments, _mapping(arguments.get("input"))]
    found = {name: text for name in STATED if (text := _text(levels[1].get(name)))}
    # Below "input" one level more, for such as "branch"; what stands further out goes first.
    levels += [_mapping(value) for level in levels[:2] for name, value in level.items() if name != "input"]
    for level in levels:
        for name, value in level.items():
            if (name in CAPTURED or name.endswith("Id")) and name != "clientMutationId" and (text := _text(value)):
                found.setdefault(name, text)
    ids = [name for name in ACTED_ON if name in found] or sorted(name for name in found if name.endswith("Id"))
    if ids:
        found["node"] = found[ids[0]]
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """Return what can stand in a record, "" for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, str | int) else ""
    return text if len(text) <= MAX_CAPTURE_CHARS and text.isprintable() else ""


class GraphqlPack:
    """Any server of GraphQL; the operator binds the hosts."""

    name = "graphql"
    family = "graphql"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:
        """What is sent to an endpoint says in the body what it asks for, and a GET must not hold one."""
        return request.method in ("GET", "POST") and _endpoint(request)

    def recognise(self, request: Request) -> Recognition:
        """Name each root field that the request asks for."""
        if request.method not in ("GET", "POST") or not _endpoint(request):
            return NOT_RECOGNISED
        if request.method == "GET" and not request.query and _opens_websocket(request):
            return NOT_RECOGNISED  # a rule may name it; what is asked over it is named message by message
        fields = read_graphql(request)
        if isinstance(fields, Problem):
            return Recognition((), fields)
        return Recognition(tuple(_call(field, request) for field in fields or ()))


def _endpoint(request: Request) -> bool:
    segments = split_path(request.path)
    return segments is not None and (not segments or segments[-1].lower() in _ENDPOINTS)


def _call(field: RootField, request: Request) -> Call:
    # https://spec.graphql.org/October2021/#sec-Language.Operations: a query is "a read-only fetch", a subscription
    # "fetches data in response to source events"; servers hold to it or break every client.
    access = "write" if field.kind == "mutation" else "read"
    node = field.captures.get("node")
    target = f"{request.host}{request.path}" + (f"#{node}" if node else "")
    return Call(f"graphql:{field.kind}.{field.name}", field.captures, target=target, access=access)


PACK = GraphqlPack()
