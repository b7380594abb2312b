"""Says what each AWS operation does to what it reaches, from the service authorization data of IAM.

The level is that of the IAM action of the same name under the service's IAM prefix. Where IAM has no such action,
it is a read when the provider says that it changes nothing (Smithy, "readonly trait") and its name says so too, and
else a write: neither proves it alone. `sts:GetFederationToken` is no read, and `ivs:StartViewerSessionRevocation`
has the trait. What differs stands in ``overrides/aws.yaml``.

    ec2:DescribeInstances     IAM has it: list
    s3:ListObjectsV2          IAM calls it ListBucket: corrected, list
    glue:GetSomethingNew      neither: write
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from mappings.globs import compile_glob
from mappings.sources.aws_models import Model
from mappings.sources.compiling import OVERRIDES, Described, SourceError

_CHANGES = frozenset({"access", "executes", "mints", "routes"})

LEVELS: Mapping[str, str] = {
    "Read": "read",
    "List": "list",
    "Write": "write",
    "Tagging": "tagging",
    "Permissions management": "permissions",
}
"""IAM user guide, "Access level summaries within policy summaries"."""

_GRAVITY = ("list", "read", "tagging", "write", "permissions")
"""Of two levels of one name, the later counts."""

_READING = re.compile(r"(?:Batch)?(?:Get|List|Describe|Search)[A-Z]")

IAM_PREFIXES: Mapping[str, str] = {
    "IoTSecuredTunneling": "iot",
    "awsssoportal": "sso",
    "cloudcontrolapi": "cloudformation",
    "iotdata": "iot",
    "monitoring": "cloudwatch",
    "mturk-requester": "mechanicalturk",
    "tagging": "tag",
}
"""Services whose IAM prefix is another than their signing name (Service Authorization Reference)."""


def describe(models: Iterable[Model], data: Path) -> tuple[dict[str, Described], tuple[str, ...]]:
    """Return what is known of each operation by ``signing-name:Operation``, and notes; `data` is that of iam-data."""
    found: dict[str, Described] = {}
    levels: dict[str, dict[str, str]] = {}
    for model in models:
        prefix = IAM_PREFIXES.get(model.signing_name, model.signing_name)
        if prefix not in levels:
            levels[prefix] = _levels(data / "actions" / f"{prefix}.json")
        for operation in model.operations:
            harmless = operation.readonly and _READING.match(operation.name)
            access = levels[prefix].get(operation.name) or ("read" if harmless else "write")
            name = f"{model.signing_name}:{operation.name}"
            known = found.get(name)
            if known is None:
                found[name] = Described(name, access, ())
            else:
                found[name] = replace(known, access=max(known.access, access, key=_GRAVITY.index))
    return found, tuple(_correct(found))


def _correct(found: dict[str, Described]) -> Iterator[str]:
    """Apply the corrections, and yield what none fits: an SDK older or newer than the one they were written for."""
    path = OVERRIDES / "aws.yaml"
    for correction in yaml.safe_load(path.read_text("utf-8")):
        globs = [correction["op"]] if isinstance(correction["op"], str) else correction["op"]
        changes = {key: value for key, value in correction.items() if key not in ("op", "reason")}
        if not correction.get("reason") or not changes or not set(changes) <= _CHANGES:
            raise SourceError(f"{path.name}: {correction}: write op, reason and what is corrected")
        if "routes" in changes:
            changes["routes"] = tuple(changes["routes"])
        for glob in globs:
            names = [name for name in found if compile_glob(glob).fullmatch(name)] if "*" in glob else [glob]
            fitting = [name for name in names if name in found]
            for name in fitting:
                found[name] = replace(found[name], **changes)
            if not fitting:
                yield f'{path.name}: no operation is called "{glob}"'


def _levels(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    actions = json.loads(path.read_bytes())
    return {action["name"]: _level(action["accessLevel"], path) for action in actions.values()}


def _level(text: str, path: Path) -> str:
    """Return the gravest word of "Permissions management, Write", which is how some actions are marked."""
    try:
        words = [LEVELS[part] for part in text.split(", ")]
    except KeyError as error:
        raise SourceError(f"aws: {path.name}: access level {error} is unknown") from None
    return "tagging" if words == ["tagging", "write"] else max(words, key=_GRAVITY.index)
