"""Names AWS calls whose operation stands in a header, a form field or a query parameter, and only those.

Decides nothing about permission. Services that speak REST (S3, Lambda, EKS, Route 53...) are not named here,
and neither is a service missing from the table in `aws_services`: not recognised is a deny. The service comes
from the host where the host is Amazon's; elsewhere (a stand-in an operator bound) from the signature.

Grammar (AWS Smithy documentation, "AWS protocols"; each discriminator names one operation):

    POST /  X-Amz-Target: PREFIX.Operation                                         awsJson1_0, awsJson1_1
    POST /  Content-Type: application/x-www-form-urlencoded   ...&Action=Operation  awsQuery, ec2Query
    GET  /?Action=Operation&...                                                    the same, presigned
    POST /service/NAME/operation/Operation  Smithy-Protocol: rpc-v2-cbor           rpcv2Cbor

    Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...
    Authorization: AWS4-ECDSA-P256-SHA256 Credential=KEY/DATE/SERVICE/aws4_request, ...   (SigV4A)
    ?X-Amz-Credential=KEY/DATE/REGION/SERVICE/aws4_request                         presigned

    name = "aws:" SERVICE ":" Operation    aws:ec2:TerminateInstances, aws:dynamodb:DeleteTable

All discriminators are collected, whatever the service would do with them; more than one is a conflict:

    body Action=DescribeInstances, URL ?Action=TerminateInstances      conflict
    Action twice, "action" beside "Action", a form under text/plain    conflict
    signed for sts, sent to ec2.eu-west-1.amazonaws.com                conflict
    X-Amz-Target on lambda.eu-west-1.amazonaws.com                     not recognised: Lambda ignores it
    the body was not read                                              unreadable
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mappings.bodies import AWS_JSON_TYPES, read_json
from mappings.forms import FORM, read_form
from mappings.packs.aws_services import SERVICES, Service
from mappings.packs.aws_signature import CredentialError, account_of_key, place_of_host, scope_of
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict
from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

OPERATION = re.compile(r"[A-Za-z][A-Za-z0-9]{0,127}")
"""Smithy shape identifiers without the "_" that no AWS operation has."""

CBOR_PATH = re.compile(r"/service/(?P<name>[A-Za-z0-9_.]+)/operation/(?P<operation>[A-Za-z0-9_]+)")
"""Smithy, "RPC v2 CBOR protocol", URI."""

QUEUE_PATH = re.compile(r"/[0-9]{12}/[A-Za-z0-9_.-]+")
"""SQS takes Query requests at the queue's own URL too (SQS developer guide, "Query API requests")."""

LIST_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

MEMBER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9]*)(?:\.member)?\.(?P<number>[0-9]{1,9})")
"""Numbered list members: ec2Query "InstanceId.1", awsQuery "Names.member.1"."""

MEDIA_TYPES = {"json": AWS_JSON_TYPES, "cbor": frozenset({"application/cbor"})}
"""Smithy, "AWS JSON 1.0/1.1 protocol" and "RPC v2 CBOR protocol"."""

TRUSTED = frozenset({"account", "region", "service"})
"""What the signature binds the call to; parameters are not among them."""

NAMING_FIELDS = (
    *("InstanceId", "DBInstanceIdentifier", "DBClusterIdentifier", "StackName", "TableName", "TableArn"),
    *("SecretId", "ClusterIdentifier", "ReplicationGroupId", "CacheClusterId", "EnvironmentName"),
    *("AutoScalingGroupName", "LoadBalancerArn", "RoleName", "UserName", "GroupName", "PolicyArn", "RoleArn"),
    *("KeyId", "QueueUrl", "TopicArn", "TargetArn", "StreamName", "logGroupName", "repositoryName"),
    *("stateMachineArn", "clusterName", "VolumeId", "VpcId", "SubnetId", "GroupId", "SnapshotId", "ImageId"),
    *("Name", "name"),
)
"""Where a call names what it acts on, most telling first; for targets only, never to classify."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """Where a request goes and for whom."""

    service: Service
    region: str
    """ "" when neither host nor signature says."""
    account: str
    """Twelve digits, or "" when the access key does not say."""


@dataclass(frozen=True, slots=True)
class Found:
    """One discriminator: where it stood, the operation it names, and the parameters that go with it."""

    protocol: str
    """ "json", "query" or "cbor"."""
    operation: str
    prefix: str = ""
    """What stood before the operation in X-Amz-Target, or the service in an rpcv2Cbor path."""


class RefusedError(Exception):
    """The request reads in two ways or in none."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


