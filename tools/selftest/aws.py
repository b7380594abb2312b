"""AWS: requests that botocore itself makes, for every operation of every service it knows, in several ways.

    min            only what must be given
    max            everything, two levels deep
    arn            an ARN with slashes in every label that takes one
    path-style     S3 with the bucket in the path
    places         other partitions, FIPS, dual stack; two operations of every service
    cbor, json, query   the other protocols that a service lists

Nothing is sent: the request is taken where botocore would hand it to the network. CLAIIM_AWS_SERVICES limits the
services (``s3,ec2``), CLAIIM_AWS_GROUPS the groups.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from case import Case
from fetch import package

FOLDER = package("PyPI:botocore").folder
sys.path.insert(0, str(FOLDER))

import botocore  # noqa: E402 - the pinned one
import botocore.serialize  # noqa: E402
import botocore.session  # noqa: E402
from botocore import UNSIGNED  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import BotoCoreError  # noqa: E402
from botocore.tokens import FrozenAuthToken  # noqa: E402

SAMPLE_EVERY = 293
ACCOUNT = "029608264753"
KEY = "ASIAQNZGKIQY56JQ7WML"
"""A published example; it holds `ACCOUNT`."""
ARN = f"arn:aws:service:us-east-1:{ACCOUNT}:thing/one/two"

ARNS = {
    "KvsARN": f"arn:aws:cloudfront::{ACCOUNT}:key-value-store/x1",
    "StreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/x1",
    "ConsumerARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/x1/consumer/x1:1",
    "QueueARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:queue/x1",
    "ChannelARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:channel/x1",
    "ResourceARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/x1",
    "PredictEndpoint": "https://realtime.machinelearning.us-east-1.amazonaws.com",
}
"""What the SDK takes apart before it sends."""

MANY_REGIONS = frozenset({"cloudfront-keyvaluestore"})

NESTED = {"structure": 1, "list": 2}

ELSEWHERE = frozenset({"EndpointId"})
"""Parameters that send a request to many regions, which takes a library in C to sign."""

MAX_DEPTH = 2
FINITE = 3
"""Depth beyond which lists stay empty where they may: some shapes contain themselves."""

PLACES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("cn-north-1", {}),
    ("us-gov-west-1", {}),
    ("eu-central-2", {}),
    ("us-iso-east-1", {}),
    ("us-isob-east-1", {}),
    ("eusc-de-east-1", {}),
    ("us-east-1", {"use_fips_endpoint": True}),
    ("eu-west-1", {"use_dualstack_endpoint": True}),
    ("us-gov-east-1", {"use_fips_endpoint": True, "use_dualstack_endpoint": True}),
)
PLACES_A_SERVICE = 3

S3_EFFECTS = {
    **dict.fromkeys(("x-amz-acl", "x-amz-grant-read", "x-amz-grant-full-control"), "Acl"),
    "x-amz-tagging": "Tagging",
    "x-amz-object-lock-mode": "Retention",
    "x-amz-object-lock-legal-hold": "LegalHold",
}
"""What PutObject, CopyObject and CreateMultipartUpload do beside, by header."""


class _CapturedError(Exception):
    """Carries the request out of the SDK."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


def cases() -> Iterator[Case]:
    """Yield a case for every operation and group."""
    session = _session()
    _twins()
    wanted = [name for name in os.environ.get("CLAIIM_AWS_SERVICES", "").split(",") if name]
    groups = set(os.environ.get("CLAIIM_AWS_GROUPS", "min,max,arn,path-style,places,protocols").split(","))
    for number, service in enumerate(wanted or session.get_available_services()):
        client = _client(service, "us-east-1")
        for variant in ("min", "arn", "max"):
            if variant in groups:
                yield from _each(client, variant, variant)
        if service == "s3" and "path-style" in groups:
            yield from _each(_client("s3", "us-east-1", s3={"addressing_style": "path"}), "min", "path-style")
        if "protocols" in groups:
            yield from _protocols(client)
        if "places" in groups:
            for turn in range(PLACES_A_SERVICE):
                region, settings = PLACES[(number + turn * PLACES_A_SERVICE) % len(PLACES)]
                yield from _each(_client(service, region, **settings), "min", "places", 2)


