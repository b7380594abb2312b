"""What can be proved wrong with a mapping file is a fault when it is loaded, all of it at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mappings import Mappings, PackError, load_mappings

Mapped = Callable[..., Mappings]

FAULTS = {
    "bind everything": (
        'bind: [{host: "*", pack: http}]',
        'site.yaml:2:15: host "*" would match everything; write "*.github.com"',
    ),
    "rule for everything": (
        'rules: [{id: a, match: {host: "*", path: /x}, action: x}]',
        'site.yaml:2:31: host "*" would match everything; write "*.github.com"',
    ),
    "star inside a host": (
        "bind: [{host: a.*.test, pack: http}]",
        'site.yaml:2:15: host "a.*.test" has a "*" that is not a leading label; write "*.github.com"',
    ),
    "suffix without boundary": (
        'bind: [{host: "*github.com", pack: http}]',
        'site.yaml:2:15: host "*github.com" has a "*" that is not a leading label; write "*.github.com"',
    ),
    "host bound twice": (
        "bind: [{host: a.test, pack: http}, {host: A.test., pack: shop}]",
        'site.yaml:2:43: host "A.test." is bound twice; keep one',
    ),
    "unknown pack": (
        "bind: [{host: a.test, pack: shopp}]",
        'site.yaml:2:29: pack "shopp" is not known; did you mean "shop"',
    ),
    "environment nobody may choose": (
        "env: [{value: unknown, when: {a: b}}]",
        'site.yaml:2:15: environment "unknown" is what the gate says when it cannot tell; choose another',
    ),
    "environment in capitals": (
        "bind: [{host: a.test, pack: http, facts: {env: Prod}}]",
        'site.yaml:2:48: environment "Prod" is no name; write lower-case letters, digits, ".", "_", "-"',
    ),
    "classifier of everything": (
        "env: [{value: production, when: {}}]",
        "site.yaml:2:33: when is empty and would always hold; name a fact",
    ),
    "tunnel to everything": (
        'tunnels: [{id: a, host: "*.test"}]',
        'site.yaml:2:25: host "*.test" stands for several; a tunnel is named host by host',
    ),
    "tunnel to an address that no hello names": (
        "tunnels: [{id: a, host: 192.0.2.7}]",
        'site.yaml:2:25: host "192.0.2.7" is an address, which no TLS hello names; write "carries: anything"',
    ),
    "the same tunnel twice": (
        "tunnels: [{id: a, host: a.test}, {id: b, host: A.test., ports: [22, 443]}]",
        'site.yaml:2:34: a tunnel to "a.test", port 443, stands twice (first site.yaml:2:11); keep one',
    ),
    "tunnel to no port": (
        "tunnels: [{id: a, host: a.test, ports: []}]",
        'site.yaml:2:40: no port, so nothing would pass; leave "ports" out for 443',
    ),
    "tunnel whose environment nobody may choose": (
        "tunnels: [{id: a, host: a.test, facts: {env: unknown}}]",
        'site.yaml:2:46: environment "unknown" is what the gate says when it cannot tell; choose another',
    ),
    "path not canonical": (
        'rules: [{id: a, match: {host: a.test, path: "/a/%7euser"}, action: x}]',
        'site.yaml:2:45: path "/a/%7euser" is not canonical; write "/a/~user"',
    ),
    "path with an empty segment": (
        "rules: [{id: a, match: {host: a.test, path: /a//b}, action: x}]",
        'site.yaml:2:45: path "/a//b" has an empty segment; write a single "/"',
    ),
    "path with dots": (
        "rules: [{id: a, match: {host: a.test, path: /a/../b}, action: x}]",
        'site.yaml:2:45: path "/a/../b" has a ".." segment; write the path it leads to',
    ),
    "path with an encoded slash": (
        'rules: [{id: a, match: {host: a.test, path: "/a%2Fb"}, action: x}]',
        'site.yaml:2:45: path "/a%2Fb" holds "%2F", which has two readings; write {name+} there',
    ),
    "path with a star": (
        'rules: [{id: a, match: {host: a.test, path: "/a/*"}, action: x}]',
        'site.yaml:2:45: path "/a/*" holds "*"; write {name} for one segment, {name+} for more',
    ),
    "path with a regular expression": (
        'rules: [{id: a, match: {host: a.test, path: "/{x:(a+)+}"}, action: x}]',
        'site.yaml:2:45: path "/{x:(a+)+}": "(a+)+" is no word; write {name:a|b} or {name:a-*}, no expressions',
    ),
    "path without a start": (
        "rules: [{id: a, match: {host: a.test, path: a}, action: x}]",
        'site.yaml:2:45: path "a" does not start with "/"; write "/a"',
    ),
    "capture that is taken": (
        'rules: [{id: a, match: {host: a.test, path: "/{env}"}, action: "x:${env}"}]',
        'site.yaml:2:45: capture "env" is taken; choose another name',
    ),
    "path beside op": (
        'rules: [{id: a, match: {op: "shop:orders/get", path: /x}, action: x}]',
        "site.yaml:2:54: path cannot stand beside op; the operation says it",
    ),
    "lower-case method": (
        "rules: [{id: a, match: {host: a.test, method: get}, action: x}]",
        'site.yaml:2:47: method "get" is no method; write for example GET',
    ),
    "empty match": (
        "rules: [{id: a, match: {}, action: x}]",
        "site.yaml:2:24: match is empty and would match everything; name op, host or path",
    ),
    "unknown family": (
        'rules: [{id: a, match: {op: "shp:orders/get"}, action: x}]',
        'site.yaml:2:29: pack "shp" is not known; did you mean "shop"',
    ),
    "unknown operation": (
        'rules: [{id: a, match: {op: "shop:orders/gett"}, action: x}]',
        'site.yaml:2:29: operation "shop:orders/gett" is not known; did you mean "shop:orders/get"',
    ),
    "unpaired brace": (
        'rules: [{id: a, match: {op: "shop:{orders/get"}, action: x}]',
        'site.yaml:2:29: op "shop:{orders/get" has a brace without its pair, or braces within braces',
    ),
    "too many combinations": (
        f'rules: [{{id: a, match: {{op: "{"{a,b}" * 10}"}}, action: x}}]',
        f'site.yaml:2:29: op "{"{a,b}" * 10}" has more than 512 combinations; use several rules',
    ),
    "no action": (
        'rules: [{id: a, match: {host: a.test}, action: "deploy production"}]',
        'site.yaml:2:48: character " " cannot stand in an action; use letters, digits or ._/@+-',
    ),
    "action that is a pattern": (
        'rules: [{id: a, match: {host: a.test}, action: "deploy:*"}]',
        'site.yaml:2:48: "deploy:*" is a pattern, not an action; name one action without "*"',
    ),
    "unclosed variable": (
        'rules: [{id: a, match: {host: a.test}, action: x, target: "a/${b"}]',
        'site.yaml:2:59: template "a/${b" has a "${" without "}"; close it',
    ),
    "no variable": (
        'rules: [{id: a, match: {host: a.test}, action: x, target: "${a b}"}]',
        'site.yaml:2:59: template "${a b}": "a b" is no name; write letters, digits and "_", or json:a.b',
    ),
    "each without each": (
        'rules: [{id: a, match: {host: a.test}, action: x, target: "${each}"}]',
        'site.yaml:2:59: template uses "${each}" but the rule has no each',
    ),
    "many values in a condition": (
        'rules: [{id: a, match: {host: a.test, json: {"a.*.b": 1}}, action: x}]',
        'site.yaml:2:55: json name "a.*.b" leads to many values; "*" stands only in each',
    ),
    "condition on a number in the query": (
        "rules: [{id: a, match: {host: a.test, query: {n: 5}}, action: x}]",
        'site.yaml:2:50: values here are text; write "5" in quotes',
    ),
    "unknown condition": (
        "rules: [{id: a, match: {host: a.test, json: {n: {regex: x}}}, action: x}]",
        'site.yaml:2:49: unknown condition "regex"; use eq, in, glob, exists, gt, ge, lt or le',
    ),
    "bound that is no number": (
        'rules: [{id: a, match: {host: a.test, json: {n: {gt: "5"}}}, action: x}]',
        "site.yaml:2:49: gt takes a whole number that every reader reads alike",
    ),
    "bound that is a boolean": (
        "rules: [{id: a, match: {host: a.test, json: {n: {le: true}}}, action: x}]",
        "site.yaml:2:49: le takes a whole number that every reader reads alike",
    ),
    "bound beyond doubles": (
        "rules: [{id: a, match: {host: a.test, json: {n: {lt: 9007199254740993}}}, action: x}]",
        "site.yaml:2:54: 9007199254740993 would be read as a number; quote it",
    ),
    "bounds the wrong way round": (
        "rules: [{id: a, match: {host: a.test, json: {n: {gt: 5, lt: 6}}}, action: x}]",
        "site.yaml:2:49: no number lies between these bounds; swap them",
    ),
    "two lower bounds": (
        "rules: [{id: a, match: {host: a.test, json: {n: {gt: 5, ge: 6}}}, action: x}]",
        "site.yaml:2:49: a condition has one lower and one upper bound; remove one",
    ),
    "bound beside another condition": (
        "rules: [{id: a, match: {host: a.test, json: {n: {gt: 5, eq: 6}}}, action: x}]",
        "site.yaml:2:49: a condition has exactly one of eq, in, glob, exists, or bounds: gt or ge, lt or le",
    ),
    "bound on a text": (
        "rules: [{id: a, match: {host: a.test, query: {n: {gt: 5}}}, action: x}]",
        "site.yaml:2:50: values here are text; gt, ge, lt and le compare numbers in json",
    ),
    "content type that is no text": (
        "rules: [{id: a, match: {host: a.test, content_type: 5}, action: x}]",
        'site.yaml:2:53: values here are text; write "5" in quotes',
    ),
    "capture that is an attribute": (
        'rules: [{id: a, match: {host: a.test, path: "/{access}"}, action: x}]',
        'site.yaml:2:45: capture "access" is taken; choose another name',
    ),
    "bound fact that is an attribute": (
        "bind: [{host: a.test, pack: http, facts: {executes: no-one}}]",
        'site.yaml:2:43: fact "executes" is what a pack says of an operation; choose another name',
    ),
    "environment by an attribute": (
        "env: [{value: staging, when: {access: read}}]",
        'site.yaml:2:31: fact "access" says what a call does, not where; name another',
    ),
    "lookup of every body": (
        'lookups: {w: {key: "json:id", table: {}}}',
        "site.yaml:2:14: a key in the body needs a match, or every request would need its body; add one",
    ),
    "lookup that says what an operation is": (
        "lookups: {w: {key: id, table: {a: {access: read}}}}",
        'site.yaml:2:36: fact "access" is taken; choose another name',
    ),
    "lookup of a host": (
        "lookups: {w: {key: id, table: {a: {host: b.test}}}}",
        'site.yaml:2:36: fact "host" is taken; choose another name',
    ),
    "lookup of an environment nobody may choose": (
        "lookups: {w: {key: id, table: {a: {env: unknown}}}}",
        'site.yaml:2:41: environment "unknown" is what the gate says when it cannot tell; choose another',
    ),
    "lookup of many values": (
        'lookups: {w: {match: {host: a.test}, key: "json:a.*", table: {}}}',
        'site.yaml:2:43: json name "a.*" leads to many values; "*" stands only in each',
    ),
    "unknown key in match": (
        "rules: [{id: a, match: {hots: a.test}, action: x}]",
        'site.yaml:2:25: unknown key "hots"; did you mean "host"',
    ),
    "the same id": (
        "rules:\n- {id: a, match: {host: a.test}, action: x}\n- {id: a, match: {host: b.test}, action: x}",
        'site.yaml:4:8: rule "a" stands twice (first site.yaml:3:3); rename one',
    ),
    "the same match": (
        "rules:\n"
        '- {id: a, match: {host: a.test, method: [GET, PUT], path: "/x/{y}"}, action: x}\n'
        '- {id: b, match: {host: [b.test, A.test], method: PUT, path: "/x/{z}"}, action: y}',
        'site.yaml:4:3: rule "b" matches what rule "a" matches (site.yaml:3:3); make one more specific or merge them',
    ),
    "the same operation": (
        "rules:\n"
        '- {id: a, match: {op: "shop:orders/{get,list}"}, action: x}\n'
        '- {id: b, match: {op: "shop:orders/{list,mine}"}, action: x}',
        'site.yaml:4:3: rule "b" matches what rule "a" matches (site.yaml:3:3); make one more specific or merge them',
    ),
    "the same conditions in another order": (
        "rules:\n"
        "- {id: a, match: {host: a.test, query: {p: x, q: y}}, action: x}\n"
        "- {id: b, match: {host: a.test, query: {q: y, p: x}}, action: x}",
        'site.yaml:4:3: rule "b" matches what rule "a" matches (site.yaml:3:3); make one more specific or merge them',
    ),
    "a second pack of that name": (
        'version: 1\npack: shop\noperations: {a: ["GET /a"]}',
        'site.yaml:2:7: pack "shop" is already there; choose another name',
    ),
    "routes for a code pack": (
        'version: 1\npack: kubernetes\noperations: {a: ["GET /a"]}',
        'site.yaml:3:13: pack "kubernetes" is code; only rules can be added to it',
    ),
    "route without a path": (
        'version: 1\npack: p\noperations: {a: ["GET a"]}',
        'site.yaml:3:18: route "GET a" is not "METHOD /path" or "METHOD host/path"',
    ),
    "route in lower case": (
        'version: 1\npack: p\noperations: {a: ["get /a"]}',
        'site.yaml:3:18: method "get" is no method; write for example GET',
    ),
    "the same route": (
        'version: 1\npack: p\noperations: {a: ["GET /{x}"], b: ["GET|PUT /{y}"]}',
        'site.yaml:3:35: route "GET|PUT /{y}" matches what route "GET /{x}" matches (site.yaml:3:18); '
        "make one more specific or merge them",
    ),
    "prefix without a start": (
        'version: 1\npack: p\nprefixes: [api/v3]\noperations: {a: ["GET /a"]}',
        'site.yaml:3:12: path "api/v3" does not start with "/"; write "/api/v3"',
    ),
    "prefix with an end": (
        'version: 1\npack: p\nprefixes: ["", /api/]\noperations: {a: ["GET /a"]}',
        'site.yaml:3:16: prefix "/api/" is no start of a path; write for example /api/v3, without a capture',
    ),
    "prefix with a capture": (
        'version: 1\npack: p\nprefixes: ["/{x}"]\noperations: {a: ["GET /a"]}',
        'site.yaml:3:12: prefix "/{x}" is no start of a path; write for example /api/v3, without a capture',
    ),
    "the same route by its prefix": (
        'version: 1\npack: p\nprefixes: ["", /v1]\noperations: {a: ["GET /a"], b: ["GET /v1/a"]}',
        'site.yaml:4:33: route "GET /v1/a" matches what route "GET /a" matches (site.yaml:4:18); '
        "make one more specific or merge them",
    ),
    "folding what no route captures": (
        'version: 1\npack: p\nfold: [ownr]\noperations: {a: ["GET /{owner}"]}',
        'site.yaml:3:8: capture "ownr" is not known; did you mean "owner"',
    ),
    "folding in a code pack": (
        "version: 1\npack: git\nfold: [owner]",
        'site.yaml:3:7: pack "git" is code; only rules can be added to it',
    ),
    "operation outside the grammar": (
        'version: 1\npack: p\noperations: {"a b": ["GET /a"]}',
        'site.yaml:3:21: character " " cannot stand in an action; use letters, digits or ._/@+-',
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_fault(mapped: Mapped, text: str, fault: str) -> None:
    """A mapping file that cannot do what it says is refused, with place and remedy."""
    with pytest.raises(PackError) as caught:
        mapped(text)
    assert fault in str(caught.value).split("\n")


def test_every_fault_of_every_file(mapped: Mapped) -> None:
    """All faults of all files come at once, sorted by place."""
    with pytest.raises(PackError) as caught:
        mapped(
            'bind: [{host: "*", pack: nope}]\nrules: [{id: a, match: {path: x}, action: "a b"}]',
            "rules: [{id: b, match: {}, action: x}]",
        )
    assert [str(fault.place) for fault in caught.value.faults] == [
        "more2.yaml:2:24",
        "site.yaml:2:15",
        "site.yaml:2:26",
        "site.yaml:3:31",
        "site.yaml:3:43",
    ]


def test_not_the_same_match(mapped: Mapped) -> None:
    """Rules that differ in a condition, a method or a word may stand together."""
    mapped(
        """
