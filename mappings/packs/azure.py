"""Names requests to Azure Resource Manager as its role definitions name permissions: the URL says it all.

It keeps no list of types, so it decides nothing about whether one exists, and never looks inside a resource. What
is read by position and not by word has one reading only when no name looks like a part of the grammar; else the
answer is a conflict, which is a deny. Data planes (vault.azure.net, blob.core.windows.net) are other APIs.

Grammar ("Azure resource provider operations" and "Resource functions: resourceId",
https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations):

    path      = [scope] 1*( "/providers/" NAMESPACE *( "/" type "/" name ) [ "/" type-or-action ] )
    scope     = "/subscriptions/ID" [ "/resourceGroups/NAME" ] and what else stands before any provider, which
                belongs to Microsoft.Resources
    operation = azure:NAMESPACE/TYPES/( read | write | delete | ACTION/action ), of the last provider

    PUT    /subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/vm
                                        azure:Microsoft.Compute/virtualMachines/write
    POST   .../virtualMachines/vm/start azure:Microsoft.Compute/virtualMachines/start/action
    DELETE /subscriptions/S/resourceGroups/G
                                        azure:Microsoft.Resources/subscriptions/resourceGroups/delete
    POST   /batch                       every request in it
    POST   .../virtualMachines/vm       not recognised: no action is named
    GET    .../sites/providers/config/web       conflict: a site called "providers"

Case does not matter to the API: captures, targets and the path that rules see are in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappings.packs.azure_batch import is_batch, nested_requests
from mappings.packs.azure_secrets import action_tells, read_tells
from mappings.paths import split_path
from mappings.reading import alternatives
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request
from mappings.resolution import Problem

PROVIDERS = "providers"
RESOURCES = "Microsoft.Resources"

ROOTS = frozenset({"subscriptions", "tenants", PROVIDERS})
"""First segments of what belongs to no provider (Azure REST API, "Resource Management")."""

METHODS: Mapping[str, str] = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}

WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""Namespace, types and action, joined; names may hold anything."""

PLACES: Mapping[str, str] = {
    "subscriptions": "subscription",
    "resourcegroups": "resource_group",
    "managementgroups": "management_group",
    "locations": "location",
}
"""Types whose name says where, and what it is captured as; the first of each counts."""

NOWHERE: Mapping[str, str] = dict.fromkeys(PLACES.values(), "")
TRUSTED = frozenset({*PLACES.values(), "namespace", "type", "name"})

READING = ("list", "get", "check", "validate", "whatif", "query", "summarize", "export")
"""How an action begins that is only sent by POST because its answer, or its question, is too much for GET."""

EXECUTING = frozenset(
    {
        *("runcommand", "runcommands", "exec", "executescriptactions", "createrun", "schedulerun", "triggerrun"),
        *("deploymentscripts", "hostruntime", "invoke", "extensions", "webjobs", "triggeredwebjobs", "serialports"),
        *("deployments", "deploymentstacks", "blueprintassignments", "runbooks", "jobs", "jobschedules", "webhooks"),
    }
)
"""Types and actions by which a template, script, container or shell is set going, whatever the namespace."""

SINGLETONS = frozenset({("rollingupgrades", "cancel")})
"""Actions of a type that has no name of its own, which stand where a name would."""

POLICY_NAMESPACE = "microsoft.authorization"


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """What a path says, before the method is looked at."""

    namespace: str
    types: tuple[str, ...]
    """Of the last provider, with a last one that has no name."""
    named: bool
    """Whether the last type has a name."""
    places: Mapping[str, str]
    """Captures that say where, in lower case."""
    name: str
    """Of the last type, in lower case, "" when it has none."""
    owner: str
    """Of the type before the last one, in lower case."""


class AzurePack:
    """Azure Resource Manager of the public cloud and the two sovereign ones."""

    name = "azure"
    family = "azure"
    hosts: tuple[str, ...] = (
        "management.azure.com",
        "*.management.azure.com",
        "management.chinacloudapi.cn",
        "management.usgovcloudapi.net",
    )
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:
        """Only a batch says in its body what it does."""
        return is_batch(request)

    def recognise(self, request: Request) -> Recognition:
        """Name one request, or every request of a batch."""
        if request.query and len({value for key, value in request.query if key.lower() == "api-version"}) > 1:
            return conflict('the query holds "api-version" twice, and each version is another API')
        if is_batch(request):
            return _batch(request)
        segments = split_path(request.path)
        if not segments:
            return NOT_RECOGNISED
        path = resource_path(segments)
        if isinstance(path, str):
            return conflict(path)
        return NOT_RECOGNISED if path is None else _single(request, segments, path)


