"""A body of which only the first bytes are known never makes a request seem other than it is."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappings import Mappings, Request, Resolution, compile_mappings, load_mappings, read_document

SITE = """
version: 1
bind:
  - {host: git.acme.test, pack: git}
  - {host: k8s.acme.test, pack: kubernetes}
  - {host: raw.acme.test, pack: http}
rules:
  - {id: kind, match: {host: raw.acme.test, path: /x, json: {kind: big}}, action: "x:big"}
  - {id: not-kind, match: {host: raw.acme.test, path: /x, not: {json: {dry: true}}}, action: "x:wet"}
  - {id: named, match: {host: raw.acme.test, path: /y}, action: "x:named", target: "${json:id}"}
  - {id: every, match: {host: raw.acme.test, path: /z}, each: "json:ids", action: "x:each", target: "${each}"}
"""


@pytest.fixture(scope="module")
def mappings() -> Mappings:
    """Shipped packs with an operator's rules that read the body in every way there is."""
    return compile_mappings([*load_documents(), read_document(SITE, "site.yaml")])


def load_documents() -> list:
    """Return the shipped packs as documents."""
    return [read_document(text.text, text.id) for text in load_mappings([]).texts if text.kind == "mapping"]


JSON, FORM = "application/json", "application/x-www-form-urlencoded"

OBJECTS = st.dictionaries(
    st.sampled_from(["kind", "dry", "id", "ids", "event", "data", "operation", "TableName", "dryRun", "a"]),
    st.sampled_from(["big", True, False, 1, "x", ["a", "b"], ["All"], "APPROVE", "COMMENT", "upload", None])
    | st.just({"attributes": {"is-destroy": True}}),
    max_size=4,
)
BODIES = (
    OBJECTS.map(lambda value: json.dumps(value).encode())
    | st.lists(
        st.sampled_from(["Action=TerminateInstances", "InstanceId.1=i-a", "Action=DescribeInstances", "a=b"]),
        max_size=4,
    ).map(lambda fields: "&".join(fields).encode())
    | st.binary(max_size=40)
)
HEADS = {
    "json condition": ("POST", "raw.acme.test", "/x", ()),
    "json in a target": ("POST", "raw.acme.test", "/y", ()),
    "json for each": ("POST", "raw.acme.test", "/z", ()),
    "review": ("POST", "api.github.com", "/repos/acme/web/pulls/7/reviews", ()),
    "run": ("POST", "app.terraform.io", "/api/v2/runs", ()),
    "instances": ("POST", "ec2.eu-west-1.amazonaws.com", "/", ()),
    "table": ("POST", "dynamodb.eu-west-1.amazonaws.com", "/", (("x-amz-target", "DynamoDB_20120810.DeleteTable"),)),
    "large files": ("POST", "github.com", "/acme/web.git/info/lfs/objects/batch", ()),
    "deletion": ("DELETE", "k8s.acme.test", "/api/v1/namespaces/shop/pods/a", ()),
}
TYPES = st.sampled_from([JSON, FORM, "application/x-amz-json-1.0", "text/plain"])


def cut(request: Request, at: int) -> Request:
    """Return the request as the proxy hands it over when the body is longer than `at` bytes."""
    return replace(request, body=(request.body or b"")[:at], body_complete=False)


def same_or_refused(short: Resolution, full: Resolution) -> bool:
    """Say whether not knowing the rest of the body changed nothing but the will to answer."""
    return short.problem is not None or short == full


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@given(body=BODIES, kind=TYPES, at=st.integers(0, 60))
@example(body=b'{"kind": "small"}', kind=JSON, at=17)
@example(body=b"", kind=JSON, at=0)
@example(body=b"Action=TerminateInstances&InstanceId.1=i-a", kind=FORM, at=42)
def test_a_cut_body_is_one_that_was_not_read(
    mappings: Mappings, head: tuple[str, str, str, tuple[tuple[str, str], ...]], body: bytes, kind: str, at: int
) -> None:
    """Whatever reads bodies, but for pushes, takes the first bytes of one for nothing; even all of its bytes."""
    method, host, path, headers = head
    full = Request(method, "https", host, 443, path, (), (*headers, ("content-type", kind)), body)
    short = mappings.resolve(cut(full, at))
    assert short == mappings.resolve(replace(full, body=None))
    # A deletion whose options are not known is a deletion for good: the graver of its two names.
    assert short.problem is not None or [each.action for each in short.operations] == ["infra:destroy"]