class AwsPack:
    """The RPC services of AWS, on Amazon's hosts and on stand-ins that an operator binds."""

    name = "aws"
    family = "aws"
    hosts: tuple[str, ...] = ("*.amazonaws.com", "*.amazonaws.com.cn", "*.api.aws")
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:
        """Forms name the operation in the body, and JSON bodies hold what it acts on."""
        return isinstance(_addressed(request), Addressed)

    def recognise(self, request: Request) -> Recognition:
        """Name one call; conflict when anything in it could name a second."""
        addressed = _addressed(request)
        return _recognise(request, addressed) if isinstance(addressed, Addressed) else addressed


def _addressed(request: Request) -> Addressed | Recognition:
    """Which service and region a request goes to, and for whom; else the answer to give."""
    try:
        scope = scope_of(request)
    except CredentialError as error:
        return conflict(str(error))
    place = place_of_host(request.host)
    # On an Amazon host of no known service the scope counts for nothing: API Gateway, for one, serves whoever
    # owns it, checks no signature unless told to, and would make of "ec2" whatever its owner likes.
    name = place.service if place else scope.service if scope else ""
    service = SERVICES.get(name)
    if service is None:
        return NOT_RECOGNISED
    if scope and scope.service != service.name:
        return conflict("the request is signed for another service than the one its host names")
    if scope and place and place.region and scope.region not in ("", place.region):
        return conflict("the request is signed for another region than the one its host names")
    region = (place.region if place else "") or (scope.region if scope else "")
    return Addressed(service, region, account_of_key(scope.key_id) if scope else "")


def _recognise(request: Request, addressed: Addressed) -> Recognition:
    try:
        parameters = _body_parameters(request)
        found = _discriminators(request, parameters)
        if len(found) > 1:
            return conflict("the request names an operation in more than one place")
        if not found or not OPERATION.fullmatch(found[0].operation):
            return NOT_RECOGNISED
        only = found[0]
        if not _speaks(request, addressed.service, only):
            return NOT_RECOGNISED
        if only.protocol != "query" and only.prefix not in addressed.service.target_prefixes:
            return conflict("the operation belongs to another service than the one called")
        if only.protocol != "query" and request.body and _media_type(request) not in MEDIA_TYPES[only.protocol]:
            return conflict("the body is of another content type than the operation's protocol has")
        if only.protocol == "query" and request.body == b"":
            parameters = _query_parameters(request)
        return Recognition((_call(request, addressed, only.operation, parameters),))
    except RefusedError as refused:
        return Recognition((), refused.problem)


def _speaks(request: Request, service: Service, found: Found) -> bool:
    """Whether this service would take its operation from there, on this path and by this method."""
    if found.protocol not in service.protocols:
        return False
    if found.protocol == "cbor":
        return request.method == "POST"
    if found.protocol == "json":
        return request.method == "POST" and request.path == "/"
    at_queue = service.name == "sqs" and QUEUE_PATH.fullmatch(request.path) is not None
    return request.method in ("GET", "POST") and (request.path == "/" or at_queue)


