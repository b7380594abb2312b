"""Take apart what a request or a connection was handled by, once it has ended.

The engine's layers and flows refer to themselves and to each other, so that only Python's collector frees them; and
that goes by the number of objects. It knows nothing of the bodies, and of the TLS state, that hang on a few of them:
the bodies of some hundred requests would stay in memory, and the TLS state of many times as many connections as are
open. Here the references are cut, so that each goes at once.
"""

from types import MethodType
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpStream


class Left(layer.Layer):
    """Stands where the layers were: whatever comes late is for nobody."""

    def _handle_event(self, _: events.Event) -> layer.CommandGenerator[None]:
        yield from list[commands.Command]()


def take_apart(top: layer.Layer) -> Left:
    """Cut what a connection's layers hold, all that can be reached from one; what stands in their place.

    None of them may be handling an event, or be waiting for a hook.
    """
    left = in_place_of(top)
    for each in _reached_from(top):
        vars(each).clear()
    left.context.layers.clear()
    return left


def in_place_of(top: layer.Layer) -> Left:
    """What stands in the place of a connection's layers from now on."""
    return Left(Context(top.context.client, top.context.options))


def take_stream_apart(stream: HttpStream) -> None:
    """Cut what the stream of a request holds that has ended; it must not be handling an event or wait for anything."""
    flow = getattr(stream, "flow", None)
    if flow is not None:
        flow.metadata.clear()
        flow.request.stream = False  # were methods of the exchange, which holds the flow
        if flow.response is not None:
            flow.response.stream = False
    vars(stream).clear()


def _reached_from(top: layer.Layer) -> list[layer.Layer]:
    """The layers above, beneath and beside one."""
    found: dict[int, layer.Layer] = {}
    waiting: list[Any] = [top]
    while waiting:
        match waiting.pop():
            case layer.Layer() as each if id(each) not in found:
                found[id(each)] = each
                waiting += vars(each).values()
            case Context() as context:
                waiting += context.layers
            case dict() as named:
                waiting += named.values()
            case MethodType() as method:
                waiting.append(method.__self__)
    return list(found.values())
