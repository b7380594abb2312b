"""HTTP/2 on both sides."""

from collections.abc import Awaitable, Callable

from proxy.fast.calls import Asked, Call
from proxy.fast.heads import Fields
from proxy.fast.streams import Stream
from proxy.limits import Limits


class Http2Agent:
    """Placeholder until the module lands."""

    beginning = False

    def __init__(
        self, stream: Stream, limits: Limits, serve: Callable[[Call], Awaitable[None]], limited: Callable[[str], None]
    ) -> None: ...
    async def run(self) -> None: ...


class Http2Target:
    """Placeholder until the module lands."""

    available = False
    over = True

    def __init__(self, stream: Stream) -> None: ...
    def retire(self) -> None: ...
    def ask(self, method: str, scheme: str, authority: str, path: str, fields: Fields, *, end: bool) -> Asked:
        raise NotImplementedError