def _discriminators(request: Request, parameters: Mapping[str, object]) -> tuple[Found, ...]:
    """Everything in the request that some AWS front end takes an operation from."""
    found = []
    for value in request.header_values("x-amz-target"):
        prefix, _, operation = value.rpartition(".")
        found.append(Found("json", operation, prefix))
    for key, value in request.query:
        # Front ends trim and fold; a lower-case twin of "Action" is never sent by a real client.
        if key.strip().casefold() == "action":
            found.append(Found("query", value if key == "Action" else ""))
    if _is_form(request):
        for key, parameter in parameters.items():
            if key.strip().casefold() == "action":
                found.append(Found("query", str(parameter) if key == "Action" else ""))
    match = CBOR_PATH.fullmatch(request.path)
    if match or request.header("smithy-protocol") is not None:
        found.append(Found("cbor", match["operation"], match["name"]) if match else Found("cbor", ""))
    return tuple(found)


def _is_form(request: Request) -> bool:
    return _media_type(request) == FORM


def _media_type(request: Request) -> str:
    values = request.header_values("content-type")
    if len(values) > 1:
        raise RefusedError(CONFLICT, "the request has two content types")
    media_type, _, parameters = (values[0] if values else "").partition(";")
    charset = parameters.partition("=")[2].strip(' "').lower()
    if charset not in ("", "utf-8"):
        raise RefusedError(CONFLICT, "the body is not declared as UTF-8")
    return media_type.strip().lower()


def _body_parameters(request: Request) -> Mapping[str, object]:
    """The parameters in the body; what names an operation under a wrong content type is ambiguous."""
    body = request.body
    if body == b"":
        return {}
    if (request.header("content-encoding") or "identity").lower() != "identity":
        raise RefusedError(UNREADABLE, "the body is encoded; send it plain")
    if body is None:
        raise RefusedError(UNREADABLE, "the body was not read")
    media_type = _media_type(request)
    if any(key.strip().casefold() == "action" for key, _ in request.query):
        raise RefusedError(CONFLICT, "the operation stands in the URL, and there is a body beside it")
    if media_type == FORM:
        return _read(read_form(body))
    if media_type in AWS_JSON_TYPES:
        return _read(read_json(request))
    if media_type in MEDIA_TYPES["cbor"]:
        return {}
    if b"action=" in body.lower():
        raise RefusedError(CONFLICT, "the body is a form under another content type")
    return {}


def _read(found: object) -> Mapping[str, object]:
    """Return the parameters that a body turned out to hold."""
    if isinstance(found, Problem):
        raise RefusedError(found.code, found.message)
    if not isinstance(found, dict):
        raise RefusedError(UNREADABLE, "the body is not a JSON object")
    return found


def _query_parameters(request: Request) -> Mapping[str, object]:
    pairs = [(key, value) for key, value in request.query if not key.startswith("X-Amz-")]
    if len(dict(pairs)) < len(pairs):
        raise RefusedError(CONFLICT, "a query parameter stands twice")
    return dict(pairs)


def _call(request: Request, addressed: Addressed, operation: str, parameters: Mapping[str, object]) -> Call:
    service, region, account = addressed.service.name, addressed.region, addressed.account
    name = next((text for key in NAMING_FIELDS if (text := parameters.get(key)) and isinstance(text, str)), "")
    captures = {
        "service": service,
        "operation": operation,
        "region": region,
        "account": account,
        "name": name,
    }
    target = "/".join(("aws", account or request.host, region, service, name)).rstrip("/")
    return Call(f"aws:{service}:{operation}", captures, _lists(parameters), trusted=TRUSTED, target=target)


def _lists(parameters: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Lists of text by their name: JSON arrays, and numbered form fields in the order of their numbers."""
    numbered: dict[str, dict[int, str]] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for key, value in parameters.items():
        if isinstance(value, list) and LIST_NAME.fullmatch(key):
            lists[key] = tuple(item for item in value if isinstance(item, str))
        elif isinstance(value, str) and (match := MEMBER.fullmatch(key)):
            members = numbered.setdefault(match["name"], {})
            number = int(match["number"])
            if number in members:
                raise RefusedError(CONFLICT, "a numbered form field stands twice")
            members[number] = value
    return lists | {key: tuple(members[number] for number in sorted(members)) for key, members in numbered.items()}


PACK = AwsPack()
