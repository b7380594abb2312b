"""Runs every harness for so many seconds each: `make fuzz SECONDS=1800 HARNESS="host target"`.

A line for each harness: executions, edges covered, findings. A finding is minimised, kept in .fuzz/found and added to
the rows of the corpus, which are ordinary tests from then on; the exit code is 1.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.fuzzing.harness import RAISED_BY, Harness, harnesses, read_rows, written

ROOT = Path(__file__).parents[3]
STATE = ROOT / ".fuzz"
HANG_S = 20
"""One input that takes longer is a finding: the slowest harness reads a thousand a second."""
MOST_MB = 2048
MINIMISE_S = 20
_EXECUTED = re.compile(r"number_of_executed_units: *([0-9]+)")
_COVERED = re.compile(r"cov: ([0-9]+) ft: ([0-9]+)")
_KEPT = re.compile(r"Test unit written to (\S+)")
_INPUT = re.compile(rf"^{RAISED_BY}(.*)$", re.MULTILINE)
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    harness: Harness
    executions: int
    edges: int
    found: bytes | None
    """The input that failed; None when none did."""
    why: str
    ended_well: bool

    def __str__(self) -> str:
        findings = "1 finding" if self.found is not None else "0 findings"
        line = f"{self.harness.name:16} {self.executions:10,} executions {self.edges:6,} edges  {findings}"
        if self.found is not None or not self.ended_well:
            line += f": {self.why}\n  {written(self.found or b'')}"
        return line


def fuzz(harness: Harness, seconds: int, seed: int) -> Result:
    """Run one harness in a process of its own, for an input may end it."""
    place = STATE / "corpus" / harness.name
    found = STATE / "found" / harness.name
    rows = STATE / "rows" / harness.name
    for folder in (place, found, rows):
        folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(harness.rows()):
        (rows / f"{number:04}").write_bytes(row)
    words = STATE / f"{harness.name}.dict"
    words.write_text("".join(f'"{"".join(f"\\x{byte:02x}" for byte in word)}"\n' for word in harness.words))
    options = [f"-max_len={harness.max_bytes}", f"-dict={words}", f"-timeout={HANG_S}", f"-rss_limit_mb={MOST_MB}"]
    run = [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
    done = _child(harness, [*options, *run, str(place), str(rows)])
    output = done.stdout
    (STATE / f"{harness.name}.log").write_text(output)
    covered = _COVERED.findall(output)
    executed = _EXECUTED.search(output)
    kept = _KEPT.search(output)
    said = _INPUT.findall(output)
    failed = Path(kept[1]) if kept else None
    if failed is None and said:
        failed = found / "raised"
        failed.write_bytes(read_rows(said[-1])[0])
    raised = _RAISED.findall(output)
    why = raised[-1] if raised else output[-300:]
    if failed is not None and raised:
        # One that hangs is not made smaller: each try would cost the whole time again.
        smaller = failed.with_name(f"minimised-{failed.name}")
        _child(
            harness,
            ["-minimize_crash=1", f"-max_total_time={MINIMISE_S}", f"-exact_artifact_path={smaller}", str(failed)],
        )
        failed = smaller if smaller.exists() else failed
    edges = int(covered[-1][0]) if covered else 0
    found_input = failed.read_bytes() if failed else None
    return Result(harness, int(executed[1]) if executed else 0, edges, found_input, why, done.returncode == 0)


def _child(harness: Harness, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(map(str, (ROOT / "tests", ROOT, STATE / "lib")))
    command = [sys.executable, "-m", "support.fuzzing.child", harness.name, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def keep(result: Result) -> None:
    """Add what failed to the rows of the corpus, where it stays a test."""
    if result.found is None or result.found in result.harness.rows():
        return
    with result.harness.corpus.open("a", encoding="ascii") as corpus:
        corpus.write(f"# found by fuzzing: {result.why.encode('ascii', 'replace').decode()[:100]}\n")
        corpus.write(f"{written(result.found)}\n")


def main() -> int:
    """Fuzz what is asked for and say what came of it."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=10, help="for each harness")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's; 0 for a new one")
    parser.add_argument("harness", nargs="*", help="by name; all when none is named")
    given = parser.parse_args()
    known = harnesses()
    unknown = [name for name in given.harness if name not in known]
    if unknown:
        parser.error(f"there is no harness {', '.join(unknown)}; there are {', '.join(known)}")
    failed = False
    for name in given.harness or known:
        result = fuzz(known[name], given.seconds, given.seed)
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
        keep(result)
        failed = failed or result.found is not None or not result.ended_well
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
