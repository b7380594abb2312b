"""What is S3's own: buckets in host names, and requests that do more than their operation's name says.

Decides neither access nor action. Host forms (S3 user guide, "Virtual hosting of buckets", "Using access points",
"AWS PrivateLink for Amazon S3"; botocore, the rule set of s3), each also with fips and dualstack:

    s3.eu-west-1, s3-eu-west-1, s3                        the bucket is the first segment of the path
    BUCKET.s3.eu-west-1, a.b.s3.eu-west-1                 the bucket is what stands before "s3", dots and all
    NAME-ACCOUNT.s3-accesspoint.eu-west-1                 an access point counts as a bucket of that name
    BUCKET--use1-az4--x-s3.s3express-use1-az4.us-east-1   a directory bucket
    NAME-ACCOUNT.op-0a1b.s3-outposts.us-east-1            a bucket on an outpost
    BUCKET.bucket.vpce-0a-b.s3.us-east-1.vpce             inside a VPC
    BUCKET.s3-website.eu-west-1                           None: a web site, not the API
    x.vpce-0a-b.s3.us-east-1.vpce                         None: no kind of endpoint that is known
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from mappings.packs.aws_hosts import REGION, HostParts
from mappings.paths import split_path
from mappings.request import Request

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
"""S3 user guide, "General purpose bucket naming rules"; before 2018 also capitals, "_" and 255 characters."""

S3 = "s3"
"""Signing name of S3, name of its member, and the label of its hosts."""

OBJECT_LAMBDA = "s3-object-lambda"
RESPONSE_PATH = "/WriteGetObjectResponse"
"""The one operation whose path begins with no bucket; only Object Lambda hosts take it."""

_TOKENS = frozenset({"s3", "s3-external-1", "s3-accelerate", "s3-accesspoint", OBJECT_LAMBDA, "s3express-control"})
_WITH_BUCKET = frozenset({"s3-accesspoint", "s3-accelerate", "s3-outposts", "s3-global"})
_ZONE = re.compile(r"s3express-[a-z0-9]+-az[0-9]+")
_INSIDE = frozenset({"bucket", "accesspoint", "control"})

OWNER = "x-amz-expected-bucket-owner"
"""S3 refuses the request when the bucket belongs to another account, so this is who it is for."""

SOURCE = "x-amz-copy-source"

EFFECTS: tuple[tuple[str, str, str], ...] = (
    ("x-amz-acl", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-grant-read", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-grant-write", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-grant-read-acp", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-grant-write-acp", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-grant-full-control", "PutObjectAcl", "PutBucketAcl"),
    ("x-amz-tagging", "PutObjectTagging", ""),
    ("x-amz-object-lock-mode", "PutObjectRetention", ""),
    ("x-amz-object-lock-retain-until-date", "PutObjectRetention", ""),
    ("x-amz-object-lock-legal-hold", "PutObjectLegalHold", ""),
)
"""Headers that do something else beside: what to an object, what to a bucket (Service Authorization Reference,
"Actions, resources, and condition keys for Amazon S3": the further actions that such a request needs)."""

_WRITES_OBJECT = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})
_WRITES_BUCKET = frozenset({"CreateBucket"})


@dataclass(frozen=True, slots=True)
class S3Place:
    """What a host of S3 says."""

    label: str
    """Its label: ``s3``, ``s3-accesspoint``, ``s3express-control``..."""
    bucket: str
    """ "" when the path begins with the bucket."""
    region: str

    @property
    def services(self) -> tuple[str, ...]:
        """The members of the catalogue whose operations it takes."""
        if self.label == "control":
            return ("s3control",)
        return ("s3", "s3control") if self.label == "s3express-control" else ("s3",)


def s3_place(parts: HostParts) -> S3Place | None:
    """Return what the host says, None when it is none of S3 objects and buckets."""
    labels = list(parts.raw)
    if parts.region:
        if labels[-1] != parts.region:
            return None
        labels.pop()
    if labels and labels[-1] == "dualstack":
        labels.pop()
    if not labels:
        return None
    kind, region = _kind(labels.pop().removesuffix("-fips").replace("s3express-fips-", "s3express-"))
    if not kind:
        return None
    if parts.inside:
        if kind != "s3" or not labels or labels[-1] not in _INSIDE:
            return None
        kind = "control" if labels[-1] == "control" else kind
        labels.pop()
    elif kind == "s3-global" and (not labels or labels.pop() != "accesspoint"):
        return None
    if kind in _WITH_BUCKET and not labels:
        return None
    bucket = "" if kind == "control" else ".".join(labels)
    return S3Place(kind, bucket, parts.region or region) if not bucket or BUCKET.fullmatch(bucket) else None


def _kind(label: str) -> tuple[str, str]:
    if label in _TOKENS or label in _WITH_BUCKET or _ZONE.fullmatch(label):
        return label, ""
    # "s3-eu-west-1", "s3-us-gov-west-1": hosts from before 2014, still served.
    region = label.removeprefix("s3-")
    return ("s3", region) if region != label and REGION.fullmatch(region) else ("", "")


def segments_of(path: str, place: S3Place | None) -> tuple[str, ...] | None:
    """Return the segments that routes are sought by, the bucket first wherever it stands; None when none can fit."""
    segments = split_path(path)
    if place is None or segments is None:
        return segments
    if path == RESPONSE_PATH:
        return segments if place.label == OBJECT_LAMBDA else None
    return (place.bucket, *segments) if place.bucket else segments


def values(request: Request, name: str) -> tuple[str, ...]:
    """Return the values of a header, also where a presigned URL has it: as a query parameter in any case."""
    found = request.header_values(name)
    if request.query:
        found += tuple(value for key, value in request.query if key.lower() == name)
    return found


def effects(request: Request, wire: str) -> Iterator[str]:
    """Yield the further operations that a request performs, by their names on the wire; each once."""
    if wire in _WRITES_OBJECT or wire in _WRITES_BUCKET:
        found = {
            to_object if wire in _WRITES_OBJECT else to_bucket
            for name, to_object, to_bucket in EFFECTS
            if values(request, name)
        }
        yield from sorted(found - {""})


def copy_source(request: Request) -> tuple[str, str] | None:
    """Return bucket and key that a copy reads, None when that cannot be told.

    S3 API reference, "CopyObject": ``BUCKET/KEY`` or ``/BUCKET/KEY``, URL-encoded, ``?versionId=`` behind it, or
    the ARN of an access point with ``/object/KEY`` behind it.
    """
    (text, *others) = values(request, SOURCE)
    if others:
        return None
    path = unquote(text.partition("?")[0]).removeprefix("/")
    if path.startswith("arn:"):
        bucket, found, key = path.partition("/object/")
        return (bucket, key) if found and key else None
    bucket, _, key = path.partition("/")
    return (bucket, key) if BUCKET.fullmatch(bucket) and key else None
