"""Reads an Amazon host name: the key that stands for its service, its region, and what stands before both.

Decides nothing about services; which key belongs to which service is in the catalogue, whose compiler uses
`key_of` too, so that both write the same keys. What is not Amazon's by its last labels is a stand-in, and None here.

    ec2.eu-west-1.amazonaws.com                  ("ec2",), region eu-west-1
    api.ecr-fips.us-gov-west-1.api.aws           ("api", "ecr"): how a service is reached is not which it is
    us-east-1.queue.amazonaws.com                ("queue",): older services have the region first
    vpce-0a-b.ec2.us-east-1.vpce.amazonaws.com   ("ec2",), an endpoint inside a VPC
    ingest-cell1.timestream.us-east-1...         ("ingest", "timestream"): a cell of a service is the service
    ec2.eu-west-1.us-east-1.amazonaws.com        no labels at all: two regions are no endpoint
    ec2.amazonaws.com.evil.test                  None
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}")
"""eu-west-1, us-gov-west-1, us-isob-east-1, eusc-de-east-1 (botocore, data/partitions.json, "regionRegex")."""

ACCOUNT = re.compile(r"[0-9]{12}")

_WAYS = frozenset({"fips", "dualstack"})
"""Labels that say how a service is reached (AWS General Reference, "Service endpoints")."""

_CELL = re.compile(r"-cell[0-9]{1,4}")
"""What endpoint discovery adds (Timestream developer guide, "The endpoint discovery pattern")."""


@dataclass(frozen=True, slots=True)
class HostParts:
    """What an Amazon host name is made of."""

    labels: tuple[str, ...]
    """Those of the service, "fips" and the like taken off; () when the name is no endpoint."""
    raw: tuple[str, ...]
    """The labels before the region as they stand; for names that buckets stand in."""
    region: str
    """ "" for a host without a region."""
    inside: bool
    """Whether it is an endpoint inside a VPC."""


def parts_of(host: str, suffixes: Iterable[str]) -> HostParts | None:
    """Return the parts of an Amazon host, None for any other; `suffixes` begin with a dot, the longest first."""
    suffix = next((suffix for suffix in suffixes if host.endswith(suffix)), None)
    if suffix is None:
        return None
    labels = host.removesuffix(suffix).split(".")
    inside = labels[-1] == "vpce"
    if inside:
        labels = labels[:-1]
        at = next((at for at, label in enumerate(labels) if label.startswith("vpce-")), None)
        if at is None:
            return HostParts((), (), "", True)
        del labels[at]
    regions = [label for label in labels if REGION.fullmatch(label)]
    if len(regions) > 1 or not labels:
        return HostParts((), (), "", inside)
    region = regions[0] if regions else ""
    return HostParts(key_labels(labels), tuple(labels), region, inside)


def key_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that tell the service."""
    return tuple(
        _CELL.sub("", label).removesuffix("-fips").removeprefix("fips-")
        for label in labels
        if label not in _WAYS and not REGION.fullmatch(label)
    )


def key_of(labels: Iterable[str]) -> str:
    """Return the key that a catalogue files these labels under."""
    return ".".join(key_labels(labels))


def keys_of(labels: tuple[str, ...]) -> Iterable[str]:
    """Yield the keys a host may be filed under, the closest first; "*" is a label that somebody's own."""
    yield ".".join(labels)
    for count in (1, 2):
        if len(labels) > count:
            yield ".".join(("*",) * count + labels[count:])
