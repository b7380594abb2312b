"""One way to read a request, and what its parts turn out to be when a rule asks.

Most requests have one reading. `alternatives` lists the others that some server between here and the effect
could take: a method named in a header, query parameter or form, another target named in a header, ``%2F`` taken for
a slash, a format suffix taken off. Whoever resolves compares the answers; this module decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mappings.bodies import MISSING, Json, read_json
from mappings.canonical import CanonicalError, canonical_target
from mappings.forms import FORM, MULTIPART, form_values, may_hold
from mappings.paths import split_path
from mappings.request import Request
from mappings.resolution import Problem

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]{1,32}")  # RFC 9110 section 5.6.2, upper case
# Honoured by Rails, Laravel, Express method-override, Google APIs, ASP.NET Web API and OData.
_OVERRIDE_HEADERS = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_OVERRIDE_PARAMETERS = frozenset({"_method", "$httpmethod"})
# Honoured by Symfony and Zend (CVE-2018-14773), IIS URL Rewrite and gateways that sit in front of such.
_TARGET_HEADERS = frozenset({"x-original-url", "x-rewrite-url"})
# Rails and its like route "/runs.json" as "/runs".
_FORMATS = (".json", ".xml")
MAX_METHODS = 3
"""Of those a request names beside its own; more is no request of any client."""
NO_METHOD = "?"
"""Read in place of what is no method: no rule lists it, so a rule about methods makes the readings differ."""


class _Unasked:
    """What a part is that nobody has asked for; the reading itself here would keep its request, and that the body."""


_UNASKED = _Unasked()
_VALUES = (Problem, dict, list, str, int, float)


class Reading:
    """A request as rules see it; parts that cost something are made when first asked for."""

    __slots__ = ("_headers", "_json", "_query", "_segments", "path", "request")

    def __init__(self, request: Request, path: str = "") -> None:
        self.request = request
        self.path = path or request.path
        """As rules and targets see it: the path sent, or the one spelling of it that a pack gave."""
        self._segments: tuple[str, ...] | _Unasked | None = _UNASKED
        self._query: dict[str, tuple[str, ...]] | None = None
        self._headers: dict[str, tuple[str, ...]] | None = None
        self._json: Json | Problem | _Unasked = _UNASKED

    @property
    def segments(self) -> tuple[str, ...] | None:
        """The decoded segments of the path; None when it can fit no template."""
        if isinstance(self._segments, _Unasked):
            self._segments = split_path(self.path)
        return self._segments

    @property
    def query(self) -> dict[str, tuple[str, ...]]:
        """Values by parameter name, in wire order."""
        if self._query is None:
            self._query = _gathered(self.request.query)
        return self._query

    @property
    def headers(self) -> dict[str, tuple[str, ...]]:
        """Values by lower-case header name, in wire order."""
        if self._headers is None:
            self._headers = _gathered(self.request.headers)
        return self._headers

    def json(self) -> Json | Problem:
        """Return the JSON value of the body, or why it cannot be read."""
        if isinstance(self._json, _Unasked):
            found = read_json(self.request)
            null = found is None and (self.request.body or b"").strip() == b"null"
            if not (null or found is MISSING or isinstance(found, _VALUES)):
                raise TypeError("a body was read as no JSON value")  # in which a rule would find nothing
            self._json = found if isinstance(found, Problem) else Json(found)
        return self._json


def _gathered(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found[name], value) if name in found else (value,)
    return found


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to read a request."""

    request: Request
    why: str
    lenient: bool
    """Whether an answer of "nothing known" and another target are no contradiction."""
    slashes: bool = False
    """Whether it differs by nothing but "%2F" read as "/"."""


_ODD_HEADERS = _OVERRIDE_HEADERS | _TARGET_HEADERS
_AS_ONE = str.maketrans("_", "-")
"""CGI and WSGI hand "X_A" and "X-A" to an application under one name (RFC 3875 section 4.1.18)."""
_SUFFIXES = tuple(suffix + slash for suffix in _FORMATS for slash in ("", "/"))


def ordinary(request: Request) -> bool:
    """Say whether a request surely has one reading; when not, `alternatives` looks closely."""
    path = request.path
    if "%2F" in path or path.endswith(_SUFFIXES):
        return False
    body = request.body
    for name, value in request.headers:
        if name in _ODD_HEADERS or ("_" in name and name.translate(_AS_ONE) in _ODD_HEADERS):
            return False
        if not body or name != "content-type" or "form" not in value.lower():
            continue
        if may_hold(body, _OVERRIDE_PARAMETERS) is not False:
            return False
    return not any(name.lower() in _OVERRIDE_PARAMETERS for name, _ in request.query)


def alternatives(request: Request) -> Iterator[Alternative]:
    """Yield the other ways to read a request, nothing for an ordinary one."""
    if ordinary(request) is True:
        return
    bases = [request]
    if "%2F" in request.path:
        slashes = replace(request, path=request.path.replace("%2F", "/"))
        yield Alternative(slashes, 'some servers read "%2F" as "/"', lenient=False, slashes=True)
        bases.append(slashes)
    for name, value in request.headers:
        if name.translate(_AS_ONE) in _TARGET_HEADERS:
            elsewhere = _elsewhere(request, value)
            yield Alternative(elsewhere, f'some servers read the path from "{name}"', False)
            if elsewhere.method != NO_METHOD:
                bases.append(elsewhere)
    for base in bases:
        for method in _overriding_methods(request):
            yield Alternative(replace(base, method=method), f'some servers read the method as "{method}"', False)
    path = request.path.removesuffix("/")
    for suffix in _FORMATS:
        if path.endswith(suffix) and not path.endswith("/" + suffix):
            shorter = replace(request, path=path.removesuffix(suffix))
            yield Alternative(shorter, f'some servers read "{suffix}" as a format, not a name', lenient=True)


def form_may_override(request: Request, *, parts: bool) -> bool:
    """Say whether a form, of which the head alone tells, could name another method than the request's.

    Frameworks look into the forms of a POST only. With `parts`, into those of files too.
    """
    kinds = {FORM, MULTIPART} if parts else {FORM}
    sent = {value.partition(";")[0].strip().lower() for value in request.header_values("content-type")}
    return request.method == "POST" and not kinds.isdisjoint(sent)


def _elsewhere(request: Request, target: str) -> Request:
    """Return the request for another target; for one without a single reading, with a method no rule lists."""
    try:
        found = canonical_target(target)
    except CanonicalError:
        return replace(request, method=NO_METHOD)
    return replace(request, path=found.path, query=found.query or request.query)


def _overriding_methods(request: Request) -> list[str]:
    named = [value for name, value in request.headers if name.translate(_AS_ONE) in _OVERRIDE_HEADERS]
    named += [value for name, value in request.query if name.lower() in _OVERRIDE_PARAMETERS]
    named += form_values(request, _OVERRIDE_PARAMETERS)
    methods = {method: None for value in named if (method := value.strip().upper()) != request.method}
    if len(methods) > MAX_METHODS:
        return [NO_METHOD]
    return [method if _TOKEN.fullmatch(method) else NO_METHOD for method in methods]
