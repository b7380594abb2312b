"""Names requests to Google APIs by the method ids of their discovery documents, which hold no version.

The host says which API, method and path which operation; the same operation has one name on every version, region
and spelling of host. Nothing is named from a body but a batch, every request of which is named. What only the
wire names (gRPC, the XML API of Cloud Storage) has a prefix of its own:

    DELETE compute.googleapis.com/compute/v1/projects/acme/zones/z/instances/vm     google:compute.instances.delete
    DELETE www.googleapis.com/compute/v1/projects/acme/zones/z/instances/vm         the same
    POST   us-central1-aiplatform.googleapis.com/v1/projects/.../endpoints/e:predict
                                                    google:aiplatform.projects.locations.endpoints.predict
    POST   pubsub.googleapis.com/google.pubsub.v1.Publisher/Publish, application/grpc
                                                    google:grpc.google.pubsub.v1.Publisher/Publish, known false
    PUT    media.storage.googleapis.com/a.png       google:storage.xml.objects.insert
    POST   www.googleapis.com/batch/drive/v3        every request in it
    POST   .../instances/vm:unheardOf               not recognised, never the instance "vm:unheardOf"
    GET    ...?$httpHeaders=...                     conflict: headers in the query

Captures are called after the collection before them, in the singular (``projects/acme``: project "acme"); a
wildcard "-" is none. They may be trusted but where an upload goes on by its id, which alone decides where it goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mappings.catalogues import Archive, CatalogueError
from mappings.packs.google_batch import BatchError, nested_requests
from mappings.packs.google_tables import STORAGE, TRANSPORTS, WWW, Found, Hosts, Place
from mappings.packs.google_xml import JSON_WORDS, recognise_xml
from mappings.paths import split_path
from mappings.reading import alternatives
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request

BATCH = "batch"
MAX_BATCH_SEGMENTS = 3
"""``batch``, ``batch/API/VERSION``: `batchPath` of the discovery documents."""

SMUGGLERS = frozenset({"$httpheaders", "$req", "$ct", "httpheaders"})
"""Query keys by which Google's browser client sends headers, an overriding method among them, or a body. No page
documents them and which APIs still take them was not tried; no other client sends them, so refusing costs nothing."""

QUERY_FACTS = frozenset(
    {"predefinedAcl", "destinationPredefinedAcl", "predefinedDefaultObjectAcl", "permanentlyDelete", "validateOnly"}
)
"""Query keys that change what a method means, for rules to ask about; also of requests within a batch."""

UPLOAD_ID = "upload_id"
"""https://cloud.google.com/storage/docs/resumable-uploads#session-uris: the id is all the authority that is needed."""

OWNERS: Mapping[str, str] = {
    "projects": "project",
    "namespaces": "project",
    "folders": "folder",
    "organizations": "organization",
    "billingAccounts": "billingAccount",
}
"""First segments behind the version that say whose the rest is, where a template leaves them open. Only Cloud Run
has namespaces there, and each is a project (https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services)."""

GRPC_PATH = re.compile(r"/((?:[A-Za-z_][A-Za-z0-9_]*\.)+[A-Za-z_][A-Za-z0-9_]*)/([A-Za-z_][A-Za-z0-9_]*)")
"""https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Path"."""

GRPC_MINTS = frozenset(
    {
        *("AccessSecretVersion", "GenerateAccessToken", "GenerateIdToken", "SignBlob", "SignJwt", "ExchangeToken"),
        *("CreateServiceAccountKey", "CreateKey", "GetKeyString", "Decrypt", "AsymmetricDecrypt", "RawDecrypt"),
    }
)
"""Methods whose answer is a credential or a secret, as their REST twins are in the catalogue."""

GRPC_POLICIES = re.compile(r"(?:Set|Remove)\w*(?:IamPolicy|OrgPolicy)")

OAUTH_HOSTS = frozenset({"oauth2.googleapis.com", "oauth2.mtls.googleapis.com"})
OAUTH: Mapping[tuple[str, str], tuple[str, str, bool]] = {
    ("POST", "/token"): ("oauth2.token", "write", True),
    ("POST", "/revoke"): ("oauth2.revoke", "write", False),
    ("GET", "/tokeninfo"): ("oauth2.tokeninfo", "read", False),
    ("POST", "/tokeninfo"): ("oauth2.tokeninfo", "read", False),
}
"""Name, access and whether it mints; in no discovery document (https://developers.google.com/identity/protocols/oauth2)."""


