import enum
import json
import re
import sqlite3
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chron import ChronError
from chron.body import MAX_BODY_BYTES, _encoder, canonical, checked, is_canonical, stamp, stamp_ns


class Word(enum.StrEnum):
    DENY = "DENY"


REFUSED = {
    "a float": ({"cost": 0.5}, 'field "cost" is a float; a body holds str, int, bool and None only; write the number'),
    "a whole float": ({"cost": 1.0}, 'field "cost" is a float'),
    "not a number": ({"cost": float("nan")}, 'field "cost" is a float'),
    "a list": ({"policies": ["a"]}, 'field "policies" is a list'),
    "an object": ({"policy": {"id": "a"}}, 'field "policy" is a dict'),
    "bytes": ({"digest": b"ab"}, 'field "digest" is a bytes'),
    "an enum that is a string": ({"outcome": Word.DENY}, 'field "outcome" is a Word'),
    "2**53": ({"size": 2**53}, 'field "size" is beyond 2**53, where JSON readers disagree; write it as a string'),
    "minus 2**53": ({"size": -(2**53)}, 'field "size" is beyond 2**53'),
    "a name that is not ASCII": ({"größe": 1}, "field name 'größe' is not a name; use lower-case ASCII"),
    "an upper-case name": ({"Agent": "a"}, "field name 'Agent' is not a name"),
    "a name with a quote": ({'a"b': "a"}, "is not a name"),
    "an empty name": ({"": "a"}, "field name '' is not a name"),
    "a name that is no string": ({7: "a"}, "field name 7 is not a name"),
    "the Chron's own seq": ({"seq": 1}, 'field "seq" is set by the Chron; choose another name'),
    "the Chron's own ts": ({"ts": "now"}, 'field "ts" is set by the Chron'),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_body_cannot_hold_is_refused_at_the_call(fields, message):
    """A value that JSON readers could read differently never reaches the hash."""
    with pytest.raises(ChronError, match=re.escape(message)):
        checked("decision", fields)


def test_a_kind_is_a_name():
    """A kind is refused like a field name."""
    with pytest.raises(ChronError, match="is not a name"):
        checked("De cision", {})


def test_none_is_left_out():
    """A field that is None and an absent field give the same body."""
    assert checked("decision", {"agent": "a", "org": None}) == {"agent": "a"}


def test_the_sample_of_rfc_8785():
    """Strings are written as RFC 8785 section 3.2.2 shows them."""
    text, _ = canonical({"string": "€$\u000f\nA'\u0042\u0022\u005c\\\"/", "b": True, "a": -7})
    assert text == '{"a":-7,"b":true,"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'


names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
)


@given(st.dictionaries(names, values, max_size=12))
def test_canonical_text_is_what_an_independent_writer_gives(body):
    """The bytes are those of a plain sorted json.dumps, and read back as the same values."""
    text, data = canonical(body)
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert text == plain
    assert data == plain.encode()
    assert json.loads(data) == body
    assert is_canonical(data)


def test_without_the_fast_writer_of_json_the_bytes_are_the_same(monkeypatch):
    """A process that can import nothing any more writes what any other would, lone surrogates too."""
    body = {"z": "é\u2028\x7f\b\x1f\\", "a": -7, "m": True, "odd": "\ud800\x00"}
    as_ever = canonical(body)
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    _encoder.cache_clear()
    assert canonical(body) == as_ever
    _encoder.cache_clear()


@given(st.text(st.characters(categories=["Cs", "Cc", "Lo", "Po"]), max_size=40))
def test_no_text_can_make_a_record_unrecordable(text):
    """Lone surrogates and NUL become U+FFFD; everything else stays, and SQLite reads it as we do."""
    _, data = canonical({"path": text})
    expected = re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
    assert json.loads(data) == {"path": expected}
    connection = sqlite3.connect(":memory:")
    assert connection.execute("SELECT ? ->> '$.path'", (data.decode(),)).fetchone() == (expected,)
    connection.close()


def test_a_backslash_before_u0000_is_no_nul():
    """Text that only looks like an escaped NUL stays as it is."""
    _, data = canonical({"path": "\\u0000"})
    assert json.loads(data) == {"path": "\\u0000"}


def test_a_body_has_a_limit():
    """A record larger than the limit is refused with the limit in the message."""
    with pytest.raises(ChronError, match=f"and the limit is {MAX_BODY_BYTES}; shorten its fields"):
        canonical({"path": "x" * MAX_BODY_BYTES})


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":1.0}', b'{"a":"\\u0041"}', b"[1]", b"no", b'{"a":null}']
)
def test_what_is_not_canonical_is_seen(data):
    """Other spellings of the same value are not canonical."""
    assert not is_canonical(data)


@given(st.integers(0, 4_102_444_800_000_000))
def test_stamps_sort_as_time_does(at_us):
    """A stamp has a fixed width and keeps microseconds."""
    text = stamp(at_us * 1000)
    assert len(text) == len("2026-01-31T12:00:00.000000Z")
    assert stamp_ns(text) == at_us * 1000
