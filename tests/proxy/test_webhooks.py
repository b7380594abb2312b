"""The chat tool: told of requests for approval, and brings back what a human said; signed, fresh, and once."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from proxy.config import ConfigError
from proxy.webhooks import SignatureError, read_secret, sign, verify
from support.clients import client_of
from support.targets import Origin
from support.targets.base import Seen
from support.waiting import WaitingGate, waiting_gate

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def chat(target_ca: trustme.CA) -> Iterator[Origin]:
    """A chat tool that takes every message."""
    with Origin(target_ca, "chat.test", secure=False) as target:
        yield target


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, chat: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate that tells the chat tool, which may vouch for bob and carol, but not for alice."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=settings(tmp_path, chat)) as live:
        yield live


def settings(folder: Path, chat: Origin, path: str = "/echo") -> dict[str, Any]:
    vouches = ["bob@*", "carol@*", "dave@*"]
    hook = {"url": f"{chat.direct_url}{path}", "secret_file": str(folder / "secret"), "vouches_for": vouches}
    return {"wait_s": 0, "webhook": hook}


def write(gate: WaitingGate) -> httpx.Response:
    with client_of(gate) as client:
        return client.post("https://origin.test/things?token=hunter2", content=b"one")


def called(
    gate: WaitingGate, shown: dict[str, Any], key: bytes = KEY, message: str = "msg_1", late_s: int = 0, **changed: Any
) -> httpx.Response:
    """Call back as the chat tool does."""
    body = {"decision": "approve", "human": "bob@acme.test", "fingerprint": shown["fingerprint"], **changed}
    content = json.dumps(body).encode()
    headers = sign(key, message, int(gate.clock.at.timestamp()) - late_s, content)
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        return client.post(f"/v1/approvals/{shown['approval']}/callback", content=content, headers=headers)


def test_the_chat_tool_is_told_and_brings_a_yes(gate: WaitingGate, chat: Origin, origin: Origin) -> None:
    """A signed message without secrets; the callback lets the request through, and the Chron names both."""
    assert write(gate).status_code == 202
    seen = delivered(gate, chat)
    headers = {name.lower(): value for name, value in seen.headers}
    assert verify(KEY, headers, seen.body, gate.clock.at).startswith("msg_")
    told = json.loads(seen.body)
    (shown,) = gate.pending()
    assert told["type"] == "approval.requested"
    assert {name: told["data"][name] for name in ("approval", "agent", "fingerprint")} == {
        "approval": shown["approval"], "agent": "deploy-bot", "fingerprint": shown["fingerprint"],
    }  # fmt: skip
    assert "hunter2" not in seen.body.decode()
    assert called(gate, shown, reason="ok").json()["state"] == "approved"
    assert write(gate).status_code == 200
    (approved,) = gate.records("approval", event="approved")
    assert (approved["by"], approved["webhook"], approved["reason"]) == ("bob@acme.test", "msg_1", "ok")


def delivered(gate: WaitingGate, chat: Origin) -> Seen:
    """The message that the chat tool was sent, when it has taken it."""

    async def sent() -> None:
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "webhook"))

    gate.call(sent())
    return chat.wait_seen()


def test_a_callback_refuses(gate: WaitingGate, origin: Origin) -> None:
    """A no counts as anybody's no."""
    write(gate)
    (shown,) = gate.pending()
    assert called(gate, shown, decision="refuse").json()["state"] == "refused"
    assert write(gate).json()["code"] == "approval.refused"


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "another key": ({"key": bytes(32)}, 401, "approval.signature"),
    "an old message": ({"late_s": 301}, 401, "approval.signature"),
    "a message from the future": ({"late_s": -301}, 401, "approval.signature"),
    "a human it does not vouch for": ({"human": "alice@acme.test"}, 403, "approval.not-vouched"),
    "nobody": ({"human": "mallory@acme.test"}, 403, "approval.not-vouched"),
    "a human without a say": ({"human": "dave@acme.test"}, 403, "approval.not-eligible"),
    "another request": ({"fingerprint": "0" * 64}, 409, "approval.fingerprint"),
    "another verb": ({"decision": "use"}, 400, "approval.body"),
    "an unknown key": ({"force": True}, 400, "approval.body"),
}


