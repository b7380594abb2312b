"""What an agent gets instead of a target's answer: a refusal it can read and act on.

The plain form is `application/problem+json` (RFC 9457). Callers that parse an error shape of their own
get that shape, so that the reason reaches the person or the model behind the tool:

    aws             the call's protocol   `proxy.awsanswers`; aws: An error occurred (AccessDenied) ...: <reason> ...
    git             the request's place   `proxy.gitanswers`; git: remote: <reason> ...
    gRPC            status and message    `proxy.grpcanswers`; PERMISSION_DENIED with the reason
    mcp, jsonrpc    an error of the call  `proxy.rpcanswers`; the client raises it with the reason
    graphql         errors                `proxy.rpcanswers`
    kubernetes      Status                `proxy.kubernetesanswers`; Error from server (Forbidden): <reason> ...
    others          JSON                  `proxy.shapes`
    LOCK            423, lock info        terraform prints it, and of any other refusal of its state nothing

On a host that is bound to none of these, git and kubectl are known by what they call themselves: else the first thing
that they say of a gate is "unknown", without a reason.

What each caller prints, and which of them print nothing, is in docs/denials.md, which a test holds to this table.
A request that waits for a person is answered 202 in the plain form and as an error in every other one.

An answer names the rule's reason and the record; it never holds a path, a trace or another agent's name.
"""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

from mappings import Request
from proxy.asjson import as_json
from proxy.awsanswers import aws_answer
from proxy.gitanswers import git_answer
from proxy.grpcanswers import grpc_fields
from proxy.kubernetesanswers import kubernetes_answer
from proxy.refusals import RETRY_AFTER_S, Answer, Refusal, made
from proxy.rpcanswers import GRAPHQL, JSONRPC, graphql_answer, jsonrpc_answer
from proxy.shapes import SHAPES

_GRPC = "application/grpc"
_MEDIA = re.compile(r"[a-z/-]+(?:\+[a-z0-9.]+)?(?:; ?[a-z=-]+[a-z0-9.-]*)?", re.IGNORECASE)
"""gRPC, PROTOCOL-HTTP2, "Content-Type", and gRPC-Web's `-web`, `-web-text`."""

_IDIOMS: Mapping[str, Callable[[Refusal, Request], Answer]] = {
    "aws": aws_answer,
    "git": git_answer,
    "kubernetes": kubernetes_answer,
    GRAPHQL: graphql_answer,
    **dict.fromkeys(JSONRPC, jsonrpc_answer),
}
"""By family: what takes a look at the request as well."""

_CALLERS = re.compile(r"(?P<git>git(?:-lfs)?/)|[^ /]+/[^ ]+ \([^ ]*\) (?P<kubernetes>kubernetes/)")
"""By User-Agent, which decides on words alone: git's (git, version.c), and that of all that is built on client-go
(k8s.io/client-go, rest/config.go, DefaultKubernetesUserAgent)."""

FAMILIES = frozenset(_IDIOMS) | frozenset(SHAPES)
"""The families of callers that get a shape of their own."""


def answer(refusal: Refusal, request: Request | None = None, family: str = "") -> Answer:
    """The refusal in the shape the caller of `family` parses; problem+json when there is no such shape."""
    if request is None:
        return problem(refusal)
    if request.method == "CONNECT":
        # RFC 9110, 9.3.6: any 2xx would say that the tunnel is open.
        return problem(refusal, refusal.error_status)
    media = request.header("content-type") or ""
    if request.method == "POST" and media.lower().startswith(_GRPC):
        # By what the caller speaks, whatever its host is bound to; an HTTP status would lose the reason. Every call
        # is a POST (PROTOCOL-HTTP2, "Requests"): who sends anything else reads the status, and 200 would be success.
        media = media if _MEDIA.fullmatch(media) else _GRPC  # what a malformed head has must not come back in ours
        return made(refusal, 200, media, b"", grpc_fields(refusal.status, refusal.sentence))
    if family not in FAMILIES and refusal.status != 407:  # that one has a field of its own, which git answers to
        family = _calling_itself(request)
    if idiom := _IDIOMS.get(family):
        return idiom(refusal, request)
    if shape := SHAPES.get(family):
        # Without a charset: docker compares the whole field.
        return made(refusal, refusal.error_status, "application/json", as_json(shape(refusal)))
    if request.method == "LOCK" and (request.header("content-type") or "").startswith("application/json"):
        return _locked(refusal)
    return problem(refusal)


def _calling_itself(request: Request) -> str:
    known = _CALLERS.match(request.header("user-agent") or "")
    return known.lastgroup or "" if known else ""


def problem(refusal: Refusal, status: int | None = None) -> Answer:
    """The refusal as RFC 9457 problem details, with its own status unless another is given."""
    status = status or refusal.status
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if refusal.approval:
        extra = ((b"Retry-After", b"%d" % RETRY_AFTER_S),)  # RFC 9110, 10.2.3
    if status == 407:
        extra = ((b"Proxy-Authenticate", b'Basic realm="claiim"'),)  # RFC 9110, 11.7.1: required with 407
    if status == 503:
        extra = ((b"Retry-After", b"5"),)
    if status == 429:
        extra = ((b"Retry-After", b"1"),)  # RFC 6585, 4
    return made(refusal, status, "application/problem+json", as_json(_details(refusal, status)), extra)


def _details(refusal: Refusal, status: int) -> dict[str, object]:
    waiting = {"approval": refusal.approval, "approval_url": refusal.approval_url} if refusal.approval else {}
    return {
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
        **waiting,
    }


def _locked(refusal: Refusal) -> Answer:
    """What terraform's http backend reads: who holds a lock, of which it prints the ID and nothing else.

    https://developer.hashicorp.com/terraform/language/backend/http: 423 with the lock info of the holder. Of any other
    status it prints at most the number. WebDAV's own LOCK (RFC 4918, 9.10) has a body of XML.
    """
    return made(refusal, 423, "application/json", as_json({"ID": refusal.sentence, **_details(refusal, 423)}))
