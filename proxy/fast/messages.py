"""WebSocket messages that are judged one by one, each as the POST that it would be."""

from typing import TYPE_CHECKING

from proxy.fast.streams import Stream

if TYPE_CHECKING:
    from proxy.fast.exchanging import Serving


async def relay_messages(serving: "Serving", agent: Stream, target: Stream, packs: frozenset[str]) -> None:
    """Pass on the messages that are allowed."""
    raise NotImplementedError
