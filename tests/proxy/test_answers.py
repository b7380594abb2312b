"""What an agent sees when it is refused: the shape its tool parses, the reason, the record, the next step."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import Request
from proxy.answers import Answer, Refusal, answer, problem
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
    "policy.error": (403, "alice@acme.test answers for deploy-bot"),
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


def test_github_clients_read_a_message() -> None:
    """gh and octokit print `message`."""
    said = json.loads(answer(DENIED, request(), "github").body)
    assert (said["message"], said["status"]) == (SENTENCE, "403")


WHERE_THEY_LOOK = {
    "anthropic": ("error", "message"),
    "azure": ("error", "message"),
    "cloudflare": ("errors", 0, "message"),
    "datadog": ("errors", 0),
    "docker": ("message",),
    "gitlab": ("message",),
    "google": ("error", "message"),
    "openai": ("error", "message"),
    "pagerduty": ("error", "message"),
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
    assert set(SHAPES) == {*WHERE_THEY_LOOK, "github"}


def test_git_reads_plain_text() -> None:
    """git shows text/plain bodies of a failed request as "remote: ..."."""
    refused = answer(DENIED, request(), "git")
    assert (media(refused), refused.body.decode()) == ("text/plain; charset=utf-8", f"{SENTENCE}\n")


AWS = {
    "JSON": (request(x_amz_target="X.Y", content_type="application/x-amz-json-1.0"), "application/x-amz-json-1.0"),
    "JSON, odd type": (request(x_amz_target="X.Y", content_type="text/html; x=y"), "application/x-amz-json-1.1"),
    "JSON, no type": (request(x_amz_target="X.Y"), "application/x-amz-json-1.1"),
    "EC2 by credential scope": (request(authorization="AWS4 Credential=x/eu/ec2/aws4_request"), "text/xml"),
    "EC2 by host": (request("ec2.eu-west-1.amazonaws.com"), "text/xml"),
    "Query": (request("iam.amazonaws.com"), "text/xml"),
}


@pytest.mark.parametrize(("asked", "expected"), AWS.values(), ids=AWS)
def test_aws_clients_read_their_own_error(asked: Request, expected: str) -> None:
    """The dialect of the call: JSON, EC2 XML or Query XML, with our sentence as the message."""
    refused = answer(DENIED, asked, "aws")
    assert (refused.status, media(refused)) == (403, expected)
    if expected == "text/xml":
        document = ElementTree.fromstring(refused.body)
        assert document.findtext(".//Message") == SENTENCE
        ours = document.findtext(".//RequestID") or document.findtext(".//RequestId")
        assert ours == DENIED.chron_id
        ec2 = document.tag == "Response"
        assert document.findtext(".//Code") == ("UnauthorizedOperation" if ec2 else "AccessDenied")
    else:
        assert json.loads(refused.body)["message"] == SENTENCE
        assert dict(refused.fields)[b"x-amzn-errortype"] == b"AccessDeniedException"


@pytest.mark.parametrize("family", ["kubernetes", "aws", "git", *SHAPES])
@pytest.mark.parametrize("code", ["agent.no-credentials", "gate.audit-unavailable", "wire.method", "upstream.failed"])
def test_only_a_denial_borrows_a_tools_shape(family: str, code: str) -> None:
    """What is not the caller's 403 stays a problem document: no tool takes it for the target's own answer."""
    assert media(answer(replace(DENIED, code=code), request(), family)) == "application/problem+json"


_TEXT = st.text(max_size=40) | st.sampled_from(["\x00", "\ud800", "<&>]]>", 'a"b', "\x1b[2J\r\nX-Evil: 1", "ü\u2028"])


@given(
    st.builds(Refusal, outcome=st.just("DENY"), reason=_TEXT, code=st.sampled_from(sorted(STATUSES)),
              action=_TEXT, target=_TEXT, agent=_TEXT, anchor=_TEXT, chron_id=st.sampled_from(["", "chr_01"])),
    st.sampled_from(["", "kubernetes", "aws", "git", *SHAPES]),
    st.sampled_from([entry[0] for entry in AWS.values()]),
)  # fmt: skip
def test_every_answer_parses(refusal: Refusal, family: str, asked: Request) -> None:
    """Whatever stands in a reason, the body is what its type says and no header line is broken."""
    refused = answer(refusal, asked, family)
    assert refused.status >= 400
    for name, value in refused.fields:
        assert b"\r" not in name + value
        assert b"\n" not in name + value
    assert dict(refused.fields)[b"Content-Length"] == str(len(refused.body)).encode()
    match media(refused).partition(";")[0]:
        case "text/xml":
            ElementTree.fromstring(refused.body)
        case "text/plain":
            refused.body.decode()
        case _:
            json.loads(refused.body)


GRPC = {
    "agent.suspended": b"7",
    "policy.error": b"7",
    "agent.wrong-token": b"16",
    "wire.upgrade": b"3",
    "gate.stopping": b"14",
    "upstream.failed": b"14",
    "upstream.timeout": b"4",
}


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
