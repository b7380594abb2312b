"""Compiles which host belongs to which service, from the endpoint rule sets and the models of botocore.

A key is a host without region, suffix and way of access (`mappings.packs.aws_hosts.key_of`), "*" a label that
stands for an account, a resource or a cell. The hosts of S3 objects are not here: buckets stand in them, and
`mappings.packs.aws_s3` reads them. What the rule sets do not say stands in ``overrides/aws_hosts.yaml``.

    https://{AccountId}.ddb.{Region}.{PartitionResult#dnsSuffix}     *.ddb
    https://{Region}.signin.aws.amazon.com                           signin, suffix .aws.amazon.com
    {url#scheme}://{url#authority}                                   nothing: an address of the caller's own
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mappings.packs.aws_hosts import REGION, key_of
from mappings.sources.aws_models import Model, read_gzipped
from mappings.sources.compiling import OVERRIDES, SourceError

_BY_CODE = "s3"
"""Its hosts are read by `mappings.packs.aws_s3`, because buckets stand in them."""

_REGIONS = ("Region", "implicitGlobalRegion", "region")
_PARAMETER = re.compile(r"\{([^{}]*)\}")
_OPERATION_TYPE = "{OperationType}"
_OPERATION_TYPES = ("data", "control")
"""What kinesis puts there: the values of its operations' static context parameter."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What host names lead to."""

    keys: Mapping[str, tuple[str, ...]]
    """Services by key."""
    suffixes: tuple[str, ...]
    """What Amazon's host names end with, the longest first."""
    patterns: tuple[str, ...]
    """What the pack is bound to."""
    signing_names: Mapping[str, frozenset[str]]
    """Further names a service's requests are signed for."""
    one_region: frozenset[str]
    """Services whose requests are signed for one region of the partition, whatever their host says."""


def compile_hosts(data: Path, models: Iterable[Model]) -> Hosts:
    """Return the hosts of all services."""
    partition_suffixes = _partition_suffixes(data)
    keys: dict[str, set[str]] = {}
    suffixes = set(partition_suffixes)
    patterns = {f"*{suffix}" for suffix in partition_suffixes}
    names: dict[str, set[str]] = {}
    one_region: set[str] = set()
    partition_wide = _partition_wide(data)
    for model in models:
        if model.endpoint_prefix in partition_wide:
            one_region.add(model.service)
        prefixes = {each.host_prefix for each in model.operations if each.host_prefix}
        for host in _hosts(model, names, one_region):
            suffix = next((each for each in partition_suffixes if host.endswith(each)), "")
            if not suffix:
                suffix = _odd_suffix(host, model)
                suffixes.add(suffix)
                patterns.add(_pattern(host.removesuffix(suffix), suffix))
            _add(keys, host.removesuffix(suffix), prefixes, model.service)
    for key, services in _corrections():
        keys.setdefault(key, set()).update(services)
    return Hosts(
        {key: tuple(sorted(services)) for key, services in sorted(keys.items())},
        tuple(sorted(suffixes, key=lambda suffix: (-len(suffix), suffix))),
        tuple(sorted(patterns)),
        {service: frozenset(found) for service, found in names.items()},
        frozenset(one_region),
    )


def _partition_suffixes(data: Path) -> tuple[str, ...]:
    partitions = json.loads((data / "partitions.json").read_bytes())["partitions"]
    found = {f".{each['outputs'][name]}" for each in partitions for name in ("dnsSuffix", "dualStackDnsSuffix")}
    return tuple(sorted(found, key=len, reverse=True))


def _partition_wide(data: Path) -> frozenset[str]:
    """Return the endpoint prefixes of services that the SDK's older table has one endpoint a partition for."""
    partitions = json.loads((data / "endpoints.json").read_bytes())["partitions"]
    return frozenset(
        name
        for partition in partitions
        for name, service in partition["services"].items()
        if service.get("isRegionalized") is False
    )


def _hosts(model: Model, names: dict[str, set[str]], one_region: set[str]) -> Iterator[str]:
    if model.service != _BY_CODE:
        yield f"{model.endpoint_prefix}.amazonaws.com"
    path = model.folder / "endpoint-rule-set-1.json.gz"
    if not path.exists():
        return
    for endpoint in _endpoints(read_gzipped(path)["rules"]):
        for scheme in endpoint.get("properties", {}).get("authSchemes", ()):
            if scheme.get("signingName", model.signing_name) != model.signing_name:
                names.setdefault(model.service, set()).add(scheme["signingName"])
            if "{Region}" in str(endpoint["url"]) and scheme.get("signingRegion", "{Region}") != "{Region}":
                one_region.add(model.service)
        if isinstance(endpoint["url"], str) and model.service != _BY_CODE:
            yield from _written(endpoint["url"])


def _endpoints(rules: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for rule in rules:
        if "endpoint" in rule:
            yield rule["endpoint"]
        yield from _endpoints(rule.get("rules", ()))


def _written(url: str) -> Iterator[str]:
    """Yield the hosts of a URL template, "*" for a parameter; none for an address that the caller gives."""
    if not url.startswith("https://") or "url#authority" in url or "CustomEndpointSuffixValue" in url:
        return
    host = url.removeprefix("https://").partition("/")[0]
    for word in _OPERATION_TYPES if _OPERATION_TYPE in host else ("",):
        text = _PARAMETER.sub(_stand_in, host.replace(_OPERATION_TYPE, word))
        if any("*" in label and label != "*" for label in text.split(".")):
            raise SourceError(f'aws: host template "{url}" has a label that is partly a parameter')
        yield text


def _stand_in(parameter: re.Match[str]) -> str:
    name = parameter[1].rpartition("#")[2]
    if name in _REGIONS:
        return "us-east-1"
    if name == "dnsSuffix":
        return "amazonaws.com"
    return "api.aws" if name == "dualStackDnsSuffix" else "*"


def _odd_suffix(host: str, model: Model) -> str:
    _, found, tail = host.replace("-fips.", ".").rpartition(f"{model.endpoint_prefix}.")
    if not found:
        tail = ".".join(host.split(".")[-2:])
    return f".{tail.removeprefix('us-east-1.')}"


def _pattern(labels: str, suffix: str) -> str:
    first, _, rest = labels.partition(".")
    if REGION.fullmatch(labels.rpartition(".")[2]):
        return f"*{suffix}"
    return f"*.{rest}{suffix}" if REGION.fullmatch(first) else f"{labels}{suffix}"


def _add(keys: dict[str, set[str]], labels: str, prefixes: set[str], service: str) -> None:
    key = key_of(labels.split("."))
    keys.setdefault(key, set()).add(service)
    for prefix in prefixes:
        text = _PARAMETER.sub("*", prefix)
        if not key.startswith("*"):
            keys.setdefault(f"{text}{key}", set()).add(service)


def _corrections() -> Iterator[tuple[str, list[str]]]:
    path = OVERRIDES / "aws_hosts.yaml"
    for row in yaml.safe_load(path.read_text("utf-8")):
        if set(row) != {"key", "services", "reason"}:
            raise SourceError(f"{path.name}: {row}: write key, services and reason")
        yield row["key"], row["services"]
