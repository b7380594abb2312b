"""Finds the operation of an AWS request that names it itself, and the parameters that go with it.

Grammar (AWS Smithy documentation, "AWS protocols"; each discriminator names one operation):

    POST /  X-Amz-Target: PREFIX.Operation                                         awsJson1_0, awsJson1_1
    POST /  Content-Type: application/x-www-form-urlencoded   ...&Action=Operation  awsQuery, ec2Query
    GET  /?Action=Operation&...                                                    the same, presigned
    POST /service/NAME/operation/Operation  Smithy-Protocol: rpc-v2-cbor           rpcv2Cbor

All discriminators are collected, whatever the service would do with them; more than one is a conflict:

    body Action=DescribeInstances, URL ?Action=TerminateInstances      conflict
    Action twice, "action" beside "Action", a form under text/plain    conflict
    the body was not read                                              unreadable
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mappings.bodies import AWS_JSON_TYPES, read_json
from mappings.forms import FORM, read_form
from mappings.packs.aws_catalogue import CBOR, JSON, QUERY, Group, Operation
from mappings.packs.aws_cbor import CborError, TwiceError, read_cbor
from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

OPERATION = re.compile(r"[A-Za-z][A-Za-z0-9]{0,127}")
"""Smithy shape identifiers without the "_" that no AWS operation has."""

CBOR_PATH = re.compile(r"/service/(?P<name>[A-Za-z0-9_.]+)/operation/(?P<operation>[A-Za-z0-9_]+)")
"""Smithy, "RPC v2 CBOR protocol", URI."""

QUEUE_PATH = re.compile(r"/[0-9]{12}/[A-Za-z0-9_.-]+")
"""SQS takes Query requests at the queue's own URL too (SQS developer guide, "Query API requests")."""

MEDIA_TYPES = {JSON: AWS_JSON_TYPES, CBOR: frozenset({"application/cbor"})}
"""Smithy, "AWS JSON 1.0/1.1 protocol" and "RPC v2 CBOR protocol"."""

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Found:
    """One discriminator: where it stood and the operation it names."""

    protocol: str
    """JSON, QUERY or CBOR."""
    operation: str
    prefix: str = ""
    """What stood before the operation in X-Amz-Target, or the service in an rpcv2Cbor path."""


class RefusedError(Exception):
    """The request reads in two ways or in none."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


def at_rpc_path(request: Request) -> bool:
    """Say whether the path is one at which a request may name its operation itself."""
    path = request.path
    return path == "/" or QUEUE_PATH.fullmatch(path) is not None or CBOR_PATH.fullmatch(path) is not None


def named_beside(request: Request) -> bool:
    """Say whether the head names an operation, whatever the path does."""
    if request.header("x-amz-target") is not None or _media_type(request) == FORM:
        return True
    return any(key.strip().casefold() == "action" for key, _ in request.query)


def find_operation(request: Request, group: Group) -> tuple[Operation, Parameters] | None:
    """Return the operation that the request names, with its parameters; None when the service takes none there."""
    media_type = _media_type(request)
    parameters = _body_parameters(request, media_type)
    found = _discriminators(request, parameters if media_type == FORM else {})
    if len(found) > 1:
        raise RefusedError(CONFLICT, "the request names an operation in more than one place")
    if not found or not OPERATION.fullmatch(found[0].operation):
        return None
    only = found[0]
    if not _speaks(request, group, only):
        return None
    services = group.speaking(only.protocol, only.prefix)
    if not services:
        raise RefusedError(CONFLICT, "the operation belongs to another service than the one called")
    if only.protocol != QUERY and request.body and media_type not in MEDIA_TYPES[only.protocol]:
        raise RefusedError(CONFLICT, "the body is of another content type than the operation's protocol has")
    if only.protocol == QUERY and request.body == b"":
        parameters = _query_parameters(request)
    if len({service.name for service in services}) > 1:
        raise RefusedError(CONFLICT, "two services take this operation on this host; sign the request")
    return group.operation(services, only.operation), parameters


def _speaks(request: Request, group: Group, found: Found) -> bool:
    """Whether one of the services would take its operation from there, on this path and by this method."""
    if found.protocol not in group.protocols:
        return False
    if found.protocol == CBOR:
        return request.method == "POST"
    if found.protocol == JSON:
        return request.method == "POST" and request.path == "/"
    at_queue = "sqs" in group.names and QUEUE_PATH.fullmatch(request.path) is not None
    return request.method in ("GET", "POST") and (request.path == "/" or at_queue)


def _discriminators(request: Request, form: Parameters) -> list[Found]:
    """Everything in the request that some AWS front end takes an operation from."""
    found = []
    for value in request.header_values("x-amz-target"):
        prefix, _, operation = value.rpartition(".")
        found.append(Found(JSON, operation, prefix or "-"))
    for key, value in request.query:
        # Front ends trim and fold; a lower-case twin of "Action" is never sent by a real client.
        if key.strip().casefold() == "action":
            found.append(Found(QUERY, value if key == "Action" else ""))
    for key, parameter in form.items():
        if key.strip().casefold() == "action":
            found.append(Found(QUERY, str(parameter) if key == "Action" else ""))
    match = CBOR_PATH.fullmatch(request.path)
    if match or request.header("smithy-protocol") is not None:
        found.append(Found(CBOR, match["operation"], match["name"]) if match else Found(CBOR, ""))
    return found


def _media_type(request: Request) -> str:
    values = request.header_values("content-type")
    if len(values) > 1:
        raise RefusedError(CONFLICT, "the request has two content types")
    media_type, _, parameters = (values[0] if values else "").partition(";")
    charset = parameters.partition("=")[2].strip(' "').lower()
    if charset not in ("", "utf-8"):
        raise RefusedError(CONFLICT, "the body is not declared as UTF-8")
    return media_type.strip().lower()


def _body_parameters(request: Request, media_type: str) -> Parameters:
    """The parameters in the body; what names an operation under a wrong content type is ambiguous."""
    body = request.body
    if body == b"":
        return {}
    if (request.header("content-encoding") or "identity").lower() != "identity":
        raise RefusedError(UNREADABLE, "the body is encoded; send it plain")
    if body is None:
        raise RefusedError(UNREADABLE, "the body was not read")
    if any(key.strip().casefold() == "action" for key, _ in request.query):
        raise RefusedError(CONFLICT, "the operation stands in the URL, and there is a body beside it")
    if media_type == FORM:
        return _read(read_form(body))
    if media_type in AWS_JSON_TYPES:
        return _read(read_json(request))
    if media_type in MEDIA_TYPES[CBOR]:
        return _read(_cbor(body))
    if b"action=" in body.lower():
        raise RefusedError(CONFLICT, "the body is a form under another content type")
    return {}


def _cbor(body: bytes) -> object:
    try:
        return read_cbor(body)
    except TwiceError as error:
        raise RefusedError(CONFLICT, str(error)) from None
    except CborError as error:
        raise RefusedError(UNREADABLE, f"the body is no CBOR: {error}") from None


def _read(found: object) -> Parameters:
    """Return the parameters that a body turned out to hold."""
    if isinstance(found, Problem):
        raise RefusedError(found.code, found.message)
    if not isinstance(found, dict):
        raise RefusedError(UNREADABLE, "the body is not an object")
    return found


def _query_parameters(request: Request) -> Parameters:
    pairs = [(key, value) for key, value in request.query if not key.startswith("X-Amz-")]
    if len(dict(pairs)) < len(pairs):
        raise RefusedError(CONFLICT, "a query parameter stands twice")
    return dict(pairs)
