"""The filter language: what it means, what it refuses, and that SQL and the meaning agree."""

import asyncio
import itertools
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chron import Chron, find
from chron.conditions import condition
from chron.errors import FilterError
from chron.fieldnames import FIELDS, NUMBERS
from chron.filtering import MAX_CHARS, MAX_DEPTH, All, Compare, Filter, Not, Some, Word, check_field, parse_filter
from chron.querying import counts, page, reading
from chron.schema import COMPUTED
from support.filters import as_text, filters, holds, numbers, records, texts

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
REMEDY = 'write "24h", "7d" or "2026-01-31T12:00:00Z"'

READ = {
    "nothing": ("", All(())),
    "one": ("agent=deploy-bot", Compare("agent", "=", ("deploy-bot",))),
    "spaces around": (" agent =  deploy-bot ", Compare("agent", "=", ("deploy-bot",))),
    "side by side is and": ("a_word outcome=DENY", All((Word("a_word"), Compare("outcome", "=", ("DENY",))))),
    "and": ("outcome=DENY AND x", All((Compare("outcome", "=", ("DENY",)), Word("x")))),
    "or binds less": ("x y or z", Some((All((Word("x"), Word("y"))), Word("z")))),
    "parentheses": ("x (y or z)", All((Word("x"), Some((Word("y"), Word("z")))))),
    "not": ("not x y", All((Not(Word("x")), Word("y")))),
    "not of both": ("not (x y)", Not(All((Word("x"), Word("y"))))),
    "unlike": ("agent!=a", Not(Compare("agent", "=", ("a",)))),
    "glob": ('action~"k8s:*"', Compare("action", "~", ("k8s:*",))),
    "no glob": ("action!~k8s:*", Not(Compare("action", "~", ("k8s:*",)))),
    "list": ("outcome in (DENY,'HOLD')", Compare("outcome", "=", ("DENY", "HOLD"))),
    "not in the list": ("outcome NOT IN (DENY)", Not(Compare("outcome", "=", ("DENY",)))),
    "in as a word": ("in", Word("in")),
    "quotes": (r'target="a \" ) and b"', Compare("target", "=", ('a " ) and b',))),
    "an operator in quotes": ('"and"', Word("and")),
    "parenthesis in quotes": ('x ")"', All((Word("x"), Word(")")))),
    "empty value": ('target=""', Compare("target", "=", ("",))),
    "since": ("since=24h", Compare("ts", ">=", ("2026-03-01T12:00:00.000000Z",))),
    "until": ("until=2026-03-01", Compare("ts", "<", ("2026-03-01T00:00:00.000000Z",))),
    "time in a zone": ("ts>2026-03-01T02:00+02:00", Compare("ts", ">", ("2026-03-01T00:00:00.000000Z",))),
    "unlisted": (".since=x", Compare("since", "=", ("x",))),
    "number": ("status>=500", Compare("status", ">=", ("500",))),
}


@pytest.mark.parametrize(("text", "asked"), READ.values(), ids=READ)
def test_what_a_filter_means(text: str, asked: Filter) -> None:
    """Each form is read as the one thing that it says."""
    assert parse_filter(text, NOW) == asked


