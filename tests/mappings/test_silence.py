"""What answers nothing, or what it does not promise, makes a request no milder: it is read as it is, or refused.

The long form of `tests/torture/test_planted.py` breaks every function in a running gate; this table breaks those that
tell readings apart, one by one, against requests that each would be something mild if nobody looked.
"""

from collections.abc import Callable

import pytest

from mappings import Mappings, Request
from mappings.conditions import HeaderHolds, JsonHolds, Not, QueryHolds
from mappings.globs import Glob
from mappings.operations import OperationPattern
from mappings.reading import Reading

RULES = """
bind: [{host: a.test, pack: http}, {host: api.shop.test, pack: shop}]
rules:
  - {id: mild, match: {host: a.test, method: POST}, action: "mild:do"}
  - {id: gone, match: {host: a.test, method: DELETE}, action: "harsh:delete"}
  - {id: deep, match: {host: a.test, method: POST, path: /a/b}, action: "harsh:deep"}
  - {id: body, match: {host: a.test, method: POST, path: /runs, json: {destroy: true}}, action: "harsh:destroy"}
  - {id: name, match: {host: a.test, method: POST, path: /runs, json: {name: "prod-*"}}, action: "harsh:name"}
  - {id: query, match: {host: a.test, method: POST, path: /asked, query: {do: "del*"}}, action: "harsh:asked"}
  - {id: head, match: {host: a.test, method: POST, path: /told, header: {x-do: "del*"}}, action: "harsh:told"}
  - {id: not, match: {host: a.test, method: POST, path: /not, not: {json: {dry: true}}}, action: "harsh:not"}
  - {id: cancel, match: {op: "shop:orders/can*"}, action: "harsh:cancel"}
"""
FORM = "application/x-www-form-urlencoded"
REQUESTS: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "a method in a header": ("POST https://a.test/x", "", (("x-http-method-override", "DELETE"),)),
    "and by another name": ("POST https://a.test/x", "", (("x_http_method_override", "DELETE"),)),
    "a method in a form": ("POST https://a.test/x", "_method=DELETE", (("content-type", FORM),)),
    "a method in the query": ("POST https://a.test/x?_method=DELETE", "", ()),
    "another slash": ("POST https://a.test/a%2Fb", "", ()),
    "a target in a header": ("POST https://a.test/x", "", (("x-original-url", "/a/b"),)),
    "a body": ("POST https://a.test/runs", '{"destroy": true}', (("content-type", "application/json"),)),
    "a name in a body": ("POST https://a.test/runs", '{"name": "prod-1"}', (("content-type", "application/json"),)),
    "a packed body": (
        "POST https://a.test/runs",
        '{"destroy": false}',
        (("content-type", "application/json"), ("content-encoding", "gzip")),
    ),
    "a query": ("POST https://a.test/asked?do=delete", "", ()),
    "a header": ("POST https://a.test/told", "", (("x-do", "delete"),)),
    "what it is not": ("POST https://a.test/not", '{"dry": false}', (("content-type", "application/json"),)),
    "a pattern of operations": ("POST https://api.shop.test/orders/1/cancel", "", ()),
}
BROKEN: list[tuple[object, str]] = [
    *((f"mappings.mapping.{name}", "") for name in ("ordinary", "alternatives", "_agree", "_essence", "_recognised")),
    *((f"mappings.mapping.{name}", "") for name in ("_recognise", "_by_path", "_read", "choose", "rank_of")),
    *((f"mappings.reading.{name}", "") for name in ("ordinary", "may_hold", "form_values", "_overriding_methods")),
    *((f"mappings.reading.{name}", "") for name in ("_elsewhere", "_gathered", "read_json")),
    *((f"mappings.routes.{name}", "") for name in ("all_hold",)),
    *((f"mappings.conditions.{name}", "") for name in ("all_hold", "look_up", "_text_matches")),
    *((f"mappings.forms.{name}", "") for name in ("may_hold", "_decoded")),
    *((f"mappings.bodies.{name}", "") for name in ("_object", "_walk", "_member", "_folded")),
    *((each, "holds") for each in (JsonHolds, HeaderHolds, QueryHolds, Not)),
    *((Mappings, name) for name in ("_resolve", "_binding", "_operations", "_candidates")),
    *((Reading, "json"), (Request, "header_values"), (Glob, "fits"), (OperationPattern, "fits")),
]
WRONG = object()
"""True, as most things are."""


@pytest.mark.parametrize("name", REQUESTS)
def test_what_answers_nothing_makes_nothing_milder(
    name: str,
    mapped: Callable[..., Mappings],
    request_of: Callable[..., Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever function it is, and whatever it returns instead of what it promises."""
    mappings, request = mapped(RULES), request_of(*REQUESTS[name])
    assert not mild(mappings, request)
    for where, attribute in BROKEN:
        for answer in (None, WRONG):
            with monkeypatch.context() as broken:
                broke = lambda *_, answer=answer, **__: answer  # noqa: E731 - the same for both ways to put it there
                if isinstance(where, str):
                    broken.setattr(where, broke)
                else:
                    broken.setattr(where, attribute, broke)
                mappings._hosts.clear()
                assert not mild(mappings, request), (where, attribute, answer)


def mild(mappings: Mappings, request: Request) -> bool:
    """Whether a request is read as something harmless, or by its bare name where a rule has a word for it."""
    resolution = mappings.resolve(request)
    named = [operation.action for operation in resolution.operations]
    return resolution.problem is None and any(not action.startswith("harsh:") for action in named)
