"""A chat tool is told of requests for approval and may bring back what a human said; both ways signed.

The form is that of Standard Webhooks (https://www.standardwebhooks.com, "Webhook scheme"): the headers `webhook-id`,
`webhook-timestamp` (seconds) and `webhook-signature`, which is "v1," and the base64 of HMAC-SHA256 over
"id.timestamp.body"; the key is base64 behind "whsec_". Sending never holds anything up: it is tried a few times, and
when nobody takes it the approval waits all the same for those who look.

    approvals.key: not a webhook secret; write "whsec_" and 24 to 64 bytes in base64
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from ulid import ULID

from proxy.approvals import Approval
from proxy.config import ConfigError, WebhookConfig
from proxy.secretfiles import read_secret_line
from proxy.timers import Later, loop_later

_log = logging.getLogger(__name__)

TOLERANCE = timedelta(minutes=5)
"""How old a message may be, as the reference libraries of Standard Webhooks have it."""
MAX_ID_CHARS = 128

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # Standard Webhooks, "Symmetric"
_PAUSES_S = (1, 5, 25, 125)
"""Between one try and the next."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class SignatureError(Exception):
    """A message is not from who it should be from, or is old; the text says which."""


def read_secret(path: Path) -> bytes:
    """Return the key in a file; raises ConfigError when there is none."""
    text = read_secret_line(path, "the webhook's secret")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ConfigError.plain(f'{path}: not a webhook secret; write "{_PREFIX}" and 24 to 64 bytes in base64')
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a message."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _signature(key, message_id, timestamp, body),
    }


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b"%s.%d.%s" % (message_id.encode("utf-8", "surrogatepass"), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


def verify(key: bytes, headers: Mapping[str, str], body: bytes, at: datetime) -> str:
    """Return the id of a message that is signed and fresh; raises SignatureError."""
    message_id, signatures = headers.get("webhook-id", ""), headers.get("webhook-signature", "")
    stamp = headers.get("webhook-timestamp", "")
    if not (0 < len(message_id) <= MAX_ID_CHARS and stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise SignatureError("send webhook-id, webhook-timestamp and webhook-signature")
    wanted = _signature(key, message_id, int(stamp), body).encode()
    # Several stand there while a key is being changed.
    given = [each.encode("utf-8", "surrogatepass") for each in signatures.split(" ")]
    if not any(hmac.compare_digest(wanted, each) for each in given):
        raise SignatureError("the signature does not fit the message")
    # If this line is removed, who once heard a message can repeat it when it suits them.
    if abs(at.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise SignatureError("the message is too old or from the future")
    return message_id


class Webhook:
    """Tells one address of requests for approval; lives in the gate's event loop."""

    def __init__(
        self, config: WebhookConfig, key: bytes, *, now: Callable[[], datetime], later: Later = loop_later
    ) -> None:
        self.key = key
        self.vouches_for = config.vouches_for
        self._url = config.url
        self._now = now
        self._later = later
        self._sending: set[asyncio.Task[None]] = set()

    def announce(self, approval: Approval, url: str) -> None:
        """Send word of an approval that is asked for, beside everything else."""
        body = json.dumps(_message(approval, url), ensure_ascii=False).encode("utf-8", "replace")
        task = asyncio.create_task(self._deliver(f"msg_{str(ULID()).lower()}", body), name="webhook")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def stop(self) -> None:
        """Give up what is not delivered yet."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _deliver(self, message_id: str, body: bytes) -> None:
        for pause_s in (*_PAUSES_S, None):
            failure = await self._try(message_id, body)
            if not failure:
                return
            _log.warning("the approvals webhook did not take a message: %s", failure)
            if pause_s is not None:
                await self._pause(pause_s)

    async def _try(self, message_id: str, body: bytes) -> str:
        """Send it once; why that failed, "" when it did not."""
        headers = sign(self.key, message_id, int(self._now().timestamp()), body)
        headers["Content-Type"] = "application/json"
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return "" if 200 <= response.status < 300 else f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__

    async def _pause(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._later(seconds, lambda: None if over.done() else over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()


def _message(approval: Approval, url: str) -> dict[str, object]:
    asked = approval.asked
    return {
        "type": "approval.requested",
        "timestamp": approval.at.isoformat(timespec="milliseconds"),
        "data": {
            "approval": approval.id,
            "agent": asked.agent,
            "anchor": asked.anchor,
            "request": asked.request,
            "operations": [{"action": action, "target": target} for action, target in asked.operations[:20]],
            "reason": asked.reason,
            "needs": asked.needs,
            "fingerprint": asked.fingerprint,
            "expires": approval.expires.isoformat(timespec="seconds"),
            "url": url,
        },
    }