rules:
- {id: a, match: {host: a.test, path: "/{x:on|off}"}, action: x}
- {id: b, match: {host: a.test, path: "/{x:in|out}"}, action: x}
- {id: c, match: {host: a.test, path: "/{x:on|off}", query: {q: y}}, action: x}
- {id: d, match: {host: a.test, path: "/{x:on|off}", query: {q: z}}, action: x}
- {id: e, match: {host: a.test, path: "/{x:on|off}", method: PUT}, action: x}
- {id: f, match: {host: "*.a.test", path: "/{x:on|off}"}, action: x}
"""
    )


def test_a_lookup_stands_once(mapped: Mapped) -> None:
    """Two files cannot both have a table of the same name."""
    text = "lookups: {w: {key: id, table: {a: {b: c}}}}"
    with pytest.raises(PackError) as caught:
        mapped(text, text)
    (fault,) = caught.value.faults
    assert fault.message == 'lookup "w" is already there; choose another name'


# --- files ---


def test_load_takes_files_and_folders(tmp_path: Path) -> None:
    """Folders give their YAML files, and the shipped packs are always there."""
    (tmp_path / "a.yaml").write_text("version: 1\nbind: [{host: a.test, pack: http}]\n")
    (tmp_path / "b.yml").write_text("version: 1\nbind: [{host: b.test, pack: http}]\n")
    (tmp_path / "notes.txt").write_text("not: [mapping")
    mappings = load_mappings([tmp_path])
    ids = [text.id for text in mappings.texts if text.kind == "mapping"]
    assert [str(tmp_path / "a.yaml"), str(tmp_path / "b.yml")] == ids[-2:]
    assert all(name.startswith("pack:") for name in ids[:-2])
    assert mappings.digest != load_mappings([]).digest


def test_load_tells_of_every_file(tmp_path: Path) -> None:
    """A missing file, a file in another encoding and a broken one are told together."""
    broken, latin = tmp_path / "broken.yaml", tmp_path / "latin.yaml"
    broken.write_text("version: [")
    latin.write_bytes(b"version: 1 # caf\xe9\n")
    with pytest.raises(PackError) as caught:
        load_mappings([tmp_path, tmp_path / "gone.yaml"])
    assert str(caught.value).split("\n") == [
        f"{broken}:2:1: did not find expected node content",
        f"{tmp_path / 'gone.yaml'}:1:1: there is no such file; create it or remove the path",
        f"{latin}:1:1: the file is not UTF-8; save it as UTF-8",
    ]
