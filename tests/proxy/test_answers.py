"""What an agent sees when it is refused: the shape its tool parses, the reason, the record, the next step."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import Request
from mappings.packs.aws_cbor import read_cbor
from proxy.answers import FAMILIES, answer, problem
from proxy.refusals import Answer, Refusal
from proxy.shapes import SHAPES

DENIED = Refusal(
    outcome="DENY",
    reason="policy:no-prod-v1 -- action not in allow list",
    code="policy.not-allowed",
    action="deploy:production",
    target="api-v2",
    agent="deploy-bot",
    anchor="alice@acme.test",
    chron_id="chr_01k0000000000000000000000",
)
SENTENCE = (
    "policy:no-prod-v1 -- action not in allow list [chr_01k0000000000000000000000]; "
    "alice@acme.test answers for deploy-bot and can ask for this to be allowed"
)


def request(host: str = "a.test", **headers: str) -> Request:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Request("POST", "https", host, 443, "/", (), named, b"")


def media(refused: Answer) -> str:
    return dict(refused.fields)[b"Content-Type"].decode("ascii")


def test_the_plain_form_is_a_problem_document() -> None:
    """RFC 9457 with everything a caller needs to act, and the record's id in a field too."""
    refused = answer(DENIED)
    assert (refused.status, media(refused)) == (403, "application/problem+json")
    assert json.loads(refused.body) == {
        "type": "urn:claiim:policy.not-allowed",
        "title": "Forbidden",
        "status": 403,
        "detail": "alice@acme.test answers for deploy-bot and can ask for this to be allowed",
        "outcome": "DENY",
        "reason": "policy:no-prod-v1 -- action not in allow list",
        "code": "policy.not-allowed",
        "action": "deploy:production",
        "target": "api-v2",
        "agent": "deploy-bot",
        "chron_id": "chr_01k0000000000000000000000",
    }
    fields = dict(refused.fields)
    assert fields[b"X-Chron-Id"] == b"chr_01k0000000000000000000000"
    assert fields[b"Content-Length"] == str(len(refused.body)).encode()
    assert fields[b"Cache-Control"] == b"no-store"


STATUSES = {
    "agent.no-credentials": (407, "set the proxy URL to"),
    "agent.unknown": (407, "set the proxy URL to"),
    "agent.wrong-token": (407, "set the proxy URL to"),
    "agent.token-invalid": (407, "get a new workload token or client certificate"),
    "agent.certificate-refused": (407, "get a new workload token or client certificate"),
    "agent.credential-expired": (407, "get a new workload token or client certificate"),
    "agent.two-identities": (407, "get a new workload token or client certificate"),
    "agent.suspended": (403, "alice@acme.test answers for deploy-bot"),
    "policy.error": (503, "the gate refuses what it cannot judge or record"),
    "mapping.unmapped": (403, '"claiim map METHOD URL"'),
    "destination.private": (403, "alice@acme.test"),
    "destination.metadata": (403, "alice@acme.test"),
    "wire.method": (400, "send the request in its plain form"),
    "gate.error": (503, "tell its operator"),
    "gate.audit-unavailable": (503, "tell its operator"),
    "gate.stopping": (503, "tell its operator"),
    "upstream.failed": (502, "the target did not answer"),
    "upstream.unresolved": (502, "the target did not answer"),
    "upstream.timeout": (504, "the target did not answer"),
}


@pytest.mark.parametrize("code", STATUSES)
def test_the_code_gives_status_and_advice(code: str) -> None:
    """Who must act is told by the status: the agent, its human, the operator or the target's owner."""
    status, advice = STATUSES[code]
    refused = answer(replace(DENIED, code=code))
    assert refused.status == status
    assert advice in json.loads(refused.body)["detail"]
    fields = dict(refused.fields)
    assert (b"Proxy-Authenticate" in fields) == (status == 407)
    assert (b"Retry-After" in fields) == (status == 503)


def test_without_an_anchor_the_advice_names_nobody() -> None:
    """An agent that is not known has no human to name."""
    assert json.loads(problem(replace(DENIED, anchor="")).body)["detail"] == "ask the person who answers for this agent"


def test_an_unrecorded_refusal_promises_no_record() -> None:
    """Without an id there is no X-Chron-Id field and no brackets in the sentence."""
    unrecorded = replace(DENIED, chron_id="", code="gate.audit-unavailable")
    assert b"X-Chron-Id" not in dict(answer(unrecorded).fields)
    assert "[" not in unrecorded.sentence


