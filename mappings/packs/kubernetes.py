"""Names a Kubernetes API request as the API server itself would: verb and resource, by position in the path.

Decides nothing about permission, knows no list of resources (custom resources read like built-in ones),
and never looks inside an object. The API server is the authority; where two of its parts could read a
request differently, the answer here is a conflict, which is a deny.

Grammar (Kubernetes documentation, "API Concepts" / "Resource URIs", and "Authorization Overview" /
"Determine the Request Verb"):

    /api/VERSION/...                      the core group          group ""
    /apis/GROUP/VERSION/...               every other group
    .../RESOURCE[/NAME[/SUBRESOURCE]]
    .../namespaces/NAMESPACE/RESOURCE[/NAME[/SUBRESOURCE]]
    .../namespaces/NAME[/status|/finalize]   the namespace itself, which is also inside itself
    .../watch/...  .../proxy/...          deprecated: the verb stands in the path
    anything shorter, anything else       not a resource: kubernetes:<method>:nonresource

Verb: POST create, PUT update, PATCH patch, DELETE delete, or deletecollection when no name is given;
GET and HEAD get, or, when no name is given, list, or watch when `watch` is neither absent, "false" nor "0".
exec, attach, portforward and proxy carry anything at all once open: "execute", whatever the method.

    DELETE /apis/apps/v1/namespaces/shop/deployments/web   kubernetes:delete:apps/deployments
    GET    /api/v1/namespaces/shop/pods/web-1/exec         kubernetes:execute:pods/exec
    GET    /version                                        kubernetes:get:nonresource
    GET    /api/v1/namespaces/a%2Fsecrets%2Fx/pods         conflict: the server decodes before it splits
    DELETE .../pods?dryRun=All&dryRun=None                 conflict: two readings of dryRun
    GET    ... with Impersonate-User                       conflict: acts as somebody else

`dryRun` is captured as "All" only where the server would really do nothing: a write that honours it, and,
for a deletion with a body, only if the body says so too, because the server then ignores the query.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from mappings.bodies import look_up, read_json, read_pointer
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict
from mappings.request import Request
from mappings.resolution import Problem

WRITES: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
"""HTTP method to verb ("Determine the Request Verb")."""

READS = frozenset({"GET", "HEAD"})

TUNNELS = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources whose connection carries arbitrary bytes: a shell, a port, another HTTP server."""

NAMESPACE_PARTS = frozenset({"status", "finalize"})
"""Subresources of a namespace itself; any other word after NAMESPACE is a resource inside it."""

PLACES = frozenset({"namespace", "group", "resource", "name"})
"""What the server itself obeys: an object in one namespace cannot be reached by naming another."""

DRY_RUN = read_pointer("dryRun")
"""In the DeleteOptions of a deletion's body; whatever does not plainly say ["All"] there is no dry run."""

PLAIN_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
"""Groups, resources and subresources are DNS names (RFC 1123); the server knows none spelt otherwise."""


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """What the path of a resource request says, before the method is looked at."""

    group: str
    version: str
    prefix: str
    """ "watch" or "proxy" when the deprecated form is used, else ""."""
    namespace: str
    resource: str
    name: str
    subresource: str


class KubernetesPack:
    """Any API server; the operator binds the hosts, and says there which cluster each one is."""

    name = "kubernetes"
    family = "kubernetes"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:
        """Deletions carry their options in the body, and only there are they then read."""
        return request.method == "DELETE"

    def recognise(self, request: Request) -> Recognition:
        """Name one request; conflict where the API server might read it in another way."""
        for header, _ in request.headers:
            # RBAC "User impersonation": the call would be made, and audited, in another's name.
            if header.startswith("impersonate-"):
                return conflict(f'header "{header}" acts as somebody else; send the request without it')
        # The server splits the *decoded* path: "a%2Fsecrets" would be two segments there and one here.
        if "%2F" in request.path:
            return conflict('path has an encoded "/"; the API server would split there')
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        path = resource_path(parts)
        if path is None:
            return _nonresource(request)
        return _resource(request, path)


def resource_path(parts: list[str]) -> ResourcePath | None:
    """Read the segments of a path by position; None when they do not name a resource."""
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return None
    group = ""
    rest = parts[1:]
    if parts[0] == "apis":
        if len(rest) < 3:
            return None
        group, rest = rest[0], rest[1:]
    version, rest = rest[0], rest[1:]
    prefix = ""
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        prefix, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in NAMESPACE_PARTS:
            rest = rest[2:]
    resource, name, subresource = (*rest[:3], "", "")[:3]
    if prefix == "proxy":
        # Everything after the name belongs to the server behind, so it is no subresource of ours.
        subresource = "proxy"
    return ResourcePath(group, version, prefix, namespace, resource, name, subresource)


