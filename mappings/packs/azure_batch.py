"""Takes a batch for Azure Resource Manager apart: a JSON list of requests, each with a method and a URL.

Strict, because a request that we do not see is a call that nobody judges. Nothing is named here.

    {"requests": [{"httpMethod": "GET", "url": "/subscriptions/S?api-version=..."}]}        that request
    {"httpMethod": "GET", "HttpMethod": "DELETE", ...}      a problem: the server folds the case of keys
    {"url": "https://elsewhere.example/..."}                a problem: only paths, all on the one host
    "requestHeaderDetails" that name a method, a batch within a batch, POST /$batch         a problem
"""

from __future__ import annotations

from dataclasses import replace

from mappings.bodies import read_json
from mappings.canonical import CanonicalError, canonical_target
from mappings.request import Request
from mappings.resolution import UNREADABLE, Problem

PATHS = frozenset({"/batch", "/$batch"})
ODATA = "/$"

METHODS = frozenset({"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"})

KEYS = frozenset({"httpmethod", "url", "name", "content", "requestheaderdetails"})
"""In lower case. No page documents them; they are those that the portal and public clients of it send."""

PLAIN_HEADERS = frozenset({"commandname", "x-ms-client-request-id", "x-ms-correlation-request-id"})
"""Of a nested request: those that change nothing but how it is logged."""

MAX_REQUESTS = 1000
"""Ours; far more than are judged at once."""


def is_batch(request: Request) -> bool:
    """Say whether a request is a batch, of whatever kind."""
    return request.method == "POST" and request.path.lower().rstrip("/") in PATHS


def nested_requests(request: Request) -> tuple[Request, ...] | Problem:
    """Return the requests in a batch, in order, or why they cannot be told for certain."""
    if request.path.startswith(ODATA):
        return Problem(UNREADABLE, "a batch of this kind is not read; send its requests one by one")
    body = read_json(request)
    if isinstance(body, Problem):
        return body
    requests = body.get("requests") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(requests, list) or not 0 < len(requests) <= MAX_REQUESTS:
        return Problem(UNREADABLE, 'the body of a batch must hold "requests" and nothing else')
    found: list[Request] = []
    for each in requests:
        nested = _nested(each, request)
        if nested is None:
            return Problem(UNREADABLE, "the batch holds a request that cannot be read for certain")
        found.append(nested)
    return tuple(found)


def _nested(value: object, outer: Request) -> Request | None:
    if not isinstance(value, dict):
        return None
    fields = {key.lower(): content for key, content in value.items()}
    method, url = fields.get("httpmethod"), fields.get("url")
    if len(fields) != len(value) or not fields.keys() <= KEYS or not isinstance(url, str):
        return None
    if not isinstance(method, str) or method not in METHODS or not _plain(fields.get("requestheaderdetails")):
        return None
    try:
        target = canonical_target(url.removeprefix(f"https://{outer.host}"))
    except CanonicalError:
        return None
    nested = replace(outer, method=method, path=target.path, query=target.query, headers=(), body=b"")
    return None if is_batch(nested) else nested


def _plain(headers: object) -> bool:
    return headers is None or (isinstance(headers, dict) and {key.lower() for key in headers} <= PLAIN_HEADERS)