def resource_path(segments: tuple[str, ...]) -> ResourcePath | str | None:
    """Read a path by position; None when it is none of this API, a text when a name could be taken for more."""
    folded = [segment.lower() for segment in segments]
    last = len(folded) - 1 - folded[::-1].index(PROVIDERS) if PROVIDERS in folded else -1
    places: dict[str, str] = {}
    namespace, types, name, owner, start, at = RESOURCES, list[str](), "", "", -1, 0
    if folded[0] not in ROOTS and last < 0:
        return None
    while at < len(segments):
        if folded[at] == PROVIDERS and at + 1 < len(segments) and not _names_provider(segments, at):
            namespace, types, name, start, at = segments[at + 1], [], "", at, at + 2
            continue
        types.append(segments[at])
        owner = name
        name = folded[at + 1] if at + 1 < len(segments) else ""
        place = PLACES.get(folded[at])
        if place and name:
            places.setdefault(place, name)
        at += 2
    # By position "providers" may be the name of something; whoever looks for the word finds the last one.
    if last >= 0 and start != last and not _names_provider(segments, last):
        return 'a name in the path is "providers", which some read as the start of another provider'
    if not WORDS.fullmatch("/".join((namespace, *types))):
        return None
    return ResourcePath(namespace, tuple(types), bool(name), places, name, owner)


def _names_provider(segments: tuple[str, ...], at: int) -> bool:
    """Say whether "providers" is itself the type: nothing but a namespace, or nothing at all, follows."""
    return at + 2 >= len(segments)


def _single(request: Request, segments: tuple[str, ...], path: ResourcePath) -> Recognition:
    types = "/".join(path.types)
    resource = segments
    action = ""
    if request.method == "POST":
        if not path.types or (path.named and (path.types[-1].lower(), path.name) not in SINGLETONS):
            return NOT_RECOGNISED
        operation = f"{types}/action"
        action, resource = segments[-1].lower(), segments[:-1]
    else:
        verb = METHODS.get(request.method)
        if verb is None or not path.types:
            return NOT_RECOGNISED
        operation = f"{types}/{verb}"
    captures = {
        **NOWHERE,
        **path.places,
        "namespace": path.namespace.lower(),
        "type": "/".join(path.types[:-1] if action and not path.named else path.types).lower(),
        "name": path.name if not action else path.owner,
        "action": action,
    }
    call = Call(
        f"azure:{path.namespace}/{operation}",
        captures,
        trusted=TRUSTED,
        target="azure/" + "/".join(resource).lower(),
        path="" if "%" in request.path else request.path.lower(),
        access=_access(request.method, path, action),
        executes=_executes(request.method, types.lower().split("/"), action),
        mints=action_tells(action) if action else read_tells(request.method, path.namespace, path.types, path.name),
    )
    return Recognition((call,))


def _access(method: str, path: ResourcePath, action: str) -> str:
    if method in ("GET", "HEAD"):
        return "read" if path.named else "list"
    if path.namespace.lower() == POLICY_NAMESPACE or action == "elevateaccess":
        return "permissions"
    if action.startswith(READING):
        return "read"
    namespace = path.namespace.lower()
    return "tagging" if namespace == RESOURCES.lower() and path.types[0].lower() == "tags" else "write"


def _executes(method: str, types: Sequence[str], action: str) -> bool:
    if method in ("GET", "HEAD", "DELETE"):
        # Taking a stack away takes away what it holds; a host runtime hands on whatever is asked of it.
        return "hostruntime" in types or (method == "DELETE" and "deploymentstacks" in types)
    return not EXECUTING.isdisjoint(types) and not action.startswith(READING)


def _batch(request: Request) -> Recognition:
    """Name every request of a batch; refuse the whole when one cannot be."""
    found = nested_requests(request)
    if isinstance(found, Problem):
        return Recognition((), found)
    calls: list[Call] = []
    for nested in found:
        recognition = PACK.recognise(nested)
        # The core compares other readings of a request, and of a batch it sees but the outermost.
        if any(_named(PACK.recognise(other.request)) != _named(recognition) for other in alternatives(nested)):
            return conflict("two readings of a request in the batch differ")
        if not recognition.calls:
            return recognition if recognition.problem else unreadable("the batch holds a request that is not known")
        calls.extend(recognition.calls)
    return Recognition(tuple(calls))


def _named(recognition: Recognition) -> tuple[object, ...]:
    """Return what two readings must agree in."""
    problem = recognition.problem.code if recognition.problem else ""
    return (problem, *((call.name.lower(), call.target) for call in recognition.calls))


PACK = AzurePack()
