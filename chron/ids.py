"""Record ids: `chr_` and a lower-case ULID, growing even when the clock steps back.

An id is allotted when a record is handed in, so that it can be told before the record has its place; the
order of records is `seq`, never the id.
"""

from ulid import StrictMonotonicPolicy, ULIDGenerator

PREFIX = "chr_"


class Ids:
    """A source of ids for one writer; the caller serialises the calls."""

    def __init__(self) -> None:
        self._generator = ULIDGenerator(policy=StrictMonotonicPolicy())
        self._last_ms = 0

    def next(self, at_ns: int) -> str:
        """The next id, later than all before it."""
        self._last_ms = max(self._last_ms, at_ns // 1_000_000)
        return PREFIX + str(self._generator.generate(self._last_ms)).lower()
