"""What signs: asked of the running gate, or done here when no gate runs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chron import Chron, find, parse_note
from chron.sources import Source, resolved
from proxy.anchoring import Anchoring
from proxy.anchors import Anchor, AnchorError, make_anchor
from proxy.cli.asking import TIMEOUT_S, answer_of, gate_url, said
from proxy.cli.options import EXIT_AUTHENTICATION, EXIT_DENY, fail, operator_headers
from proxy.config import Config
from proxy.configloading import load_config


def sign_now(config_path: Path | None, path: Source) -> str:
    """Sign a checkpoint over all that is recorded; its note."""
    config = load_config(config_path)
    if resolved(path) != resolved(config.chron):
        fail(f'"{path}" is not the log of this configuration, which has no key for it; give its own with -c')
    return _done(config, "/v1/checkpoints", Chron.checkpoint)


def rotate(config_path: Path | None, *, lost: bool) -> str:
    """Have a new key take over; the public key from then on."""
    config = load_config(config_path)
    if lost:
        asyncio.run(opened(config, Chron.checkpoint, lost=True))
    else:
        _done(config, "/v1/chron-key/rotation", Chron.rotate_key)
    return list(find(config.chron, kind="key"))[-1].text("vkey")


def _done(config: Config, route: str, act: Callable[[Chron], str]) -> str:
    return str(asked_or_done(config, route, lambda chron: {"note": act(chron)})["note"])


def asked_or_done(
    config: Config,
    route: str,
    act: Callable[[Chron], dict[str, Any]],
    body: Mapping[str, object] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """What the running gate answers its operator; done here when none runs."""
    answered = answer_of(gate_url(config), "POST", route, operator_headers(config), body, timeout_s=timeout_s)
    if answered is None:
        return asyncio.run(opened(config, act))
    status, found = answered
    if status != 200:
        code = EXIT_AUTHENTICATION if status in (401, 403) else EXIT_DENY
        fail(said(found) or f"the gate answered with status {status}", code)
    return found


async def opened[T](config: Config, act: Callable[[Chron], T], *, lost: bool = False) -> T:
    """Open the log as a gate would, without serving; what it signs goes to the anchors too."""
    anchoring = Anchoring(config.checkpoints, now=now)
    signing = await anchoring.signing(lost=lost)
    try:
        chron = await asyncio.to_thread(Chron.open, config.chron, signing=signing)
        anchoring.start(chron.newest_checkpoint)
        try:
            return await asyncio.to_thread(act, chron)
        finally:
            await asyncio.to_thread(chron.close)
    finally:
        await anchoring.stop()


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """What one place has, as it says itself."""

    name: str
    size: int | None
    """Records that its newest checkpoint covers; None when it cannot be read back."""
    fault: str
    told: str


def anchors_of(config_path: Path | None) -> tuple[bool, list[AnchorReport]]:
    """Whether enough places hold the log's last checkpoint, and what each says."""
    config = load_config(config_path)
    records = find(config.chron, kind="checkpoint", newest=1)
    size = max((parse_note(record.text("note")).checkpoint().size for record in records), default=0)
    anchors = [make_anchor(each, now=now) for each in config.checkpoints.anchors]
    found = [asyncio.run(_report(anchor, size)) for anchor in anchors]
    # What cannot be read back counts as holding what it was sent: nobody can say otherwise.
    holding = [each for each in found if not each.fault and (each.size is None or each.size >= size)]
    return len(holding) >= config.checkpoints.require, found


async def _report(anchor: Anchor, size: int) -> AnchorReport:
    if not anchor.readable:
        return AnchorReport(anchor.name, None, "", "cannot be read back")
    try:
        note = await anchor.read()
    except AnchorError as error:
        return AnchorReport(anchor.name, 0, str(error), f"cannot be read: {error}")
    held = parse_note(note).checkpoint().size if note else 0
    behind = f", {size - held} fewer than the last checkpoint" if held < size else ""
    return AnchorReport(anchor.name, held, "", f"covers {held} records{behind}")


def now() -> datetime:
    """The time now."""
    return datetime.now(UTC)
