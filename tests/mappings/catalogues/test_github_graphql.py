"""GraphQL written to wear the reader out, or to be read differently the second time."""

import json
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappings import Problem, Request
from mappings.packs.graphql import MAX_CHARS, PACK, read_graphql
from mappings.packs.graphql_documents import MAX_TOKENS
from mappings.resolution import CONFLICT, UNREADABLE

JSON = (("content-type", "application/json"),)


def _asked(query: str, **more: object) -> Request:
    body = json.dumps({"query": query, **more}).encode()
    return Request("POST", "https", "api.acme.test", 443, "/graphql", (), JSON, body)


def _chain(links: int) -> str:
    return (
        "{...F0}"
        + "".join(f"fragment F{n} on Q {{...F{n + 1}}}" for n in range(links))
        + f"fragment F{links} on Q {{a}}"
    )


@pytest.mark.parametrize(
    ("name", "query", "code"),
    [
        ("more tokens than the limit", "{" + "a " * MAX_TOKENS + "}", UNREADABLE),
        ("more characters than the limit", "{a}#" + "x" * MAX_CHARS, UNREADABLE),
        ("braces without end", "{a" * 2_000 + "}" * 2_000, UNREADABLE),
        ("lists without end", "{a(x:" + "[" * 2_000 + "]" * 2_000 + ")}", UNREADABLE),
        ("a chain of fragments without end", _chain(700), UNREADABLE),
        ("fragments that use one another", "{...F0}" + _chain(9).replace("...", "...F9 ..."), CONFLICT),
        ("a text without end", '{a(x: "' + "x" * 90_000, UNREADABLE),
        ("nothing", "", UNREADABLE),
        ("a lone surrogate", '{a(x: "\ud800")}', UNREADABLE),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_what_wears_a_reader_out_is_refused(name: str, query: str, code: str) -> None:
    """What is too long, too deep or without an end is refused, and raises nothing."""
    found = read_graphql(_asked(query))
    assert isinstance(found, Problem)
    assert found.code == code


def test_a_long_chain_is_walked_once() -> None:
    """Each fragment counts once, however many ways lead to it: 2 to the power of 30 here."""
    doubled = "".join(f"fragment F{n} on Q {{...F{n + 1} ...F{n + 1}}}" for n in range(30))
    found = read_graphql(_asked(f"{{...F0 ...F0}}{doubled} fragment F30 on Q {{a}}"))
    assert isinstance(found, tuple)
    assert [field.name for field in found] == ["a"]


def test_a_list_of_queries_shares_one_limit() -> None:
    """Many queries in one request are no way around the limit of one."""
    entry = {"query": "{a}#" + "x" * (MAX_CHARS // 10)}
    body = json.dumps([entry] * 11).encode()
    found = read_graphql(Request("POST", "https", "a.test", 443, "/graphql", (), JSON, body))
    assert isinstance(found, Problem)


def test_one_text_with_other_variables_is_read_anew() -> None:
    """What is kept of a document holds nothing of the request it came with."""
    query = "mutation($i: ID) {pay(id: $i) {ok}}"
    seen = []
    for number in ("1", "2"):
        found = read_graphql(_asked(query, variables={"i": number}))
        assert isinstance(found, tuple)
        seen.append(found[0].captures["id"])
    assert seen == ["1", "2"]


WORDS = st.sampled_from(
    [
        "{",
        "}",
        "(",
        ")",
        "a",
        "...",
        "F",
        "on",
        "query",
        "mutation",
        "fragment",
        "$v",
        ":",
        "!",
        "@skip",
        '"x"',
        "id",
        "[",
        "]",
        "#",
    ]
)


@example("{ }")
@example("mutation {...F} fragment F on Mutation { }")
@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(string.printable, max_size=60))
def test_any_text_is_read_or_refused(query: str) -> None:
    """For any text there are fields, or a problem; never an exception, and never nothing where a query was sent."""
    recognition = PACK.recognise(_asked(query))
    assert (recognition.problem is None) is bool(recognition.calls)
