"""A proxy that is there already asks about each request and forwards it itself: `/v1/forward-auth`, any method.

    200 with X-Chron-Id   it may be forwarded
    403, problem+json     it may not; the body says why, the Chron what was asked
    401                   the proxy that asks is not the one we know

The proxy proves itself by `X-Claiim-Forward: Bearer TOKEN`, a header of its own, since `Authorization` is the agent's
business with the target. The agent's credential is in `X-Claiim-Authorization` or `Proxy-Authorization`: `Basic` with
its name and token, or `Bearer`. What the request is comes in exactly one of three shapes:

    X-Forwarded-Method, -Proto, -Host, -Uri                     Traefik, Caddy
    X-Original-Method, X-Original-URL (absolute)                nginx
    /v1/forward-auth/the/path?and=query, X-Forwarded-Proto      Envoy: method and Host are the request's own

Two shapes at once are refused: one of them would be the agent's. So is half of one. The client's address is the last of
`X-Forwarded-For`, which that proxy wrote; without it the address is not known. Of the request nothing but the head is
seen: what its body decides is unreadable here, and what needs approval is refused.
"""

import hmac
import ipaddress
import json
import logging
import re

from aiohttp import web

from mappings import Problem
from policies import Credential
from proxy.answers import problem as refused
from proxy.api.problems import problem
from proxy.facts import Fields, Inbound
from proxy.identity import NOBODY, Unproven, agent_of_token
from proxy.pipeline import Gate
from proxy.refusals import CHRON_ID_FIELD, Answer
from proxy.verdicts import Ending, Head, Verdict

_log = logging.getLogger(__name__)

PATH = "/v1/forward-auth"

_PROOF = "X-Claiim-Forward"
_CREDENTIALS = ("X-Claiim-Authorization", "Proxy-Authorization")
_FORWARDED = ("X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri")
_ORIGINAL = ("X-Original-Method", "X-Original-URL")
_URL = re.compile(r"(https?)://([^/?#\s]+)(/[^\s]*)?", re.IGNORECASE)
_NOT_ASKED_ABOUT = re.compile(
    rb"(?i)(?:x-claiim|x-forwarded|x-original)-.*|host|content-length|transfer-encoding|expect"
)
"""What the proxy that asks added, and what frames its own request: no header of the request asked about."""


class ForwardAuth:
    """The route for proxies that forward themselves; `token` is how they are known, "" where none is."""

    def __init__(self, gate: Gate, token: str) -> None:
        self._gate = gate
        self._token = token.encode()

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [web.route("*", PATH, self._ask), web.route("*", PATH + "/{rest:.*}", self._ask)]

    async def _ask(self, request: web.Request) -> web.Response:
        self._require_proof(request)
        try:
            verdict = await self._gate.judge(self._head(request), None)
            if verdict.answer is not None:
                return _refusal(verdict, verdict.answer)
            self._gate.finish(verdict, Ending("delegated", 200))
        except Exception:  # noqa: BLE001 -- a 500 is a failure that some proxies can be told to ignore
            _log.exception("a question of a proxy could not be answered; it is refused")
            raise problem(403, "gate.error", "internal error") from None
        return web.Response(headers={CHRON_ID_FIELD.decode(): verdict.chron_id, "Cache-Control": "no-store"})

    def _require_proof(self, request: web.Request) -> None:
        """Raise a 401 unless the proxy that we know is asking; anybody else could invent requests."""
        scheme, _, token = request.headers.get(_PROOF, "").partition(" ")
        given = token.strip().encode("utf-8", "surrogatepass")
        if not self._token or scheme.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            raise problem(401, "forward.unproven", f"send {_PROOF}: Bearer and the token of forward_auth")

    def _head(self, request: web.Request) -> Head:
        who, read = self._agent(request), _inbound(request)
        inbound = _unreadable(request) if isinstance(read, Problem) else read
        if isinstance(who, Unproven):
            return self._gate.malformed_head(inbound, NOBODY, who)
        if isinstance(read, Problem):
            return self._gate.malformed_head(inbound, who, read)
        return self._gate.read_head(inbound, who)

    def _agent(self, request: web.Request) -> Credential | Unproven:
        values = [value for name in _CREDENTIALS for value in request.headers.getall(name, ())]
        scheme, _, token = (values[0] if len(values) == 1 else "").partition(" ")
        if scheme.lower() == "bearer":
            book = self._gate.book
            return agent_of_token(token.strip(), book.issuers, book.policies, self._gate.now())
        return self._gate.who(values)


