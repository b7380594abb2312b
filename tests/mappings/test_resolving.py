"""Which rule names a request, and what it makes of it."""

from collections.abc import Callable
from itertools import permutations

import pytest

from mappings import Mappings, Operation, PackError, Request

Mapped = Callable[..., Mappings]
RequestOf = Callable[..., Request]

SITE = """
bind:
  - {host: site.test, pack: http}
  - {host: ns.test, pack: http, facts: {cluster: eu}}
  - {host: "*.svc.test", pack: http}
  - {host: staging.shop.test, pack: shop, facts: {env: staging}}
env:
  - {value: production, when: {namespace: [production, "prod-*"]}}
  - {value: staging, when: {namespace: [staging, "dev-*"]}}
  - {value: production, when: {namespace: ["*-live"], cluster: [eu]}}
  - {value: edge, when: {host: ["*.edge.svc.test"]}}
rules:
  - {id: any-get, match: {host: site.test, method: GET, path: "/{rest+}"}, action: "data:read"}
  - {id: one, match: {host: site.test, path: "/things/{thing}"}, action: "thing:any", target: "t/${thing}"}
  - {id: one-get, match: {host: site.test, method: GET, path: "/things/{thing}"}, action: "thing:get"}
  - {id: one-all, match: {host: site.test, method: GET, path: "/things/all"}, action: "thing:list"}
  - {id: one-q, match: {host: site.test, path: "/things/{thing}", query: {dry: "yes"}}, action: "thing:dry"}
  - {id: one-h, match: {host: site.test, path: "/things/{thing}", header: {X-Mode: "fast*"}}, action: "thing:fast"}
  - id: one-json
    match: {host: site.test, method: POST, path: "/{rest+}", json: {spec.kind: big}}
    action: "thing:big"
  - id: probe
    match: {host: "*.svc.test", method: [GET, HEAD], path: "/{probe:healthz|livez}"}
    action: "health:check"
  - {id: probe-a, match: {host: a.svc.test, method: GET, path: "/healthz"}, action: "health:a"}
  - id: space
    match: {host: ns.test, method: PUT, path: "/ns/{namespace}/x"}
    action: "deploy:${env}"
    target: "${cluster}/${namespace}/${gone}/${env}"
  - id: branch
    match: {host: site.test, method: PUT, path: "/b/{branch+}"}
    action: "push:${branch}"
    target: "${branch}"
  - id: not-dry
    match: {host: site.test, method: DELETE, path: "/n/{x}", not: {query: {dry: "yes"}}}
    action: "thing:delete"
  - {id: eu, match: {host: site.test, method: PATCH, path: "/f/{x}", facts: {x: [Alpha, "b*"]}}, action: "thing:fact"}
  - id: sync
    match: {host: site.test, method: POST, path: /sync}
    each: "json:items.*.id"
    action: "sync:${env}"
    target: "s/${each}"
  - {id: named, match: {host: raw.test, path: /x}, action: "raw:x"}
  - {id: head, match: {host: site.test, method: HEAD, path: "/hd/{x}"}, action: "thing:head"}
  - {id: head-get, match: {host: site.test, method: GET, path: "/hd/{x}"}, action: "thing:read"}
  - {id: shop-mine, match: {op: "shop:orders/mine"}, action: "order:mine", target: "${operation}/${host}"}
  - {id: shop-glob, match: {op: "shop:orders/*"}, action: "order:other", target: "o/${order}"}
  - {id: shop-get-dev, match: {op: "shop:orders/get", host: staging.shop.test}, action: "order:get-${env}"}
"""

