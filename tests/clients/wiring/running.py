"""Runs the commands of a plan, a few at a time, in the environment that it is started in, and writes what came of them.

    python running.py PLAN.json RESULTS.json

The plan is a list of {"name", "argv", "environ", "cwd"}, the results an object of name to [exit code, output].
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TIMEOUT_S = 180


def run(step: dict[str, Any]) -> tuple[str, tuple[int, str]]:
    """Run one command to its end."""
    done = subprocess.run(
        step["argv"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False,
        timeout=TIMEOUT_S, cwd=step["cwd"], env=os.environ | step["environ"],
    )  # fmt: skip
    return step["name"], (done.returncode, done.stdout + done.stderr)


def main(plan: str, results: str) -> None:
    """Run them all."""
    with ThreadPoolExecutor(4) as pool:
        Path(results).write_text(json.dumps(dict(pool.map(run, json.loads(Path(plan).read_text())))))


if __name__ == "__main__":
    main(*sys.argv[1:])
