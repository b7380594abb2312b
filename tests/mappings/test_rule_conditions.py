"""Conditions on numbers and on the content type."""

from collections.abc import Callable

import pytest

from mappings import Mappings, Request

JSON = "application/json"

SITE = """
bind: [{host: a.test, pack: http}]
rules:
  - {id: few, match: {host: a.test, path: /n, json: {n: {lt: 10}}}, action: "n:few"}
  - {id: many, match: {host: a.test, path: /n, json: {n: {ge: 10}}}, action: "n:many"}
  - {id: some, match: {host: a.test, path: /some, json: {n: {gt: 0, le: 5}}}, action: "n:some"}
  - {id: rest, match: {host: a.test, path: /some}, action: "n:rest"}
  - {id: not-some, match: {host: a.test, path: /not, not: {json: {n: {gt: 5}}}}, action: "n:not"}
  - {id: form, match: {host: a.test, path: /t, content_type: application/x-www-form-urlencoded}, action: "t:form"}
  - {id: patch, match: {host: a.test, path: /t, content_type: "application/*patch*"}, action: "t:patch"}
  - {id: other, match: {host: a.test, path: /t}, action: "t:other"}
  - {id: none, match: {host: a.test, path: /none, content_type: {exists: false}}, action: "t:none"}
  - {id: either, match: {host: a.test, path: /none, content_type: {in: [text/plain, text/csv]}}, action: "t:text"}
"""

ROWS: dict[str, tuple[str, str | None, tuple[str, ...], str]] = {
    "below": ("/n", '{"n": 9}', (JSON,), "n:few"),
    "at the bound": ("/n", '{"n": 10}', (JSON,), "n:many"),
    "below nothing": ("/n", '{"n": -3}', (JSON,), "n:few"),
    "missing": ("/n", "{}", (JSON,), "mapping.unmapped"),
    "nothing": ("/n", '{"n": null}', (JSON,), "mapping.unmapped"),
    "a fraction": ("/n", '{"n": 9.5}', (JSON,), "mapping.conflict"),
    "a whole fraction": ("/n", '{"n": 9.0}', (JSON,), "mapping.conflict"),
    "an exponent": ("/n", '{"n": 1e1}', (JSON,), "mapping.conflict"),
    "a text": ("/n", '{"n": "9"}', (JSON,), "mapping.conflict"),
    "a boolean": ("/n", '{"n": true}', (JSON,), "mapping.conflict"),
    "a list": ("/n", '{"n": [9]}', (JSON,), "mapping.conflict"),
    "beyond doubles": ("/n", '{"n": 9007199254740993}', (JSON,), "mapping.conflict"),
    "far below": ("/n", '{"n": -9007199254740993}', (JSON,), "mapping.conflict"),
    "unread": ("/n", None, (JSON,), "mapping.unreadable"),
    "inside": ("/some", '{"n": 5}', (JSON,), "n:some"),
    "above": ("/some", '{"n": 6}', (JSON,), "n:rest"),
    "outside": ("/some", '{"n": 0}', (JSON,), "n:rest"),
    "not above": ("/not", '{"n": 5}', (JSON,), "n:not"),
    "not, but above": ("/not", '{"n": 6}', (JSON,), "mapping.unmapped"),
    "not, a text": ("/not", '{"n": "6"}', (JSON,), "mapping.conflict"),
    "type": ("/t", "a=b", ("application/x-www-form-urlencoded",), "t:form"),
    "type with parameters": ("/t", "a=b", ("Application/X-WWW-Form-Urlencoded; charset=utf-8",), "t:form"),
    "type by glob": ("/t", "{}", ("application/merge-patch+json",), "t:patch"),
    "another type": ("/t", "{}", (JSON,), "t:other"),
    "no type": ("/t", "", (), "t:other"),
    "the same type twice": ("/t", "a=b", ("application/x-www-form-urlencoded",) * 2, "t:form"),
    "two types": ("/t", "a=b", ("application/x-www-form-urlencoded", JSON), "mapping.conflict"),
    "two types in one": ("/t", "a=b", ("application/x-www-form-urlencoded, application/json",), "mapping.conflict"),
    "a second type behind a parameter": ("/t", "{}", ("application/json; a=b, text/plain",), "mapping.conflict"),
    "no type wanted": ("/none", "", (), "t:none"),
    "one of two types": ("/none", "a", ("text/csv",), "t:text"),
    "neither": ("/none", "{}", (JSON,), "mapping.unmapped"),
}


@pytest.mark.parametrize(("path", "body", "kinds", "expected"), ROWS.values(), ids=ROWS)
def test_condition(
    mapped: Callable[..., Mappings],
    request_of: Callable[..., Request],
    path: str,
    body: str | None,
    kinds: tuple[str, ...],
    expected: str,
) -> None:
    """A condition holds for what every reader would read alike, and what two would read differently is refused."""
    headers = tuple(("content-type", kind) for kind in kinds)
    resolution = mapped(SITE).resolve(request_of(f"POST https://a.test{path}", body, headers))
    told = resolution.problem.code if resolution.problem else resolution.operations[0].action
    assert told == expected


def test_a_content_type_needs_no_body(mapped: Callable[..., Mappings], request_of: Callable[..., Request]) -> None:
    """The head says it, so the body streams on."""
    headers = (("content-type", JSON),)
    assert not mapped(SITE).needs_body(request_of("POST https://a.test/t", None, headers))
    assert mapped(SITE).needs_body(request_of("POST https://a.test/n", None, headers))
