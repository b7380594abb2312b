"""What two servers would read differently, and what cannot be read, is refused wherever a rule depends on it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mappings import NOT_RECOGNISED, Call, Mappings, Recognition, Request, canonical_target, compile_mappings
from mappings.compile import compile_documents
from mappings.documents import read_document
from mappings.reading import alternatives

Mapped = Callable[..., Mappings]
RequestOf = Callable[..., Request]

RUNS = """
bind: [{host: tfc.test, pack: http}]
rules:
  - id: destroy
    match: {host: tfc.test, method: POST, path: /runs, json: {data.is-destroy: true}}
    action: "infra:destroy"
  - id: run
    match: {host: tfc.test, method: POST, path: /runs}
    action: "infra:plan"
  - id: big
    match: {host: tfc.test, method: POST, path: /size, json: {size: {in: [1, 2]}}}
    action: "size:small"
  - id: accent
    match: {host: tfc.test, method: POST, path: /accent, json: {"r\u00e9f": true}}
    action: "accent:set"
  - id: name
    match: {host: tfc.test, method: POST, path: /name, json: {name: "prod-*"}}
    action: "name:production"
  - id: target
    match: {host: tfc.test, method: PUT, path: /target}
    action: "target:set"
    target: "t/${json:id}"
  - id: every
    match: {host: tfc.test, method: PUT, path: /every}
    each: "json:ids"
    action: "each:set"
    target: "t/${each}"
  - id: plain
    match: {host: tfc.test, method: PUT, path: /plain}
    action: "plain:set"
  - id: not-dry
    match: {host: tfc.test, method: PUT, path: /not, not: {json: {dry: true}}}
    action: "not:dry"