def test_kubectl_reads_a_status() -> None:
    """kind Status, reason Forbidden: kubectl prints the message."""
    refused = answer(DENIED, request(), "kubernetes")
    said = json.loads(refused.body)
    assert (refused.status, media(refused)) == (403, "application/json")
    assert (said["kind"], said["status"], said["reason"], said["code"]) == ("Status", "Failure", "Forbidden", 403)
    assert said["message"] == SENTENCE
    assert said["details"]["causes"] == [{"reason": DENIED.code, "message": DENIED.reason}]


@pytest.mark.parametrize("path", ["/api", "/apis", "/api/v1", "/apis/apps/v1/", "/version", "/openapi/v3"])
def test_what_kubectl_looks_around_with_is_answered_in_text(path: str) -> None:
    """It prints the body of such an error only when that is text, and "unknown" of all else."""
    refused = answer(DENIED, replace(request(), method="GET", path=path), "kubernetes")
    assert (refused.status, media(refused), refused.body.decode()) == (403, "text/plain; charset=utf-8", SENTENCE)
    lost = answer(
        replace(DENIED, code="gate.audit-unavailable"), replace(request(), method="GET", path=path), "kubernetes"
    )
    assert lost.status == 500, "of a 503 kubectl shows no body"
    written = answer(DENIED, replace(request(), method="GET", path=f"{path}/namespaces/default/pods"), "kubernetes")
    assert (media(written) == "application/json") == ("/openapi" not in path)


@pytest.mark.parametrize("family", ["", "http", "nobodys"])
@pytest.mark.parametrize(
    ("agent", "media_type"),
    [
        ("kubectl/v1.32.4 (linux/amd64) kubernetes/59526cd", "application/json"),
        ("manager/v0.0.0 (linux/arm64) kubernetes/$Format", "application/json"),
        ("git/2.39.5", "text/plain; charset=utf-8"),
        ("kubernetes/1", "application/problem+json"),
        ("curl/8 git/2", "application/problem+json"),
    ],
)
def test_where_a_host_is_bound_to_nothing_git_and_kubectl_are_known(family: str, agent: str, media_type: str) -> None:
    """They print "unknown", or nothing, of a problem document; what a host is bound to goes before."""
    asked = request(user_agent=agent)
    assert media(answer(DENIED, asked, family)) == media_type
    assert media(answer(DENIED, asked, "github")) == "application/json"
    wanted = answer(replace(DENIED, code="agent.no-credentials"), asked, family)
    assert b"Proxy-Authenticate" in dict(wanted.fields)


def test_github_clients_read_a_message() -> None:
    """gh and octokit print `message`."""
    said = json.loads(answer(DENIED, request(), "github").body)
    assert (said["message"], said["status"]) == (SENTENCE, "403")


WHERE_THEY_LOOK = {
    "anthropic": ("error", "message"),
    "argocd": ("message",),
    "azure": ("error", "message"),
    "cloudflare": ("errors", 0, "message"),
    "datadog": ("errors", 0),
    "docker": ("message",),
    "github": ("message",),
    "gitlab": ("message",),
    "google": ("error", "message"),
    "kubernetes": ("message",),
    "openai": ("error", "message"),
    "pagerduty": ("error", "message"),
    "registry": ("errors", 0, "message"),
    "slack": ("response_metadata", "messages", 0),
    "stripe": ("error", "message"),
    "terraform": ("errors", 0, "detail"),
    "vault": ("errors", 0),
}
"""Where each family's SDK takes the text of its error from."""


@pytest.mark.parametrize("family", WHERE_THEY_LOOK)
def test_an_sdk_finds_the_reason_where_it_looks(family: str) -> None:
    """The family's own JSON shape, with reason, record id and advice in the place of its message."""
    refused = answer(DENIED, request(), family)
    found = json.loads(refused.body)
    for step in WHERE_THEY_LOOK[family]:
        found = found[step]
    assert (refused.status, found) == (403, SENTENCE)
    assert DENIED.chron_id in refused.body.decode()


def test_every_shape_is_looked_into() -> None:
    """No shape without a row above."""
    assert set(SHAPES) == set(WHERE_THEY_LOOK) - {"kubernetes"}