REFUSED = {
    "typo": ("agnt=x", '1:1: there is no field "agnt"; did you mean "agent"?'),
    "typo behind a line": ("agent=x\n outcom=DENY", '2:2: there is no field "outcom"; did you mean "outcome"?'),
    "capitals": ("Agent=x", '1:1: there is no field "Agent"; did you mean "agent"?'),
    "nothing like it": ("zzz=1", '1:1: there is no field "zzz"; write a dot before it if records have it all the same'),
    "sql as a name": (".a'||x=1", "1:3: ' is left over; close the quotes, or put quotes around it"),
    "no such time": ("since=yesterday", f'1:7: "yesterday" is not a time; {REMEDY}'),
    "a time out of reach": (
        "since=999999w",
        f'1:7: "999999w" is not a time; {REMEDY}',
    ),
    "since is no field": ("since>24h", '1:6: "since" takes "="; write since=24h'),
    "no number": ("status>many", '1:8: "status" is a number; write status>100'),
    "no value": ("agent=", '1:7: a value is missing; write FIELD=VALUE, or FIELD="" for an empty one'),
    "no field": ("=x", '1:1: "=" is not expected here; write FIELD=VALUE or a word, in quotes if need be'),
    "open": ("(agent=x", '1:9: ")" is missing here; close what was opened'),
    "closed": ("agent=x)", '1:8: ")" is not expected here; write FIELD=VALUE, a word, "and", "or" or "not"'),
    "quotes open": ('agent="x', '1:7: " is left over; close the quotes, or put quotes around it'),
    "or alone": ("or", '1:1: "or" is not expected here; write FIELD=VALUE or a word, in quotes if need be'),
    "or nothing": ("x or", "1:5: the end is not expected here; write FIELD=VALUE or a word, in quotes if need be"),
    "list open": ("outcome in (DENY", '1:17: ")" is missing here; close what was opened'),
    "empty word": ('""', "1:1: an empty word is in everything; leave it out"),
    "surrogate": ("agent=\ud800", "1:7: this is not Unicode text; write UTF-8"),
    "deep": ("(" * (MAX_DEPTH + 2), "1:32: that is more than 200 terms or 30 levels; ask for less at once"),
    "many": ("x " * 300, "1:401: that is more than 200 terms or 30 levels; ask for less at once"),
    "a long list": (f"agent in ({','.join('x' * 300)})", "1:412: that is more than 200 terms; ask for less at once"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_and_where(text: str, message: str) -> None:
    """A filter that cannot be understood is never guessed; the message has the place and the remedy."""
    with pytest.raises(FilterError) as caught:
        parse_filter(text, NOW)
    assert str(caught.value) == f"filter:{message}"


def test_a_long_filter_is_not_read() -> None:
    """Nobody needs a filter of a hundred pages, and reading it would cost somebody else's time."""
    with pytest.raises(FilterError, match="the filter has 4001 characters and 4000 are read; ask for less at once"):
        parse_filter("x" * (MAX_CHARS + 1), NOW)


@given(st.text(max_size=60) | st.text("agent=!~<>()\"'\\ ,.inotrDENY", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever somebody writes gives a filter or one located line."""
    try:
        parse_filter(text, NOW)
    except FilterError as error:
        message = str(error)
    else:
        return
    assert re.fullmatch(r"filter:[0-9]+:[0-9]+: [^\n]+; [^\n]+", message)


def test_the_list_of_fields_knows_the_columns() -> None:
    """What the tables compute is in the list, and the pseudo fields are not."""
    assert set(COMPUTED) <= set(FIELDS)
    assert set(FIELDS) >= NUMBERS
    assert not {"since", "until", "v"} & set(FIELDS)


def test_a_field_is_checked_before_it_stands_in_a_statement() -> None:
    """A name is one of the list, or a plain word behind a dot; nothing else can reach SQL."""
    assert (check_field("agent"), check_field(".agent_x")) == ("agent", "agent_x")
    for name in (".", "..a", ".a b", ".a'", ".A", "", ".a\n"):
        with pytest.raises(FilterError, match="there is no field"):
            check_field(name)


# --- the meaning, and SQL's -------------------------------------------------------------------------------


def written(path: Path, bodies: list[dict[str, object]]) -> Path:
    async def fill() -> None:
        for body in bodies:
            await chron.append("decision", body)

    # A minute a look, and now and then back.
    minutes = itertools.cycle([1, 2, 3, 2, 5, 6, 4, 8, 9])

    def clock_ns() -> int:
        return int(datetime(2026, 3, 1, 0, next(minutes), tzinfo=UTC).timestamp()) * 1_000_000_000

    with Chron.open(path, low_water_bytes=0, clock_ns=clock_ns) as chron:
        asyncio.run(fill())
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(records, min_size=1, max_size=8), asked=st.lists(filters, min_size=5, max_size=15))
def test_sql_and_the_meaning_agree(tmp_path_factory, bodies, asked) -> None:
    """For any records and any filter, the statement finds exactly those that the filter means."""
    path = written(tmp_path_factory.mktemp("chron") / "chron.db", bodies)
    all_records = list(find(path))
    for each in asked:
        found = [record.seq for record in page(path, each, limit=100).records]
        assert found == [record.seq for record in all_records if holds(each, dict(record.fields))], each


@settings(max_examples=15, deadline=None)
@given(bodies=st.lists(records, max_size=12), field=texts | numbers, asked=filters)
def test_counts_add_up(tmp_path_factory, bodies, field, asked) -> None:
    """Counting by a field counts every record that matches, under its value, once."""
    path = written(tmp_path_factory.mktemp("chron") / "chron.db", bodies)
    expected: dict[str | None, int] = {}
    for record in find(path):
        if holds(asked, dict(record.fields)):
            value = as_text(record.fields.get(field))
            expected[value] = expected.get(value, 0) + 1
    found = counts(path, asked, (field,), limit=100)
    assert {count.values[0]: count.records for count in found} == expected
    assert [count.records for count in found] == sorted(expected.values(), reverse=True)


PLANS = {
    "agent": ("agent=a", "INDEX chron_agent"),
    "agent and time": ("agent=a since=2026-03-01", "INDEX chron_agent"),
    "anchor": ("anchor=a", "INDEX chron_anchor"),
    "action": ("action=a outcome=ALLOW", "INDEX chron_action"),
    "denials": ("outcome=DENY", "INDEX chron_deny"),
    "id": ("id=chr_1", "INDEX sqlite_autoindex_chron_1"),
    "outcomes of a decision": ("ref=chr_1", "INDEX chron_ref"),
    "seldom kinds": ("kind=access", "INDEX chron_seldom"),
    "one of two": ("agent=a or agent=b", "INDEX chron_agent"),
    "since": ("since=2026-03-01 host=x", "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    "the first since": ("since=2026-03-01 host=x", "INDEX chron_second (<expr>>?)"),
}


@pytest.mark.parametrize(("text", "wanted"), PLANS.values(), ids=PLANS)
def test_what_an_index_finds_is_not_looked_for_in_every_record(text: str, wanted: str, tmp_path: Path) -> None:
    """The filters that the page calls quick are answered from an index, also among millions."""
    path = written(tmp_path / "chron.db", [])
    asked = condition(parse_filter(text, NOW))
    statement = f"SELECT body FROM chron WHERE seq < ? AND {asked.sql} ORDER BY seq DESC LIMIT ?"
    with reading(path) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (9, *asked.values, 9))]
    assert any(wanted in step for step in plan), plan