"""

TYPE = "application/json"
DESTROY = '{"data": {"is-destroy": true}}'

# line, body, content type, further headers -> told
BODIES: dict[str, tuple[str, bytes | str | None, str, tuple[tuple[str, str], ...], str]] = {
    "read": ("POST /runs", DESTROY, TYPE, (), "infra:destroy"),
    "another value": ("POST /runs", '{"data": {"is-destroy": false}}', TYPE, (), "infra:plan"),
    "with a charset": ("POST /runs", DESTROY, "application/json; charset=UTF-8", (), "infra:destroy"),
    "JSON by suffix": ("POST /runs", DESTROY, "application/vnd.api+json", (), "infra:destroy"),
    "AWS JSON 1.0": ("POST /runs", DESTROY, "application/x-amz-json-1.0", (), "infra:destroy"),
    "AWS JSON 1.1": ("POST /runs", DESTROY, "Application/X-Amz-JSON-1.1; charset=utf-8", (), "infra:destroy"),
    "AWS JSON of no version": ("POST /runs", DESTROY, "application/x-amz-json", (), "mapping.unreadable"),
    "merge patch": ("POST /runs", DESTROY, "application/merge-patch+json", (), "infra:destroy"),
    "strategic merge patch": ("POST /runs", DESTROY, "application/strategic-merge-patch+json", (), "infra:destroy"),
    "apply patch is YAML": ("POST /runs", DESTROY, "application/apply-patch+yaml", (), "mapping.unreadable"),
    "JSON by suffix elsewhere": ("POST /runs", DESTROY, "text/x+json", (), "mapping.unreadable"),
    "identity coding": ("POST /runs", DESTROY, TYPE, (("content-encoding", "identity"),), "infra:destroy"),
    "not read": ("POST /runs", None, TYPE, (), "mapping.unreadable"),
    "empty": ("POST /runs", b"", TYPE, (), "infra:plan"),
    "null": ("POST /runs", b" null ", TYPE, (), "infra:plan"),
    "nothing names it, and read otherwise it cannot be told": (
        "PUT /runs",
        DESTROY,
        "text/plain",
        (("x-http-method-override", "POST"),),
        "mapping.conflict",
    ),
    "not JSON": ("POST /runs", "data[is-destroy]=true", TYPE, (), "mapping.unreadable"),
    "cut": ("POST /runs", '{"data": {"is-destroy": fal', TYPE, (), "mapping.unreadable"),
    "trailing text": ("POST /runs", '{"data": {}} x', TYPE, (), "mapping.unreadable"),
    "comment": ("POST /runs", '{"data": {}} // x', TYPE, (), "mapping.unreadable"),
    "key twice": ("POST /runs", '{"data": {"is-destroy": false, "is-destroy": true}}', TYPE, (), "mapping.conflict"),
    "key twice, elsewhere": (
        "POST /runs",
        '{"data": {"is-destroy": false}, "a": {"b": 1, "b": 2}}',
        TYPE,
        (),
        "mapping.conflict",
    ),
    "key twice by escape": (
        "POST /runs",
        r'{"data": {"is-destroy": false, "\u0069s-destroy": true}}',
        TYPE,
        (),
        "mapping.conflict",
    ),
    "key in another case": ("POST /runs", '{"data": {"Is-Destroy": true}}', TYPE, (), "mapping.conflict"),
    "key in both cases": (
        "POST /runs",
        '{"data": {"is-destroy": false, "IS-DESTROY": true}}',
        TYPE,
        (),
        "mapping.conflict",
    ),
    "parent in another case": ("POST /runs", '{"Data": {"is-destroy": true}}', TYPE, (), "mapping.conflict"),
    "text for a boolean": ("POST /runs", '{"data": {"is-destroy": "true"}}', TYPE, (), "mapping.conflict"),
    "number for a boolean": ("POST /runs", '{"data": {"is-destroy": 1}}', TYPE, (), "mapping.conflict"),
    "list for a boolean": ("POST /runs", '{"data": {"is-destroy": [true]}}', TYPE, (), "mapping.conflict"),
    "nothing for a boolean": ("POST /runs", '{"data": {"is-destroy": null}}', TYPE, (), "infra:plan"),
    "NaN": ("POST /runs", '{"data": {"is-destroy": false}, "x": NaN}', TYPE, (), "mapping.unreadable"),
    "Infinity": ("POST /runs", '{"data": {"is-destroy": false}, "x": -Infinity}', TYPE, (), "mapping.unreadable"),
    "beyond doubles": ("POST /runs", '{"data": {"is-destroy": false}, "x": 1e999}', TYPE, (), "mapping.unreadable"),
    "endless integer": ("POST /runs", '{"x": ' + "9" * 5000 + "}", TYPE, (), "mapping.unreadable"),
    "nested to death": ("POST /runs", "[" * 100_000, TYPE, (), "mapping.unreadable"),
    "BOM": ("POST /runs", b"\xef\xbb\xbf" + DESTROY.encode(), TYPE, (), "mapping.unreadable"),
    "UTF-16": ("POST /runs", DESTROY.encode("utf-16"), TYPE, (), "mapping.unreadable"),
    "UTF-16 without BOM": ("POST /runs", DESTROY.encode("utf-16-le"), TYPE, (), "mapping.unreadable"),
    "UTF-16 declared": ("POST /runs", DESTROY, "application/json; charset=utf-16", (), "mapping.unreadable"),
    "latin-1": ("POST /runs", b'{"a": "\xe9"}', TYPE, (), "mapping.unreadable"),
    "text/plain": ("POST /runs", DESTROY, "text/plain", (), "mapping.unreadable"),
    "form": ("POST /runs", DESTROY, "application/x-www-form-urlencoded", (), "mapping.unreadable"),
    "no type": ("POST /runs", DESTROY, "", (), "mapping.unreadable"),
    "two types": ("POST /runs", DESTROY, TYPE, (("content-type", "text/plain"),), "mapping.conflict"),
    "gzip": ("POST /runs", DESTROY, TYPE, (("content-encoding", "gzip"),), "mapping.unreadable"),
    "two codings": (
        "POST /runs",
        DESTROY,
        TYPE,
        (("content-encoding", "identity"), ("content-encoding", "br")),
        "mapping.unreadable",
    ),
    "several codings in one header": (
        "POST /runs",
        DESTROY,
        TYPE,
        (("content-encoding", "gzip, identity"),),
        "mapping.unreadable",
    ),
    "zstd": ("POST /runs", DESTROY, TYPE, (("content-encoding", "zstd"),), "mapping.unreadable"),
    "a coding nobody knows": ("POST /runs", DESTROY, TYPE, (("content-encoding", "x-own"),), "mapping.unreadable"),
    "XML": ("POST /runs", b"<a/>", "application/xml", (), "mapping.unreadable"),
    "YAML": ("POST /runs", b"data: {is-destroy: true}", "application/yaml", (), "mapping.unreadable"),
    "multipart": ("POST /runs", b"--b\r\n", "multipart/form-data; boundary=b", (), "mapping.unreadable"),
    "lines of JSON": ("POST /runs", DESTROY + "\n" + DESTROY, TYPE, (), "mapping.unreadable"),
    "text/json": ("POST /runs", DESTROY, "text/json", (), "mapping.unreadable"),
    "key with a letter that folds": (
        "POST /runs",
        '{"data": {"is-de\u017ftroy": true}}',
        TYPE,
        (),
        "mapping.conflict",
    ),
    "key in wide letters": ("POST /runs", '{"\uff44ata": {"is-destroy": true}}', TYPE, (), "mapping.conflict"),
    "accented key": ("POST /accent", '{"r\u00e9f": true}', TYPE, (), "accent:set"),
    "accented key, decomposed": ("POST /accent", '{"re\u0301f": true}', TYPE, (), "mapping.conflict"),
    "accented key, both": ("POST /accent", '{"r\u00e9f": false, "re\u0301f": true}', TYPE, (), "mapping.conflict"),
    "integer": ("POST /size", '{"size": 2}', TYPE, (), "size:small"),
    "float for an integer": ("POST /size", '{"size": 2.0}', TYPE, (), "mapping.conflict"),
    "text for an integer": ("POST /size", '{"size": "2"}', TYPE, (), "mapping.conflict"),
    "boolean for an integer": ("POST /size", '{"size": true}', TYPE, (), "mapping.conflict"),
    "integer beyond doubles": ("POST /size", '{"size": 9007199254740993}', TYPE, (), "mapping.conflict"),
    "text": ("POST /name", '{"name": "prod-1"}', TYPE, (), "name:production"),
    "list for a text": ("POST /name", '{"name": ["prod-1"]}', TYPE, (), "mapping.conflict"),
    "nothing else would match": ("POST /name", None, TYPE, (), "mapping.unreadable"),
    "target from the body": ("PUT /target", '{"id": "a"}', TYPE, (), "target:set t/a"),
    "target from a body not read": ("PUT /target", None, TYPE, (), "mapping.unreadable"),
    "target from a body without it": ("PUT /target", "{}", TYPE, (), "target:set t/-"),
    "target from a mapping": ("PUT /target", '{"id": {}}', TYPE, (), "mapping.unreadable"),
    "target with control characters": (
        "PUT /target",
        r'{"id": "a\u001b[31m\nb\u0000\u202e"}',
        TYPE,
        (),
        "target:set t/a%1B[31m%0Ab%00%E2%80%AE",
    ),
    "target with half a character": ("PUT /target", r'{"id": "\ud800"}', TYPE, (), "mapping.unreadable"),
    "each": ("PUT /every", '{"ids": ["a", "b"]}', TYPE, (), "each:set t/a | each:set t/b"),
    "each of an empty text": ("PUT /every", '{"ids": ["a", ""]}', TYPE, (), "each:set t/a | each:set t/-"),
    "each of a body not read": ("PUT /every", None, TYPE, (), "mapping.unreadable"),
    "each of mappings": ("PUT /every", '{"ids": [{}]}', TYPE, (), "mapping.unreadable"),
    "each of many": ("PUT /every", f'{{"ids": {list(range(201))}}}', TYPE, (), "mapping.too-many"),
    "each of just enough": ("PUT /every", f'{{"ids": {[1] * 200}}}', TYPE, (), "each:set t/1"),
    "no rule reads it": ("PUT /plain", None, "text/plain", (), "plain:set"),
    "not": ("PUT /not", "{}", TYPE, (), "not:dry"),
    "not, and it is": ("PUT /not", '{"dry": true}', TYPE, (), "mapping.unmapped"),
    "not, and it cannot be told": ("PUT /not", None, TYPE, (), "mapping.unreadable"),
}


def told(mappings: Mappings, request: Request, *, targets: bool = False) -> str:
    """Say a resolution in one line."""
    resolution = mappings.resolve(request)
    if resolution.problem is not None:
        return resolution.problem.code
    return " | ".join(
        f"{operation.action} {operation.target}" if targets else operation.action for operation in resolution.operations
    )


@pytest.mark.parametrize(("line", "body", "kind", "headers", "expected"), BODIES.values(), ids=BODIES)
def test_body(
    mapped: Mapped,
    request_of: RequestOf,
    line: str,
    body: bytes | str | None,
    kind: str,
    headers: tuple[tuple[str, str], ...],
    expected: str,
) -> None:
    """A body that a rule depends on is read one way or not at all; never is it "no match"."""
    method, path = line.split(" ")
    sent = ((("content-type", kind),) if kind else ()) + headers
    request = request_of(f"{method} https://tfc.test{path}", body, sent)
    assert told(mapped(RUNS), request, targets=" t/" in expected) == expected


NEEDS_BODY = {
    "condition": ("POST https://tfc.test/runs", True),
    "target": ("PUT https://tfc.test/target", True),
    "each": ("PUT https://tfc.test/every", True),
    "not": ("PUT https://tfc.test/not", True),
    "no rule reads it": ("PUT https://tfc.test/plain", False),
    "the head already says no": ("GET https://tfc.test/runs", False),
    "another path": ("POST https://tfc.test/other", False),
    "another host": ("POST https://evil.test/runs", False),
    "in another reading": ("GET https://tfc.test/runs?_method=POST", True),
}


@pytest.mark.parametrize(("line", "expected"), NEEDS_BODY.values(), ids=NEEDS_BODY)
def test_needs_body(mapped: Mapped, request_of: RequestOf, line: str, expected: bool) -> None:
    """The body is asked for when a rule that could match would read it, and only then."""
    assert mapped(RUNS).needs_body(request_of(line, None, ())) is expected


HEADS = """
bind: [{host: a.test, pack: http}, {host: g.test, pack: group}]
rules:
  - {id: read, match: {host: a.test, method: GET, path: "/{rest+}"}, action: "data:read"}
  - {id: write, match: {host: a.test, method: POST, path: "/{rest+}"}, action: "data:write"}
  - {id: delete, match: {host: a.test, method: DELETE, path: "/{rest+}"}, action: "data:delete"}
  - {id: things, match: {host: a.test, method: GET, path: "/things/{thing}"}, action: "thing:get"}
  - {id: any, match: {host: a.test, path: "/any/{thing}"}, action: "any:do"}
  - {id: dry, match: {host: a.test, method: GET, path: /q, query: {dry: "yes"}}, action: "q:dry"}
  - {id: there, match: {host: a.test, method: GET, path: /there, query: {k: {exists: true}}}, action: "q:there"}
  - {id: head, match: {host: a.test, method: GET, path: /h, header: {x-mode: fast}}, action: "h:fast"}
  - {id: destroy, match: {host: a.test, method: GET, path: /runs}, action: "run:destroy"}
  - {id: jobs, match: {host: a.test, method: GET, path: /jobs, query: {dry: "yes"}}, action: "job:dry"}
