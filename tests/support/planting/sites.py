"""Which functions of ours run between the arrival of a request and its way to the target; found by looking."""

import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from mitmproxy.proxy.layers.http import SendHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders
from wsproto.connection import Connection
from wsproto.events import BytesMessage, Event, TextMessage

from proxy.fast.http1 import Http1Asked
from proxy.fast.http2targets import Http2Target

ROOT = Path(__file__).resolve().parents[3]
ROOMS = tuple(f"{ROOT / room}/" for room in ("proxy", "mappings", "policies", "chron"))
NOT_THESE = tuple(f"{ROOT / part}/" for part in ("proxy/attack", "proxy/cli", "proxy/api"))
"""The attacks' own target, and what does not serve requests to targets."""
_CACHE = type(functools.lru_cache(lambda: None))


@dataclass(frozen=True, slots=True)
class Site:
    """A function on the way."""

    code: CodeType

    @property
    def plain_name(self) -> str:
        """Module and qualified name, which stay when lines are added above."""
        module = str(Path(self.code.co_filename).relative_to(ROOT)).removesuffix(".py").replace("/", ".")
        return f"{module}.{self.code.co_qualname}"

    @property
    def name(self) -> str:
        """Module and qualified name, with the line where several have that name."""
        line = f":{self.code.co_firstlineno}" if "<" in self.code.co_qualname else ""
        return f"{self.plain_name}{line}"


class Trace:
    """Notes code that runs in threads of the gate while it is on; a request that goes to a target ends the noting."""

    def __init__(self) -> None:
        self.codes: dict[CodeType, None] = {}
        self.forwarded = False
        self._on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if self._on and event == "call" and file.startswith(ROOMS) and not file.startswith(NOT_THESE):
            self.codes.setdefault(frame.f_code)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note until a request is handed to a connection with a target, or this ends."""
        self._on, self.forwarded = True, False
        yield
        self._on = False

    def ends(self) -> None:
        """A request is on its way: what runs from now on can hold it up no more."""
        self._on, self.forwarded = False, True


@contextmanager
def traced() -> Iterator[Trace]:
    """Look into every thread but this one."""
    trace = Trace()
    with on_its_way(trace.ends):
        threading.setprofile_all_threads(trace)
        sys.setprofile(None)
        try:
            yield trace
        finally:
            threading.setprofile_all_threads(None)


@contextmanager
def on_its_way(tell: Callable[[], object]) -> Iterator[None]:
    """Tell of each request that is handed to a connection with a target, whichever engine serves it.

    mitmproxy's has handed it over where a layer sends its head down: what follows is not ours. The fast one has when
    the head is written to the connection, in HTTP/1 to its stream and in HTTP/2 to what makes frames of it. A message
    has been where frames towards a target are made of it.
    """
    sends, flushes, asks = SendHttp.__init__, Http1Asked._flush, Http2Target.ask
    frames = Connection.send

    def sending(self: SendHttp, event: Any, connection: Any) -> None:
        if isinstance(event, RequestHeaders):
            tell()
        sends(self, event, connection)

    def flushing(self: Http1Asked) -> None:
        unsent = bool(self._unsent)
        flushes(self)
        if unsent:
            tell()

    def asking(self: Http2Target, *args: Any, **kwargs: Any) -> Any:
        asked = asks(self, *args, **kwargs)
        tell()
        return asked

    def framing(self: Connection, event: Event) -> bytes:
        made = frames(self, event)
        if self.client and isinstance(event, TextMessage | BytesMessage):
            tell()
        return made

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connection, "send", framing)
        patched.setattr(SendHttp, "__init__", sending)
        patched.setattr(Http1Asked, "_flush", flushing)
        patched.setattr(Http2Target, "ask", asking)
        yield


class Functions:
    """The living functions of our rooms, by their code, and the code that theirs stands in."""

    def __init__(self) -> None:
        self.of: dict[CodeType, list[FunctionType]] = {}
        self.parents: dict[CodeType, CodeType] = {}
        self._caches: list[Any] = []
        gc.unfreeze()  # a gate that has served in this process has kept what it was made of from the collector
        for each in gc.get_objects():
            # Not `isinstance`, which asks what the object says of itself: a dead `weakref.proxy` raises at that.
            inside = each.__wrapped__ if type(each) is _CACHE else None
            if type(inside) is FunctionType and inside.__code__.co_filename.startswith(ROOMS):
                self._caches.append(each)
            if type(each) is FunctionType and each.__code__.co_filename.startswith(ROOMS):
                self.of.setdefault(each.__code__, []).append(each)
        for code in list(self.of):
            self._note(code)

    def works_by_effect(self, site: Site) -> bool:
        """Whether a function is annotated to return None: what it is for is what it does."""
        returned = [function.__annotations__.get("return", "") for function in self.of.get(site.code, ())]
        return bool(returned) and all(each in (None, "None") for each in returned)

    def forget(self) -> None:
        """Empty what remembers answers of our functions (`functools.lru_cache`)."""
        for cache in self._caches:
            cache.cache_clear()

    def _note(self, code: CodeType) -> None:
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self.parents[inner] = code
                self._note(inner)
