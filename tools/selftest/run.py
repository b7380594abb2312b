"""Asks the mappings for the name of every operation in every source, and counts what comes back.

    run.py                      every family, the table on stdout
    run.py aws github           these
    run.py --write              every family; writes docs/selftest.md and the samples that `make test` runs
    run.py --write-samples aws  writes only the sample of these

A family is a module beside this file with `cases()`, which yields a `Case` for every operation of the source, and
`SITE`, an operator's mapping file, where hosts must be bound.
exact: the operation asked for and no other. misidentified: any other name, the one result that must not be.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tools" / "catalogues"), str(ROOT)]

from case import Case, mappings_of  # noqa: E402

from mappings import CanonicalError, Mappings  # noqa: E402
from mappings.catalogues import shipped  # noqa: E402

SAMPLES = ROOT / "tests" / "mappings" / "catalogues" / "samples"
PAGE = ROOT / "docs" / "selftest.md"
INTRODUCTION = """# The self-test: is every operation named, and by its own name?

Written by `make selftest` on {date}. For every operation in every source a request is made, from the source and
never from the catalogue, and resolved as the gate would resolve it.

- **exact**: the operation asked for, and no other. AWS operations of several services that share host, path and
  bytes (twins) count as one: they have one name, that of the signing service.
- **misidentified**: any other name. It must be 0: a request may be refused because nobody knows it, never because
  it was taken for another.
- **unrecognised, conflict, unreadable, refused**: not named, and so not allowed.

How each family's requests are made, and what such a test cannot show, stands at the head of its module in
`tools/selftest/`. `make test` runs a sample of these requests.

{table}

## What the catalogues were compiled from

{sources}
"""
RESULTS = ("exact", "unrecognised", "conflict", "unreadable", "refused", "misidentified")
SHOWN = 8


def outcome(mappings: Mappings, case: Case) -> tuple[str, str]:
    """Return how a case came out, and what was said instead of the wanted name."""
    try:
        resolution = mappings.resolve(case.request())
    except CanonicalError as error:
        return "refused", error.code
    if resolution.problem is not None:
        word = resolution.problem.code.removeprefix("mapping.")
        return ("unrecognised" if word == "unmapped" else word), resolution.problem.message
    names = {operation.name for operation in resolution.operations}
    return ("exact", "") if names == case.wanted else ("misidentified", ", ".join(sorted(names)))


def families() -> list[str]:
    """Return the names of all self-tests."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("case", "run"))


def run(family: str, write_samples: bool) -> list[str]:
    """Run one family and return its lines of the table."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds = 0.0
    shown = 0
    module = importlib.import_module(family)
    mappings = mappings_of(getattr(module, "SITE", ""))
    every = getattr(module, "SAMPLE_EVERY", 50)
    sample: list[str] = [json.dumps({"site": getattr(module, "SITE", "")})]
    for number, case in enumerate(module.cases()):
        started = time.perf_counter()
        result, said = outcome(mappings, case)
        seconds += time.perf_counter() - started
        counts[case.group][result if result in RESULTS else "unreadable"] += 1
        if result != "exact" and shown < SHOWN:
            shown += 1
            wanted = ",".join(case.wanted)
            print(f"  {result}: {case.method} {case.url[:110]} wanted {wanted}: {said[:90]}", file=sys.stderr)
        if number % every == 0:
            sample.append(case.line())
    if write_samples:
        SAMPLES.mkdir(parents=True, exist_ok=True)
        # No time stamp: the same sample always gives the same file.
        content = gzip.compress("\n".join(sample).encode() + b"\n", 9, mtime=0)
        (SAMPLES / f"{family}.jsonl.gz").write_bytes(content)
    lines = []
    for group, count in counts.items():
        total = count.total()
        cells = " | ".join(f"{count[result]:,}" for result in RESULTS)
        lines.append(f"| {family} | {group} | {total:,} | {cells} | {100 * count['exact'] / total:.2f} % |")
    requests = max(1, sum(count.total() for count in counts.values()))
    print(f"{family}: {seconds / requests * 1e6:.0f} us a request", file=sys.stderr)
    return lines


def main(arguments: list[str]) -> None:
    """Run the families asked for and print the table."""
    write_samples = bool({"--write", "--write-samples"}.intersection(arguments))
    wanted = [name for name in arguments if not name.startswith("--")]
    head = ["| family | requests made with | requests | " + " | ".join(RESULTS) + " | exact |", "|" + "---|" * 10]
    lines = [line for family in wanted or families() for line in run(family, write_samples)]
    print("\n".join([*head, *lines]))
    if "--write" in arguments and not wanted:
        PAGE.write_text(page([*head, *lines]), "utf-8")


def page(table: list[str]) -> str:
    """Return docs/selftest.md."""
    sources = ["| catalogue | source | version | of | licence | operations |", "|" + "---|" * 6]
    for family, archive in sorted(shipped().items()):
        header = archive.header
        for source in header.sources:
            count = f"{header.operations:,}" if source == header.sources[0] else ""
            package = f"{source.package} ({source.registry})"
            cells = (family, package, source.version, source.date, source.licence, count)
            sources.append(f"| {' | '.join(cells)} |")
    made = datetime.now(UTC).date()
    return INTRODUCTION.format(date=made, table="\n".join(table), sources="\n".join(sources))


if __name__ == "__main__":
    main(sys.argv[1:])