# line, body -> action, target, environment, rule
ROWS = {
    "literal beats capture": ("GET https://site.test/things/all", "", "thing:list site.test/things/all  one-all"),
    "capture beats rest": ("GET https://site.test/things/7", "", "thing:get site.test/things/7  one-get"),
    "method beats none": ("PUT https://site.test/things/7", "", "thing:any t/7  one"),
    "rest of the path": ("GET https://site.test/other/x/y", "", "data:read site.test/other/x/y  any-get"),
    "query beats path": ("GET https://site.test/things/all?dry=yes", "", "thing:dry site.test/things/all  one-q"),
    "query with another value": ("PUT https://site.test/things/7?dry=no", "", "thing:any t/7  one"),
    "trailing slash": ("GET https://site.test/things/7/", "", "thing:get site.test/things/7/  one-get"),
    "body beats path": (
        "POST https://site.test/things/7",
        '{"spec": {"kind": "big"}}',
        "thing:big site.test/things/7  one-json",
    ),
    "body of another kind": ("POST https://site.test/things/7", '{"spec": {"kind": "small"}}', "thing:any t/7  one"),
    "body without the field": ("POST https://site.test/things/7", "{}", "thing:any t/7  one"),
    "body of nothing": ("POST https://site.test/things/7", '{"spec": {"kind": null}}', "thing:any t/7  one"),
    "empty body": ("POST https://site.test/things/7", "", "thing:any t/7  one"),
    "wildcard host": ("GET https://b.svc.test/healthz", "", "health:check b.svc.test/healthz  probe"),
    "wildcard over labels": ("GET https://b.c.svc.test/livez", "", "health:check b.c.svc.test/livez  probe"),
    "exact host beats wildcard": ("GET https://a.svc.test/healthz", "", "health:a a.svc.test/healthz  probe-a"),
    "literal word beats host": ("GET https://a.svc.test/livez", "", "health:check a.svc.test/livez  probe"),
    "classifier": (
        "PUT https://ns.test/ns/prod-1/x",
        "",
        "deploy:production eu/prod-1/-/production production space",
    ),
    "classifier folds case": (
        "PUT https://ns.test/ns/PROD-1/x",
        "",
        "deploy:production eu/PROD-1/-/production production space",
    ),
    "two facts": ("PUT https://ns.test/ns/a-live/x", "", "deploy:production eu/a-live/-/production production space"),
    "classifiers agree": (
        "PUT https://ns.test/ns/prod-live/x",
        "",
        "deploy:production eu/prod-live/-/production production space",
    ),
    "classifiers disagree": (
        "PUT https://ns.test/ns/dev-live/x",
        "",
        "deploy:conflict eu/dev-live/-/conflict conflict space",
    ),
    "no classifier fires": ("PUT https://ns.test/ns/other/x", "", "deploy:unknown eu/other/-/unknown unknown space"),
    "host classifier": ("GET https://x.edge.svc.test/healthz", "", "health:check x.edge.svc.test/healthz edge probe"),
    "value with a slash": ("PUT https://site.test/b/main/x", "", "push:main/x main/x  branch"),
    "value adds no segment": ("PUT https://site.test/b/x:production", "", "push:unknown x:production  branch"),
    "value outside the grammar": ("PUT https://site.test/b/a%20b", "", "push:unknown a b  branch"),
    "value with a newline is refused earlier, with an escape shown": (
        "PUT https://site.test/b/a%C2%85b",
        "",
        "push:unknown a%C2%85b  branch",
    ),
    "not": ("DELETE https://site.test/n/1", "", "thing:delete site.test/n/1  not-dry"),
    "not, present": ("DELETE https://site.test/n/1?dry=yes", "", "mapping.unmapped"),
    "not, another value": ("DELETE https://site.test/n/1?dry=no", "", "thing:delete site.test/n/1  not-dry"),
    "fact": ("PATCH https://site.test/f/alpha", "", "thing:fact site.test/f/alpha  eu"),
    "fact glob": ("PATCH https://site.test/f/Beta", "", "thing:fact site.test/f/Beta  eu"),
    "fact, another": ("PATCH https://site.test/f/gamma", "", "mapping.unmapped"),
    "each": (
        "POST https://site.test/sync",
        '{"items": [{"id": "a"}, {"id": 2}]}',
        "sync:unknown s/a  sync | sync:unknown s/2  sync",
    ),
    "each of none is still one": ("POST https://site.test/sync", '{"items": []}', "sync:unknown s/-  sync"),
    "each of an empty body": ("POST https://site.test/sync", "", "sync:unknown s/-  sync"),
    "unbound host named by a rule": ("GET https://raw.test/x", "", "raw:x raw.test/x  named"),
    "unbound host": ("GET https://evil.test/x", "", "mapping.unmapped"),
    "suffix without boundary": ("GET https://evilsvc.test/healthz", "", "mapping.unmapped"),
    "the suffix itself": ("GET https://svc.test/healthz", "", "mapping.unmapped"),
    "method nobody lists": ("BREW https://b.svc.test/healthz", "", "mapping.unmapped"),
    "method any rule takes": ("BREW https://site.test/things/7", "", "thing:any t/7  one"),
    "HEAD is GET": ("HEAD https://site.test/things/all", "", "thing:list site.test/things/all  one-all"),
    "HEAD by name": ("HEAD https://site.test/hd/1", "", "thing:head site.test/hd/1  head"),
    "GET beside HEAD": ("GET https://site.test/hd/1", "", "thing:read site.test/hd/1  head-get"),
    "pack rule": ("DELETE https://api.shop.test/orders/5", "", "order:cancel shop/5  cancel"),
    "operator beats pack": ("GET https://api.shop.test/orders/mine", "", "order:mine -/api.shop.test  shop-mine"),
    "operation glob": ("GET https://api.shop.test/orders/5", "", "order:other o/5  shop-glob"),
    "operation and host": (
        "GET https://staging.shop.test/orders/5",
        "",
        "order:get-staging staging.shop.test/orders/5 staging shop-get-dev",
    ),
    "no rule": (
        "GET https://api.shop.test/files/a/b",
        "",
        "shop:files/get api.shop.test/files/a/b  ",
    ),
    "route query": ("GET https://api.shop.test/files/a/b?lock", "", "shop:files/lock api.shop.test/files/a/b  "),
    "route query value": (
        "GET https://api.shop.test/files/a/b?lock=off",
        "",
        "shop:files/unlock api.shop.test/files/a/b  ",
    ),
    "route host": ("POST https://up.shop.test/files/a", "", "mapping.unmapped"),
    "split segment": ("GET https://api.shop.test/compare/a...b", "", "shop:compare api.shop.test/compare/a...b  "),
    "bound and not recognised": ("GET https://api.shop.test/nothing", "", "mapping.unmapped"),
}


