"""What is started as a whole or not at all, and stopped in the reverse order of its start."""

import contextlib
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Lifetime(ABC):
    """Use as `async with`: what was begun of a start that fails is undone before its error goes on."""

    _stack: contextlib.AsyncExitStack

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @abstractmethod
    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Start everything, and put on the stack how each is stopped."""
