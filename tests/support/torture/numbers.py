"""How many of everything: few enough for every `make test`, or as many as `make torture` makes in a night.

CLAIIM_TORTURE=1    the long numbers, and another seed each time
CLAIIM_SEED=4711    this seed, to see a find again
"""

import os
import time

TORTURE = os.environ.get("CLAIIM_TORTURE") == "1"
SEED = int(os.environ.get("CLAIIM_SEED") or (time.time_ns() // 1_000_000_000 if TORTURE else 1))
"""Printed at the end of each run. `make test` always has the same, lest it fail at somebody else's change."""


def how_many[T](short: T, long: T) -> T:
    """The number for this run, or what it is a number of."""
    return long if TORTURE else short


LINES: list[str] = []
"""What the tests found, for the end of the run."""


def tell(line: str) -> None:
    """Add a line to what stands at the end of the run."""
    LINES.append(line)