"""
GROUP = (
    'version: 1\npack: group\noperations: {get: ["GET /p/{id+}"], sub: ["GET /p/{id+}/sub"], del: ["DELETE /p/{id+}"]}'
)

HEAD_ROWS: dict[str, tuple[str, tuple[tuple[str, str], ...], str]] = {
    "method header": ("POST https://a.test/x", (("x-http-method-override", "DELETE"),), "mapping.conflict"),
    "method header, short": ("POST https://a.test/x", (("x-http-method", "DELETE"),), "mapping.conflict"),
    "method header, other": ("POST https://a.test/x", (("x-method-override", "delete"),), "mapping.conflict"),
    "method header, same": ("POST https://a.test/x", (("x-http-method-override", "POST"),), "data:write"),
    "method header, no method": ("POST https://a.test/x", (("x-http-method-override", "de lete"),), "mapping.conflict"),
    "method header, no matter": ("POST https://a.test/any/1", (("x-http-method-override", "DELETE"),), "any:do"),
    "method header, second": (
        "POST https://a.test/x",
        (("x-http-method-override", "POST"), ("x-http-method-override", "DELETE")),
        "mapping.conflict",
    ),
    "method headers, many": (
        "POST https://a.test/x",
        tuple(("x-http-method-override", method) for method in ("PUT", "PATCH", "GET", "DELETE")),
        "mapping.conflict",
    ),
    "method parameter": ("POST https://a.test/x?_method=delete", (), "mapping.conflict"),
    "method parameter, OData": ("POST https://a.test/x?$httpMethod=DELETE", (), "mapping.conflict"),
    "method parameter, case": ("POST https://a.test/x?_METHOD=delete", (), "mapping.conflict"),
    "method parameter beside others": ("POST https://a.test/x?a=1&_method=delete&b=2", (), "mapping.conflict"),
    "method parameter, same": ("POST https://a.test/x?_method=post", (), "data:write"),
    "another target": ("GET https://a.test/x", (("x-original-url", "/things/1"),), "mapping.conflict"),
    "another target of the same action": ("GET https://a.test/x", (("x-rewrite-url", "/y"),), "mapping.conflict"),
    "another target that nothing names": ("GET https://a.test/x", (("x-original-url", "/"),), "mapping.conflict"),
    "another target that is none": ("GET https://a.test/x", (("x-original-url", "/../x"),), "mapping.conflict"),
    "the same target": ("GET https://a.test/x", (("x-original-url", "/x"),), "data:read"),
    "another target, its query": (
        "GET https://a.test/q?dry=no",
        (("x-original-url", "/q?dry=yes"),),
        "mapping.conflict",
    ),
    "the same target, without its query": ("GET https://a.test/q?dry=yes", (("x-original-url", "/q"),), "q:dry"),
    "encoded slash": ("GET https://a.test/things/a%2Fb", (), "mapping.conflict"),
    "encoded slash, both the same": ("GET https://a.test/other/a%2Fb", (), "data:read"),
    "encoded slash in an identifier": ("GET https://g.test/p/a%2Fb", (), "group:get"),
    "encoded slash hides a route": ("GET https://g.test/p/a%2Fsub", (), "mapping.conflict"),
    "encoded slash and method": (
        "GET https://g.test/p/a%2Fb?_method=delete",
        (),
        "mapping.conflict",
    ),
    "format suffix": ("GET https://a.test/runs.json", (), "mapping.conflict"),
    "format suffix, same": ("GET https://a.test/other.json", (), "data:read"),
    "format suffix, not to be told without it": ("GET https://a.test/jobs.json?dry=yes&dry=no", (), "mapping.conflict"),
    "format suffix, a name": ("GET https://a.test/things/x.json", (), "thing:get"),
    "query": ("GET https://a.test/q?dry=yes", (), "q:dry"),
    "query twice, agreeing": ("GET https://a.test/q?dry=yes&dry=yes", (), "q:dry"),
    "query twice": ("GET https://a.test/q?dry=yes&dry=no", (), "mapping.conflict"),
    "query twice, other order": ("GET https://a.test/q?dry=no&dry=yes", (), "mapping.conflict"),
    "query twice by escape": ("GET https://a.test/q?dry=yes&%64ry=no", (), "mapping.conflict"),
    "query in another case": ("GET https://a.test/q?Dry=yes", (), "mapping.conflict"),
    "query in two cases": ("GET https://a.test/q?dry=yes&DRY=no", (), "mapping.conflict"),
    "query as a list": ("GET https://a.test/q?dry[]=yes", (), "mapping.conflict"),
    "query as a list beside it": ("GET https://a.test/q?dry=yes&dry[]=no", (), "mapping.conflict"),
    "query with a blank": ("GET https://a.test/q?dry=yes&+dry=no", (), "mapping.conflict"),
    "query beside others": ("GET https://a.test/q?dry=yes&dryer[]=no", (), "q:dry"),
    "query twice where no rule reads": ("GET https://a.test/things/1?dry=yes&dry=no", (), "thing:get"),
    "presence twice": ("GET https://a.test/there?k=1&k=2", (), "q:there"),
    "header": ("GET https://a.test/h", (("x-mode", "fast"),), "h:fast"),
    "header twice": ("GET https://a.test/h", (("x-mode", "fast"), ("x-mode", "slow")), "mapping.conflict"),
}


@pytest.mark.parametrize(("line", "headers", "expected"), HEAD_ROWS.values(), ids=HEAD_ROWS)
def test_head(
    mapped: Mapped, request_of: RequestOf, line: str, headers: tuple[tuple[str, str], ...], expected: str
) -> None:
    """A method, path, query or header with two readings counts only when they lead to the same thing."""
    request = request_of(line, b"", headers)
    assert told(mapped(HEADS, GROUP), request) == expected


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="_method"\r\n\r\nDELETE\r\n--b--\r\n'

# line, body, content type -> told
FORM_ROWS: dict[str, tuple[str, bytes | None, str, str]] = {
    "another method": ("POST https://a.test/x", b"a=b&_method=delete", FORM, "mapping.conflict"),
    "the same method": ("POST https://a.test/x", b"_method=post&a=b", FORM, "data:write"),
    "no method": ("POST https://a.test/x", b"_method=", FORM, "mapping.conflict"),
    "no matter": ("POST https://a.test/any/1", b"_method=DELETE", FORM, "any:do"),
    "a form of other fields": (
        "POST https://a.test/x",
        b"method=DELETE&x=_method%3DDELETE&a=1&a=2",
        FORM,
        "data:write",
    ),
    "name by escapes": ("POST https://a.test/x", b"%5Fm%65thod=DELETE", FORM, "mapping.conflict"),
    "value by escapes": ("POST https://a.test/x", b"_method=%44ELETE", FORM, "mapping.conflict"),
    "another case": ("POST https://a.test/x", b"_METHOD=DELETE", FORM, "mapping.conflict"),
    "behind a semicolon": ("POST https://a.test/x", b"a=b;_method=DELETE", FORM, "mapping.conflict"),
    "with a blank": ("POST https://a.test/x", b"a=b&+_method=DELETE", FORM, "mapping.conflict"),
    "twice": ("POST https://a.test/x", b"_method=POST&_method=DELETE", FORM, "mapping.conflict"),
    "OData": ("POST https://a.test/x", b"$httpMethod=DELETE", FORM, "mapping.conflict"),
    "with a charset": ("POST https://a.test/x", b"_method=DELETE", FORM + ";charset=utf-8", "mapping.conflict"),
    "type in another case": ("POST https://a.test/x", b"_method=DELETE", FORM.upper(), "mapping.conflict"),
    "behind very many fields": ("POST https://a.test/x", b"a=b&" * 10_000 + b"a=b", FORM, "mapping.conflict"),
    "many fields": ("POST https://a.test/x", b"a=b&" * 9_999 + b"a=b", FORM, "data:write"),
    "parts": ("POST https://a.test/x", PART, MULTIPART, "mapping.conflict"),
    "parts, another case": ("POST https://a.test/x", PART.replace(b"name=", b"NAME = "), MULTIPART, "mapping.conflict"),
    "parts, encoded name": (
        "POST https://a.test/x",
        PART.replace(b'name="_method"', b"name*=utf-8''%5fmethod"),
        MULTIPART,
        "mapping.conflict",
    ),
    "parts, name in pieces": (
        "POST https://a.test/x",
        PART.replace(b'name="_method"', b'name*0="_met"; name*1=hod'),
        MULTIPART,
        "mapping.conflict",
    ),
    "parts, encoded name of a file": (
        "POST https://a.test/x",
        PART.replace(b'name="_method"', b"name=a; filename*=utf-8''_method"),
        MULTIPART,
        "data:write",
    ),
    "parts of other names": ("POST https://a.test/x", PART.replace(b"_method", b"_methods"), MULTIPART, "data:write"),
    "no form": ("POST https://a.test/x", b"_method=DELETE", "text/plain", "data:write"),
    "not read": ("POST https://a.test/x", None, FORM, "mapping.unreadable"),
    "parts, not read": ("POST https://a.test/x", None, MULTIPART, "mapping.unreadable"),
    "no form, not read": ("POST https://a.test/x", None, "text/plain", "data:write"),
    "not a POST, not read": ("PUT https://a.test/x", None, FORM, "mapping.unmapped"),
}


@pytest.mark.parametrize(("line", "body", "kind", "expected"), FORM_ROWS.values(), ids=FORM_ROWS)
def test_method_in_a_form(
    mapped: Mapped, request_of: RequestOf, line: str, body: bytes | None, kind: str, expected: str
) -> None:
    """A method that a form names counts as one in a header does; a form that could not be read may name any."""
    request = request_of(line, body, (("content-type", kind),))
    mappings = mapped(HEADS, GROUP)
    assert told(mappings, request) == expected
    if body is None:
        assert mappings.needs_body(request) == (expected == "mapping.unreadable")
    else:
        cut = replace(request, body_complete=False)
        assert told(mappings, cut) == ("mapping.unreadable" if "form" in kind.lower() else expected)


def test_a_problem_says_what_to_do(mapped: Mapped, request_of: RequestOf) -> None:
    """What an agent reads names the part that is wrong, and nothing it sent."""
    mappings = mapped(HEADS, GROUP)
    problem = mappings.resolve(request_of("GET https://a.test/things/a%2Fb")).problem
    assert problem is not None
    assert problem.message == 'two readings of this request differ: some servers read "%2F" as "/"'
    problem = mappings.resolve(request_of("GET https://evil.test/")).problem
    assert problem is not None
    assert problem.message == "no rule names this request"


# --- packs that misbehave ---


class _Pack:
    name = "odd"
    family = "odd"
    hosts = ("odd.test",)
    reads_prefix = False

    def __init__(self, answer: Recognition | Exception) -> None:
        self.answer = answer

    def needs_body(self, request: Request) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return False

    def recognise(self, request: Request) -> Recognition:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def odd(answer: Recognition | Exception, text: str = "version: 1") -> Mappings:
    """Return mappings with one code pack that always answers the same."""
    documents = [read_document(text, "site.yaml")]
    return Mappings(compile_documents(documents, [_Pack(answer)]), documents)


PACK_ANSWERS = {
    "not recognised": (NOT_RECOGNISED, "mapping.unmapped"),
    "raises": (RuntimeError("bug"), "mapping.failed"),
    "name outside the grammar": (Recognition((Call("odd:a b", {}),)), "mapping.unreadable"),
    "many calls": (Recognition(tuple(Call(f"odd:x{n}", {}) for n in range(201))), "mapping.too-many"),
    "just enough calls": (Recognition(tuple(Call("odd:x", {}) for n in range(200))), "odd:x"),
}


@pytest.mark.parametrize(("answer", "expected"), PACK_ANSWERS.values(), ids=PACK_ANSWERS)
def test_pack_answer(request_of: RequestOf, answer: Recognition | Exception, expected: str) -> None:
    """Whatever a pack does, the answer is an operation or a refusal."""
    mappings = odd(answer)
    assert told(mappings, request_of("GET https://odd.test/")) == expected
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            mappings.needs_body(request_of("GET https://odd.test/"))


SPELLED = """
version: 1
bind: [{host: odd.test, pack: odd}, {host: gw.test, pack: odd, prefix: /gw}]
rules:
  - {id: spelled, match: {host: odd.test, path: "/one/{thing}"}, action: "thing:spelled"}
  - {id: sent, match: {host: odd.test, path: "/other/{thing}"}, action: "thing:sent"}
  - {id: behind, match: {host: gw.test, path: "/gw/one/{thing}"}, action: "thing:behind"}
