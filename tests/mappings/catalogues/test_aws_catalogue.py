"""The AWS catalogue as it ships: whole, consistent, and read with rules that leave no door to destruction mild."""

import re
from functools import cache
from pathlib import Path

import pytest

from mappings import Request, canonical_action, compile_mappings, read_document
from mappings.catalogues import shipped
from mappings.packs.aws_catalogue import Catalogue, Operation
from mappings.recognition import Call, Recognition

ARCHIVE = shipped()["aws"]
RULES = Path(__file__).parents[3] / "mappings" / "packs" / "aws.yaml"

LARGEST = 330_000
"""Bytes; what the catalogues together may take is a megabyte."""

TAKING_AWAY = re.compile(r"(?:Batch)?(?:Delete|Terminate|Purge|Deregister)(?![a-z])")

GRAVE = frozenset(
    {"infra:destroy", "data:delete", "iam:change", "repo:push", "repo:delete", "repo:delete-ref", "pr:approve"}
)
"""What taking away may be called; the words of repositories say what is taken from them."""


class Named:
    """A pack that recognises whatever call it is told to."""

    name = family = "aws"
    hosts = ("aws.test",)
    reads_prefix = False
    call = Call("aws:x:Y", {})

    def needs_body(self, request: Request) -> bool:
        return False

    def recognise(self, request: Request) -> Recognition:
        return Recognition((self.call,))


PACK = Named()
MAPPINGS = compile_mappings([read_document(RULES.read_text("utf-8"), "pack:aws")], [PACK])


@cache
def operations() -> dict[str, Operation]:
    """All operations by name."""
    catalogue = Catalogue(ARCHIVE)
    groups = (catalogue.group((service,)) for service in catalogue.services)
    return {operation.name: operation for group in groups for operation in group.operations.values()}


def actions(operation: Operation) -> set[str]:
    """What rules call an operation, all of which a policy must allow."""
    PACK.call = Call(
        operation.name,
        {},
        access=operation.access,
        executes=operation.executes,
        mints=operation.mints,
        known=operation.known,
    )
    found = MAPPINGS.resolve(Request("GET", "https", "aws.test", 443, "/", (), (), b"")).operations
    return {each.action for each in found}


def test_the_file_is_small() -> None:
    """The largest catalogue leaves room for the others."""
    from mappings.catalogues import SHIPPED

    assert (SHIPPED / ARCHIVE.header.file).stat().st_size <= LARGEST


def test_every_service_of_every_host_is_there() -> None:
    """No host leads to a service without a member, and no member is out of reach."""
    catalogue = Catalogue(ARCHIVE)
    members = {name.removesuffix(".json") for name in ARCHIVE.members} - {"index"}
    assert members == set(catalogue.services)
    reached = {service for services in catalogue.hosts.values() for service in services}
    assert members - reached == {"s3"}, "the hosts of S3 are read by code"


def test_every_name_can_be_an_action() -> None:
    """An operation that no rule names is judged by its own name."""
    for name in operations():
        canonical_action(name)


def test_services_that_share_a_host_never_share_a_prefix() -> None:
    """X-Amz-Target leads to one service."""
    catalogue = Catalogue(ARCHIVE)
    for services in catalogue.hosts.values():
        prefixes = [catalogue.services[id_].target_prefix for id_ in services if catalogue.services[id_].target_prefix]
        assert len(prefixes) == len(set(prefixes)), services


def test_taking_away_never_has_a_mild_name() -> None:
    """Every operation of every service that deletes, terminates or deregisters is called something grave."""
    wrong = {
        name: words
        for name, operation in operations().items()
        if TAKING_AWAY.match(operation.wire) and not (words := actions(operation)) & GRAVE
    }
    assert not wrong


def test_reading_is_called_reading() -> None:
    """No operation that only reads or lists is named by a word for a change, so that it can be allowed."""
    changes = re.compile(r"(?:infra|deploy|iam|repo|pr|ci|code):")
    wrong = {
        name: words
        for name, operation in operations().items()
        if operation.access in ("read", "list") and not operation.executes
        if any(map(changes.match, words := actions(operation)))
    }
    assert not wrong


def test_what_mints_is_never_called_reading_data() -> None:
    """What hands out credentials is a secret that is read, or a change of who may do what, or a shell."""
    words = {"secret:read", "iam:change", "code:execute"}
    wrong = {name: actions(each) for name, each in operations().items() if each.mints and not actions(each) <= words}
    assert not wrong


def test_what_executes_is_bounded_by_no_mild_word() -> None:
    """What sets something going elsewhere has a word that says so; a new machine is the one exception."""
    words = {"code:execute", "infra:apply", "ci:run", "deploy:unknown", "deploy:rollback-unknown", "iam:change"}
    machines = {"RunInstances", "RunScheduledInstances", "RequestSpotInstances", "RequestSpotFleet", "CreateFleet"}
    machines |= {"LaunchInstances", "CreateInstances", "CreateInstancesFromSnapshot"}
    wrong = {
        name: actions(each)
        for name, each in operations().items()
        if each.executes and each.wire not in machines and not actions(each) & words
    }
    assert not wrong


KNOWN = (
    ("a list", "aws:ec2:DescribeInstances", "list", False, False),
    ("a read that mints", "aws:secretsmanager:GetSecretValue", "read", False, True),
    ("a name that sounds like a read", "aws:sts:GetFederationToken", "write", False, True),
    ("S3 by IAM's other name", "aws:s3:ListObjectsV2", "list", False, False),
    ("permissions", "aws:s3:PutBucketPolicy", "permissions", False, False),
    ("permissions by another name", "aws:s3:PutPublicAccessBlock", "permissions", False, False),
    ("tagging", "aws:ec2:CreateTags", "tagging", False, False),
    ("a function", "aws:lambda:Invoke", "write", True, False),
    ("a template", "aws:cloudformation:CreateStack", "write", True, False),
    ("a shell", "aws:ssm:StartSession", "write", True, True),
    ("marked as a read by its model", "aws:ivs:StartViewerSessionRevocation", "write", False, False),
)


@pytest.mark.parametrize(
    ("name", "access", "executes", "mints"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN]
)
def test_what_is_known_of_an_operation(name: str, access: str, executes: bool, mints: bool) -> None:
    """Access comes from IAM, and never from how a name sounds."""
    operation = operations()[name]
    assert (operation.access, operation.executes, operation.mints) == (access, executes, mints)