class GooglePack:
    """Every API under googleapis.com."""

    name = "google"
    family = "google"
    reads_prefix = False
    keeps_encoded_slashes = True
    """Discovery documents expand ``{x}`` with reserved characters encoded (RFC 6570 section 3.2.2), and "/" is one."""

    def __init__(self, archive: Archive) -> None:
        self.hosts = archive.header.hosts
        self._hosts = Hosts(archive)

    def needs_body(self, request: Request) -> bool:
        """Only a batch says in its body what it does."""
        return _is_batch(request)

    def recognise(self, request: Request) -> Recognition:
        """Name one request, or every request of a batch."""
        if request.query and any(key.lower() in SMUGGLERS for key, _ in request.query):
            return conflict("the query holds headers or a body for the API to take in place of those sent")
        try:
            place = self._hosts.place(request.host)
            if request.method == "POST" and _is_grpc(request):
                return NOT_RECOGNISED if place.bucket else _grpc(request)
            if _is_batch(request) and place.api and not place.bucket:
                return self._batch(place, request)
            return self._single(place, request)
        except CatalogueError:
            return unreadable('the catalogue of "google" cannot be read')

    def _single(self, place: Place, request: Request) -> Recognition:
        if not place.api:
            return _oauth(request) if request.host in OAUTH_HOSTS else NOT_RECOGNISED
        if place.api == STORAGE:
            reserved = request.path[1:].partition("/")[0] in JSON_WORDS
            if place.bucket and reserved:
                return conflict("the path could be that of the JSON API or the name of an object")
            if not reserved:
                return recognise_xml(request, place.bucket)
        segments = split_path(request.path)
        if not segments:
            return NOT_RECOGNISED
        found = self._find(place, request, segments)
        return Recognition(tuple(_call(each, request) for each in found)) if found else NOT_RECOGNISED

    def _find(self, place: Place, request: Request, segments: tuple[str, ...]) -> list[Found]:
        """Return the operation, on www also that of an API that has moved to a host of its own."""
        colon = ":" in segments[-1] and "%3A" in request.path[request.path.rfind("/", 0, -1) :]
        moved = self._hosts.moved(segments) if place.api == WWW else ()
        for api in (place.api, *moved):
            table = self._hosts.table(api)
            if segments[0] in TRANSPORTS and _goes_on(request):
                # PUT on the session of a POST, whatever PUT would be there by itself: drafts/send is not drafts/{id}.
                if request.method in ("PUT", "POST") and (sessions := table.sessions(segments)):
                    return sessions
                continue
            found = table.find(request.method, segments, escaped_colon=colon)
            if found is None and request.method == "HEAD":
                # RFC 9110 section 9.3.2: HEAD asks for what GET would answer.
                found = table.find("GET", segments, escaped_colon=colon)
            if found is not None:
                return [found]
        return []

    def _batch(self, place: Place, request: Request) -> Recognition:
        calls: list[Call] = []
        try:
            for nested in nested_requests(request):
                found = self._nested(place, nested)
                # The core compares other readings of a request, and of a batch it sees but the outermost.
                if any(_named(self._nested(place, other.request)) != _named(found) for other in alternatives(nested)):
                    return conflict("two readings of a request in the batch differ")
                if not found.calls:
                    return found if found.problem else unreadable("the batch holds a request that is not known")
                calls.extend(found.calls)
        except BatchError as error:
            return unreadable(f"the batch cannot be taken apart: {error}")
        return Recognition(tuple(calls))

    def _nested(self, place: Place, request: Request) -> Recognition:
        if _is_batch(request) or any(key.lower() in SMUGGLERS for key, _ in request.query):
            return unreadable("the batch holds a request that holds another")
        return self._single(place, request)


def _is_batch(request: Request) -> bool:
    path = request.path
    if request.method != "POST" or not path.startswith("/batch"):
        return False
    segments = path.strip("/").split("/")
    return segments[0] == BATCH and len(segments) <= MAX_BATCH_SEGMENTS


def _is_grpc(request: Request) -> bool:
    return any(
        name == "content-type" and value.lower().startswith("application/grpc") for name, value in request.headers
    )


def _goes_on(request: Request) -> bool:
    return any(key == UPLOAD_ID for key, _ in request.query)


def _named(recognition: Recognition) -> tuple[object, ...]:
    """Return what two readings must agree in."""
    problem = recognition.problem.code if recognition.problem else ""
    return (problem, *((call.name, call.target) for call in recognition.calls))


def _call(found: Found, request: Request) -> Call:
    operation, captures, resource = found.operation, found.captures, found.resource
    owner = OWNERS.get(resource[0]) if resource else None
    if owner and owner not in captures and len(resource) > 1 and resource[1] != "-":
        captures[owner] = resource[1]
    trusted = frozenset(captures)
    if request.query:
        if _goes_on(request):
            trusted = frozenset()
        for key, value in request.query:
            if key in QUERY_FACTS:
                captures[key] = value
                trusted -= {key}
    return Call(
        f"google:{operation.name}",
        captures,
        trusted=trusted,
        target=f"google/{operation.name.partition('.')[0]}/{'/'.join(resource)}",
        access=operation.access,
        executes=operation.executes,
        mints=operation.mints,
    )


def _grpc(request: Request) -> Recognition:
    if len(set(request.header_values("content-type"))) > 1:
        return conflict("the request has several content types")
    match = GRPC_PATH.fullmatch(request.path)
    if match is None:
        return NOT_RECOGNISED
    service, method = match.groups()
    access = "permissions" if GRPC_POLICIES.fullmatch(method) else "write"
    call = Call(
        f"google:grpc.{service}/{method}",
        {"service": service, "rpc": method},
        target=f"{request.host}{request.path}",
        access=access,
        mints=method in GRPC_MINTS,
        known=False,
    )
    return Recognition((call,))


def _oauth(request: Request) -> Recognition:
    known = OAUTH.get((request.method, request.path))
    if known is None:
        return NOT_RECOGNISED
    name, access, mints = known
    return Recognition((Call(f"google:{name}", {}, target="google/oauth2", access=access, mints=mints),))
