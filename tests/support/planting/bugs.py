"""A bug in place of a function, for as long as a test wants it; nothing in the gate knows of it.

The function's code is replaced, not a name that leads to it: so whoever has imported it, bound it or put it into a
table meets the bug as well. Lambdas, generators and functions inside functions are replaced in what makes them.
"""

import asyncio
import builtins
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from support.planting.sites import Functions, Site

KINDS = ("exception", "cancelled", "wrong type", "nothing", "hang")
_NAME = "_claiim_planted_bug"
_PATIENCE_S = 60


class Planted(Exception):
    """The bug."""


class Wrong:
    """What no function returns. It is true, as most things are."""


class Bug:
    """What a function does while it is broken."""

    def __init__(self, kind: str, code: CodeType) -> None:
        self.kind = kind
        self.met = threading.Event()
        """Set when somebody came to it."""
        self.hits = 0
        self._generator = bool(code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR))
        self._async = bool(code.co_flags & inspect.CO_COROUTINE)
        self._freed = threading.Event()
        self._hanging: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._tester = threading.get_ident()

    def __call__(self, original: Callable[..., Any] | None, args: Any, kwargs: Any) -> Any:
        """Stand in for a call."""
        if threading.get_ident() == self._tester and original is not None:
            return original(*args, **kwargs)
        self.hits += 1
        if self._async:
            return self._awaited()
        if self._generator and self.kind not in ("wrong type", "nothing"):
            return self._iterated()
        self.met.set()
        return self._done()

    def free(self) -> None:
        """End every hang; whoever hung is told that it was broken off."""
        self._freed.set()
        for loop, future in self._hanging:
            loop.call_soon_threadsafe(lambda future=future: future.done() or future.set_exception(Planted("hung")))

    def _done(self) -> Any:
        match self.kind:
            case "exception":
                raise Planted("planted")
            case "cancelled":
                raise asyncio.CancelledError("planted")
            case "wrong type":
                return Wrong()
            case "nothing":
                return None
            case _:
                assert self._freed.wait(_PATIENCE_S), "nobody ended the hang"
                raise Planted("hung")

    async def _awaited(self) -> Any:
        if self.kind == "hang" and not self._freed.is_set():
            loop = asyncio.get_running_loop()
            self._hanging.append((loop, future := loop.create_future()))
            self.met.set()
            await future
        self.met.set()
        return self._done()

    def _iterated(self) -> Iterator[Any]:
        self.met.set()
        self._done()
        yield


@contextmanager
def planted(functions: Functions, site: Site, kind: str) -> Iterator[Bug]:
    """The bug, in place; it is taken out again whatever happens."""
    bug = Bug(kind, site.code)
    changes = list(_changes(functions, site.code, _stub(site.code)))
    twins = {change[0].__code__: _twin(change[0]) for change in changes if change[0].__code__ is site.code}
    original = next(iter(twins.values()), None)
    setattr(builtins, _NAME, lambda *args, **kwargs: bug(original, args, kwargs))
    kept = [(function, function.__code__) for function, _ in changes]
    try:
        for function, code in changes:
            function.__code__ = code
        yield bug
    finally:
        for function, code in kept:
            function.__code__ = code
        bug.free()


def _changes(functions: Functions, code: CodeType, stub: CodeType) -> Iterator[tuple[FunctionType, CodeType]]:
    """Every living function whose code has to change for `code` to become `stub`."""
    for function in functions.of.get(code, ()):
        yield function, stub
    parent = functions.parents.get(code)
    if parent is not None:
        consts = tuple(stub if const is code else const for const in parent.co_consts)
        yield from _changes(functions, parent, parent.replace(co_consts=consts))


def _stub(code: CodeType) -> CodeType:
    def stub(*args: Any, **kwargs: Any) -> Any:
        return _claiim_planted_bug(*args, **kwargs)  # type: ignore[name-defined] # noqa: F821

    return stub.__code__.replace(co_freevars=code.co_freevars, co_name=code.co_name, co_qualname=code.co_qualname)


def _twin(function: FunctionType) -> FunctionType:
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin
