"""The Autobahn cases as kosoku runs them, led through a gate, as a process of their own.

    python -m support.torture.conformance PROXY AUTHORITY CA PATH [LEFT_OUT ...]

prints one JSON list: for each case its id, how the messages went and how the closing went. What else a process has
imported decides whether kosoku's connections send anything: with `tools/selftest/case.py` beside it none did, each was
opened and closed again, and every case was an error.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import kosoku

from support.bridge import bridge

PARALLEL = 4


async def run(proxy: str, authority: str, ca: Path, path: str, left_out: Sequence[str]) -> list[tuple[str, str, str]]:
    """What became of every case but those left out, by globs of their ids."""
    async with bridge(proxy, authority, ca) as address:
        try:
            found = await kosoku.run_fuzzingclient(f"ws://{address}{path}", None, left_out, concurrency=PARALLEL)
        except kosoku.FailureError as failure:
            found = list(failure.results)
    return [(each.case_id, each.behavior.value, each.behavior_close.value) for each in found]


def main(proxy: str, authority: str, ca: str, path: str, *left_out: str) -> None:
    """Run, and print what was found."""
    json.dump(asyncio.run(run(proxy, authority, Path(ca), path, left_out)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
