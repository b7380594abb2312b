"""The fingerprint of a request: everything counts, but what clients write anew into every attempt."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import Operation
from proxy.facts import Facts, Inbound, read_facts
from proxy.fingerprints import VOLATILE, fingerprint


def facts(
    method: str = "POST",
    target: str = "/x?a=1",
    fields: tuple[tuple[str, str], ...] = (),
    body: bytes = b"b",
    host: str = "a.test",
) -> Facts:
    named = ((b"Host", host.encode()), *((name.encode(), value.encode()) for name, value in fields))
    return read_facts(Inbound(method, "https", target, named, "10.0.0.9", (host, 443), host), body)


def operation(action: str = "data:write", target: str = "x", name: str = "op") -> Operation:
    return Operation(name=name, action=action, target=target, environment="", attributes={}, rule=None)


WHAT = fingerprint("bot", facts(), [operation()])

OTHER: dict[str, str] = {
    "another agent": fingerprint("other-bot", facts(), [operation()]),
    "another method": fingerprint("bot", facts("PUT"), [operation()]),
    "another host": fingerprint("bot", facts(host="b.test"), [operation()]),
    "another query": fingerprint("bot", facts(target="/x?a=2"), [operation()]),
    "another body": fingerprint("bot", facts(body=b"c"), [operation()]),
    "another header": fingerprint("bot", facts(fields=(("X-Force", "1"),)), [operation()]),
    "another action": fingerprint("bot", facts(), [operation("data:delete")]),
    "another target": fingerprint("bot", facts(), [operation(target="y")]),
    "one operation more": fingerprint("bot", facts(), [operation(), operation()]),
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_another_request_has_another_fingerprint(other: str) -> None:
    """Whatever the request does, and whoever asks for it, is in the fingerprint."""
    assert other != WHAT


@pytest.mark.parametrize("name", sorted(VOLATILE.keys() - {"transfer-encoding", "content-length", "expect"}))
def test_what_clients_change_in_every_attempt_is_left_out(name: str) -> None:
    """With any value of a volatile header, in any case, it is the same request; and each has its reason."""
    assert fingerprint("bot", facts(fields=((name.title(), "close"),)), [operation()]) == WHAT
    assert VOLATILE[name]


def test_order_of_names_is_nothing_and_order_of_values_is_something() -> None:
    """Headers come in any order; several of one name keep theirs, which has a meaning."""
    a, b, c = ("X-A", "1"), ("X-B", "2"), ("X-A", "3")
    assert fingerprint("bot", facts(fields=(a, b)), []) == fingerprint("bot", facts(fields=(b, a)), [])
    assert fingerprint("bot", facts(fields=(a, c)), []) != fingerprint("bot", facts(fields=(c, a)), [])


headers = st.lists(st.tuples(st.sampled_from(["x-a", "x-b", "x-ab"]), st.text("ab:", max_size=3)), max_size=3)
parts: Any = st.fixed_dictionaries(
    {"body": st.binary(max_size=3), "fields": headers.map(tuple), "target": st.sampled_from(["/a", "/ab", "/a?b"])}
)


@given(parts, parts)
def test_no_two_requests_share_one_by_moving_a_border(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What differs in any part differs in the fingerprint, however the parts are cut."""
    ones, others = (facts(**each) for each in (one, other))
    by_name = [sorted(each["fields"], key=lambda field: field[0]) for each in (one, other)]
    stripped = [[(name, value.strip(" \t")) for name, value in fields] for fields in by_name]
    same = one["body"] == other["body"] and one["target"] == other["target"] and stripped[0] == stripped[1]
    assert (fingerprint("bot", ones, []) == fingerprint("bot", others, [])) is same


def test_the_body_must_be_the_one_that_was_read() -> None:
    """A body that came in pieces has the fingerprint of the whole."""
    whole = facts(body=b"abc")
    again = replace(whole, request=replace(whole.request, body=b"ab" + b"c"))
    assert fingerprint("bot", whole, []) == fingerprint("bot", again, [])