def test_git_reads_plain_text() -> None:
    """git shows text/plain bodies of a failed request as "remote: ..."."""
    refused = answer(DENIED, request(), "git")
    assert (media(refused), refused.body.decode()) == ("text/plain; charset=utf-8", f"{SENTENCE}\n")


SCOPE = "AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/%s/aws4_request, SignedHeaders=host, Signature=0"
AWS = {
    "JSON": (request(x_amz_target="X.Y", content_type="application/x-amz-json-1.0"), "application/x-amz-json-1.0"),
    "JSON, odd type": (request(x_amz_target="X.Y", content_type="text/html; x=y"), "application/x-amz-json-1.1"),
    "JSON, no type": (request(x_amz_target="X.Y"), "application/x-amz-json-1.1"),
    "EC2 by credential scope": (request(authorization="AWS4 Credential=x/eu/ec2/aws4_request"), "text/xml"),
    "EC2 by host": (request("ec2.eu-west-1.amazonaws.com"), "text/xml"),
    "Query": (request("iam.amazonaws.com", content_type="application/x-www-form-urlencoded"), "text/xml"),
    "Query in the URL": (replace(request("iam.amazonaws.com"), query=(("Action", "ListUsers"),)), "text/xml"),
    "CBOR": (request(smithy_protocol="rpc-v2-cbor", authorization=SCOPE % "monitoring"), "application/cbor"),
    "REST JSON": (request(authorization=SCOPE % "lambda"), "application/json"),
    "REST XML": (request(authorization=SCOPE % "route53"), "text/xml"),
    "S3": (request(authorization=SCOPE % "s3"), "application/xml"),
    "S3, presigned": (
        replace(request(), query=(("X-Amz-Credential", "K/20260101/eu-west-1/s3/aws4_request"),)),
        "application/xml",
    ),
    "S3, not signed": (request("shop.s3.eu-west-1.amazonaws.com"), "application/xml"),
    "S3 Control": (request(authorization=SCOPE % "s3", x_amz_account_id="111122223333"), "application/xml"),
}


FRAMES = {
    **dict.fromkeys(("EC2 by credential scope", "EC2 by host"), "Response"),
    **dict.fromkeys(("S3", "S3, presigned", "S3, not signed"), "Error"),
}


@pytest.mark.parametrize("named", AWS)
def test_aws_clients_read_their_own_error(named: str) -> None:
    """The protocol of the call, with our sentence as the message."""
    asked, expected = AWS[named]
    refused = answer(DENIED, asked, "aws")
    assert (refused.status, media(refused)) == (403, expected)
    if expected.endswith("/xml"):
        document = ElementTree.fromstring(refused.body)
        assert document.findtext(".//Message") == SENTENCE
        ours = document.findtext(".//RequestID") or document.findtext(".//RequestId")
        assert ours == DENIED.chron_id
        assert document.tag == FRAMES.get(named, "ErrorResponse")
        ec2 = document.tag == "Response"
        assert document.findtext(".//Code") == ("UnauthorizedOperation" if ec2 else "AccessDenied")
    elif expected == "application/cbor":
        assert read_cbor(refused.body) == {"__type": "AccessDeniedException", "message": SENTENCE}
        assert dict(refused.fields)[b"smithy-protocol"] == b"rpc-v2-cbor"
    else:
        assert json.loads(refused.body)["message"] == SENTENCE
        assert dict(refused.fields)[b"x-amzn-errortype"] == b"AccessDeniedException"


