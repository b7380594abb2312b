"""Rules that certainly meet and say different things are a fault when they are loaded; all others may stand."""

from collections.abc import Callable

import pytest

from mappings import Mappings, PackError, Request

Mapped = Callable[..., Mappings]

FIRST, SECOND = "x:one", "x:two"


def rules(*matches: str, actions: tuple[str, ...] = (FIRST, SECOND, "x:three", "x:four")) -> str:
    """Return a mapping file with a rule "a", "b"... for each match."""
    lines = [
        f"- {{id: {chr(97 + at) if at < 26 else f'r{at}'}, match: {match}, action: {action}}}"
        for at, (match, action) in enumerate(zip(matches, actions, strict=False))
    ]
    return "\n".join(["rules:", *lines])


TIES = {
    "two captures": ('{host: h.test, path: "/a/{x}"}', '{host: h.test, path: "/{y}/b"}', "/a/b"),
    "everywhere": ('{path: "/a/{x}"}', '{path: "/{y}/b"}', "/a/b"),
    "hosts in common": (
        '{host: [h.test, g.test], path: "/a/{x}"}',
        '{host: [f.test, g.test], path: "/{y}/b"}',
        "/a/b",
    ),
    "wildcard hosts": ('{host: "*.test", path: "/a/{x}"}', '{host: "*.test", path: "/{y}/b"}', "/a/b"),
    "methods in common": (
        '{host: h.test, method: [GET, PUT], path: "/a/{x}"}',
        '{host: h.test, method: [PUT, POST], path: "/{y}/b"}',
        "/a/b",
    ),
    "the same conditions": (
        '{host: h.test, path: "/a/{x}", query: {q: "1"}, header: {h: "2"}}',
        '{host: h.test, path: "/{y}/b", header: {h: "2"}, query: {q: "1"}}',
        "/a/b",
    ),
    "the same conditions under not": (
        '{host: h.test, path: "/a/{x}", not: {path: "/a/c", host: h.test}}',
        '{host: h.test, path: "/{y}/b", not: {host: h.test, path: "/a/c"}}',
        "/a/b",
    ),
    "a rest": ('{host: h.test, path: "/a/{x+}"}', '{host: h.test, path: "/{y+}/b"}', "/a/b"),
    "a rest and a capture": ('{host: h.test, path: "/a/{x}/c"}', '{host: h.test, path: "/{y+}/bc"}', None),
    "a rest of several": ('{host: h.test, path: "/a/{x}/{z}/c"}', '{host: h.test, path: "/a/{y+}/c/"}', None),
    "globs": ('{host: h.test, path: "/{x:web-*}"}', '{host: h.test, path: "/{y:*prod}"}', "/web-prod"),
    "words": ('{host: h.test, path: "/{x:a|b}/{z}"}', '{host: h.test, path: "/{y}/{w:c|d}"}', "/a/c"),
    "listed operations": ('{op: "shop:orders/me*"}', '{op: "shop:orders/*ta"}', "shop:orders/meta"),
    "operations of no list": ('{op: "kubernetes:*:pods/log"}', '{op: "kubernetes:*oddverb:*"}', None),
    "verb and resource": ('{op: "kubernetes:*:podpods"}', '{op: "kubernetes:patches:*"}', "kubernetes:patches:podpods"),
    "across segments": ('{op: "kubernetes:**:podpods"}', '{op: "kubernetes:patches:**"}', "kubernetes:patches:podpods"),
}


@pytest.mark.parametrize(("first", "second", "where"), TIES.values(), ids=TIES)
def test_a_tie_is_told_with_an_example(mapped: Mapped, first: str, second: str, where: str | None) -> None:
    """Both rules and a place where they meet are named; without an example they may stand."""
    text = rules(first, second)
    if where is None:
        mapped(text)
        return
    with pytest.raises(PackError) as caught:
        mapped(text)
    (fault,) = caught.value.faults
    assert str(fault) == (
        f'site.yaml:4:3: rule "b" and rule "a" (site.yaml:3:3) both name {where}; make one more specific or merge them'
    )


