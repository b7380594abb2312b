"""Where servers would route a request, against how rules read it.

aiohttp decodes the path whole; nginx too, and resolves dots and double slashes; Node leaves it as it stands and
resolves dots. Go's net/http is modelled here, for there is no Go: `ServeMux` decodes the whole path (url.URL.Path),
cleans it as path.Clean does, keeping a slash at the end, and redirects when that changed anything; url.ParseQuery
leaves out pairs with ";" or a broken escape.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, unquote_plus

from mappings.canonical import canonical_target
from mappings.paths import split_path
from mappings.reading import alternatives
from mappings.request import Request
from support.garden.reading import Read, Reading, Route

GO = "Go's net/http"


def routed_elsewhere(readings: Mapping[str, Reading]) -> Iterator[str]:
    """Yield a line for each route that no reading of ours is."""
    routing = {name: reading.routes for name, reading in readings.items() if reading.routes and not reading.fault}
    for number, read in enumerate(readings["h11"].requests):
        routes = {name: found[number] for name, found in routing.items()}
        routes[GO] = go_route(read.target)
        yield from (
            f"{name} routes {read.target!r} to {route}" for name, route in routes.items() if not _ours(read, route)
        )


def _ours(read: Read, route: Route) -> bool:
    target = canonical_target(read.target)
    if target.wire != read.target:
        return False
    asked = Request(read.method, "http", "h", 80, target.path, target.query, (), b"")
    paths = [asked.path, *(other.request.path for other in alternatives(asked))]
    known = {"/".join(segments) for path in paths if (segments := split_path(path)) is not None}
    query = route.query == (target.query_text if isinstance(route.query, str) else target.query)
    decoded = route.path if isinstance(route.query, str) else unquote(route.path)
    return query and {route.path.strip("/"), decoded.strip("/")} & known != set()


def go_route(target: str) -> Route:
    """Where Go's `ServeMux` would go."""
    path, _, query = target.partition("?")
    decoded = unquote(path, errors="surrogateescape")
    cleaned = posixpath.normpath(decoded) + ("/" if decoded.endswith("/") and decoded != "/" else "")
    pairs = [pair.partition("=") for pair in query.split("&") if pair and ";" not in pair]
    kept = [each for each in pairs if not re.search("%(?![0-9A-Fa-f]{2})", f"{each[0]}{each[2]}")]
    return Route(cleaned, tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in kept))
