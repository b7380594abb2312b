"""What an agent gets instead of a target's answer: a refusal it can read and act on.

The plain form is `application/problem+json` (RFC 9457). Callers that parse an error shape of their own
get that shape, so that the reason reaches the person or the model behind the tool:

    kubernetes   Status object        kubectl prints: Error from server (Forbidden): <reason> ...
    aws          JSON, Query or EC2   aws prints: An error occurred (AccessDenied) ...: <reason> ...
    github       {"message": ...}     gh and octokit print the message
    git          text/plain           git prints: remote: <reason> ...
    git push     its own 200          the same; of a 403 to a pack git shows nothing but "HTTP 403"
    gRPC         status and message   the client raises PERMISSION_DENIED with the reason; `proxy.grpcanswers`
    others       JSON, `proxy.shapes` their SDKs raise the error they know, with the reason as its message

A request that waits for a person is answered 202 in the plain form and as an error in every other one.

An answer names the rule's reason and the record; it never holds a path, a trace or another agent's name.
"""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from xml.sax.saxutils import escape

from mappings import Request
from proxy.grpcanswers import grpc_fields
from proxy.shapes import SHAPES

CHRON_ID_FIELD = b"X-Chron-Id"
APPROVAL_FIELD = b"X-Claiim-Approval"
RETRY_AFTER_S = 30
"""When it is worth asking again whether people have said yes."""

_OTHER_PROOF = frozenset(
    {"agent.token-invalid", "agent.certificate-refused", "agent.credential-expired", "agent.two-identities"}
)
_AUTHENTICATE = frozenset({"agent.no-credentials", "agent.unknown", "agent.wrong-token"}) | _OTHER_PROOF
_GRPC = "application/grpc"
_AWS_JSON = ("application/x-amz-json-1.0", "application/x-amz-json-1.1")
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://www.w3.org/TR/xml/#charsets: what no escape makes legal, so that a parser would drop the reason."""
_UNAVAILABLE = frozenset({"gate.error", "gate.audit-unavailable", "gate.stopping"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP response of our own."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not forwarded, in the words of the record."""

    outcome: str
    reason: str
    code: str
    action: str
    target: str
    agent: str
    anchor: str
    chron_id: str
    """"" when not even the refusal could be recorded."""
    approval: str = ""
    """The approval that the request waits for; "" when it waits for none."""
    approval_url: str = ""
    """Where its state can be asked."""

    @property
    def status(self) -> int:
        """The status that tells the caller what kind of refusal this is."""
        if self.approval:
            return 202  # RFC 9110, 15.3.3: accepted, not acted upon
        if self.code in _AUTHENTICATE:
            return 407
        if self.code in _UNAVAILABLE:
            return 503
        if self.code == "upstream.timeout":
            return 504
        if self.code.startswith("upstream."):
            return 502
        return 400 if self.code.startswith("wire.") else 403

    @property
    def advice(self) -> str:
        """What a person can do next, one sentence."""
        match self.status:
            case 407 if self.code in _OTHER_PROOF:
                return "get a new workload token or client certificate, one that is this agent's own, and try again"
            case 202:
                return (
                    f"nothing was done; {self.approval} waits for a person "
                    f'("claiim approvals approve {self.approval}"), send the same request again when they have said yes'
                )
            case 407:
                return "set the proxy URL to http://AGENT:TOKEN@host:port with the token the agent was given"
            case 503:
                return "the gate refuses what it cannot judge or record; tell its operator, then try again"
            case 502 | 504:
                return "the call was allowed but the target did not answer; check the target, then try again"
            case 400:
                return "send the request in its plain form"
        if self.code == "mapping.unmapped":
            return 'the operator can name this request with a rule; "claiim map METHOD URL" shows what is missing'
        if self.anchor:
            return f"{self.anchor} answers for {self.agent} and can ask for this to be allowed"
        return "ask the person who answers for this agent"

    @property
    def sentence(self) -> str:
        """Reason, record and advice for callers that show one line."""
        recorded = f" [{self.chron_id}]" if self.chron_id else ""
        return f"{self.reason}{recorded}; {self.advice}"


def answer(refusal: Refusal, request: Request | None = None, family: str = "") -> Answer:
    """The refusal in the shape the caller of `family` parses; problem+json when there is no such shape."""
    if request is not None and (media := request.header("content-type") or "").lower().startswith(_GRPC):
        # By what the caller speaks, whatever its host is bound to; an HTTP status would lose the reason.
        return _made(refusal, 200, media, b"", grpc_fields(refusal.status, refusal.sentence))
    # Where a tool has an error shape of its own, waiting is an error too: read as 202 it would be success to kubectl,
    # aws and terraform, and they would go on as if the thing had been done.
    if request is not None and refusal.status in (202, 403):
        match family:
            case "kubernetes":
                return _made(refusal, 403, "application/json", _kubernetes(refusal))
            case "aws":
                return _aws(refusal, request)
            case "git" if request.method == "POST" and request.path.endswith("/git-receive-pack"):
                return _git_push(refusal)
            case "git":
                return _made(
                    refusal, 403, "text/plain; charset=utf-8", f"{refusal.sentence}\n".encode("utf-8", "replace")
                )
            case _ if shape := SHAPES.get(family):
                return _made(refusal, 403, "application/json; charset=utf-8", _json(shape(refusal)))
    return problem(refusal)


def problem(refusal: Refusal) -> Answer:
    """The refusal as RFC 9457 problem details."""
    status = refusal.status
    body = {
        "type": f"urn:claiim:{refusal.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refusal.advice,
        "outcome": refusal.outcome,
        "reason": refusal.reason,
        "code": refusal.code,
        "action": refusal.action,
        "target": refusal.target,
        "agent": refusal.agent,
        "chron_id": refusal.chron_id,
    }
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if status == 202:
        body |= {"approval": refusal.approval, "approval_url": refusal.approval_url}
    if status == 407:
        extra = ((b"Proxy-Authenticate", b'Basic realm="claiim"'),)  # RFC 9110, 11.7.1: required with 407
    if status == 503:
        extra = ((b"Retry-After", b"5"),)
    return _made(refusal, status, "application/problem+json", _json(body), extra)


def _kubernetes(refusal: Refusal) -> bytes:
    # https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    return _json(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": refusal.sentence,
            "reason": "Forbidden",
            "details": {"causes": [{"reason": refusal.code, "message": refusal.reason}]},
            "code": 403,
        }
    )