STANDING = {
    "one more literal": ('{host: h.test, path: "/a/{x}"}', '{host: h.test, path: "/{y}/bb"}'),
    "other literals": ('{host: h.test, path: "/a/{x}/c"}', '{host: h.test, path: "/{y}/b/d"}'),
    "other conditions": ('{host: h.test, path: "/a/{x}", query: {q: "1"}}', '{host: h.test, path: "/{y}/b"}'),
    "conditions that may both hold": (
        '{host: h.test, path: "/a/{x}", query: {q: "1"}}',
        '{host: h.test, path: "/{y}/b", query: {p: "1"}}',
    ),
    "other hosts": ('{host: h.test, path: "/a/{x}"}', '{host: g.test, path: "/{y}/b"}'),
    "a closer host": ('{host: h.test, path: "/a/{x}"}', '{host: "*.test", path: "/{y}/b"}'),
    "other methods": ('{method: GET, path: "/a/{x}"}', '{method: PUT, path: "/{y}/b"}'),
    "one with a method": ('{method: GET, path: "/a/{x}"}', '{path: "/{y}/b"}'),
    "other words": ('{host: h.test, path: "/{x:a|b}/{z}"}', '{host: h.test, path: "/c/{w}"}'),
    "globs apart": ('{host: h.test, path: "/{x:web-*}"}', '{host: h.test, path: "/{y:app-*}"}'),
    "no such operation": ('{op: "shop:orders/c*"}', '{op: "shop:orders/*t"}'),
    "an invented operation": ('{op: "aws:*:*Cluster*"}', '{op: "aws:*:*Gateway*"}'),
    "operations apart": ('{op: "aws:ec2:Run*"}', '{op: "aws:ecs:Run*"}'),
}


@pytest.mark.parametrize(("first", "second"), STANDING.values(), ids=STANDING)
def test_what_is_not_proved_may_stand(mapped: Mapped, first: str, second: str) -> None:
    """Rules of which one is more specific, or that may never meet, are loaded."""
    mapped(rules(first, second))


def test_the_same_said_twice_is_no_tie(mapped: Mapped) -> None:
    """Two rules that agree about where they meet may stand."""
    mapped(rules('{host: h.test, path: "/a/{x}"}', '{host: h.test, path: "/{y}/b"}', actions=(FIRST, FIRST)))


def test_a_rule_for_where_they_meet_settles_it(mapped: Mapped, request_of: Callable[..., Request]) -> None:
    """A third rule that is more specific there makes the tie one that never happens."""
    pair = ('{host: h.test, path: "/a/{x}"}', '{host: h.test, path: "/{y}/b"}')
    mappings = mapped(rules(*pair, "{host: h.test, path: /a/b}"))
    (operation,) = mappings.resolve(request_of("GET https://h.test/a/b")).operations
    assert operation.action == "x:three"
    with pytest.raises(PackError):
        mapped(rules(*pair, "{host: h.test, method: GET, path: /a/b}"))
    mapped(rules('{op: "shop:orders/me*"}', '{op: "shop:orders/*ta"}', '{op: "shop:orders/meta"}'))


def test_the_closest_template_of_a_rule_speaks(mapped: Mapped) -> None:
    """A rule with a closer template for the place where another meets it wins there, and nothing ties."""
    mapped(rules('{host: h.test, path: ["/a/{x}", "/a/b"]}', '{host: h.test, path: "/{y}/b"}'))


def test_ties_are_found_across_files(mapped: Mapped) -> None:
    """The operator's files are one."""
    first, second = (
        rules('{host: h.test, path: "/a/{x}"}'),
        rules('{host: h.test, path: "/{y}/b"}', actions=(SECOND,)),
    )
    with pytest.raises(PackError) as caught:
        mapped(first.replace("id: a", "id: b"), second)
    assert [str(fault.place) for fault in caught.value.faults] == ["site.yaml:3:3"]


def test_many_rules_are_not_compared_one_by_one(mapped: Mapped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand rules of one length need no more proofs than they have real meetings."""
    import mappings.overlaps

    asked: list[object] = []
    judged = mappings.overlaps._Judge._settle
    monkeypatch.setattr(
        mappings.overlaps._Judge, "_settle", lambda self, *args: (asked.append(args), judged(self, *args))
    )
    some = [f'{{host: h.test, path: "/a{number:04}/{{x}}"}}' for number in range(1000)]
    others = [f'{{host: h.test, path: "/{{x}}/{{y:b{number:04}-*}}"}}' for number in range(1000)]
    meeting = ['{host: h.test, path: "/{x}/b0007"}']
    actions = tuple(f"x:{number}" for number in range(2001))
    with pytest.raises(PackError) as caught:
        mapped(rules(*some, *others, *meeting, actions=actions))
    # The one that meets a thousand others is told once; all the others take no proof at all.
    assert [fault.message for fault in caught.value.faults] == [
        'rule "r2000" and rule "a" (site.yaml:3:3) both name /a0000/b0007; make one more specific or merge them'
    ]
    assert 0 < len(asked) < 100
