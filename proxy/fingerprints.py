"""The fingerprint of a request: what a human approves is this and nothing else.

SHA-256 over the agent, the canonical request as it goes upstream and the operations it was named as. Left out are the
headers in `VOLATILE` alone, each with its reason: clients write something new into them with every attempt, so that
the same request sent again would never be the one that was approved. Everything else counts: one more query
parameter, another header or another byte of the body is another request.
"""

import hashlib
from collections.abc import Iterable, Iterator

from mappings import Operation
from proxy.facts import Facts

VOLATILE: dict[str, str] = {
    "authorization": "signatures and short-lived tokens; whose they are is the agent's own affair, before and after",
    "date": "the time of the attempt",
    "x-amz-date": "the time of the attempt, signed (docs.aws.amazon.com: Signature Version 4)",
    "x-amz-security-token": "temporary credentials, renewed within the hour",
    "amz-sdk-invocation-id": "a random id of the call (AWS SDKs)",
    "amz-sdk-request": "the number of the attempt (AWS SDKs)",
    "x-amzn-trace-id": "a random id for tracing",
    "x-ms-date": "the time of the attempt, signed (Azure Storage)",
    "x-ms-client-request-id": "a random id of the call (Azure SDKs)",
    "x-goog-api-client": "holds a random id of the call (Google SDKs)",
    "x-goog-gcs-idempotency-token": "a random id of the call (Google Cloud Storage clients)",
    "x-stainless-retry-count": "the number of the attempt (OpenAI and Anthropic SDKs)",
    "sec-websocket-key": "a random number of the handshake (RFC 6455, 4.1)",
    "kubectl-session": "a random id of the invocation (kubectl)",
    "idempotency-key": "a random id of the call (Stripe and others); an approval is good for one run in any case",
    "x-request-id": "a random id of the call",
    "x-correlation-id": "a random id of the call",
    "traceparent": "a random id for tracing (W3C Trace Context)",
    "tracestate": "goes with traceparent",
    "baggage": "goes with traceparent (W3C Baggage)",
    "sentry-trace": "a random id for tracing",
    "user-agent": "the client's version, which another run of the same tool may not share",
    "content-length": "framing; the body itself counts",
    "transfer-encoding": "framing; the body itself counts",
    "connection": "concerns one connection only",
    "expect": "concerns one connection only",
}
"""Header names in lower case, and why a request with another value is still the same request."""

_DOMAIN = b"claiim approval 1"
"""Begins what is hashed, so that no other digest of ours is ever one of these."""


def fingerprint(agent: str, facts: Facts, operations: Iterable[Operation]) -> str:
    """Return the fingerprint of a request whose body is known in full, lower-case hex."""
    digest = hashlib.sha256()
    for part in _parts(agent, facts, operations):
        # The length before each part: no two requests write the same bytes by moving a border.
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _parts(agent: str, facts: Facts, operations: Iterable[Operation]) -> Iterator[bytes]:
    request = facts.request
    yield _DOMAIN
    for text in (agent, request.method, request.scheme, facts.wire_authority, facts.wire_target):
        yield text.encode("utf-8", "surrogatepass")
    fields = [(name.lower(), value) for name, value in facts.wire_fields if name.lower().decode() not in VOLATILE]
    yield str(len(fields)).encode()
    # By name, because clients order headers as they like; values of one name keep their order, which has a meaning.
    for name, value in sorted(fields, key=lambda field: field[0]):
        yield name
        yield value
    yield hashlib.sha256(request.body or b"").digest()
    for operation in sorted((each.name, each.action, each.target) for each in operations):
        yield from (text.encode("utf-8", "surrogatepass") for text in operation)