def _inbound(request: web.Request) -> Inbound | Problem:
    """The request that is asked about, from the shape it comes in."""
    shapes = [name for name, shown in _shapes(request).items() if shown]
    if len(shapes) != 1:
        several = "several proxies' headers tell of the request" if shapes else "no header tells of the request"
        return Problem("forward.shape", several)
    match shapes[0]:
        case "forwarded":
            method, scheme, authority, target = _only(request, *_FORWARDED)
        case "original":
            method, url = _only(request, *_ORIGINAL)
            found = _URL.fullmatch(url)
            scheme, authority, target = (found[1], found[2], found[3] or "/") if found else ("", "", "")
        case _:
            method, target = request.method, request.raw_path.removeprefix(PATH)
            (scheme,), (authority,) = _only(request, "X-Forwarded-Proto"), _only(request, "Host")
    scheme = scheme.lower()
    if not (method and authority and target) or scheme not in ("http", "https"):
        return Problem("forward.shape", "method, scheme, host and target are not all told, once each")
    return Inbound(
        method=method,
        scheme=scheme,
        target=target,
        fields=_fields(request),
        client=_client(request),
        uri_authority=authority,
        delegated=True,
    )


def _shapes(request: web.Request) -> dict[str, bool]:
    """Which of the shapes show; X-Forwarded-Proto and -Host alone are set by everybody."""
    told = request.headers
    return {
        "forwarded": "X-Forwarded-Method" in told or "X-Forwarded-Uri" in told,
        "original": "X-Original-Method" in told or "X-Original-URL" in told,
        "prefixed": request.raw_path.startswith(PATH + "/"),
    }


def _only(request: web.Request, *names: str) -> list[str]:
    """The value of each header; "" for one that is not there once: which of two would count?"""
    found = [request.headers.getall(name, []) for name in names]
    return [values[0].strip() if len(values) == 1 else "" for values in found]


def _fields(request: web.Request) -> Fields:
    return tuple((name, value) for name, value in request.raw_headers if not _NOT_ASKED_ABOUT.fullmatch(name))


def _client(request: web.Request) -> str:
    """The agent's address as the proxy saw it; "" where it is not told, for it is not the proxy's own."""
    values = request.headers.getall("X-Forwarded-For", [])
    try:
        return str(ipaddress.ip_address(values[-1].rpartition(",")[2].strip())) if values else ""
    except ValueError:
        return ""


def _unreadable(request: web.Request) -> Inbound:
    """What stands in the record of a request that nobody could tell of."""
    return Inbound(request.method, "http", request.raw_path, (), _client(request), delegated=True)


def _refusal(verdict: Verdict, answer: Answer) -> web.Response:
    """A 403 whatever the refusal is: nginx makes a failure of its own of all else but 401, and Envoy can be told to
    let requests pass when its authoriser fails with a 5xx. A git push is refused by a 200 elsewhere; never here."""
    if answer.status != 403 and verdict.refusal is not None:
        plain = refused(verdict.refusal)
        answer = Answer(403, plain.fields, json.dumps(json.loads(plain.body) | {"status": 403}).encode())
    fields = {name.decode(): value.decode("latin-1") for name, value in answer.fields}
    kept = {name: value for name, value in fields.items() if name in ("Content-Type", "Cache-Control", "X-Chron-Id")}
    return web.Response(status=403, body=answer.body, headers=kept)