"""
SPELLINGS = {
    "as its pack spells it": ("GET https://odd.test/some/x", "thing:spelled"),
    "as it was sent": ("GET https://odd.test/other/x", "thing:sent"),
    "behind a prefix": ("GET https://gw.test/gw/some/x", "thing:behind"),
    "not behind it": ("GET https://gw.test/some/x", "mapping.unmapped"),
}


@pytest.mark.parametrize(("line", "expected"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_path_has_the_spelling_of_its_pack(request_of: RequestOf, line: str, expected: str) -> None:
    """A rule in that spelling counts for every other; one in the spelling that was sent counts as well."""
    assert told(odd(Recognition((Call("odd:x", {}, path="/one/x"),)), SPELLED), request_of(line)) == expected


class _Named(_Pack):
    """A pack that knows projects, and their files but for those that look like an operation."""

    keeps_encoded_slashes = True

    def __init__(self) -> None:
        super().__init__(NOT_RECOGNISED)

    def recognise(self, request: Request) -> Recognition:
        parts = request.path.split("/")[1:]
        calls = {1: "odd:project", 2: "odd:members" if parts[-1] == "members" else ""}
        name = calls.get(len(parts), "")
        return Recognition((Call(name, {}),)) if name else NOT_RECOGNISED


def test_a_pack_may_know_that_its_names_hold_slashes(request_of: RequestOf) -> None:
    """Where "%2F" is part of a name for sure, nothing known of the other path is no contradiction; a name is."""
    documents = [read_document("version: 1", "site.yaml")]
    kept = Mappings(compile_documents(documents, [_Named()]), documents)
    assert told(kept, request_of("GET https://odd.test/group%2Fproject")) == "odd:project"
    assert told(kept, request_of("GET https://odd.test/group%2Fmembers")) == "mapping.conflict"
    assert told(kept, request_of("GET https://odd.test/group%2Fproject?_method=DELETE")) == "mapping.conflict"
    other = Mappings(compile_documents(documents, [type("_Other", (_Named,), {"keeps_encoded_slashes": False})()]), ())
    assert told(other, request_of("GET https://odd.test/group%2Fproject")) == "mapping.conflict"


ENVIRONMENT = """
version: 1
env:
  - {value: production, when: {account: "1"}}
  - {value: staging, when: {label: "s*"}}
