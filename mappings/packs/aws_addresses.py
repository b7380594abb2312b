"""Says which AWS services a request may be for, where, and for whom: from its host and its signature.

On a host of Amazon's the host decides, and a signature for another service or region is a conflict; AWS would refuse
it. Hosts of Amazon's that customers own (execute-api, lambda-url, load balancers, OpenSearch domains, clusters of EKS,
S3 web sites) belong to no service: what stands behind them obeys its owner, whatever is signed. Any other host is a
stand-in that an operator bound, and the signature decides.

    lambda.eu-west-1.amazonaws.com, unsigned            lambda and the services that share its host
    ec2.test, signed for ec2                            ec2
    ec2.test, unsigned                                  not recognised
    abc.execute-api.eu-west-1.amazonaws.com             not recognised
    orders.s3.minio.test                                not recognised: stand-ins have the bucket in the path
    signed for sts, sent to ec2.eu-west-1...            conflict
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mappings.packs.aws_calls import Place
from mappings.packs.aws_catalogue import Catalogue, Group
from mappings.packs.aws_hosts import ACCOUNT, keys_of, parts_of
from mappings.packs.aws_s3 import S3, S3Place, s3_place
from mappings.packs.aws_signature import CredentialError, Scope, scope_of
from mappings.recognition import NOT_RECOGNISED, Recognition, conflict
from mappings.request import Request

PRIVATE_API = "execute-api"
"""Inside a VPC that host serves whatever API its owner put there (API Gateway developer guide, "Private REST APIs")."""

MAX_HOSTS = 1024
"""Hosts kept read; an agent that makes up more of them pays for each."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """Where a request goes and for whom."""

    group: Group
    place: Place
    key: str
    """Of the host, "" for a stand-in."""
    s3: S3Place | None


@dataclass(frozen=True, slots=True)
class _Host:
    """What a host name of Amazon's leads to."""

    services: tuple[str, ...]
    """Members of the catalogue; () when it belongs to no service."""
    region: str
    key: str = ""
    account: str = ""
    s3: S3Place | None = None


class Addresses:
    """The way from requests to the services of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._host = lru_cache(MAX_HOSTS)(self._read_host)

    def of(self, request: Request) -> Addressed | Recognition:
        """Return where a request goes, else the answer to give; raises CatalogueError."""
        try:
            scope = scope_of(request)
        except CredentialError as error:
            return conflict(str(error))
        host = self._host(request.host)
        if host is None:
            return self._stand_in(request, scope)
        if not host.services:
            return NOT_RECOGNISED
        group = self._catalogue.group(host.services)
        if scope is None:
            return Addressed(group, Place(request.host, host.region, "", host.account), host.key, host.s3)
        if scope.service not in group.names:
            return conflict("the request is signed for another service than the one its host names")
        if len(host.services) > 1:
            group = self._catalogue.group(self._catalogue.narrowed(host.services, scope.service))
        if host.region and scope.region not in ("", host.region) and not group.one_region:
            return conflict("the request is signed for another region than the one its host names")
        # What AWS checks the signature for goes before what the host says.
        place = Place(request.host, scope.region or host.region, scope.account, host.account)
        return Addressed(group, place, host.key, host.s3)

    def _read_host(self, name: str) -> _Host | None:
        parts = parts_of(name, self._catalogue.suffixes)
        if parts is None:
            return None
        s3 = s3_place(parts)
        if s3 is not None:
            return _Host(s3.services, s3.region, s3.label, s3=s3)
        for key in keys_of(parts.labels):
            services = self._catalogue.hosts.get(key)
            if services and not (parts.inside and key == PRIVATE_API):
                account = parts.labels[0] if ACCOUNT.fullmatch(parts.labels[0]) else ""
                return _Host(services, parts.region, key, account)
        return _Host((), parts.region)

    def _stand_in(self, request: Request, scope: Scope | None) -> Addressed | Recognition:
        ids = self._catalogue.signed_for(scope.service) if scope else ()
        # Were "b.s3.test" taken for path-style, an object would be named as a bucket: DeleteBucket for DeleteObject.
        if scope is None or not ids or (S3 in ids and ".s3." in request.host):
            return NOT_RECOGNISED
        if S3 in ids:
            ids = (S3,)
        return Addressed(self._catalogue.group(ids), Place(request.host, scope.region, scope.account, ""), "", None)
