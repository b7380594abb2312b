"""Names of people stand beside the log: they can go without a trace, and nothing that is proved changes."""

import sqlite3
from contextlib import closing

import pytest

from chron import Chron, ChronError, find, people, verify
from chron.freesql import ask_sql

ALICE = "Alice-Example-of-Acme"


def _plain(path, text):
    return any(text.encode() in file.read_bytes() for file in path.parent.glob(path.name + "*"))


def test_names_are_kept_and_change_without_a_record(open_chron, path):
    """The table says what was said last; no record is written for it, and a removed human keeps the name."""
    chron = open_chron()
    before = verify(path)
    chron.name({"hum_1": ALICE, "hum_2": "Bob", "hum_3": ""})
    assert people(path) == {"hum_1": ALICE, "hum_2": "Bob"}
    chron.name({"hum_2": "Bob B."})
    assert people(path) == {"hum_1": ALICE, "hum_2": "Bob B."}
    assert (verify(path).records, verify(path).head_hash) == (before.records, before.head_hash)


def test_a_name_that_is_forgotten_is_out_of_the_files_and_stays_out(open_chron, path):
    """It goes at once, on record; the registry cannot bring it back, and the log verifies."""
    chron = open_chron()
    chron.name({"hum_1": ALICE, "hum_2": "Bob"})
    assert _plain(path, ALICE)
    assert chron.forget("hum_1", {"basis": "GDPR Art. 17"})
    assert not _plain(path, ALICE)
    chron.name({"hum_1": ALICE, "hum_2": "Bob"})
    assert people(path) == {"hum_2": "Bob"}
    assert not _plain(path, ALICE)
    (said,) = find(path, kind="person")
    assert (said.fields["event"], said.fields["human"], said.fields["basis"]) == ("erased", "hum_1", "GDPR Art. 17")
    assert not chron.forget("hum_9", {})
    assert verify(path).ok


def test_a_name_whose_going_was_cut_short_goes_at_the_next_start(open_chron, path):
    """The record stands and the row too: when the registry is next told, the row goes."""
    chron = open_chron()
    chron.name({"hum_1": ALICE})
    chron.write("person", {"event": "erased", "human": "hum_1"})
    chron.close()
    chron = open_chron()
    chron.name({"hum_1": ALICE})
    assert people(path) == {}
    assert not _plain(path, ALICE)


def test_a_reader_joins_names(open_chron, path):
    """A statement of the reader's own may read the names."""
    open_chron().name({"hum_1": ALICE})
    assert ask_sql(path, "SELECT id, name FROM person", limit=9, most_s=5).rows == (("hum_1", ALICE),)


def test_an_older_file_has_no_names(open_chron, path):
    """Format 1 had no such table: nobody is known, and nothing fails."""
    open_chron().close()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("DROP TABLE person")
        shell.execute("PRAGMA user_version = 1")
    assert people(path) == {}


def test_a_closed_log_names_nobody(path):
    """Who asks a closed log hears so."""
    chron = Chron.open(path, low_water_bytes=0)
    chron.close()
    with pytest.raises(ChronError, match="the Chron is closed"):
        chron.name({"hum_1": ALICE})
