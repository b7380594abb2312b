"""Record ids: ULIDs that grow, whatever the clock does."""

from ulid import ULID

from chron.ids import Ids

AT_MS = 1_790_000_000_123


def ns(ms: int) -> int:
    return ms * 1_000_000


def read(id_: str) -> ULID:
    assert id_.startswith("chr_")
    assert id_ == id_.lower()
    return ULID.from_str(id_.removeprefix("chr_").upper())


def test_an_id_is_a_ulid_of_its_time() -> None:
    """Another reader of ULIDs finds the millisecond in it, and the same number when it writes it."""
    id_ = Ids().next(ns(AT_MS) + 999_999)
    assert read(id_).milliseconds == AT_MS
    assert str(read(id_)).lower() == id_.removeprefix("chr_")


def test_ids_of_one_millisecond_follow_one_another() -> None:
    """Within a millisecond each id is the one before plus one."""
    ids = Ids()
    numbers = [int(read(ids.next(ns(AT_MS)))) for _ in range(1000)]
    assert numbers == list(range(numbers[0], numbers[0] + 1000))


def test_ids_grow_as_texts_also_when_the_clock_steps_back() -> None:
    """The text order of ids is the order in which they were given out."""
    ids = Ids()
    given = [ids.next(ns(AT_MS + step)) for step in (0, 1, 1, 2, -5000, 0, 2, 3, 500, 499)]
    assert given == sorted(set(given))


def test_past_the_last_id_of_a_millisecond_they_go_on_growing() -> None:
    """The random part that is all ones is no end: the sum runs into the next millisecond, and none is given twice."""
    ids = Ids()
    first = ids.next(ns(AT_MS))
    ids._last |= (1 << 80) - 1
    over = ids.next(ns(AT_MS))
    assert (read(over).milliseconds, int(read(over)) & (1 << 80) - 1) == (AT_MS + 1, 0)
    assert first < over < ids.next(ns(AT_MS + 1)) < ids.next(ns(AT_MS + 2))


def test_the_random_part_is_new_in_each_millisecond_and_each_source() -> None:
    """Nothing of one millisecond's ids tells those of the next."""
    ids = Ids()
    parts = [int(read(ids.next(ns(AT_MS + step)))) & (1 << 80) - 1 for step in range(1000)]
    parts += [int(read(Ids().next(ns(AT_MS)))) & (1 << 80) - 1 for _ in range(10)]
    assert len(set(parts)) == len(parts)
    assert len({part >> 64 for part in parts}) > 900
