"""Why a request was not forwarded, as a value, and the HTTP response that says so. Nothing here knows a caller's shape.

The reason stands in the status line too, where HTTP/1.1 has room for words: it is all that many clients print of an
answer they did not want (pip, wget, `raise_for_status`), and of a CONNECT that failed nearly all of them.

    HTTP/1.1 403 Forbidden: skill:deploy-v2 -- action in deny list [chr_01j...]
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

CHRON_ID_FIELD = b"X-Chron-Id"
APPROVAL_FIELD = b"X-Claiim-Approval"
RETRY_AFTER_S = 30
"""When it is worth asking again whether people have said yes."""

_OTHER_PROOF = frozenset(
    {"agent.token-invalid", "agent.certificate-refused", "agent.credential-expired", "agent.two-identities"}
)
_AUTHENTICATE = frozenset({"agent.no-credentials", "agent.unknown", "agent.wrong-token"}) | _OTHER_PROOF
_UNAVAILABLE = frozenset({"gate.error", "gate.audit-unavailable", "gate.stopping", "mapping.failed", "policy.error"})
"""What is our failure, and no denial."""
_STATUS = {
    "upstream.timeout": 504,
    "limit.body-time": 408,  # RFC 9110, 15.5.9
    "limit.head-time": 408,
    "wire.target-too-long": 414,  # RFC 9110, 15.5.15
    "wire.path.too-long": 414,
    "wire.fields-too-many": 431,  # RFC 6585, 5
    "wire.field-too-long": 431,
    "wire.head-too-long": 431,
}
"""Of codes with a status of their own; of others the area tells."""
_AREAS = {"upstream": 502, "wire": 400, "limit": 429}  # 429: RFC 6585, 4

_NOT_IN_PHRASE = re.compile("[^\x20-\x7e]")
"""RFC 9112, 4: a reason phrase is text without controls; what is not ASCII its readers take for Latin-1. If this were
gone, a reason with a line break would end the status line and write headers of its own."""
_MAX_PHRASE_CHARS = 240
"""The shortest line that a client among those tried would refuse has 8 KiB; a terminal shows three of these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP response of our own."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    phrase: bytes = b""
    """What stands behind the status in HTTP/1.1; b"" for what the status is always called."""


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
        return _STATUS.get(self.code) or _AREAS.get(self.code.partition(".")[0], 403)

    @property
    def error_status(self) -> int:
        """The same for callers that take every 2xx for success: to them waiting is an error.

        Read as 202 it would be success to kubectl, aws and terraform, and they would go on as if the thing had been
        done. What a limit of a policy refuses is 403 as well, because many SDKs repeat a 429 by themselves.
        """
        return 403 if self.approval else self.status

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
            case 414 | 431:
                return "send a smaller request, or let the operator raise the limit"
            case 429:
                return "let what is under way end, then try again; the operator sets how much that may be"
            case 408:
                return "send the request faster, or let the operator allow more time"
        if self.code == "mapping.unmapped":
            return 'the operator can name this request with a rule; "claiim map METHOD URL" shows what is missing'
        if self.anchor:
            return f"{self.anchor} answers for {self.agent} and can ask for this to be allowed"
        return "ask the person who answers for this agent"

    @property
    def short(self) -> str:
        """Reason and record, for where there is little room."""
        recorded = f" [{self.chron_id}]" if self.chron_id else ""
        return f"{self.reason}{recorded}"

    @property
    def sentence(self) -> str:
        """Reason, record and advice for callers that show one line."""
        return f"{self.short}; {self.advice}"


def made(refusal: Refusal, status: int, media: str, body: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An answer with this body, that names the record, and the approval where there is one."""
    fields = [
        (b"Content-Type", media.encode("latin-1", "replace")),
        (b"Content-Length", str(len(body)).encode("ascii")),
        (b"Cache-Control", b"no-store"),
    ]
    if refusal.chron_id:
        fields.append((CHRON_ID_FIELD, refusal.chron_id.encode("ascii")))
    if refusal.approval:
        fields.append((APPROVAL_FIELD, refusal.approval.encode("ascii")))
        if refusal.approval_url:
            fields.append((b"Location", refusal.approval_url.encode("ascii", "replace")))
    return Answer(status, (*fields, *extra), body, _phrase(refusal, status))


def _phrase(refusal: Refusal, status: int) -> bytes:
    if status < 400:
        return b""
    # The record behind the cut: a reason may be long, and the id is what everything else is found by.
    recorded = f" [{refusal.chron_id}]" if refusal.chron_id else ""
    text = f"{HTTPStatus(status).phrase}: {refusal.reason}"
    if len(text) > (most := _MAX_PHRASE_CHARS - len(recorded)):
        text = f"{text[: most - 3]}..."
    return _NOT_IN_PHRASE.sub("?", text + recorded).encode("ascii")