def told(mappings: Mappings, request: Request) -> str:
    """Say a resolution in one line."""
    resolution = mappings.resolve(request)
    if resolution.problem is not None:
        assert resolution.operations == ()
        return resolution.problem.code
    assert resolution.operations
    return " | ".join(_told(operation) for operation in resolution.operations)


def _told(operation: Operation) -> str:
    rule = operation.rule.id if operation.rule else ""
    return f"{operation.action} {operation.target} {operation.environment} {rule}"


# A broad user rule over "shop:orders/*" also takes the pack's own "cancel" rule away, so it lives apart.
WITHOUT_GLOB = "\n".join(line for line in SITE.split("\n") if "shop-glob" not in line)


@pytest.mark.parametrize(("line", "body", "expected"), ROWS.values(), ids=ROWS)
def test_row(mapped: Mapped, request_of: RequestOf, line: str, body: str, expected: str) -> None:
    """A request is named by the most specific rule, and by nothing else."""
    site = WITHOUT_GLOB if "cancel" in expected else SITE
    assert told(mapped(site), request_of(line, body)) == expected


SPLITS = {
    "between": ("/{app:web-*}-{stage:p*}", "/web-a-prod", "x:web-a/prod"),
    "where it first stands": ("/{app:web-*}-{stage:*}", "/web-a-b-prod", "x:web-a/b-prod"),
    "and nowhere else": ("/{app:web-*}-{stage:p*}", "/web-a-b-prod", ""),
    "a glob that ends in text": ("/{app:*web}-{stage:*}", "/a-b-web-c", "x:a-b-web/c"),
    "a glob that begins and ends in text": ("/{app:a*b}-{stage:*}", "/a-b-b-c", "x:a-b/b-c"),
    "text at the end": ("/{app:*}-{stage:p*}.json", "/web-p-1.json", "x:web/p-1"),
}


@pytest.mark.parametrize(("template", "path", "action"), SPLITS.values(), ids=SPLITS)
def test_a_segment_has_one_way_to_be_split(
    mapped: Mapped, request_of: RequestOf, template: str, path: str, action: str
) -> None:
    """What stands between two parameters of a segment is taken where it first stands, and nowhere else."""
    mappings = mapped(
        f'rules: [{{id: s, match: {{host: t.test, path: "{template}"}}, action: "x:${{app}}/${{stage}}"}}]'
    )
    resolution = mappings.resolve(request_of(f"GET https://t.test{path}"))
    assert [operation.action for operation in resolution.operations] == ([action] if action else [])


