"""The access levels of a catalogue that is there, laid out as IAM's data are: for compiling AWS from botocore alone.

A machine with botocore seldom has the IAM data too. An operation that the earlier catalogue knows keeps its level; a
new one gets what `mappings.sources.aws_access` says of operations that IAM does not know: a write, unless both its
name and its model say that it reads.

    ec2:DescribeInstances, list         actions/ec2.json    {"describeinstances": {"accessLevel": "List", ...}}
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from mappings.sources.aws_access import IAM_PREFIXES, LEVELS

_WORDS = {access: word for word, access in LEVELS.items()}


def write_levels(folder: Path, levels: Mapping[str, str]) -> None:
    """Write the levels (``signing-name:Operation`` to a word of `mappings.recognition.ACCESS`) below a folder."""
    by_prefix: dict[str, dict[str, object]] = defaultdict(dict)
    for name, access in levels.items():
        signing_name, _, operation = name.partition(":")
        row = {"name": operation, "accessLevel": _WORDS[access]}
        by_prefix[IAM_PREFIXES.get(signing_name, signing_name)][operation.lower()] = row
    actions = folder / "data" / "actions"
    actions.mkdir(parents=True)
    for prefix, rows in by_prefix.items():
        (actions / f"{prefix}.json").write_text(json.dumps(rows), "utf-8")
