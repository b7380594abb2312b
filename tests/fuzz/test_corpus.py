"""Every row of every corpus, read without a fuzzer: what was found once stays a test."""

import pytest

from support.fuzzing.harness import CORPORA, harnesses, read_rows, written


@pytest.mark.parametrize("name", sorted(harnesses()))
def test_rows_hold(name: str) -> None:
    """No row makes a reader raise what it does not declare, or differ from the readers that it is compared with."""
    harness = harnesses()[name]
    rows = harness.rows()
    told = set()
    for row in rows:
        try:
            told.add(harness.run(row))
        except Exception as error:
            error.add_note(f"{harness.corpus.name}: {written(row)}")
            raise
    assert len(rows) >= 5
    assert len(told) > 1, "a corpus holds what is read and what is refused"


def test_every_corpus_has_its_harness() -> None:
    """No rows lie unread."""
    assert {path.stem for path in CORPORA.glob("*")} == set(harnesses())


ROWS = [b"", b" ", b"#", b"a ", b"\\x00", b"\\e", b"\x00\xff\n\r\t\\", "é".encode(), bytes(range(256))]


@pytest.mark.parametrize("row", ROWS, ids=map(str, range(len(ROWS))))
def test_a_row_is_read_as_it_was_written(row: bytes) -> None:
    """Any bytes can stand in a corpus, on one line of printable ASCII."""
    line = written(row)
    assert read_rows(f"# a remark\n{line}\n") == [row]
    assert line.isascii()
    assert line.isprintable()
    assert line == line.strip() or line.startswith(" ")


@pytest.mark.parametrize("line", ["\\", "\\y", "\\x0", "\\xZZ", "a\\"])
def test_what_starts_no_escape_is_refused(line: str) -> None:
    """A typing error in a corpus is no row."""
    with pytest.raises(ValueError, match="a backslash that starts no escape"):
        read_rows(line)