HOSTILE = {
    "globs that end alike": ("/{a:*x}-{b:*x}-{c:*x}-{d:*x}", "x-"),
    "globs that begin alike": ("/{a:x*}-{b:x*}-{c:x*}-{d:x*}z", "x-"),
    "globs with text within": ("/{a:*x*}-{b:*x*}-{c:*x*}-{d:*x*}z", "x-"),
    "without globs": ("/{a}-{b}-{c}-{d}z", "x-"),
    "many segments": ("/{a+}/{b+}/z", "x/"),
}


@pytest.mark.parametrize(("template", "unit"), HOSTILE.values(), ids=HOSTILE)
def test_no_template_takes_a_path_apart_in_every_possible_way(
    mapped: Mapped, request_of: RequestOf, template: str, unit: str
) -> None:
    """The longest path, made to almost fit, is found not to fit; trying every split of it would never end."""
    mappings = mapped(f'rules: [{{id: r, match: {{host: t.test, path: "{template}"}}, action: "x:y"}}]')
    path = (unit * 4000 if unit == "x-" else unit * 200) + "y"
    assert told(mappings, request_of(f"GET https://t.test/{path}")) == "mapping.unmapped"


TIES = [
    '{id: first, match: {host: t.test, path: "/a/{x}", query: {p: "1"}}, action: "x:one"}',
    '{id: second, match: {host: t.test, path: "/{y}/b", query: {q: "1"}}, action: "x:two"}',
    '{id: third, match: {host: t.test, path: "/{y}/{z}", query: {q: "1", p: "*"}}, action: "x:three"}',
]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_file_order_never_matters(mapped: Mapped, request_of: RequestOf, order: tuple[int, ...]) -> None:
    """Rules may stand in any order, and in any file."""
    rules = [TIES[at] for at in order]
    one_file = mapped("rules: [" + ", ".join(rules) + "]")
    files = mapped(*(f"rules: [{rule}]" for rule in rules))
    for mappings in (one_file, files):
        assert told(mappings, request_of("GET https://t.test/a/b?p=1&q=1")) == "x:three t.test/a/b  third"
        assert told(mappings, request_of("GET https://t.test/a/b?p=1")) == "x:one t.test/a/b  first"


def test_equals_are_all_judged(mapped: Mapped, request_of: RequestOf) -> None:
    """Two rules that are equally specific both name the request; both must be allowed."""
    mappings = mapped(f"rules: [{TIES[1]}, {TIES[0]}]")
    assert told(mappings, request_of("GET https://t.test/a/b?p=1&q=1")) == (
        "x:one t.test/a/b  first | x:two t.test/a/b  second"
    )


def test_equals_that_say_the_same_are_one(mapped: Mapped, request_of: RequestOf) -> None:
    """Two rules that mean the same thing make one operation."""
    mappings = mapped(f"rules: [{TIES[1]}, {TIES[0].replace('x:one', 'x:two')}]")
    assert told(mappings, request_of("GET https://t.test/a/b?p=1&q=1")) == "x:two t.test/a/b  first"


FAMILIES = {
    "bound": ("GET https://api.shop.test/orders", "shop"),
    "bound, not recognised": ("GET https://api.shop.test/nothing", "shop"),
    "bound to nothing in particular": ("GET https://site.test/things/1", "http"),
    "not bound": ("GET https://evil.test/", ""),
}


@pytest.mark.parametrize(("line", "family"), FAMILIES.values(), ids=FAMILIES)
def test_family(mapped: Mapped, request_of: RequestOf, line: str, family: str) -> None:
    """The caller learns in which shape to refuse, also when there is a problem."""
    assert mapped(SITE).resolve(request_of(line)).family == family


