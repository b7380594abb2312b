"""Section E: what is it doing? A request has one meaning, or none that is allowed."""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping

from proxy.attack.attacks import (
    DESTROY,
    EC2,
    GIT,
    GITHUB,
    GUARDED,
    HOST,
    KUBERNETES,
    MCP,
    READ,
    S3,
    Attack,
    Plain,
    Way,
    chunked,
    request,
    table,
    through,
)

SOURCES = {
    "B35": "github.com/NVIDIA/OpenShell/issues/878; RFC 3986, 6.2.2; CVE-2021-41773 (Apache, %2e)",
    "B36": "RFC 3986, 6; CVE-2018-14773 (Symfony, X-Original-URL and X-Rewrite-URL)",
    "B37": "docs.gitlab.com/api/rest: namespaced paths; npm registry: scoped packages",
    "B38": "RFC 9110, 9.1; OWASP WSTG, Test HTTP Methods",
    "B39": "Rack::MethodOverride; Express method-override; Laravel, form method spoofing; Google APIs, $httpMethod",
    "B40": "OWASP, HTTP parameter pollution; CVE-2021-23336 (Python, ; in queries)",
    "B41": "bishopfox.com/blog/json-interoperability-vulnerabilities; RFC 8259, 4 and 8.1",
    "B42": "RFC 9110, 8.4; CWE-409",
    "B43": "AWS WAF documentation: oversize web request components",
    "B44": "RFC 9110, 10.1.1; RFC 9112, 8",
    "B45": "GraphQL over HTTP; github.com/dolevf/graphql-cop: aliases, batches",
    "B46": "JSON-RPC 2.0, 6 batch; modelcontextprotocol.io, 2025-03-26",
    "B47": "kubernetes.io: deletecollection; docs.aws.amazon.com: DeleteObjects",
    "B48": "CVE-2018-1002105; CVE-2020-8559; kubernetes.io: API concepts, impersonation",
    "B49": "docs.aws.amazon.com: query API, X-Amz-Target, presigned URLs",
    "B50": "git-scm.com/docs/http-protocol; docs.github.com: merge a pull request",
    "B51": "docs.github.com: workflow_dispatch, re-run, auto-merge",
    "B53": "RFC 9110, 15.4; CVE-2018-1000007",
}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_RUN = Plain("POST", "/runs", body=b'{"destroy": false}', content_type=_JSON)
_RUN_DESTROY = Plain("POST", "/runs", body=b'{"destroy": true}', content_type=_JSON, allowed=False)
_ASKED_DESTROY = Plain("GET", "/asked?do=destroy", allowed=False)
_POST = Plain("POST", "/open/thing", body=b"a=b", content_type=_FORM)


def _runs(body: bytes, *more: str, kind: str = f"Content-Type: {_JSON}") -> bytes:
    return request("POST", "/runs", *([kind] if kind else []), *more, body=body)


