"""Calls every method of a client that Stainless generated. Arguments: paths, package, class, HTTP library, path prefix.

The client's own HTTP library gets a transport that answers nothing and keeps the request. What only asks for a
WebSocket is asked for the address it would open.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from capture import VALUE, Stopped, arguments, everything, paths, refuse, write

paths()
PACKAGE, CLIENT, LIBRARY = sys.argv[2:5]
http = importlib.import_module(LIBRARY)

_RESULTS = f"https://api.anthropic.com/v1/messages/batches/{VALUE}/results"
"""What the API answers as the place of a batch's results."""


class Keeps(http.BaseTransport):  # type: ignore[misc,name-defined]
    """Stops at the first request, but for the one that only asks where the results are."""

    results = False

    def handle_request(self, request: Any) -> Any:
        """Raise with the request's method and URL."""
        if self.results and not request.url.path.endswith("/results"):
            return http.Response(200, json={"id": VALUE, "results_url": _RESULTS})
        raise Stopped(request.method, str(request.url))


def resources(resource: object, way: tuple[str, ...], package: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield a resource and those below it, with the way to each."""
    yield way, resource
    for name in sorted(dir(type(resource))):
        if name.startswith(("_", "with_")) or callable(getattr(type(resource), name, None)):
            continue
        try:
            inner = getattr(resource, name, None)
        except ImportError as error:  # a part of the client that cannot be imported at all
            refuse(".".join([*way, name]), error)
            continue
        if type(inner).__module__.startswith(f"{package}.resources"):
            yield from resources(inner, (*way, name), package)


def call(name: str, method: Any, transport: Keeps) -> None:
    """Call a method once for each way to call it, and write out what it sends."""
    transport.results = name.endswith("batches.results")
    ways = arguments(method)
    for positional, named in ways:
        try:
            begin(name, method, positional, named)
        except TypeError:
            # Several signatures in one: what each of them requires is only said when it is called.
            ways = []
            break
    if not ways:
        begin(name, method, [], everything(method))


def begin(name: str, method: Any, positional: list[Any], named: dict[str, Any]) -> None:
    """Call a method until it sends; raises what the client raises before that."""
    try:
        answer = method(*positional, **named)
        if hasattr(answer, "_prepare_url"):
            write(name, "GET", str(answer._prepare_url()))
        elif inspect.isgenerator(answer):
            next(answer)
        elif hasattr(answer, "__enter__"):
            answer.__enter__()
    except Stopped as sent:
        write(name, sent.method, sent.url, hasattr(method, "__deprecated__"))


def main() -> None:
    """Call everything."""
    warnings.simplefilter("ignore", DeprecationWarning)
    transport = Keeps()
    keys = {"cloudflare": ("api_token",), "openai": ("api_key", "admin_api_key")}.get(PACKAGE, ("api_key",))
    make = getattr(importlib.import_module(PACKAGE), CLIENT)
    client = make(**dict.fromkeys(keys, VALUE), max_retries=0, http_client=http.Client(transport=transport))
    for way, resource in resources(client, (), PACKAGE):
        functions = inspect.getmembers(type(resource), inspect.isfunction) if way else ()
        for name, function in functions:
            if name.startswith("_") or inspect.iscoroutinefunction(function):
                continue
            full = ".".join([*way, name])
            try:
                call(full, getattr(resource, name), transport)
            except Exception as error:  # noqa: BLE001 - whatever a client says of made-up arguments is reported
                refuse(full, error)


main()
