"""Writes the calls of an AWS request: what they act on, where, for whom, and what else the request does.

`Call.trusted` holds what the server obeys: region, service, labels of the path, and the account. The account is that
of the access key; a request that also mentions another one, in a host, an ARN or the address of a queue, may take
effect there, and a bucket may be anybody's. The account is then "unknown", which fits no environment.

    signed for 1111..., POST /2015-03-31/functions/arn:aws:lambda:eu-west-1:2222...:function:f/invocations   unknown
    signed for 1111..., GET BUCKET.s3.eu-west-1                                                            unknown
    the same with x-amz-expected-bucket-owner: 1111...      1111..., since S3 refuses when it is another's
    signed with a key from before 2019                      "", since the key does not say
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mappings.packs.aws_catalogue import Operation
from mappings.packs.aws_hosts import ACCOUNT
from mappings.packs.aws_rpc import Parameters, RefusedError
from mappings.recognition import Call
from mappings.resolution import CONFLICT

LIST_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

MEMBER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9]*)(?:\.member)?\.(?P<number>[0-9]{1,9})")
"""Numbered list members: ec2Query "InstanceId.1", awsQuery "Names.member.1"."""

MAX_NAME_CHARS = 1024
"""Of what a target shows; an S3 key has at most that many bytes (S3 user guide, "Naming Amazon S3 objects")."""

TRUSTED = frozenset({"account", "region", "service"})
"""What the signature binds the call to; parameters are not among them."""

UNKNOWN_ACCOUNT = "unknown"

ACCOUNT_FIELD = 4
"""Where the account stands in an ARN: arn:partition:service:region:account (IAM user guide, "IAM identifiers")."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes and for whom."""

    host: str
    region: str
    """ "" when neither host nor signature says."""
    account: str
    """Of the access key: twelve digits, or "" when it does not say."""
    host_account: str
    """Of the host, for hosts that hold one; else ""."""


def rest_call(place: Place, operation: Operation, labels: dict[str, str], owner: str | None = None) -> Call:
    """Return the call of a route; `owner` is whose bucket it must be, "" for anybody's, None for other services."""
    name = "/".join(labels.values())
    account = _account(place, labels.values())
    if owner is not None:
        account = owner or (UNKNOWN_ACCOUNT if place.account else "")
    return _call(place, operation, labels, {}, name, account, _trusted(tuple(labels)))


def rpc_call(place: Place, operation: Operation, parameters: Parameters) -> Call:
    """Return the call of an operation that the request names itself."""
    texts = [text for key in operation.naming if isinstance(text := parameters.get(key), str) and text]
    account = _account(place, (value for value in parameters.values() if isinstance(value, str)))
    lists = _lists(parameters)
    captures: dict[str, str] = {}
    if operation.service == "dynamodb":
        tables, deletes = _tables(operation.wire, parameters)
        lists |= {"TableName": tables} if tables else {}
        captures = {"deletes": deletes} if deletes else {}
    return _call(place, operation, captures, lists, "/".join(texts), account, TRUSTED)


def _call(
    place: Place,
    operation: Operation,
    captures: dict[str, str],
    lists: Mapping[str, tuple[str, ...]],
    name: str,
    account: str,
    trusted: frozenset[str],
) -> Call:
    name = name[:MAX_NAME_CHARS]
    captures |= {
        "service": operation.service,
        "operation": operation.wire,
        "region": place.region,
        "account": account,
        "name": name,
    }
    return Call(
        operation.name,
        captures,
        lists,
        trusted,
        target="/".join(("aws", account or place.host, place.region, operation.service, name)).rstrip("/"),
        access=operation.access,
        executes=operation.executes,
        mints=operation.mints,
        known=operation.known,
    )


@lru_cache(maxsize=4096)
def _trusted(labels: tuple[str, ...]) -> frozenset[str]:
    return TRUSTED | frozenset(labels) | {"name"}


def _account(place: Place, texts: Iterable[str]) -> str:
    """Return the account a call is for, as far as that can be told."""
    account = place.account
    if not account:
        return ""
    if place.host_account not in ("", account):
        return UNKNOWN_ACCOUNT
    mentioned = (named for text in texts if (named := account_in(text)))
    return UNKNOWN_ACCOUNT if any(named != account for named in mentioned) else account


def account_in(text: str) -> str:
    """Return the account that a parameter names: by itself, in an ARN, or as the owner of a queue; else ""."""
    if text.startswith("arn:"):
        fields = text.split(":", ACCOUNT_FIELD + 1)
        named = fields[ACCOUNT_FIELD] if len(fields) > ACCOUNT_FIELD else ""
    elif text.startswith("https://"):
        # SQS developer guide, "Queue and message identifiers": https://sqs.REGION.amazonaws.com/ACCOUNT/NAME
        _, _, _, named, *_ = (*text.split("/", 4), "", "", "")
    else:
        named = text
    return named if ACCOUNT.fullmatch(named) else ""


def _lists(parameters: Parameters) -> dict[str, tuple[str, ...]]:
    """Lists of text by their name: arrays, and numbered form fields in the order of their numbers."""
    numbered: dict[str, dict[int, str]] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for key, value in parameters.items():
        if isinstance(value, list) and LIST_NAME.fullmatch(key):
            lists[key] = tuple(item for item in value if isinstance(item, str))
        elif isinstance(value, str) and "." in key and (match := MEMBER.fullmatch(key)):
            members = numbered.setdefault(match["name"], {})
            number = int(match["number"])
            if number in members:
                raise RefusedError(CONFLICT, "a numbered form field stands twice")
            members[number] = value
    return lists | {key: tuple(members[number] for number in sorted(members)) for key, members in numbered.items()}


def _tables(wire: str, parameters: Parameters) -> tuple[tuple[str, ...], str]:
    """Return the tables of a batch or transaction of DynamoDB, and whether it deletes: "true", "false" or ""."""
    items = parameters.get("RequestItems")
    if wire in ("BatchWriteItem", "BatchGetItem") and isinstance(items, dict):
        writes = [set(each) for each in _objects(*items.values())]
        plain = bool(writes) and all(each == {"PutRequest"} for each in writes)
        return tuple(items), "" if wire == "BatchGetItem" else _word(plain)
    items = parameters.get("TransactItems")
    if wire in ("TransactWriteItems", "TransactGetItems") and isinstance(items, list):
        kinds = [set(each) for each in _objects(items)]
        names = {str(part.get("TableName", "")): None for each in _objects(items) for part in _objects(each.values())}
        plain = len(kinds) == len(items) > 0 and all(each and each <= _KEEPING for each in kinds)
        return tuple(names), "" if wire == "TransactGetItems" else _word(plain)
    return (), ""


_KEEPING = frozenset({"Put", "Update", "ConditionCheck"})


def _word(plain: bool) -> str:
    return "false" if plain else "true"


def _objects(*lists: object) -> Iterator[dict[str, object]]:
    for each in lists:
        if isinstance(each, Iterable) and not isinstance(each, str | bytes | dict):
            yield from (item for item in each if isinstance(item, dict))
