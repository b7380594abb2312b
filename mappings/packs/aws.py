"""Names AWS calls: every operation of every service in the catalogue, by the protocols that the service speaks.

Decides nothing about permission. The order: host, services (`mappings.packs.aws_addresses`), discriminator, operation.

    name = "aws:" SIGNING-NAME ":" Operation       aws:ec2:TerminateInstances, aws:s3:PutObject

    REST services                 `mappings.packs.aws_rest`: method, path, query; X-Amz-Target counts for nothing
    JSON, Query, rpcv2Cbor        `mappings.packs.aws_rpc`: header, form, path
    both on one host (ses)        by the path; a REST path beside an operation in the head is a conflict

    PUT /b/k with x-amz-copy-source and x-amz-acl              CopyObject, PutObjectAcl, and GetObject of the source
    PUT /b/k?brand-new on s3.eu-west-1.amazonaws.com           not recognised
    Action=BrandNewThing on ec2.eu-west-1.amazonaws.com        not recognised: the wire names it, and nobody knows
                                                               whether it starts, tells or takes away something
    body Action=DescribeInstances, URL ?Action=TerminateInstances      conflict
"""

from __future__ import annotations

from mappings.catalogues import Archive, CatalogueError
from mappings.packs.aws_addresses import Addressed, Addresses
from mappings.packs.aws_calls import rest_call, rpc_call
from mappings.packs.aws_catalogue import Catalogue, Operation
from mappings.packs.aws_hosts import ACCOUNT
from mappings.packs.aws_rest import TwoReadingsError, find_route
from mappings.packs.aws_rpc import RefusedError, at_rpc_path, find_operation, named_beside
from mappings.packs.aws_s3 import BUCKET, OWNER, S3, copy_source, effects, segments_of, values
from mappings.recognition import NOT_RECOGNISED, Recognition, conflict, unreadable
from mappings.request import Request

COPIES = frozenset({"CopyObject", "UploadPartCopy"})

EC2 = "ec2"
TAG_SPECIFICATION = "TagSpecification."
"""Begins the parameters of an EC2 call that makes tags beside what it makes (EC2 API reference, "TagSpecification")."""


class AwsPack:
    """AWS, on Amazon's hosts and on stand-ins that an operator binds."""

    reads_prefix = False
    keeps_encoded_slashes = True
    """ARNs stand in paths with their slashes encoded; these services split before they decode."""

    def __init__(self, archive: Archive) -> None:
        self.name = archive.header.family
        self.family = archive.header.refusals or archive.header.family
        self.hosts = archive.header.hosts
        self._addresses = Addresses(Catalogue(archive))

    def needs_body(self, request: Request) -> bool:
        """Forms name the operation in the body, and other RPC bodies hold what it acts on; REST streams."""
        addressed = self._addressed(request)
        return isinstance(addressed, Addressed) and addressed.group.rpc and at_rpc_path(request)

    def recognise(self, request: Request) -> Recognition:
        """Return the calls the request makes; conflict when anything in it could name others."""
        addressed = self._addressed(request)
        if isinstance(addressed, Recognition):
            return addressed
        try:
            if addressed.group.rpc and (not addressed.group.rest or at_rpc_path(request)):
                return _by_name(request, addressed)
            found = _by_route(request, addressed)
            if found.calls and addressed.group.rpc and named_beside(request):
                return conflict("the request names an operation by its path and beside it")
            return found
        except RefusedError as refused:
            return Recognition((), refused.problem)
        except TwoReadingsError as error:
            return conflict(str(error))

    def _addressed(self, request: Request) -> Addressed | Recognition:
        try:
            return self._addresses.of(request)
        except CatalogueError:
            return unreadable(f'the catalogue of "{self.name}" cannot be read')


def _by_name(request: Request, addressed: Addressed) -> Recognition:
    found = find_operation(request, addressed.group)
    if found is None:
        return NOT_RECOGNISED
    operation, parameters = found
    if not operation.known:
        # Under a name of its own it would be within reach of "aws:**" in an allow list, which nothing else new is.
        return NOT_RECOGNISED
    call = rpc_call(addressed.place, operation, parameters)
    if operation.service == EC2 and any(key.startswith(TAG_SPECIFICATION) for key in parameters):
        tags = _beside(addressed, "CreateTags")
        return Recognition((call, rpc_call(addressed.place, tags, parameters)))
    return Recognition((call,))


def _by_route(request: Request, addressed: Addressed) -> Recognition:
    segments = segments_of(request.path, addressed.s3)
    found = find_route(request, addressed.group, segments, addressed.key) if segments is not None else None
    if segments is None or found is None:
        return NOT_RECOGNISED
    hit, entry = found
    labels = hit.captures(segments)
    operation = entry.operation
    # The routes of s3control hold buckets too, further back.
    if operation.service != S3 or not segments or labels.get("Bucket") != segments[0]:
        return Recognition((rest_call(addressed.place, operation, labels),))
    if not BUCKET.fullmatch(labels["Bucket"]):
        return NOT_RECOGNISED
    return _s3_calls(request, addressed, operation, labels)


def _s3_calls(request: Request, addressed: Addressed, operation: Operation, labels: dict[str, str]) -> Recognition:
    if "Key" in labels and request.path.endswith("/"):
        labels["Key"] += "/"
    owners = values(request, OWNER)
    owner = owners[0] if len(owners) == 1 and ACCOUNT.fullmatch(owners[0]) else ""
    done = (operation, *(_beside(addressed, wire) for wire in effects(request, operation.wire)))
    calls = [rest_call(addressed.place, each, dict(labels), owner) for each in done]
    if operation.wire in COPIES:
        source = copy_source(request)
        if source is None:
            return unreadable("what the copy reads cannot be told; write x-amz-copy-source as BUCKET/KEY")
        bucket, key = source
        read = _beside(addressed, "GetObject")
        calls.append(rest_call(addressed.place, read, {"Bucket": bucket, "Key": key}, ""))
    return Recognition(tuple(calls))


def _beside(addressed: Addressed, wire: str) -> Operation:
    """Return another operation of the services called, which the request performs as well."""
    return addressed.group.operation(addressed.group.services, wire)
