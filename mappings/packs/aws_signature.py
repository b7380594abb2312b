"""Reads who signed an AWS request, for which service and region, and what an Amazon host name says of them.

Checks no signature: AWS does, and refuses a false scope, which is what makes the scope a fact on Amazon's own
hosts. Elsewhere it is only a claim, and the operator who bound the host vouches for it.

Grammar (IAM user guide, "Signature Version 4 signing elements"; Smithy, "aws.auth#sigv4a"):

    scope   KEY/DATE/REGION/SERVICE/aws4_request      SigV4
            KEY/DATE/SERVICE/aws4_request             SigV4A; the regions stand in X-Amz-Region-Set
    host    SERVICE[-fips][.dualstack].REGION.amazonaws.com[.cn]      ec2.eu-west-1.amazonaws.com
            SERVICE.amazonaws.com                                     iam.amazonaws.com
            SERVICE.REGION.api.aws                                    ec2.eu-west-1.api.aws
            VPCE-ID.SERVICE.REGION.vpce.amazonaws.com                 an endpoint inside a VPC
            ACCOUNT.ddb.REGION.amazonaws.com                          an account's own endpoint
    header and query both signed, differently                         CredentialError
    nonsense.eu-west-1.amazonaws.com                                  an Amazon host of no known service
"""

import base64
import binascii
import re
from dataclasses import dataclass

from mappings.packs.aws_services import HOST_LABELS
from mappings.request import Request

SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")

REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
"""eu-west-1, us-gov-west-1, us-iso-east-1, cn-north-1 (AWS General Reference, "Regional endpoints")."""

PARTITION = frozenset({"us-gov", "fips", "dualstack", "vpce"})
"""Labels that say how a service is reached, not which; us-gov stands for a region with global services."""

CREDENTIAL = "Credential="
SCOPE = re.compile(r"(?P<key>[A-Za-z0-9_-]+)/[0-9]{8}/(?:(?P<region>[a-z0-9-]+)/)?(?P<service>[a-z0-9-]+)/aws4_request")

KEY_ID = re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}")
"""IAM user guide, "Unique identifiers": long-term and temporary access keys. The rest is base32."""


class CredentialError(ValueError):
    """The request carries two credentials, or one that is none."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is for."""

    key_id: str
    region: str
    """ "" under SigV4A, which may span regions."""
    service: str


@dataclass(frozen=True, slots=True)
class Place:
    """What an Amazon host name says."""

    service: str
    """Signing name, "" when the host belongs to no service in the table."""
    region: str
    """ "" for a host without a region."""


def scope_of(request: Request) -> Scope | None:
    """Return the scope the request is signed for, None when unsigned; CredentialError when there are two."""
    found = [value for key, value in request.query if key == "X-Amz-Credential"]
    for header in request.header_values("authorization"):
        if header.startswith("AWS4-"):
            _, _, items = header.partition(" ")
            parts = (item.strip() for item in items.split(","))
            found += [part.removeprefix(CREDENTIAL) for part in parts if part.startswith(CREDENTIAL)] or [""]
    if len(set(found)) > 1:
        raise CredentialError("the request is signed twice, differently")
    if not found:
        return None
    match = SCOPE.fullmatch(found[0])
    if match is None:
        raise CredentialError("the signature has no readable credential scope")
    return Scope(match["key"], match["region"] or "", match["service"])


def place_of_host(host: str) -> Place | None:
    """Return what an Amazon host says; None for any other host."""
    suffix = next((suffix for suffix in SUFFIXES if host.endswith(suffix)), None)
    if suffix is None:
        return None
    labels = host.removesuffix(suffix).split(".")
    regions = [label for label in labels if REGION.fullmatch(label)]
    if "vpce" in labels and labels[0].startswith("vpce-"):
        labels = labels[1:]
    if re.fullmatch(r"[0-9]{12}", labels[0]):
        labels = labels[1:]
    rest = [label.removesuffix("-fips") for label in labels if label not in PARTITION and label not in regions]
    if len(regions) > 1:
        return Place("", "")
    return Place(HOST_LABELS.get(".".join(rest), ""), regions[0] if regions else "")


def account_of_key(key_id: str) -> str:
    """Return the account an access key id belongs to, "" when it does not say.

    Keys made since 2019 hold the account number from the second bit of their base32 part; it is published for
    ASIAQNZGKIQY56JQ7WML -> 029608264753. Older ones (first bit clear: AKIAI..., AKIAJ...) hold none.
    """
    if not KEY_ID.fullmatch(key_id):
        return ""
    try:
        number = int.from_bytes(base64.b32decode(key_id[4:])[:6])
    except binascii.Error:
        return ""
    if not number >> 47:
        return ""
    return f"{(number & 0x7FFF_FFFF_FF80) >> 7:012d}"
