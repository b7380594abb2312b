"""Findings in files as SARIF 2.1.0, which code hosts show beside the lines.

Only what every consumer reads: rule, level, message, file, line and column. Source of every key:
https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
"""Where the consumers' own documentation points editors to."""

type Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Located:
    """One finding."""

    rule: str
    level: Level
    message: str
    place: str
    """ "file:line:col"."""


def sarif(version: str, rules: Mapping[str, str], found: Iterable[Located], root: Path) -> dict[str, object]:
    """Return the log of one run; `rules` are ids with one line each, files below `root` are named from there."""
    listed = list(rules)
    driver = {
        "name": "claiim",
        "version": version,
        "rules": [{"id": id_, "shortDescription": {"text": text}} for id_, text in rules.items()],
    }
    results = [
        {
            "ruleId": each.rule,
            "ruleIndex": listed.index(each.rule),
            "level": each.level,
            "message": {"text": each.message},
            "locations": [{"physicalLocation": _location(each.place, root)}],
        }
        for each in found
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _location(place: str, root: Path) -> dict[str, object]:
    file, line, column = place.rsplit(":", 2)
    path = Path(file).resolve()
    inside = path.is_relative_to(root)
    uri = quote(path.relative_to(root).as_posix()) if inside else path.as_uri()
    return {"artifactLocation": {"uri": uri}, "region": {"startLine": int(line), "startColumn": int(column)}}
