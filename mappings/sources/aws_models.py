"""Reads the service models of botocore: for each service its protocols, operations and REST routes.

Reads only the newest version of a service's model. Decides nothing about access or names; a model without what is
read here is a `SourceError`.

    {"http": {"method": "PUT", "requestUri": "/{Bucket}/{Key+}?acl"}}    PUT /{Bucket}/{Key+}?acl
    UploadPart, which needs partNumber and uploadId, beside PutObject    PUT /{Bucket}/{Key+}?!partNumber&!uploadId
    CopyObject, which needs x-amz-copy-source, beside PutObject          PUT /{Bucket}/{Key+}?!@x-amz-copy-source
"""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappings.sources.compiling import SourceError

PROTOCOLS: Mapping[str, str] = {
    "json": "j",
    "query": "q",
    "ec2": "q",
    "smithy-rpc-v2-cbor": "c",
    "rest-json": "r",
    "rest-xml": "r",
}
"""Protocols of the models by the letter that the catalogue keeps."""

HEADER = "@"
"""Before a condition's key: a header, not a query parameter."""
HOST = "^"
"""Before a condition's key: what the host begins with."""
NEEDED = "!"
"""Before the others: a member that must be given; counts only between routes whose models' URIs ask for the same."""

MAX_NAMING = 3