def test_rule_reference(mapped: Mapped, request_of: RequestOf) -> None:
    """An operation says which rule named it, where that stands and in which text."""
    mappings = mapped(SITE)
    (operation,) = mappings.resolve(request_of("GET https://site.test/things/all")).operations
    assert operation.rule is not None
    assert (operation.rule.id, operation.rule.pack) == ("one-all", "")
    assert operation.rule.place.startswith("site.yaml:")
    assert operation.rule.digest in {text.digest for text in mappings.texts}
    (operation,) = mapped().resolve(request_of("DELETE https://api.shop.test/orders/5")).operations
    assert operation.rule is not None
    assert (operation.rule.id, operation.rule.pack, operation.rule.place) == ("cancel", "shop", "pack:shop:17:5")
    assert operation.name == "shop:orders/cancel"
    assert operation.attributes == {"order": "5"}


def test_names_of_requests_without_a_pack(mapped: Mapped, request_of: RequestOf) -> None:
    """Where no pack recognises anything, the operation is the method."""
    (operation,) = mapped(SITE).resolve(request_of("GET https://site.test/things/all")).operations
    assert operation.name == "http:GET"


def test_several_packs_for_one_host(mapped: Mapped, request_of: RequestOf) -> None:
    """A host bound to several packs does what any of them recognises."""
    extra = 'pack: probe\noperations: {check: ["GET /healthz"], list: ["GET /orders"]}\nversion: 1'
    mappings = mapped("bind: [{host: both.test, pack: [shop, probe]}]", extra)
    assert told(mappings, request_of("GET https://both.test/healthz")) == "probe:check both.test/healthz  "
    assert told(mappings, request_of("GET https://both.test/orders")) == (
        "shop:orders/list both.test/orders   | probe:list both.test/orders  "
    )
    assert mappings.resolve(request_of("GET https://both.test/x")).family == "shop"


OPENED = """
rules: [{id: any, match: {host: db.test}, action: "any:do"}]
tunnels: [{id: database, host: db.test, ports: [5432], carries: anything}]
"""


@pytest.mark.parametrize(("port", "expected"), [(5432, "tunnel:open"), (5433, "mapping.unmapped")])
def test_a_tunnel_is_named_by_its_entry_alone(mapped: Mapped, port: int, expected: str) -> None:
    """However wide a rule about requests to that host is: of what goes through unread it knows nothing."""
    assert (
        told(mapped(OPENED), Request("CONNECT", "tcp", "db.test", port, "/", (), (), b"")).partition(" ")[0] == expected
    )