@pytest.mark.parametrize(("changed", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_a_callback_that_does_not_count(gate: WaitingGate, changed: dict[str, Any], status: int, code: str) -> None:
    """Refused with a code; nothing is decided."""
    write(gate)
    (shown,) = gate.pending()
    answer = called(gate, shown, **changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert gate.events() == ["requested"]


def test_a_message_is_obeyed_once(tmp_path: Path, origin: Origin, chat: Origin, target_ca_pem: Path) -> None:
    """Said again it is refused, also by the gate's next run."""
    (tmp_path / "secret").write_text(SECRET)
    approvals = settings(tmp_path, chat)
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        write(gate)
        (shown,) = gate.pending()
        assert called(gate, shown).status_code == 200
        assert called(gate, shown).json()["code"] == "approval.replayed"
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        assert called(gate, shown).json()["code"] == "approval.replayed"


def test_what_the_gate_sends_is_no_callback(gate: WaitingGate, chat: Origin) -> None:
    """Its own message, sent back to it, is refused: it is signed, but says nothing."""
    write(gate)
    seen = delivered(gate, chat)
    (shown,) = gate.pending()
    signed = {name: value for name, value in seen.headers if name.lower().startswith("webhook-")}
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        answer = client.post(f"/v1/approvals/{shown['approval']}/callback", content=seen.body, headers=signed)
    assert (answer.status_code, answer.json()["code"]) == (400, "approval.body")


def test_a_chat_tool_that_fails_holds_nothing_up(
    tmp_path: Path, origin: Origin, chat: Origin, target_ca_pem: Path
) -> None:
    """It is tried again after a pause, with the same id; the request waits and is approved all the same."""
    (tmp_path / "secret").write_text(SECRET)
    approvals = settings(tmp_path, chat, "/status/500")
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        assert write(gate).status_code == 202
        for number, pause_s in enumerate((1, 5, 25, 125), 1):
            chat.wait_seen(number)
            gate.clock.wait_timers(pause_s, 1, of="Webhook.")
            gate.pass_(pause_s)
        chat.wait_seen(5)
        ids = {dict(seen.headers)["webhook-id"] for seen in chat.seen}
        assert len(ids) == 1
        gate.approve(gate.pending()[0])
        assert write(gate).status_code == 200


# --- signatures ----------------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the specification's reference libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_one_of_several_signatures_is_enough() -> None:
    """While a key is being changed a message bears two."""
    signed = sign(KEY, "msg_1", int(NOON.timestamp()), b"{}")
    signed["webhook-signature"] = f"v1,AAAA v1a,x {signed['webhook-signature']}"
    assert verify(KEY, signed, b"{}", NOON) == "msg_1"


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": ""},
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,\udcff"},
    ],
)
def test_a_changed_message_is_no_message(changed: dict[str, str]) -> None:
    """Whatever part is missing, changed or nonsense."""
    signed = {**sign(KEY, "msg_1", int(NOON.timestamp()), b"{}"), **changed}
    with pytest.raises(SignatureError):
        verify(KEY, signed, b"{}", NOON)


def test_a_message_is_fresh_for_five_minutes() -> None:
    """Within them it is taken, a second later it is not."""
    signed = sign(KEY, "msg_1", int(NOON.timestamp()), b"{}")
    assert verify(KEY, signed, b"{}", NOON + timedelta(minutes=5)) == "msg_1"
    with pytest.raises(SignatureError, match="too old"):
        verify(KEY, signed, b"{}", NOON + timedelta(minutes=5, seconds=1))


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "whsec_***", "wh\u00e9", "whsec_" + "A" * 400])
def test_what_is_no_secret_is_refused(tmp_path: Path, text: str) -> None:
    """A short, long or garbled secret stops the start with its remedy."""
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigError, match='not a webhook secret; write "whsec_" and 24 to 64 bytes in base64'):
        read_secret(tmp_path / "secret")


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The file and what to do."""
    with pytest.raises(ConfigError, match="cannot read: no such file or directory; write the webhook's secret there"):
        read_secret(tmp_path / "none")
