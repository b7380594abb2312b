"""Record ids: `chr_` and a lower-case ULID, growing even when the clock steps back.

    chr_01m8h8wk2e asztjk50ptysjpw9      48 bits of milliseconds, 80 random bits (github.com/ulid/spec)

The random bits are new in each millisecond; within one, and while the clock is behind, each id is the one before
plus one, as the spec's "Monotonicity" has it. Past the last of a millisecond the sum runs on into the next.

An id is allotted when a record is handed in, so that it can be told before the record has its place; the
order of records is `seq`, never the id.
"""

import os

PREFIX = "chr_"

_RANDOM_BITS = 80
_DRAWN_BYTES = 64 * _RANDOM_BITS // 8
"""Randomness is asked of the kernel for that many milliseconds at once: a call costs as much as ten ids."""
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, in small letters
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_TIME_SHIFTS = range(40, -1, -10)
"""Five pairs of digits of five bits, the highest first; 48 bits fill them."""
_LOW_BITS = _RANDOM_BITS // 2
_LOW = 2**_LOW_BITS - 1


class Ids:
    """A source of ids for one writer; the caller serialises the calls."""

    def __init__(self) -> None:
        self._last = 0
        self._random = b""
        self._ms, self._of_ms = -1, ""
        self._rest, self._of_rest = -1, ""
        """Of the last id, the bits and the digits that its millisecond makes, and all but the last two digits."""

    def next(self, at_ns: int) -> str:
        """The next id, later than all before it."""
        at_ms = at_ns // 1_000_000
        if at_ms > self._last >> _RANDOM_BITS:
            self._last = at_ms << _RANDOM_BITS | self._drawn()
        else:
            self._last += 1
        value, pairs = self._last, _PAIRS
        if (rest := value >> 10) != self._rest:
            # In parts that are no large integers, which take several times as long.
            ms, high, low = value >> _RANDOM_BITS, value >> _LOW_BITS & _LOW, value & _LOW
            if ms != self._ms:
                self._ms, self._of_ms = ms, PREFIX + "".join([pairs[ms >> shift & 0x3FF] for shift in _TIME_SHIFTS])
            self._rest, self._of_rest = (
                rest,
                (
                    f"{self._of_ms}{pairs[high >> 30]}{pairs[high >> 20 & 0x3FF]}{pairs[high >> 10 & 0x3FF]}"
                    f"{pairs[high & 0x3FF]}{pairs[low >> 30]}{pairs[low >> 20 & 0x3FF]}{pairs[low >> 10 & 0x3FF]}"
                ),
            )
        return self._of_rest + pairs[value & 0x3FF]

    def _drawn(self) -> int:
        if not self._random:
            self._random = os.urandom(_DRAWN_BYTES)
        size = _RANDOM_BITS // 8
        drawn, self._random = self._random[:size], self._random[size:]
        return int.from_bytes(drawn)