def test_hosts_that_somebody_makes_up_fill_no_memory(
    mapped: Mapped, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules of no more hosts are kept at hand than some."""
    monkeypatch.setattr("mappings.mapping.MAX_HOSTS", 4)
    mappings = mapped('rules: [{id: any, match: {host: "*.test"}, action: "any:do"}]')
    for number in range(20):
        assert told(mappings, request_of(f"GET https://h{number}.test/")).startswith("any:do")
        assert len(mappings._hosts) <= 4


CLOSEST = """
rules:
  - {id: several, match: {host: a.test, path: [PATHS]}, action: "several:do"}
  - {id: middling, match: {host: a.test, path: "/x/{n}"}, action: "middling:do"}
"""


@pytest.mark.parametrize("paths", ['"/x/y", "/{n+}"', '"/{n+}", "/x/y"'])
def test_the_closest_of_its_paths_speaks_for_a_rule(mapped: Mapped, request_of: RequestOf, paths: str) -> None:
    """In whatever order they are written: what fits less well takes nothing away from it."""
    mappings = mapped(CLOSEST.replace("PATHS", paths))
    assert told(mappings, request_of("GET https://a.test/x/y")).startswith("several:do")
    assert told(mappings, request_of("GET https://a.test/x/z")).startswith("middling:do")


BUT_NOT = """
bind: [{host: "*.n.test", pack: http}]
rules:
  - {id: host, match: {host: "*.n.test", method: POST, not: {host: safe.n.test}}, action: "harsh:host"}
  - {id: path, match: {host: "*.n.test", method: PUT, not: {path: "/safe/{x}"}}, action: "harsh:path"}
  - {id: op, match: {op: "shop:orders/*", not: {op: "shop:orders/list"}}, action: "harsh:op"}
  - {id: fact, match: {op: "shop:orders/mine", not: {facts: {order: "1"}}}, action: "harsh:fact"}
"""
EXCEPTED = {
    "a host": ("POST https://a.n.test/x", "harsh:host"),
    "but not that host": ("POST https://safe.n.test/x", "mapping.unmapped"),
    "a path": ("PUT https://a.n.test/x", "harsh:path"),
    "but not that path": ("PUT https://a.n.test/safe/x", "mapping.unmapped"),
    "an operation": ("GET https://api.shop.test/orders/1", "harsh:op"),
    "a fact that it lacks": ("GET https://api.shop.test/orders/mine", "harsh:fact"),
    "but not that operation": ("GET https://api.shop.test/orders", "shop:orders/list"),
}


@pytest.mark.parametrize(("line", "expected"), EXCEPTED.values(), ids=EXCEPTED)
def test_what_a_rule_is_not_about(mapped: Mapped, request_of: RequestOf, line: str, expected: str) -> None:
    """Hosts, paths and operations under `not` are left out, and nothing else is."""
    assert told(mapped(BUT_NOT), request_of(line)).partition(" ")[0] == expected


PREFIXED = {
    "behind the prefix": ("GET https://gw.test/shop/orders/1", "shop:orders/get"),
    "without it": ("GET https://gw.test/orders/1", "mapping.unmapped"),
    "behind a longer word": ("GET https://gw.test/shopping/orders/1", "mapping.unmapped"),
    "the prefix alone": ("GET https://gw.test/shop", "mapping.unmapped"),
}


@pytest.mark.parametrize(("line", "expected"), PREFIXED.values(), ids=PREFIXED)
def test_an_api_is_reached_behind_its_prefix_alone(
    mapped: Mapped, request_of: RequestOf, line: str, expected: str
) -> None:
    """What stands elsewhere on that host is no call of it, however much it looks like one."""
    mappings = mapped("bind: [{host: gw.test, pack: shop, prefix: /shop}]")
    assert told(mappings, request_of(line)).partition(" ")[0] == expected


def test_operator_binding_replaces_the_pack_default(mapped: Mapped, request_of: RequestOf) -> None:
    """What the operator says of a host goes before what a pack says."""
    mappings = mapped('bind: [{host: "*.shop.test", pack: http}]')
    assert told(mappings, request_of("GET https://api.shop.test/orders")) == "mapping.unmapped"


def test_pack_rules_hold_on_the_hosts_of_the_pack(mapped: Mapped, request_of: RequestOf) -> None:
    """A rule that comes with a pack does not reach hosts of other packs."""
    extra = (
        'version: 1\npack: loud\nrules: [{id: all, match: {path: "/{x+}"}, action: "x:all"}]\n'
        'operations: {ping: ["GET /ping"]}'
    )
    mappings = mapped("bind: [{host: a.test, pack: loud}, {host: b.test, pack: http}]", extra)
    assert told(mappings, request_of("GET https://a.test/y")) == "x:all a.test/y  all"
    assert told(mappings, request_of("GET https://b.test/y")) == "mapping.unmapped"


def test_the_operators_word_goes_before_captures(mapped: Mapped, request_of: RequestOf) -> None:
    """A fact bound to a host cannot be written over from a path."""
    mappings = mapped(
        """
bind: [{host: a.test, pack: http, facts: {cluster: eu}}]
env: [{value: production, when: {cluster: eu}}, {value: staging, when: {cluster: us}}]
rules: [{id: a, match: {host: a.test, path: "/{cluster}"}, action: "deploy:${env}", target: "${cluster}"}]
"""
    )
    assert told(mappings, request_of("GET https://a.test/us")) == "deploy:production eu production a"


def test_explain_names_the_losers(mapped: Mapped, request_of: RequestOf) -> None:
    """Who asks why is told of every rule that came near, the most specific first."""
    resolution, considered = mapped(SITE).explain(request_of("GET https://site.test/things/7?dry=yes"))
    assert [operation.action for operation in resolution.operations] == ["thing:dry"]
    assert [(each.rule.id, each.verdict) for each in considered] == [
        ("one-h", "does not hold"),
        ("one-q", "won"),
        ("one-get", "less specific"),
        ("one", "less specific"),
        ("any-get", "less specific"),
    ]


def test_digest_is_of_the_texts(mapped: Mapped) -> None:
    """The same texts have the same digest; another text has another."""
    assert mapped(SITE).digest == mapped(SITE).digest
    assert mapped(SITE).digest != mapped(WITHOUT_GLOB).digest
    with pytest.raises(PackError):
        mapped("rules: 5")