rules: [{id: a, match: {op: "odd:x"}, each: ids, action: "deploy:${env}", target: "${each}/${label}"}]
"""


def test_environment_reads_only_trusted_captures(request_of: RequestOf) -> None:
    """What the agent may write freely chooses no environment, though a target may show it."""
    call = Call("odd:X", {"account": "1", "label": "staging"}, {"ids": ("i-1", "i-2")}, frozenset({"account"}))
    (first, second) = odd(Recognition((call,)), ENVIRONMENT).resolve(request_of("GET https://odd.test/")).operations
    assert (first.name, first.action, first.environment) == ("odd:X", "deploy:production", "production")
    assert (first.target, second.target) == ("i-1/staging", "i-2/staging")
    nothing = Call("odd:x", {"account": "1", "label": "staging"})
    (only,) = odd(Recognition((nothing,)), ENVIRONMENT).resolve(request_of("GET https://odd.test/")).operations
    assert (only.action, only.environment, only.target) == ("deploy:unknown", "", "-/staging")


def test_targets_of_packs_are_printable(request_of: RequestOf) -> None:
    """A pack's own target gets no control character into the log either, nor endless text."""
    call = Call("odd:x", {}, target="a\x1b[2J\nb" + "c" * 5000)
    (operation,) = odd(Recognition((call,))).resolve(request_of("GET https://odd.test/")).operations
    assert operation.target.startswith("a%1B[2J%0Abccc")
    assert len(operation.target) == 1024
    assert operation.target.isprintable()