OTHERS = {
    "agent.no-credentials": 407,
    "gate.audit-unavailable": 503,
    "wire.method": 400,
    "upstream.failed": 502,
    "upstream.timeout": 504,
    "limit.requests": 429,
    "limit.body-time": 408,
    "limit.head-time": 408,
    "wire.head-too-long": 431,
    "wire.target-too-long": 414,
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("code", OTHERS)
def test_what_is_no_denial_is_said_in_the_callers_words_too(family: str, code: str) -> None:
    """With the status that says what kind of refusal it is: never 403, so that nobody looks for a permission."""
    refused = answer(replace(DENIED, code=code), request(), family)
    assert (refused.status, media(refused).partition(";")[0]) != (403, "application/problem+json")
    assert refused.status == OTHERS[code]
    assert f"{DENIED.reason} [{DENIED.chron_id}]; " in refused.body.decode()
    assert b"AccessDenied" not in refused.body
    assert b"Forbidden" not in refused.body


def posted(path: str, body: bytes = b"", **headers: str) -> Request:
    return replace(request(**headers), path=path, body=body)


def test_git_reads_an_error_where_it_waits_for_a_pack() -> None:
    """Within a success, because of any other status for a POST git shows the number alone."""
    fetched = answer(DENIED, posted("/a/b/git-upload-pack"), "git")
    assert (fetched.status, media(fetched)) == (200, "application/x-git-upload-pack-result")
    assert fetched.body == b"%04x" % (len(SENTENCE) + 8) + b"ERR " + SENTENCE.encode()
    pushed = answer(DENIED, posted("/a/b/git-receive-pack"), "git")
    assert (pushed.status, media(pushed)) == (200, "application/x-git-receive-pack-result")
    assert pushed.body == b"%04x" % (len(SENTENCE) + 5) + b"\x03" + SENTENCE.encode() + b"0000"
    large = answer(DENIED, posted("/a/b.git/info/lfs/objects/batch"), "git")
    assert (large.status, json.loads(large.body)["message"]) == (403, SENTENCE)


CALLS = {
    "one": (b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call"}', 200, [7]),
    "several": (
        b'[{"jsonrpc": "2.0", "id": 1, "method": "x"}, {"jsonrpc": "2.0", "method": "x"}, '
        b'{"jsonrpc": "2.0", "id": "b", "method": "y"}]',
        200,
        [1, "b"],
    ),
    "an id that is a truth": (b'{"jsonrpc": "2.0", "id": true, "method": "x"}', 403, [None]),
    "REST with an id": (b'{"id": 7, "name": "x"}', 403, [None]),
    "REST with a method": (b'{"id": 7, "method": "card"}', 403, [None]),
    "an answer to the server": (b'{"jsonrpc": "2.0", "id": 7, "result": {}}', 403, [None]),
    "a notification": (b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', 403, [None]),
    "no JSON": (b"{", 403, [None]),
    "nothing": (b"", 403, [None]),
}


@pytest.mark.parametrize("family", ["mcp", "jsonrpc"])
@pytest.mark.parametrize(("body", "status", "ids"), CALLS.values(), ids=CALLS)
def test_each_call_of_json_rpc_gets_an_error(family: str, body: bytes, status: int, ids: list[object]) -> None:
    """With its id, in a success, which is all that clients read; without an id the status has to say it."""
    refused = answer(DENIED, posted("/mcp", body), family)
    said = json.loads(refused.body)
    assert isinstance(said, list) == (len(ids) > 1)
    errors = said if isinstance(said, list) else [said]
    assert (refused.status, [error["id"] for error in errors]) == (status, ids)
    for error in errors:
        assert (error["jsonrpc"], error["error"]["code"], error["error"]["message"]) == ("2.0", -32001, SENTENCE)
        assert error["error"]["data"]["chron_id"] == DENIED.chron_id


def test_a_call_that_was_not_read_whole_has_no_id() -> None:
    """Its first bytes are no JSON, and nothing is guessed from them."""
    cut = replace(posted("/mcp", CALLS["one"][0]), body_complete=False)
    assert answer(DENIED, cut, "mcp").status == 403


def test_graphql_clients_read_errors() -> None:
    """In the media type that the caller asks for, with the status of the refusal."""
    plain = answer(DENIED, request(), "graphql")
    assert (plain.status, media(plain)) == (403, "application/json")
    assert json.loads(plain.body)["errors"][0]["message"] == SENTENCE
    asked = answer(DENIED, request(accept="application/graphql-response+json, application/json;q=0.9"), "graphql")
    assert media(asked) == "application/graphql-response+json"


def test_terraform_reads_who_holds_a_lock() -> None:
    """423 with a lock's info; the LOCK of WebDAV, which has XML, is told what everybody is told."""
    lock = replace(request(content_type="application/json"), method="LOCK")
    refused = answer(DENIED, lock)
    said = json.loads(refused.body)
    assert (refused.status, said["ID"]) == (423, SENTENCE)
    assert (said["outcome"], said["reason"]) == ("DENY", DENIED.reason)
    assert answer(DENIED, replace(lock, headers=(("content-type", "application/xml"),))).status == 403


PHRASES = {
    "a reason": (
        DENIED,
        b"Forbidden: policy:no-prod-v1 -- action not in allow list [chr_01k0000000000000000000000]",
    ),
    "no record": (
        replace(DENIED, chron_id="", code="gate.error", reason="gate -- x"),
        b"Service Unavailable: gate -- x",
    ),
    "what would end the line": (
        replace(DENIED, reason="a\r\nX-Evil: 1\x1b\u00fc", chron_id=""),
        b"Forbidden: a??X-Evil: 1??",
    ),
    "waits for a person": (replace(DENIED, approval="apr_1"), b""),
}


@pytest.mark.parametrize(("refusal", "phrase"), PHRASES.values(), ids=PHRASES)
def test_the_status_line_says_why(refusal: Refusal, phrase: bytes) -> None:
    """It is all that many clients print; nothing in a reason can end it."""
    assert answer(refusal).phrase == phrase


def test_a_long_reason_leaves_room_for_the_record() -> None:
    """The cut is in the reason; the id, by which all else is found, stands whole."""
    phrase = answer(replace(DENIED, reason="x" * 1000)).phrase
    assert len(phrase) == 240
    assert phrase.endswith(b"x... [chr_01k0000000000000000000000]")


_TEXT = st.text(max_size=40) | st.sampled_from(["\x00", "\ud800", "<&>]]>", 'a"b', "\x1b[2J\r\nX-Evil: 1", "ü\u2028"])


@given(
    st.builds(Refusal, outcome=st.just("DENY"), reason=_TEXT, code=st.sampled_from(sorted(STATUSES)),
              action=_TEXT, target=_TEXT, agent=_TEXT, anchor=_TEXT, chron_id=st.sampled_from(["", "chr_01"])),
    st.sampled_from(["", *sorted(FAMILIES)]),
    st.sampled_from([entry[0] for entry in AWS.values()]),
)  # fmt: skip
def test_every_answer_parses(refusal: Refusal, family: str, asked: Request) -> None:
    """Whatever stands in a reason, the body is what its type says and no header line is broken."""
    refused = answer(refusal, asked, family)
    assert refused.status >= 400
    for name, value in (*refused.fields, (b"", refused.phrase)):
        assert b"\r" not in name + value
        assert b"\n" not in name + value
    assert dict(refused.fields)[b"Content-Length"] == str(len(refused.body)).encode()
    match media(refused).partition(";")[0]:
        case "text/xml" | "application/xml":
            ElementTree.fromstring(refused.body)
        case "text/plain":
            refused.body.decode()
        case "application/cbor":
            read_cbor(refused.body)
        case _:
            json.loads(refused.body)


GRPC = {
    "agent.suspended": b"7",
    "policy.error": b"14",
    "agent.wrong-token": b"16",
    "wire.upgrade": b"3",
    "gate.stopping": b"14",
    "upstream.failed": b"14",
    "upstream.timeout": b"4",
}


MEDIA = {
    "application/grpc-web+proto": b"application/grpc-web+proto",
    "application/grpc; charset=utf-8": b"application/grpc; charset=utf-8",
    "application/grpc\r\nX-Evil: 1": b"application/grpc",
    "application/grpc\x00": b"application/grpc",
}


@pytest.mark.parametrize(("asked", "media_type"), MEDIA.items(), ids=[repr(each) for each in MEDIA])
def test_grpc_gets_the_type_it_speaks(asked: str, media_type: bytes) -> None:
    """And nothing of a head that was malformed."""
    assert dict(answer(DENIED, request(content_type=asked)).fields)[b"Content-Type"] == media_type


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_only_a_call_of_grpc_is_refused_within_a_success(method: str) -> None:
    """Every call is a POST; whoever sends another method with that type reads the status alone."""
    asked = replace(request(content_type="application/grpc"), method=method)
    assert answer(DENIED, asked).status == answer(DENIED, asked, "github").status == 403


@pytest.mark.parametrize(("code", "status"), GRPC.items())
def test_grpc_gets_a_status_of_its_own(code: str, status: bytes) -> None:
    """Whatever the host is bound to, for any refusal: a head that says it all, its message percent-encoded."""
    refused = answer(
        replace(DENIED, code=code, reason="100% n\u00f6\r\n"), request(content_type="application/grpc+proto"), "google"
    )
    fields = dict(refused.fields)
    assert (refused.status, refused.body, fields[b"grpc-status"]) == (200, b"", status)
    assert fields[b"Content-Type"] == b"application/grpc+proto"
    assert fields[b"grpc-message"].startswith(b"100%25 n%C3%B6%0D%0A [chr_01k")
    assert fields[b"X-Chron-Id"] == DENIED.chron_id.encode()
