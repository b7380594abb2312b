"""A refusal where the call is in the body: JSON-RPC, MCP and GraphQL, by POST and over a WebSocket.

    JSON-RPC, MCP   {"jsonrpc": "2.0", "id": 7, "error": {"code": -32001, "message": <sentence>, "data": {...}}}
                    by POST with 200: their clients read an error from a success and drop every other body
    GraphQL         {"errors": [{"message": <sentence>, "extensions": {...}}]} with the status of the refusal

A message without an id asks for no answer, and what is no call of JSON-RPC 2.0 reads none of its errors. By POST they
get the status of the refusal and an error that names no call.
"""

import json
from typing import Any

from mappings import Request
from proxy.asjson import as_json
from proxy.refusals import Answer, Refusal, made

JSONRPC = frozenset({"mcp", "jsonrpc"})
GRAPHQL = "graphql"
_DENIED = -32001
"""JSON-RPC 2.0, 5.1: -32000 to -32099 are for servers to define."""
_GRAPHQL_JSON = "application/graphql-response+json"
"""https://graphql.github.io/graphql-over-http/draft/#sec-Media-Types"""


def jsonrpc_answer(refusal: Refusal, request: Request) -> Answer:
    """One error for each call that the body holds; with the status of the refusal when it holds none."""
    calls = _calls(request.whole().body)
    if not calls:
        return made(refusal, refusal.error_status, "application/json", as_json(jsonrpc_error(None, refusal)))
    errors = [jsonrpc_error(call, refusal) for call in calls]
    several = isinstance(_read(request.body), list)
    return made(refusal, 200, "application/json", as_json(errors if several else errors[0]))


def jsonrpc_error(call: str | int | None, refusal: Refusal) -> dict[str, Any]:
    """The response object of a refused call; `call` is its id."""
    error = {"code": _DENIED, "message": refusal.sentence, "data": named(refusal)}
    return {"jsonrpc": "2.0", "id": call, "error": error}


def graphql_answer(refusal: Refusal, request: Request) -> Answer:
    """A response with errors and no data."""
    body = as_json({"errors": [graphql_error(refusal)]})
    media = _GRAPHQL_JSON if _GRAPHQL_JSON in (request.header("accept") or "") else "application/json"
    return made(refusal, refusal.error_status, media, body)


def graphql_error(refusal: Refusal) -> dict[str, Any]:
    """One entry of `errors` (GraphQL specification, "Errors")."""
    return {"message": refusal.sentence, "extensions": named(refusal)}


def named(refusal: Refusal) -> dict[str, str]:
    """What a program reads of a refusal."""
    return {"code": refusal.code, "chron_id": refusal.chron_id, "action": refusal.action}


def call_id(value: object) -> str | int | None:
    """The id of a call; None when an error could not name it."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _calls(body: bytes | None) -> list[str | int]:
    value = _read(body)
    several = value if isinstance(value, list) else [value]
    return [call for each in several if _is_call(each) and (call := call_id(each)) is not None]


def _is_call(value: object) -> bool:
    """Whether it is a call at all (JSON-RPC 2.0, 4).

    To whoever sent something else, a body of REST with an "id" or an answer to a call, 200 would say that it is done.
    """
    return isinstance(value, dict) and value.get("jsonrpc") == "2.0" and isinstance(value.get("method"), str)


def _read(body: bytes | None) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None