def _to(host: str, method: str, target: str, body: object = None, *more: str, kind: str = _JSON) -> bytes:
    """A request to an API, with a body of bytes or of JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return request(method, target, *([f"Content-Type: {kind}"] if data else []), *more, host=host, body=data)


def attacks() -> Iterable[Attack]:
    """Every row of this section."""
    yield from _paths()
    yield from _methods()
    yield from _queries()
    yield from _bodies()
    yield from _apis()


def _paths() -> Iterable[Attack]:
    spelled = {
        "dots": "/open/../guarded/thing",
        "dots first": "/../guarded/thing",
        "escaped dots": "/open/%2e%2e/guarded/thing",
        "half-escaped dots": "/open/.%2E/guarded/thing",
        "escaped slash": "/open/..%2fguarded/thing",
        "escaped twice": "/open/%252e%252e/guarded/thing",
        "two slashes": "//guarded/thing",
        "two slashes inside": "/guarded//thing",
        "one dot": "/./guarded/thing",
        "parameter": "/guarded;a=b/thing",
        "parameter behind dots": "/open/..;/guarded/thing",
        "backslash": "/open\\..\\guarded\\thing",
        "escaped backslash": "/open/..%5cguarded/thing",
        "NUL": "/guarded/thing%00",
        "overlong dot": "/open/%c0%ae%c0%ae/guarded/thing",
        "overlong slash": "/open/..%c0%afguarded/thing",
        "full-width slash": "/open/..%ef%bc%8fguarded/thing",
        "IIS unicode": "/open/%u002e%u002e/guarded/thing",
        "escaped letters": "/%67uarded/%74hing",
        "trailing slash": "/guarded/thing/",
        "format": "/guarded/thing.json",
        "format behind a slash": "/guarded/thing/.json",
        "fragment": "/open/#/../guarded/thing",
        "line break": "/open/%0d%0aguarded",
        "blank": "/guarded/thing%20",
        "capitals": "/GUARDED/thing",
        "bad escape": "/guarded/%zz",
        "asterisk": "*",
        "no slash": "guarded/thing",
    }
    yield from table("B35", GUARDED, {name: request("GET", path) for name, path in spelled.items()})
    canonical = {
        "escaped letter": "/%6Fpen/thing",
        "escaped tilde": "/open/%74hing",
        "mark without a query": "/open/thing?",
    }
    yield from table("B36", READ, {name: request("GET", path) for name, path in canonical.items()})
    yield from table("B36", Plain("GET", "/open/a%2Fb"), {"escape in lower case": request("GET", "/open/a%2fb")})
    pseudo = ((":method", "GET"), (":scheme", "https"), (":authority", HOST))
    for name in ("dots", "escaped dots", "two slashes", "escaped letters"):
        yield Attack("B36", f"h2, {name}", GUARDED, way=Way(http2=True), fields=(*pseudo, (":path", spelled[name])))
    headers = ("X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Forwarded-Path")
    for name in headers[:2]:
        yield Attack(
            "B36", f"{name} of what is denied", GUARDED, request("GET", "/open/thing", f"{name}: /guarded/thing")
        )
    project = Plain("GET", "/open/group%2Fproject")
    yield from table("B37", project, {"as it has to be": project.sends})
    yield from table(
        "B37",
        GUARDED,
        {
            "hides a denied path": request("GET", "/guarded%2Fthing"),
            "hides dots": request("GET", "/open%2F..%2Fguarded%2Fthing"),
        },
    )


def _methods() -> Iterable[Attack]:
    names = {
        "lower case": "delete",
        "mixed case": "Delete",
        "unknown": "DESTROY",
        "padded": "DELETE\t",
        "TRACE": "TRACE",
        "TRACK": "TRACK",
        "OPTIONS": "OPTIONS",
        "a control character": "DEL\x01ETE",
        "WebDAV's": "MOVE",
        "Squid's": "PURGE",
        "with a hyphen last": "DELETE-",
        "very long": "D" * 5000,
    }
    yield from table("B38", DESTROY, {name: request(method, "/open/thing") for name, method in names.items()})
    fields = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override")
    for name in fields:
        yield Attack("B39", f"{name} in a POST", DESTROY, request("POST", "/open/thing", f"{name}: DELETE"))
    more = {
        "in a GET": request("GET", "/open/thing", "X-HTTP-Method-Override: DELETE"),
        "in lower case": request("POST", "/open/thing", "X-HTTP-Method-Override: delete"),
        "twice": request("POST", "/open/thing", "X-HTTP-Method-Override: GET", "X-HTTP-Method-Override: DELETE"),
        "two of them": request("POST", "/open/thing", "X-HTTP-Method-Override: POST", "X-Method-Override: DELETE"),
        "with underscores": request("POST", "/open/thing", "X_HTTP_Method_Override: DELETE"),
        "_method in the query": request("POST", "/open/thing?_method=DELETE"),
        "_METHOD in the query": request("POST", "/open/thing?_METHOD=DELETE"),
        "_method, escaped": request("POST", "/open/thing?%5Fmethod=DELETE"),
        "$httpMethod in the query": request("POST", "/open/thing?$httpMethod=DELETE"),
        "_method in a form": request("POST", "/open/thing", f"Content-Type: {_FORM}", body=b"a=b&_method=DELETE"),
        "_method, escaped, in a form": request(
            "POST", "/open/thing", f"Content-Type: {_FORM}", body=b"%5fmethod=DELETE"
        ),
        "_method in a multipart form": request(
            "POST",
            "/open/thing",
            "Content-Type: multipart/form-data; boundary=x",
            body=b'--x\r\nContent-Disposition: form-data; name="_method"\r\n\r\nDELETE\r\n--x--\r\n',
        ),
    }
    yield from table("B39", DESTROY, more)


def _queries() -> Iterable[Attack]:
    queries = {
        "key twice, first": "do=destroy&do=look",
        "key twice, last": "do=look&do=destroy",
        "semicolon": "a=b;do=destroy",
        "plus and blank": "do=destroy+",
        "escaped key": "%64o=destroy",
        "escaped value": "do=%64estroy",
        "array": "do[]=destroy",
        "capitals": "DO=destroy",
        "not UTF-8": "do=%ffdestroy",
        "NUL": "do=destroy%00",
        "second question mark": "?do=destroy",
        "behind many": "&".join(["a=b"] * 2000) + "&do=destroy",
        "escaped ampersand": "a=b%26do=destroy&do=destroy",
    }
    harmless = {"second question mark", "plus and blank"}
    for name, query in queries.items():
        # To every server these are other parameters or values, as they are to a rule.
        plain = Plain("GET", f"/asked?{query}") if name in harmless else _ASKED_DESTROY
        yield Attack("B40", name, plain, request("GET", f"/asked?{query}"))


def _bodies() -> Iterable[Attack]:
    true = b'{"destroy": true}'
    bodies = {
        "key twice, last": b'{"destroy": false, "destroy": true}',
        "key twice, first": b'{"destroy": true, "destroy": false}',
        "escaped key twice": b'{"destroy": false, "\\u0064estroy": true}',
        "escaped key": b'{"\\u0064estroy": true}',
        "key in capitals": b'{"Destroy": true}',
        "long s": '{"de\u017ftroy": true}'.encode(),
        "comment": b'{"destroy": /* */ true}',
        "trailing comma": b'{"destroy": true,}',
        "NaN": b'{"destroy": true, "a": NaN}',
        "big number": b'{"destroy": true, "a": 1e999}',
        "BOM": b"\xef\xbb\xbf" + true,
        "UTF-16": true.decode().encode("utf-16"),
        "UTF-16 without a mark": true.decode().encode("utf-16-le"),
        "UTF-32": true.decode().encode("utf-32"),
        "two documents": b'{"destroy": false}' + true,
        "text behind": true + b" x",
        "single quotes": b"{'destroy': true}",
        "deep": b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b', "destroy": true}',
        "lone surrogate": b'{"destroy": true, "a": "\\ud800"}',
        "bytes that are no UTF-8": b'{"destroy": true, "a": "\xff"}',
    }
    yield from table("B41", _RUN_DESTROY, {name: _runs(body) for name, body in bodies.items()})
    kinds = {
        "text/plain": "Content-Type: text/plain",
        "no type": "",
        "XML": "Content-Type: application/xml",
        "YAML": "Content-Type: application/yaml",
        "a form": f"Content-Type: {_FORM}",
        "another charset": f"Content-Type: {_JSON}; charset=utf-7",
        "two types": f"Content-Type: {_JSON}\r\nContent-Type: text/plain",
        "two types in one": f"Content-Type: text/plain, {_JSON}",
    }
    yield from table("B41", _RUN_DESTROY, {f"as {name}": _runs(true, kind=kind) for name, kind in kinds.items()})
    part = b'--x\r\nContent-Disposition: form-data; name="destroy"\r\n\r\ntrue\r\n--x--\r\n'
    yield from table(
        "B41",
        _RUN_DESTROY,
        {
            "multipart": _runs(part, kind="Content-Type: multipart/form-data; boundary=x"),
            "form": _runs(b"destroy=true", kind=f"Content-Type: {_FORM}"),
        },
    )

    coded = {
        "gzip": ("gzip", gzip.compress(true, mtime=0)),
        "deflate": ("deflate", zlib.compress(true)),
        "gzip twice": ("gzip, gzip", gzip.compress(gzip.compress(true, mtime=0), mtime=0)),
        "br": ("br", b"\x0b\x08\x80" + true + b"\x03"),
        "zstd": ("zstd", b"\x28\xb5\x2f\xfd" + true),
        "a bomb": ("gzip", gzip.compress(b'{"destroy": true, "a": "' + bytes(4_000_000) + b'"}', mtime=0)),
        "an unknown coding": ("rot13", true),
        "identity": ("identity", true),
    }
    yield from table(
        "B42",
        _RUN_DESTROY,
        {name: _runs(body, f"Content-Encoding: {coding}") for name, (coding, body) in coded.items()},
    )
    yield from table("B42", _RUN_DESTROY, {"undeclared gzip": _runs(gzip.compress(true, mtime=0))})

    padding = b" " * 2_200_000
    yield from table(
        "B43",
        _RUN_DESTROY,
        {
            "blanks first": _runs(padding + true),
            "blanks inside": _runs(b'{"a": "' + b"x" * 2_200_000 + b'", "destroy": true}'),
            "blanks behind": _runs(true + padding),
            "in chunks": _runs(chunked(padding + true), "Transfer-Encoding: chunked"),
        },
        follows=False,
    )
    yield from table(
        "B44",
        _RUN_DESTROY,
        {
            "Expect": _runs(true, "Expect: 100-continue"),
            "another expectation": _runs(true, "Expect: 200-ok"),
            "in one-byte chunks": _runs(
                b"".join(b"1\r\n%c\r\n" % byte for byte in true) + b"0\r\n\r\n", "Transfer-Encoding: chunked"
            ),
        },
    )
    yield from table(
        "B44",
        _RUN_DESTROY,
        {
            "a body that never ends": _runs(b"11\r\n" + true, "Transfer-Encoding: chunked"),
            "a body that is too short": _runs(true, "Content-Length: 100"),
        },
        follows=False,
    )
    yield from table("B44", _RUN, {"Expect, allowed": _runs(_RUN.body, "Expect: 100-continue")})


def _apis() -> Iterable[Attack]:
    yield from _graphql()
    yield from _jsonrpc()
    yield from _kubernetes()
    yield from _aws()
    yield from _git()


def _rows(attack_id: str, plain: Plain, rows: Mapping[str, bytes]) -> Iterable[Attack]:
    return table(attack_id, plain, rows, way=through(plain.host))


def _graphql() -> Iterable[Attack]:
    merge = 'mergePullRequest(input: {pullRequestId: "x"}) {clientMutationId}'
    viewer = "query V {viewer {login}}"
    denied = Plain(
        "POST", "/graphql", GITHUB, json.dumps({"query": f"mutation {{{merge}}}"}).encode(), _JSON, allowed=False
    )
    sent = {
        "alias": {"query": f"mutation {{viewer: {merge}}}"},
        "fragment": {"query": f"mutation {{...F}} fragment F on Mutation {{{merge}}}"},
        "inline fragment": {"query": f"mutation {{... on Mutation {{{merge}}}}}"},
        "array": [{"query": viewer}, {"query": f"mutation {{{merge}}}"}],
        "several operations": {"query": f"{viewer} mutation M {{{merge}}}", "operationName": "M"},
        "several operations, none named": {"query": f"{viewer} mutation M {{{merge}}}"},
        "persisted": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}},
        "comma and comment": {"query": f"#x\n,,mutation #y\n{{,{merge},}}"},
        "directive": {"query": f"mutation($a: Boolean = true) {{{merge.replace(') {', ') @include(if: $a) {')}}}"},
        "subscription": {"query": f"subscription {{{merge}}}"},
    }
    yield from _rows("B45", denied, {name: _to(GITHUB, "POST", "/graphql", body) for name, body in sent.items()})
    query = f"mutation%7B{merge.replace(' ', '%20').replace('{', '%7B').replace('}', '%7D').replace(chr(34), '%22')}%7D"
    more = {
        "GET": request("GET", f"/graphql?query={query}", host=GITHUB),
        "as text": _to(GITHUB, "POST", "/graphql", f"mutation {{{merge}}}".encode(), kind="application/graphql"),
        "query in the URL beside a body": _to(GITHUB, "POST", f"/graphql?query={query}", {"query": viewer}),
        "over a WebSocket": request(
            "GET",
            "/graphql",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            host=GITHUB,
        ),
        "trailing slash": _to(GITHUB, "POST", "/graphql/", {"query": f"mutation {{{merge}}}"}),
    }
    yield from _rows("B45", denied, more)


def _jsonrpc() -> Iterable[Attack]:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete_everything"}}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    denied = Plain("POST", "/mcp", MCP, json.dumps(call).encode(), _JSON, allowed=False)
    sent = {
        "batch": [listing, call],
        "batch in a batch": [[call]],
        "notification": {key: value for key, value in call.items() if key != "id"},
        "no params": {"jsonrpc": "2.0", "id": 1, "method": "tools/call"},
        "params in a list": {**call, "params": ["delete_everything"]},
        "method in capitals": {**call, "METHOD": "tools/list"},
        "no version": {"id": 1, "method": "tools/call", "params": call["params"]},
        "name is no text": {**call, "params": {"name": {"a": "delete_everything"}}},
    }
    yield from _rows("B46", denied, {name: _to(MCP, "POST", "/mcp", body) for name, body in sent.items()})
    twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete_everything"}}'
    )
    yield from _rows("B46", denied, {"method twice": _to(MCP, "POST", "/mcp", twice)})


def _kubernetes() -> Iterable[Attack]:
    pods = "/api/v1/namespaces/default/pods"
    denied = Plain("DELETE", f"{pods}/web", KUBERNETES, allowed=False)
    bulk = {
        "deletecollection": request("DELETE", pods, host=KUBERNETES),
        "of every namespace": request("DELETE", "/api/v1/pods?labelSelector=a", host=KUBERNETES),
    }
    yield from _rows("B47", denied, bulk)
    s3 = Plain("DELETE", "/key", S3, allowed=False)
    keys = b"<Delete><Object><Key>key</Key></Object></Delete>"
    yield from _rows(
        "B47",
        s3,
        {
            "S3, POST ?delete": _to(S3, "POST", "/?delete", keys, kind="application/xml"),
            "S3, ?delete with a value": _to(S3, "POST", "/?delete=", keys, kind="application/xml"),
        },
    )
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}
    sent = {
        "eviction": _to(KUBERNETES, "POST", f"{pods}/web/eviction", body),
        "binding": _to(KUBERNETES, "POST", f"{pods}/web/binding", {"target": {"name": "n"}}),
        "exec": request("POST", f"{pods}/web/exec?command=rm", host=KUBERNETES),
        "exec by GET": request("GET", f"{pods}/web/exec?command=rm", host=KUBERNETES),
        "attach": request("GET", f"{pods}/web/attach", host=KUBERNETES),
        "proxy to a pod": request("DELETE", f"{pods}/web/proxy/api", host=KUBERNETES),
        "proxy to a node": request("GET", "/api/v1/nodes/n/proxy/run/default/web/c?cmd=rm", host=KUBERNETES),
        "scale": _to(
            KUBERNETES, "PUT", "/apis/apps/v1/namespaces/default/deployments/web/scale", {"spec": {"replicas": 0}}
        ),
        "token": _to(KUBERNETES, "POST", "/api/v1/namespaces/default/serviceaccounts/a/token", {}),
        "impersonation": request("DELETE", f"{pods}/web", "Impersonate-User: admin", host=KUBERNETES),
        "dry run in lower case": request("DELETE", f"{pods}/web?dryrun=All", host=KUBERNETES),
        "dry run twice": request("DELETE", f"{pods}/web?dryRun=All&dryRun=", host=KUBERNETES),
        "an aggregated API": request("DELETE", "/apis/metrics.example/v1/things/web", host=KUBERNETES),
        "two slashes": request("DELETE", f"/{pods}/web", host=KUBERNETES),
    }
    yield from _rows("B48", denied, sent)


def _aws() -> Iterable[Attack]:
    call = b"Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1"
    harmless = b"Action=DescribeInstances&Version=2016-11-15"
    denied = Plain("POST", "/", EC2, call, _FORM, allowed=False)
    sent = {
        "in the query": request("GET", f"/?{call.decode()}", host=EC2),
        "in both": _to(EC2, "POST", f"/?{call.decode()}", harmless, kind=_FORM),
        "in both, the other way": _to(EC2, "POST", f"/?{harmless.decode()}", call, kind=_FORM),
        "twice": _to(EC2, "POST", "/", harmless + b"&" + call, kind=_FORM),
        "escaped": _to(EC2, "POST", "/", call.replace(b"Action", b"%41ction"), kind=_FORM),
        "semicolon": _to(EC2, "POST", "/", harmless + b";" + call, kind=_FORM),
        "X-Amz-Target beside": _to(EC2, "POST", "/", call, "X-Amz-Target: AmazonEC2.DescribeInstances", kind=_FORM),
        "as JSON": _to(
            EC2,
            "POST",
            "/",
            {"InstanceIds": ["i-1"]},
            "X-Amz-Target: AmazonEC2.TerminateInstances",
            kind="application/x-amz-json-1.1",
        ),
        "as CBOR": _to(
            EC2,
            "POST",
            "/service/EC2/operation/TerminateInstances",
            b"\xa0",
            "smithy-protocol: rpc-v2-cbor",
            kind="application/cbor",
        ),
        "action in lower case": _to(EC2, "POST", "/", call.replace(b"TerminateI", b"terminatei"), kind=_FORM),
        "without a type": request("POST", "/", host=EC2, body=call),
        "another path": _to(EC2, "POST", "/x", call, kind=_FORM),
    }
    yield from _rows("B49", denied, sent)
    presigned = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA/20260101/us-east-1/s3/aws4_request&X-Amz-Signature=ab"
    )
    yield from _rows(
        "B49",
        Plain("DELETE", "/key", S3, allowed=False),
        {"presigned": request("DELETE", f"/key?{presigned}", host=S3)},
    )


def _git() -> Iterable[Attack]:
    push = Plain("GET", "/acme/web.git/info/refs?service=git-receive-pack", GIT, allowed=False)
    sent = {
        "the POST alone": _to(
            GIT, "POST", "/acme/web.git/git-receive-pack", b"0000", kind="application/x-git-receive-pack-request"
        ),
        "without .git": request("GET", "/acme/web/info/refs?service=git-receive-pack", host=GIT),
        "service twice": request(
            "GET", "/acme/web.git/info/refs?service=git-upload-pack&service=git-receive-pack", host=GIT
        ),
        "escaped": request("GET", "/acme/web.git/info/refs?service=git-receive%2Dpack", host=GIT),
        "compressed": _to(
            GIT,
            "POST",
            "/acme/web.git/git-receive-pack",
            gzip.compress(b"0000", mtime=0),
            "Content-Encoding: gzip",
            kind="application/x-git-receive-pack-request",
        ),
        "LFS": _to(
            GIT,
            "POST",
            "/acme/web.git/info/lfs/objects/batch",
            {"operation": "upload", "objects": []},
            kind="application/vnd.git-lfs+json",
        ),
    }
    yield from _rows("B50", push, sent)
    merge = Plain("PUT", "/repos/acme/web/pulls/7/merge", GITHUB, b"{}", _JSON, allowed=False)
    yield from _rows(
        "B50",
        merge,
        {
            "by reference": _to(GITHUB, "PATCH", "/repos/acme/web/git/refs/heads/main", {"sha": "ab", "force": True}),
            "by POST /merges": _to(GITHUB, "POST", "/repos/acme/web/merges", {"base": "main", "head": "x"}),
            "by its id": _to(GITHUB, "PUT", "/repositories/1/pulls/7/merge", {}),
        },
    )
    yield from _rows(
        "B51",
        merge,
        {
            "workflow_dispatch": _to(GITHUB, "POST", "/repos/acme/web/actions/workflows/1/dispatches", {"ref": "main"}),
            "re-run": _to(GITHUB, "POST", "/repos/acme/web/actions/runs/1/rerun"),
            "repository_dispatch": _to(GITHUB, "POST", "/repos/acme/web/dispatches", {"event_type": "deploy"}),
            "a file": _to(GITHUB, "PUT", "/repos/acme/web/contents/a", {"message": "a", "content": ""}),
        },
    )
    yield from table(
        "B53",
        GUARDED,
        {
            "followed by a client": request("GET", "/guarded/thing", f"Referer: https://{HOST}/open/thing"),
            "by a field": request("GET", "/guarded/thing", "X-Forwarded-Host: unbound.test"),
        },
    )