OIDS = st.sampled_from(["a" * 40, "b" * 40, "0" * 40])
REFS = st.sampled_from(["refs/heads/main", "refs/tags/v1", "refs/heads/x", "refs/../x", "HEAD"])
COMMANDS = st.lists(st.tuples(OIDS, OIDS, REFS), max_size=4)


def push(commands: list[tuple[str, str, str]], after: bytes = b"PACK....") -> bytes:
    """Return the body of a push."""
    lines = [f"{old} {new} {ref}\n".encode() for old, new, ref in commands]
    return b"".join(b"%04x" % (len(line) + 4) + line for line in lines) + b"0000" + after


PUSHES = st.builds(push, COMMANDS, st.sampled_from([b"", b"PACK....", b"0000", b"x" * 50])) | st.binary(max_size=40)


def pushed(body: bytes) -> Request:
    """Return a push with this body."""
    return Request("POST", "https", "git.acme.test", 443, "/acme/web.git/git-receive-pack", (), (), body)


@given(body=PUSHES, at=st.integers(0, 400))
@example(body=b"0000PACK....", at=4)
@example(body=b"0000", at=4)
@example(body=push([("a" * 40, "b" * 40, "refs/heads/main")]), at=105)
def test_a_cut_push_is_the_same_push_or_none(mappings: Mappings, body: bytes, at: int) -> None:
    """Wherever a push is cut, what it is named is what all of it would be named, or it is refused."""
    assert same_or_refused(mappings.resolve(cut(pushed(body), at)), mappings.resolve(pushed(body)))


def test_a_push_is_named_by_its_head(mappings: Mappings) -> None:
    """A push larger than what is read is named when its list of refs was read to the flush, and only then."""
    body = push([("a" * 40, "b" * 40, "refs/heads/main"), ("b" * 40, "0" * 40, "refs/heads/x")], b"PACK" * 1000)
    flush = body.index(b"0000PACK") + 4
    named = mappings.resolve(cut(pushed(body), flush))
    assert named == mappings.resolve(pushed(body))
    assert [each.action for each in named.operations] == ["repo:push", "repo:delete-ref"]
    for at in range(flush):
        problem = mappings.resolve(cut(pushed(body), at)).problem
        assert problem is not None
        assert problem.code == "mapping.unreadable"
        assert "does not end within what was read" in problem.message


def test_a_large_push_that_is_packed_stays_unread(mappings: Mappings) -> None:
    """Compression hides the head too."""
    packed = replace(
        cut(pushed(push([("a" * 40, "b" * 40, "refs/heads/main")])), 200), headers=(("content-encoding", "gzip"),)
    )
    problem = mappings.resolve(packed).problem
    assert problem is not None
    assert problem.code == "mapping.unreadable"


def test_needs_body_does_not_change(mappings: Mappings) -> None:
    """Whether the body is asked for hangs on the head."""
    for method, host, path, headers in HEADS.values():
        head = Request(method, "https", host, 443, path, (), headers, None)
        assert mappings.needs_body(head) is mappings.needs_body(replace(head, body=b"x", body_complete=False)) is True


def test_a_dry_run_in_the_query_is_none_while_the_body_is_unknown(mappings: Mappings) -> None:
    """The options of a deletion may stand in what was not read, and then the query counts for nothing."""
    known = Request(
        "DELETE", "https", "k8s.acme.test", 443, "/api/v1/namespaces/shop/pods/a", (("dryRun", "All"),), (), b""
    )
    assert [each.action for each in mappings.resolve(known).operations] == ["deploy:plan"]
    cut_off = replace(known, body_complete=False)
    assert [each.action for each in mappings.resolve(cut_off).operations] == ["infra:destroy"]
