"""Takes over at the start what the Chron remembers: approvals, exceptions, and how often limits were used.

The Chron is the only memory there is. A gate that starts does so before it listens, so that nobody gets a fresh
budget, a second run or a forgotten no from a restart.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import chron
from chron.sources import Source
from proxy import approvalrecords, breakglass
from proxy.breakglass import ExceptionDesk
from proxy.holding import Holding
from proxy.uses import longest_window, restored
from proxy.verdicts import Book


async def restore(path: Source, holding: Holding, exceptions: ExceptionDesk, at: datetime) -> None:
    """Take over approvals and exceptions as the Chron left them."""
    holding.restore(await asyncio.to_thread(_recorded, path, "approval", at - approvalrecords.LOOK_BACK))
    exceptions.restore(await asyncio.to_thread(_recorded, path, "exception", at - breakglass.LOOK_BACK))


def _recorded(path: Source, kind: str, since: datetime) -> list[Mapping[str, str | int | bool]]:
    return [record.fields for record in chron.find(path, kind=kind, since=since)]


def uses_of(path: Source, book: Book, at: datetime) -> dict[str, list[datetime]]:
    """Return how the limits of these rules were used so far; blocks."""
    window = longest_window(book.policies)
    if not window:
        return {}
    decisions = chron.find(path, kind="decision", since=at - window)
    return restored(book.policies, (record.fields for record in decisions))