def test_the_default_target_is_printable(request_of: RequestOf) -> None:
    """So is the target made of host and path."""
    assert canonical_target("/a%C2%9Bb").path == "/a%C2%9Bb"
    (operation,) = (
        odd(Recognition((Call("odd:x", {}),))).resolve(request_of("GET https://odd.test/a%C2%9Bb")).operations
    )
    assert operation.target == "odd.test/a%C2%9Bb"


def test_a_header_for_the_path_and_one_for_the_method_are_read_together(request_of: RequestOf) -> None:
    """A server that honours both reads a third request, which is judged as well; folded names count."""
    headers = (("x_original_url", "/guarded"), ("x-http-method-override", "delete"))
    found = alternatives(request_of("GET https://a.test/open", None, headers))
    read = {(each.request.method, each.request.path) for each in found}
    assert read == {("GET", "/guarded"), ("DELETE", "/open"), ("DELETE", "/guarded")}


def test_the_other_methods_are_told_where_all_mean_the_same(request_of: RequestOf) -> None:
    """No rule hangs on the method, but a policy may, and which one a server takes is not known."""
    rules = 'version: 1\nrules: [{id: any, match: {host: a.test, path: "/any/{x}"}, action: "any:do"}]'
    mapped = compile_mappings([read_document(rules, "site.yaml")])
    headers = (("x-http-method-override", "DELETE"), ("x-method-override", "get"))
    assert mapped.resolve(request_of("GET https://a.test/any/1")).methods == ()
    assert mapped.resolve(request_of("GET https://a.test/any/1", None, headers)).methods == ("DELETE",)
    assert mapped.resolve(request_of("POST https://a.test/any/1?_method=put", None, headers)).methods == (
        "DELETE",
        "GET",
        "PUT",
    )


def test_what_is_known_of_an_operation_is_part_of_what_it_means(request_of: RequestOf) -> None:
    """Policies ask for it: a read that some server takes for a deletion has two readings, whatever a rule calls it."""
    rules = (
        "version: 1\nbind: [{host: d.test, pack: docker}]\n"
        'rules: [{id: c, match: {host: d.test, path: "/containers/{name}/{what+}"}, action: "c:do", target: "${name}"}]'
    )
    mapped = compile_mappings([read_document(rules, "site.yaml")])
    asked = request_of("GET https://d.test/containers/web/json")
    assert [each.action for each in mapped.resolve(asked).operations] == ["c:do"]
    overridden = request_of("GET https://d.test/containers/web/json", None, (("x-http-method-override", "DELETE"),))
    problem = mapped.resolve(overridden).problem
    assert problem is not None
    assert problem.code == "mapping.conflict"
