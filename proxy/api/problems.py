"""Failures of the control API: a problem body (RFC 9457), never a trace and never a permission."""

import json
import logging
from collections.abc import Awaitable, Callable

import pydantic
from aiohttp import web

from chron import ChronError

_log = logging.getLogger(__name__)

_MOST_FAULTS = 10
"""Of a malformed body; one of nothing but unknown keys has thousands."""

_MAX_REQUEST_ID_CHARS = 256

_KINDS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    409: web.HTTPConflict,
    429: web.HTTPTooManyRequests,
    500: web.HTTPInternalServerError,
    503: web.HTTPServiceUnavailable,
}


def problem(status: int, code: str, reason: str) -> web.HTTPException:
    """The failure to raise; `reason` is one line for people, `code` for programs."""
    body = {"type": f"urn:claiim:{code}", "title": reason, "status": status, "code": code, "reason": reason}
    headers = {"WWW-Authenticate": 'Bearer realm="claiim"'} if status == 401 else None
    return _KINDS[status](text=json.dumps(body), content_type="application/problem+json", headers=headers)


async def read_body[M: pydantic.BaseModel](request: web.Request, model: type[M], code: str) -> M:
    """The body as a `model`; raises a 400 with code `code` that names what is wrong in it."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise problem(400, code, "send the body as it is, without Content-Encoding")
    try:
        return model.model_validate_json(await request.read())
    except pydantic.ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg'].lower()}"
            for fault in error.errors(include_input=False, include_url=False)[:_MOST_FAULTS]
        )
        raise problem(400, code, faults) from None


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """Echo the caller's name for its request, also with failures (Authorization API 1.0, "Request Identification")."""
    name = request.headers.get("X-Request-ID", "")
    if name and name.isascii() and name.isprintable() and len(name) <= _MAX_REQUEST_ID_CHARS:
        response.headers["X-Request-ID"] = name


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every failure with a problem body."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/problem+json":
            raise
        failure = error
    except ChronError as error:
        _log.error("cannot record an answer of the control API, so it is refused: %s", error)
        raise problem(503, "gate.audit-unavailable", "the decision cannot be recorded") from None
    except Exception:  # noqa: BLE001 -- without it aiohttp answers in its own words
        _log.exception("the control API failed at %s", request.path)
        raise problem(500, "gate.error", "internal error") from None
    body = {"type": "about:blank", "title": failure.reason, "status": failure.status, "code": "http"}
    kept = {name: value for name, value in failure.headers.items() if name == "Allow"}  # RFC 9110, 15.5.6
    return web.json_response(body, status=failure.status, headers=kept, content_type="application/problem+json")
