"""AWS, a year on: today's requests against a catalogue compiled from a botocore that is a year older.

    aged/aws.py                    counts what comes back for every operation of today's SDK
    aged/aws.py --write-fixture    also writes the small piece of it that the tests keep

What the older catalogue does not have must come out unrecognised. Any name is the one result that must not be.
"""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tools" / "selftest"), str(ROOT / "tools" / "catalogues"), str(ROOT)]

import aws as today  # noqa: E402
from case import Case  # noqa: E402
from fetch import older, package  # noqa: E402

from mappings import CanonicalError  # noqa: E402
from mappings.catalogues import Header, Source, read_folder, write_catalogue  # noqa: E402
from mappings.packs.aws import AwsPack  # noqa: E402
from mappings.sources.aws import PACKAGES, compile_catalogue  # noqa: E402
from mappings.sources.compiling import Compiled  # noqa: E402

VERSION, DATE = "1.41.5", "2025-11-26"
FIXTURE = ROOT / "tests" / "mappings" / "catalogues" / "aged"
KEPT = ("s3", "s3control", "lambda", "dynamodb", "ecs", "cloudwatch", "sesv2", "ses", "chime-sdk-messaging", "glue")
"""Services with real drift, of every protocol."""


def main(arguments: list[str]) -> None:
    """Compile, ask, and print the counts."""
    compiled = _compiled()
    pack = AwsPack(read_folder(_written(compiled, ROOT / ".catalogues" / "aged"))["aws"])
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for case in today.cases():
        result, said = outcome(pack, case)
        counts[result] += 1
        if result == "misidentified":
            print(f"  {case.method} {case.url[:110]} wanted {','.join(case.wanted)}: {said}", file=sys.stderr)
        if result != "exact" and case.group == "min" and _is_kept(case):
            lines.append(case.line())
    print(f"{dict(counts)} of {counts.total():,}")
    if "--write-fixture" in arguments:
        _write_fixture(compiled, lines)


def outcome(pack: AwsPack, case: Case) -> tuple[str, str]:
    """Return how a case came out, and the names given."""
    try:
        recognition = pack.recognise(case.request())
    except CanonicalError as error:
        return "refused", error.code
    names = {call.name for call in recognition.calls}
    said = ", ".join(sorted(names))
    if not names:
        return ("unrecognised" if recognition.problem is None else "problem"), said
    return ("exact" if names == case.wanted else "misidentified"), said


def _compiled() -> Compiled:
    folders = {reference: package(reference).folder for reference in PACKAGES}
    return compile_catalogue(folders | {"PyPI:botocore": older("botocore", VERSION)})


def _written(compiled: Compiled, folder: Path) -> Path:
    source = Source("botocore", "PyPI", VERSION, DATE, "Apache-2.0")
    header = Header("aws", "", "", compiled.operations, (source,), compiled.hosts)
    write_catalogue(folder, header, compiled.members)
    return folder


def _is_kept(case: Case) -> bool:
    return any(name.split(":")[1] in _SIGNED for name in case.wanted)


_SIGNED = frozenset({"s3", "lambda", "dynamodb", "ecs", "monitoring", "ses", "chime", "glue"})


def _write_fixture(compiled: Compiled, lines: list[str]) -> None:
    index = compiled.members["index.json"]
    assert isinstance(index, dict)
    services = {name: row for name, row in index["services"].items() if name in KEPT}
    hosts = {key: [name for name in found if name in KEPT] for key, found in index["hosts"].items()}
    kept: dict[str, object] = {f"{name}.json": compiled.members[f"{name}.json"] for name in KEPT}
    kept["index.json"] = index | {"services": services, "hosts": {key: found for key, found in hosts.items() if found}}
    count = sum(_count(rows) for name, rows in kept.items() if name != "index.json")
    _written(Compiled("aws", count, kept, compiled.hosts), FIXTURE)
    content = gzip.compress("\n".join(sorted(set(lines))).encode() + b"\n", 9, mtime=0)
    (FIXTURE / "requests.jsonl.gz").write_bytes(content)
    print(f"{len(set(lines))} requests, {sum(path.stat().st_size for path in FIXTURE.iterdir()):,} bytes")


def _count(rows: object) -> int:
    def counted() -> Iterator[int]:
        assert isinstance(rows, list)
        for _, _, operations in rows:
            yield len(operations.split(" ")) if isinstance(operations, str) else len(operations)

    return sum(counted())


if __name__ == "__main__":
    main(sys.argv[1:])
