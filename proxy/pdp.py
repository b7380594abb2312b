"""Asks an external policy decision point, by AuthZEN, about what our own rules let go on: both must allow.

It never turns a denial into a permission. Only status 200, JSON, and a `decision` that is a boolean are an answer:
a timeout, a redirect, another status, `{"decision": "true"}`, a list of another length are "unavailable", which
refuses. Its reason is shown as text of somebody else: cut, and without what no terminal should print.

Several operations of a request are one `evaluations` call (openid/authzen, Authorization API 1.0, "Access Evaluation
API" and "Access Evaluations API"). A second try is made only where the pooled connection had been closed meanwhile.
"""

import asyncio
import enum
import json
import logging
import ssl
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.hdrs import VIA

from policies import Decision, Question
from proxy.config import ConfigError, PdpConfig, why
from proxy.records import NOTHING_NAMED
from proxy.secretfiles import read_token

_log = logging.getLogger(__name__)

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"

asked_via: ContextVar[str] = ContextVar("asked_via", default="")
"""The `Via` field of the question that is being answered, where another gate put it; passed on, and added to."""

_MOST_CONNECTIONS = 32
_MAX_ANSWER_BYTES = 256 * 1024
_MAX_REASON_CHARS = 200


class Said(enum.Enum):
    """What the external PDP makes of a question, as it stands in the record."""

    UNAVAILABLE = "unavailable"
    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Word:
    """Its answer to one question."""

    said: Said
    reason: str = ""


class _NoAnswer(Exception):
    """There is none that can be trusted; the text says why, for the log."""


def evaluation(decision: Decision, question: Question | None, unnamed: str, at: datetime) -> dict[str, Any]:
    """Return the evaluation request about one operation; `unnamed` is its action where no text was asked about it."""
    subject: dict[str, str] = {"anchor": decision.anchor, "org": decision.org}
    action: dict[str, str] = {}
    resource: dict[str, str] = {}
    if question is not None:
        if question.client:
            subject["ip_address"] = question.client  # Authorization API 1.0, "Subject Properties"
        if method := question.attributes.get("method"):
            action["method"] = method
        if question.environment:
            resource["environment"] = question.environment
    return {
        "subject": {"type": "agent", "id": decision.agent, "properties": subject},
        "action": {"name": question.action if question else unnamed or NOTHING_NAMED, "properties": action},
        "resource": {"type": "target", "id": question.target if question else "", "properties": resource},
        "context": {"time": at.isoformat(timespec="milliseconds")},
    }


class Pdp:
    """A client of one PDP; made and used in the gate's event loop. `name` is how this gate names itself to it."""

    def __init__(self, config: PdpConfig, name: str) -> None:
        if config.token is not None:
            read_token(config.token)
        self._config = config
        self._hop = f"1.1 {name}"
        # trust_env is off by default: were HTTP_PROXY obeyed, the question could come back to this gate.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, ssl=_trusted(config.ca)),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=config.timeout_s),
            auto_decompress=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "claiim-gate"},
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    async def ask(self, evaluations: Sequence[dict[str, Any]]) -> list[Word]:
        """Return one word for each evaluation. Never raises but for cancellation: what fails is "unavailable"."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                if len(evaluations) == 1:
                    return [_word(await self._post(EVALUATION, evaluations[0]))]
                answer = await self._post(EVALUATIONS, {"evaluations": list(evaluations)})
            listed = answer.get("evaluations")
            if not isinstance(listed, list) or len(listed) != len(evaluations):
                raise _NoAnswer("not one answer for each question")
            return [_word(each) for each in listed]
        except Exception as error:  # noqa: BLE001 -- every unknown is a deny
            known = isinstance(error, _NoAnswer | ConfigError)
            _log.warning("the external PDP gave no answer: %s", error if known else type(error).__name__)
            return [Word(Said.UNAVAILABLE, "the external PDP gave no answer")] * len(evaluations)

    def asked_itself(self, via: str) -> bool:
        """Say whether a question with this `Via` field was this gate's own: two gates ask each other."""
        # RFC 9110, 7.6.3. If this is removed, such a question goes round for ever.
        return self._hop in [hop.strip() for hop in via.split(",")]

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        via = asked_via.get()
        headers = {"Content-Type": "application/json", VIA: f"{via}, {self._hop}" if via else self._hop}
        if self._config.token is not None:
            # Read each time: a token is changed without a restart.
            token = await asyncio.to_thread(read_token, self._config.token)
            headers["Authorization"] = f"Bearer {token}"
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            return await self._exchange(path, content, headers)
        except aiohttp.ServerDisconnectedError:
            return await self._exchange(path, content, headers)

    async def _exchange(self, path: str, content: bytes, headers: dict[str, str]) -> dict[str, Any]:
        async with self._session.post(
            self._config.url + path, data=content, headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise _NoAnswer(f"status {response.status}")
            if response.content_type != "application/json" or "Content-Encoding" in response.headers:
                raise _NoAnswer("not plain application/json")
            read = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                read += chunk
                if len(read) > _MAX_ANSWER_BYTES:
                    response.close()
                    raise _NoAnswer("a larger answer than a decision has")
        return _object(bytes(read))


def _trusted(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        reason = why(error) if not isinstance(error, ssl.SSLError) else "not a certificate in PEM"
        raise ConfigError.plain(f"{ca}: cannot read: {reason}; give the CA of the PDP") from None


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise _NoAnswer(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise _NoAnswer("not a JSON object")
    return value


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers of {"decision": false, "decision": true} may each keep another one.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key twice")
    return value


def _word(answer: object) -> Word:
    decision = answer.get("decision") if isinstance(answer, dict) else None
    # If `is True` becomes truth, {"decision": "false"} is a permission.
    if decision is True:
        return Word(Said.ALLOW)
    if decision is not False or not isinstance(answer, dict):
        raise _NoAnswer("no boolean decision")
    return Word(Said.DENY, _reason(answer.get("context")) or "denied by the external PDP")


def _reason(context: object) -> str:
    """Return the reason that may be shown to the agent; "" where there is none."""
    if not isinstance(context, dict):
        return ""
    # reason_admin is not shown to users (Authorization API 1.0, "Reason Object"), and an agent sees this one.
    text = context.get("reason_user", context.get("reason"))
    if isinstance(text, dict):
        text = text.get("en") or next(iter(text.values()), "")
    if not isinstance(text, str):
        return ""
    cut = text if len(text) <= _MAX_REASON_CHARS else f"{text[:_MAX_REASON_CHARS]}..."
    return "".join(c if c.isprintable() else " " for c in cut).strip()