_EXPRESS = "s3express-control"
_CURSORS = ("ExclusiveStart", "Next", "next")
_IDENTIFIER = re.compile(r"(?:Name|Id|Identifier|Arn|ARN|Url|^[a-z]+|^Resource|^Key)$")
_LABEL = re.compile(r"\{([^{}+]+)(\+?)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """The REST request of an operation."""

    method: str
    path: str
    literal: tuple[str, ...]
    """Query conditions that stand in the model's URI: ``acl``, ``operation=batch-delete``."""
    required: tuple[str, ...]
    """Members that the operation needs in query or header: ``uploadId``, ``@x-amz-copy-source``."""
    declared: frozenset[str] | None
    """Query parameters it may have; None when it takes any."""

    @property
    def shape(self) -> tuple[str, str]:
        """What a server can tell it by without query and headers."""
        path = _LABEL.sub(lambda label: f"{{{label[2]}}}", self.path)
        return self.method, path.rstrip("/")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a model."""

    name: str
    route: Route | None
    """None for protocols that name the operation themselves."""
    readonly: bool
    """Whether the provider says that it changes nothing (Smithy, "readonly trait")."""
    deprecated: bool
    host_prefix: str
    host: str
    """What the host begins with when only that tells it from another operation."""
    naming: tuple[str, ...]
    """The parameters that say what an operation without a route acts on, as they stand on the wire."""


@dataclass(frozen=True, slots=True)
class Model:
    """One service."""

    service: str
    """The name of its folder."""
    signing_name: str
    endpoint_prefix: str
    protocols: str
    """Letters of `PROTOCOLS`, sorted."""
    target_prefix: str
    operations: tuple[Operation, ...]
    folder: Path
    """Of the version that was read."""


def read_models(data: Path) -> Iterator[Model]:
    """Yield the models below ``botocore/data``, by name."""
    for folder in sorted(data.iterdir()):
        versions = sorted(folder.glob("*/service-2.json.gz"))
        if versions:
            yield _model(folder.name, versions[-1])


def read_gzipped(path: Path) -> Any:
    """Return the JSON value of a compressed file."""
    return json.loads(gzip.decompress(path.read_bytes()))


def _model(service: str, path: Path) -> Model:
    text = read_gzipped(path)
    metadata = text["metadata"]
    try:
        names = {metadata["protocol"], *metadata.get("protocols", ())}
        protocols = {PROTOCOLS[name] for name in names}
        if "awsQueryCompatible" in metadata:
            # The service keeps answering the Query protocol it spoke before (Smithy, "awsQueryCompatible trait").
            protocols.add("q")
        operations = tuple(_operation(name, each, text["shapes"], names) for name, each in text["operations"].items())
        return Model(
            service,
            metadata.get("signingName", metadata["endpointPrefix"]),
            metadata["endpointPrefix"],
            "".join(sorted(protocols)),
            metadata.get("targetPrefix", ""),
            operations,
            path.parent,
        )
    except KeyError as error:
        raise SourceError(f"aws: {service}: the model has no {error}") from None


def _operation(name: str, text: Mapping[str, Any], shapes: Mapping[str, Any], protocols: set[str]) -> Operation:
    shape = shapes[text["input"]["shape"]] if "input" in text else {}
    rest = any(PROTOCOLS[protocol] == "r" for protocol in protocols)
    naming = () if rest else _naming(shape, shapes)
    if "ec2" in protocols:
        # https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html: names begin with a capital.
        naming = tuple(wire[:1].upper() + wire[1:] for wire in naming)
    return Operation(
        name,
        _route(text["http"], shape, shapes) if rest else None,
        bool(text.get("readonly")),
        bool(text.get("deprecated")),
        text.get("endpoint", {}).get("hostPrefix", ""),
        _EXPRESS if "UseS3ExpressControlEndpoint" in text.get("staticContextParams", ()) else "",
        naming,
    )


def _naming(shape: Mapping[str, Any], shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the identifiers that must be given, or else the first one that may be."""
    members = {
        name: member.get("queryName") or member.get("locationName") or name
        for name, member in shape.get("members", {}).items()
        if _IDENTIFIER.search(name) and not name.startswith(_CURSORS) and shapes[member["shape"]]["type"] == "string"
    }
    needed = tuple(members[name] for name in shape.get("required", ()) if name in members)
    return needed[:MAX_NAMING] or tuple(members.values())[:1]


def _route(http: Mapping[str, Any], shape: Mapping[str, Any], shapes: Mapping[str, Any]) -> Route:
    path, _, query = http["requestUri"].partition("?")
    # "x-id" repeats the operation's name for log readers; servers do not route by it.
    literal = tuple(part for part in query.split("&") if part and not part.startswith("x-id="))
    required: list[str] = []
    declared = {part.partition("=")[0] for part in literal}
    open_ended = False
    for name, member in sorted(shape.get("members", {}).items()):
        place = member.get("location")
        wire = member.get("locationName", name)
        if place == "querystring":
            declared.add(wire)
            open_ended |= shapes[member["shape"]]["type"] == "map"
        if place in ("querystring", "header") and name in shape.get("required", ()):
            required.append(wire if place == "querystring" else HEADER + wire.lower())
    spelled = _LABEL.sub(lambda label: f"{{{label[1].replace('-', '_')}{label[2]}}}", path)
    return Route(http["method"], spelled, literal, tuple(required), None if open_ended else frozenset(declared))


def route_texts(operations: Iterable[Operation]) -> dict[str, str]:
    """Return the route of each operation as text, with the conditions that tell it from its neighbours."""
    groups: dict[tuple[str, str], list[tuple[Operation, Route]]] = defaultdict(list)
    for operation in operations:
        if operation.route:
            groups[operation.route.shape].append((operation, operation.route))
    texts = {}
    for group in groups.values():
        found = {each.name: route.literal if len(group) == 1 else _unlike(route) for each, route in group}
        anywhere = {found[operation.name] for operation, _ in group if not operation.host}
        for operation, route in group:
            conditions = found[operation.name]
            if operation.host and conditions in anywhere:
                conditions = (*conditions, HOST + operation.host)
            texts[operation.name] = f"{route.method} {route.path}" + ("?" + "&".join(conditions) if conditions else "")
    return texts


def _unlike(route: Route) -> tuple[str, ...]:
    given = {part.partition("=")[0] for part in route.literal}
    return (*route.literal, *(NEEDED + key for key in route.required if key not in given))
