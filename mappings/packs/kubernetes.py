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
    /k8s/clusters/CLUSTER/...             Rancher's door to a cluster behind it; the rest as above

Verb: POST create, PUT update, PATCH patch, DELETE delete, or deletecollection when no name is given;
GET and HEAD get, or, when no name is given, list, or watch when `watch` is neither absent, "false" nor "0".
exec, attach, portforward and proxy carry anything at all once open: "execute", whatever the method. So does any
other connection that is upgraded, but for a watch and a log, which are upgraded to be read.

    DELETE /apis/apps/v1/namespaces/shop/deployments/web   kubernetes:delete:apps/deployments
    GET    /api/v1/namespaces/shop/pods/web-1/exec         kubernetes:execute:pods/exec
    GET    /version                                        kubernetes:get:nonresource
    GET    /api/v1/namespaces/a%2Fsecrets%2Fx/pods         conflict: the server decodes before it splits
    DELETE .../pods?dryRun=All&dryRun=None                 conflict: two readings of dryRun
    GET    ... with Impersonate-User                       conflict: acts as somebody else
    GET    .../virtualmachineinstances/x/vnc, Upgrade      kubernetes:execute:.../virtualmachineinstances/vnc

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

MINTING = frozenset({*(("secrets", verb) for verb in ("get", "list", "watch")), ("serviceaccounts/token", "create")})
"""Resource and verb whose answer holds secrets: a list holds them whole."""

EPHEMERAL = "pods/ephemeralcontainers"
"""Puts a container of one's choice into a running pod ("Ephemeral Containers")."""

WRITING = frozenset({*WRITES.values(), "deletecollection"})

TUNNELS = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources whose connection carries arbitrary bytes: a shell, a port, another HTTP server."""

NAMESPACE_PARTS = frozenset({"status", "finalize"})
"""Subresources of a namespace itself; any other word after NAMESPACE is a resource inside it."""

PLACES = frozenset({"cluster", "namespace", "group", "resource", "name"})
"""What the server itself obeys: an object in one namespace cannot be reached by naming another."""

RANCHER = ("k8s", "clusters")
"""Rancher documentation, "Authorized Cluster Endpoint": the way through its own server; no API server serves it."""

STREAMED = frozenset({("watch", ""), ("get", "log")})
"""Verb and subresource of what is read over a websocket too ("API Concepts", "Efficient detection of changes")."""

REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups of questions: creating a review stores nothing ("Authorization Overview", "Checking API access")."""

ACCESS_GROUPS = frozenset(
    {
        *("rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io"),
        *("authorization.openshift.io", "oauth.openshift.io", "security.openshift.io", "user.openshift.io"),
    }
)
"""Groups whose objects say who may do what, or judge every write; OpenShift serves RBAC a second time."""

ACCESS_RESOURCES = frozenset(
    {
        "serviceaccounts",
        "certificates.k8s.io/certificatesigningrequests/approval",
        "certificates.k8s.io/certificatesigningrequests/status",
    }
)
"""Whose writes give or take identities ("Certificates and Certificate Signing Requests", "Authorization")."""

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
        upgraded = False
        for header, _ in request.headers:
            # RBAC "User impersonation": the call would be made, and audited, in another's name.
            if header.startswith("impersonate-"):
                return conflict(f'header "{header}" acts as somebody else; send the request without it')
            upgraded = upgraded or header == "upgrade"
        # The server splits the *decoded* path: "a%2Fsecrets" would be two segments there and one here.
        if "%2F" in request.path:
            return conflict('path has an encoded "/"; the API server would split there')
        path = unquote(request.path) if "%" in request.path else request.path
        parts = path.strip("/").split("/")
        cluster = ""
        if len(parts) > 2 and (parts[0], parts[1]) == RANCHER:
            cluster, parts = parts[2], parts[3:]
        if not is_resource(parts):
            return _nonresource(request, cluster, f"/{'/'.join(parts)}", upgraded)
        found = resource_path(parts)
        return _resource(request, cluster, found, upgraded) if found else NOT_RECOGNISED


def is_resource(parts: list[str]) -> bool:
    """Say whether a path is long enough, and begins as it must, to name a resource."""
    return (len(parts) > 2 and parts[0] == "api") or (len(parts) > 3 and parts[0] == "apis")


def resource_path(parts: list[str]) -> ResourcePath | None:
    """Read the segments of a resource's path by position; None where the server would give up."""
    group = ""
    rest = parts[1:]
    if parts[0] == "apis":
        group, rest = rest[0], rest[1:]
    version, rest = rest[0], rest[1:]
    prefix = ""
    if rest[0] in ("watch", "proxy"):
        if len(rest) < 2:
            return None
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


def _nonresource(request: Request, cluster: str, path: str, upgraded: bool) -> Recognition:
    verb = "execute" if upgraded else request.method.lower()
    reads = request.method in READS and not upgraded
    captures = {"verb": verb, "path": path, "cluster": cluster}
    call = Call(
        f"kubernetes:{verb}:nonresource",
        captures,
        trusted=PLACES.intersection(captures),
        target=f"{request.host}{request.path}",
        access="read" if reads else "write",
        executes=upgraded,
    )
    return Recognition((call,))


def _resource(request: Request, cluster: str, path: ResourcePath, upgraded: bool) -> Recognition:
    parts = tuple(part for part in (path.group, path.resource, path.subresource) if part)
    if not all(map(PLAIN_NAME.fullmatch, parts)):
        return NOT_RECOGNISED
    try:
        verb, name = _verb(request, path)
        dry_run = _dry_run(request, verb)
    except _TwoReadingsError as found:
        return conflict(str(found))
    if not verb:
        return NOT_RECOGNISED
    if upgraded and (verb, path.subresource) not in STREAMED:
        verb = "execute"
    captures = {
        "cluster": cluster,
        "verb": verb,
        "group": path.group,
        "version": path.version,
        "namespace": path.namespace,
        "resource": path.resource,
        "subresource": path.subresource,
        "name": name,
        "dryRun": dry_run,
    }
    return Recognition((_call(verb, "/".join(parts), captures, request.host),))


def _call(verb: str, resource: str, captures: Mapping[str, str], host: str) -> Call:
    # Leaving out what the request does not name.
    places = (captures[key] for key in ("cluster", "namespace", "resource", "name", "subresource"))
    return Call(
        f"kubernetes:{verb}:{resource}",
        captures,
        trusted=PLACES,
        target="/".join((host, *filter(None, places))),
        access=_access(verb, captures["group"], resource),
        executes=verb == "execute" or (resource == EPHEMERAL and verb in WRITING),
        mints=(resource, verb) in MINTING,
    )


def _access(verb: str, group: str, resource: str) -> str:
    """What the verb does to the resource, in the words of `mappings.recognition.ACCESS`."""
    if verb == "get":
        return "read"
    if verb in ("list", "watch"):
        return "list"
    if verb == "create" and group in REVIEWS:
        return "read"
    return "permissions" if group in ACCESS_GROUPS or resource in ACCESS_RESOURCES else "write"


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