def _aws(refusal: Refusal, request: Request) -> Answer:
    message = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", refusal.sentence)
    if request.header("x-amz-target") is not None:
        # https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization
        body = _json({"__type": "AccessDeniedException", "message": message, "Message": message})
        asked = (request.header("content-type") or "").partition(";")[0].strip().lower()
        media = asked if asked in _AWS_JSON else _AWS_JSON[-1]
        extra = ((b"x-amzn-errortype", b"AccessDeniedException"),)
        return _made(refusal, 403, media, body, extra)
    request_id = escape(refusal.chron_id)
    if "/ec2/aws4_request" in (request.header("authorization") or "") or request.host.startswith("ec2."):
        # https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-error-codes.html
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>UnauthorizedOperation</Code>'
            f"<Message>{escape(message)}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        ).encode()
    else:
        # https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#operation-error-serialization
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ErrorResponse><Error><Type>Sender</Type>'
            f"<Code>AccessDenied</Code><Message>{escape(message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
    return _made(refusal, 403, "text/xml", body)


def _git_push(refusal: Refusal) -> Answer:
    # https://git-scm.com/docs/gitprotocol-pack, "Packfile Data": band 3 is a fatal error, shown to the user.
    # Within the success that git wants to see before it reads anything: the push fails all the same.
    message = b"\x03" + refusal.sentence.encode()
    body = b"%04x%s0000" % (len(message) + 4, message)
    return _made(refusal, 200, "application/x-git-receive-pack-result", body)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")  # a lone surrogate has no UTF-8


def _made(
    refusal: Refusal, status: int, media: str, body: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> Answer:
    fields = [
        (b"Content-Type", media.encode("latin-1", "replace")),
        (b"Content-Length", str(len(body)).encode("ascii")),
        (b"Cache-Control", b"no-store"),
    ]
    if refusal.chron_id:
        fields.append((CHRON_ID_FIELD, refusal.chron_id.encode("ascii")))
    if refusal.approval:
        fields.append((APPROVAL_FIELD, refusal.approval.encode("ascii")))
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER_S))  # RFC 9110, 10.2.3
        if refusal.approval_url:
            fields.append((b"Location", refusal.approval_url.encode("ascii", "replace")))
    return Answer(status, (*fields, *extra), body)