def _nonresource(request: Request) -> Recognition:
    verb = request.method.lower()
    captures = {"verb": verb, "path": request.path}
    return Recognition((Call(f"kubernetes:{verb}:nonresource", captures, target=f"{request.host}{request.path}"),))


def _resource(request: Request, path: ResourcePath) -> Recognition:
    parts = tuple(part for part in (path.group, path.resource, path.subresource) if part)
    if not all(PLAIN_NAME.fullmatch(part) for part in parts):
        return NOT_RECOGNISED
    try:
        verb, name = _verb(request, path)
        dry_run = _dry_run(request, verb)
    except _TwoReadingsError as found:
        return conflict(str(found))
    if not verb:
        return NOT_RECOGNISED
    captures = {
        "verb": verb,
        "group": path.group,
        "version": path.version,
        "namespace": path.namespace,
        "resource": path.resource,
        "subresource": path.subresource,
        "name": name,
        "dryRun": dry_run,
    }
    call = Call(f"kubernetes:{verb}:{'/'.join(parts)}", captures, trusted=PLACES, target=_target(request, captures))
    return Recognition((call,))


def _target(request: Request, captures: Mapping[str, str]) -> str:
    """host/namespace/resource/name[/subresource], leaving out what the request does not name."""
    parts = (captures[key] for key in ("namespace", "resource", "name", "subresource"))
    return "/".join((request.host, *(part for part in parts if part)))


class _TwoReadingsError(Exception):
    """Two parts of the server, or two versions of it, would answer differently."""


def _verb(request: Request, path: ResourcePath) -> tuple[str, str]:
    """Verb and object name; the name of a list or watch may come from its field selector."""
    if path.subresource in TUNNELS:
        return "execute", path.name
    if path.prefix == "watch":
        if request.method not in READS:
            raise _TwoReadingsError(f'method "{request.method}" under the deprecated "watch" prefix')
        return "watch", path.name
    if request.method in READS:
        if path.name:
            return "get", path.name
        return ("watch" if _watches(request) else "list"), _selected_name(request)
    verb = WRITES.get(request.method, "")
    if verb == "delete" and not path.name:
        verb = "deletecollection"
    return verb, path.name


def _single(request: Request, key: str) -> str | None:
    """The one value of a query key, None when absent; the server reads the first, others the last."""
    values = [value for name, value in request.query if name == key]
    if len(set(values)) > 1:
        raise _TwoReadingsError(f'query parameter "{key}" is given twice with different values')
    return values[0] if values else None


def _watches(request: Request) -> bool:
    # An empty value counts as true (apimachinery, conversion of query strings to booleans).
    value = _single(request, "watch")
    return value is not None and value.lower() not in ("false", "0")


def _selected_name(request: Request) -> str:
    """The name a field selector pins the list to ("metadata.name=web"), else ""."""
    selector = _single(request, "fieldSelector") or ""
    names = {value for key, value in _exact_terms(selector) if key == "metadata.name"}
    if len(names) > 1:
        raise _TwoReadingsError('field selector gives "metadata.name" two values')
    name = names.pop() if names else ""
    # What could not stand as a path segment is no object name ("Object Names and IDs").
    return "" if name in (".", "..") or "/" in name or "%" in name else name


def _exact_terms(selector: str) -> list[tuple[str, str]]:
    """The "key=value" and "key==value" terms of a field selector; a backslash protects , = and itself."""
    terms = []
    for term in re.findall(r"(?:\\.|[^,\\])+", selector):
        match = re.fullmatch(r"([^=!]+)==?((?:\\.|[^=\\])*)", term)
        if match:
            terms.append((match[1], re.sub(r"\\(.)", r"\1", match[2])))
    return terms


def _dry_run(request: Request, verb: str) -> str:
    """ "All" when the server will change nothing, else "" ("API Concepts", "Dry-run").

    Tunnels, and whatever else is not one of the five writing verbs, ignore the parameter.
    """
    asked = _single(request, "dryRun")
    if verb in ("create", "update", "patch"):
        return "All" if asked == "All" else ""
    if verb not in ("delete", "deletecollection"):
        return ""
    if request.body == b"":
        return "All" if asked == "All" else ""
    # With a body, DeleteOptions come from it alone: a query "dryRun=All" over a real deletion is a trap.
    options = read_json(request)
    found = options if isinstance(options, Problem) else look_up(options, DRY_RUN)
    return "All" if found == ["All"] else ""


PACK = KubernetesPack()