@cache
def _session() -> Any:
    assert botocore.__version__ == FOLDER.name.rpartition("-")[2], "another botocore was imported first"
    session = botocore.session.Session()
    session._auth_token = SimpleNamespace(get_frozen_token=lambda: FrozenAuthToken("t"))
    return session


def _client(service: str, region: str, **settings: Any) -> Any:
    # What AWS signs for many regions takes a library in C to sign; those requests go unsigned here.
    if service in MANY_REGIONS:
        settings["signature_version"] = UNSIGNED
    client = _session().create_client(
        service,
        region_name=region,
        aws_access_key_id=KEY,
        aws_secret_access_key="x" * 40,
        aws_session_token="t",
        config=Config(**settings),
    )
    endpoint = client._endpoint
    client.asked = asked = {"for": ""}

    def capture(operation: Any, request: Any) -> Any:
        if operation.name == "DescribeEndpoints" and asked["for"] != operation.name:
            # Some services have to be asked for the host to talk to.
            kind = "ingest" if "ingest" in request["url"] else "query"
            address = f"{kind}-cell2.timestream.{region}.amazonaws.com"
            return SimpleNamespace(status_code=200), {"Endpoints": [{"Address": address, "CachePeriodInMinutes": 9}]}
        raise _CapturedError(endpoint.create_request(request, operation))

    endpoint.make_request = capture
    return client


def _each(client: Any, variant: str, group: str, limit: int = 0) -> Iterator[Case]:
    names = client.meta.service_model.operation_names
    for name in names[:limit] if limit else names:
        operation = client.meta.service_model.operation_model(name)
        request = _sent(client, operation, _parameters(operation, variant))
        if request is not None:
            yield _case(client, operation, request, group)


def _sent(client: Any, operation: Any, parameters: dict[str, Any]) -> Any:
    """Return the request that the SDK would send; None when it refuses to make one."""
    try:
        client.asked["for"] = operation.name
        client._make_api_call(operation.name, parameters)
    except _CapturedError as captured:
        return captured.request
    except (BotoCoreError, ValueError, AttributeError):
        return None
    return None


def _case(client: Any, operation: Any, sent: Any, group: str) -> Case:
    headers = tuple((name.lower(), _text(value)) for name, value in sent.headers.items())
    body = sent.body if sent.body is not None else b""
    if not isinstance(body, bytes | str):
        body = body.read()
    content = body.encode() if isinstance(body, str) else bytes(body)
    return Case(sent.method, sent.url, _wanted(client, operation, dict(headers), content), headers, content, group)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _wanted(client: Any, operation: Any, headers: Mapping[str, str], body: bytes) -> frozenset[str]:
    """Return the names a request must have: its own, those of its further effects, a twin's where it has one."""
    metadata = operation.metadata
    service = metadata.get("signingName", metadata["endpointPrefix"])
    s3 = client.meta.service_model.service_name == "s3"
    names = {_twins().get(operation.name, operation.name) if s3 else operation.name}
    if service == "ec2" and b"TagSpecification." in body:
        names.add("CreateTags")
    if s3:
        names |= _s3_effects(operation.name, headers)
    return frozenset(f"aws:{service}:{name}" for name in names)


def _s3_effects(name: str, headers: Mapping[str, str]) -> set[str]:
    found = set()
    if name in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        found = {f"PutObject{effect}" for header, effect in S3_EFFECTS.items() if header in headers}
    if name == "CreateBucket" and "x-amz-acl" in headers:
        found = {"PutBucketAcl"}
    return found | ({"GetObject"} if "x-amz-copy-source" in headers else set())


@cache
def _twins() -> Mapping[str, str]:
    """Return the deprecated operations of S3 that the wire cannot tell from another, with that one."""
    model = _session().get_component("data_loader").load_service_model("s3", "service-2")["operations"]
    # Copied before any call: the SDK takes the bucket out of the URIs as it goes.
    routes = {name: (each["http"]["method"], each["http"]["requestUri"]) for name, each in model.items()}
    return {
        name: other
        for name, each in model.items()
        for other in model
        if each.get("deprecated") and routes[name] == routes[other] and not model[other].get("deprecated")
    }


# --- other protocols ---


def _protocols(client: Any) -> Iterator[Case]:
    """Yield every operation in the protocols that a service lists and the SDK does not choose."""
    model = client.meta.service_model
    listed = set(model.metadata.get("protocols", ())) - {model.resolved_protocol}
    if "awsQueryCompatible" in model.metadata:
        listed.add("query")
    for protocol in sorted(listed):
        serializer = botocore.serialize.create_serializer(protocol)
        for name in model.operation_names:
            operation = model.operation_model(name)
            sent = serializer.serialize_to_request(_parameters(operation, "min"), operation)
            body = sent["body"]
            content = _form(body) if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
            headers = tuple((key.lower(), _text(value)) for key, value in sent["headers"].items())
            url = client.meta.endpoint_url + sent["url_path"]
            wanted = _wanted(client, operation, dict(headers), content)
            yield Case(sent["method"], url, wanted, headers, content, protocol.removeprefix("smithy-rpc-v2-"))


def _form(fields: Mapping[str, Any]) -> bytes:
    from urllib.parse import urlencode

    return urlencode(fields).encode()


# --- parameters ---


def _parameters(operation: Any, variant: str) -> dict[str, Any]:
    shape = operation.input_shape
    if shape is None:
        return {}
    found: dict[str, Any] = _structure(shape, variant, 0, operation)
    return found


def _structure(shape: Any, variant: str, depth: int, operation: Any = None) -> dict[str, Any]:
    names = list(shape.members) if variant == "max" and depth < MAX_DEPTH else list(shape.required_members)
    if shape.is_tagged_union:
        # The plainest: some unions contain themselves.
        members = {name: member for name, member in shape.members.items() if member.name != shape.name}
        names = sorted(members, key=lambda name: NESTED.get(members[name].type_name, 0))[:1]
    names = [name for name in names if name not in ELSEWHERE or name in shape.required_members]
    return {name: _value(shape.members[name], variant, depth + 1, name, operation) for name in names}


def _value(shape: Any, variant: str, depth: int, name: str, operation: Any = None) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, variant, depth) if not shape.is_document_type else {"a": "b"}
    if kind == "list":
        count = max(1 if depth <= FINITE else 0, shape.metadata.get("min", 0))
        return [_value(shape.member, variant, depth + 1, name) for _ in range(count)]
    if kind == "map":
        return {_value(shape.key, variant, depth + 1, "key"): _value(shape.value, variant, depth + 1, "value")}
    if kind == "string":
        return _string(shape, variant, name, operation)
    if kind in ("integer", "long", "float", "double", "bigdecimal", "biginteger"):
        return max(1, shape.metadata.get("min") or 1)
    return {"boolean": True, "timestamp": 1_700_000_000, "blob": b"x" * max(1, shape.metadata.get("min", 1))}[kind]


def _string(shape: Any, variant: str, name: str, operation: Any) -> str:
    if getattr(shape, "enum", None):
        return str(shape.enum[0])
    if name in ARNS:
        return ARNS[name].ljust(int(shape.metadata.get("min", 0) or 0), "x")
    if name in ("AccountId", "accountId", "ExpectedBucketOwner", "awsAccountId", "AwsAccountId"):
        return ACCOUNT
    if name == "Bucket":
        return "orders-bucket"
    if name == "CopySource":
        return "/other-bucket/a/key"
    if variant == "arn" and shape.serialization.get("location") == "uri" and _takes_arn(shape, name, operation):
        return ARN
    if name == "Key" and operation is not None and operation.service_model.service_name == "s3":
        return "a/key"
    text = "x1"
    return text.ljust(int(shape.metadata.get("min", 0) or 0), "x")


def _takes_arn(shape: Any, name: str, operation: Any) -> bool:
    """Say whether an ARN can stand in a label: not in a host, nor where the service has another label for ARNs."""
    if operation is None or _in_host(name, operation):
        return False
    before, _, _ = operation.http["requestUri"].partition(f"{{{shape.serialization.get('name', name)}}}")
    return not _shape(before).startswith(_greedy(operation.service_model))


@cache
def _greedy(service: Any) -> tuple[str, ...]:
    """Return what stands before the labels of a service that take slashes, such as ``{portalArn+}``."""
    paths = (service.operation_model(name).http["requestUri"] for name in service.operation_names)
    return tuple({_shape(path.rpartition("{")[0]) for path in paths if path.endswith("+}")})


def _shape(path: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", path)


def _in_host(name: str, operation: Any) -> bool:
    prefix = (operation.endpoint or {}).get("hostPrefix", "") if operation is not None else ""
    return f"{{{name}}}" in prefix
