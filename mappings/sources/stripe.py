"""Compiles the catalogue of Stripe's API from its Python SDK: names are those of `StripeClient`'s services.

    client.v1.customers.create            stripe:customers.create             POST /v1/customers
    client.v2.core.events.list            stripe:v2.core.events.list          GET /v2/core/events
    stripe.Charge.list_refunds            stripe:charges.list_refunds         GET /v1/charges/{charge}/refunds

A service is a class whose file lists its sub-services and whose methods send with ``self._request("post",
"/v1/...".format(...))``. The older classes (`stripe.Customer`) send the same requests; the few that only they send
are named after the first word of their path. OAuth has a class of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mappings.sources.compiling import Compiled, Described, access_of_method, catalogue
from mappings.sources.one_name import Named, one_name_each, shape
from mappings.sources.python_ast import Found, Sources, calls_in, text_of

PACKAGES = ("PyPI:stripe",)

# The SDK's own list, stripe/__init__.py (DEFAULT_API_BASE and those beside it).
HOSTS = ("api.stripe.com", "files.stripe.com", "connect.stripe.com", "meter-events.stripe.com")

_REQUESTS = frozenset({"_request", "_request_stream", "_static_request", "_static_request_stream", "request"})
_BASE = "StripeService"
"""The services' base class, which hands on what they send."""
_ROOTS = (("", "_v1_services", "V1Services"), ("v2.", "_v2_services", "V2Services"))


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue."""
    sources = Sources(packages[PACKAGES[0]])
    routes, gone = one_name_each(named(sources))
    described = [Described(name, access_of_method(own[0].split(" ")[0]), own) for name, own in routes.items()]
    return catalogue("stripe", described, hosts=HOSTS, notes=[*gone, *_unread(sources)])


def named(sources: Sources) -> list[Named]:
    """Return everything that the package sends, under every name."""
    found = [*_services(sources), *_oauth(sources)]
    return [*found, *_only_older(sources, found)]


def _services(sources: Sources) -> Iterator[Named]:
    for start, module, name in _ROOTS:
        yield from _below(sources.the_class(f"stripe.{module}", name), sources, start)


def _below(service: Found, sources: Sources, way: str) -> Iterator[Named]:
    for method in service.methods():
        if not isinstance(method, ast.AsyncFunctionDef):
            for route in _sent(method):
                yield Named(way + method.name, (route,))
    for name, (module, inner) in _subservices(service).items():
        yield from _below(sources.the_class(module, inner), sources, f"{way}{name}.")


def _subservices(service: Found) -> dict[str, tuple[str, str]]:
    """Return ``_subservices`` of a service's file: module and class by name."""
    for node in service.module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_subservices":
            return {name: (module, inner) for name, (module, inner) in ast.literal_eval(node.value).items()}
    return {}


def _sent(method: ast.AST) -> Iterator[str]:
    """Yield the routes that the requests in a method spell out."""
    for call in _requests(method):
        route = _route(call)
        if route:
            yield route


def _requests(node: ast.AST) -> Iterator[ast.Call]:
    for call in calls_in(node):
        if isinstance(call.func, ast.Attribute) and call.func.attr in _REQUESTS and len(call.args) > 1:
            yield call


def _route(call: ast.Call) -> str:
    """Return the route of ``_request("get", "/v1/x/{y}".format(...))``; "" when it is not written out."""
    verb, path = text_of(call.args[0]), call.args[1]
    if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute) and path.func.attr == "format":
        path = path.func.value
    text = text_of(path)
    return f"{verb.upper()} {text}" if verb and text and text.startswith("/") else ""


def _oauth(sources: Sources) -> Iterator[Named]:
    for method in sources.the_class("stripe._oauth", "OAuth").methods():
        if not isinstance(method, ast.AsyncFunctionDef):
            for route in _sent(method):
                yield Named(f"oauth.{method.name}", (route,))


def _only_older(sources: Sources, found: Iterable[Named]) -> Iterator[Named]:
    """Yield what only the older classes send."""
    known = {shape(route) for each in found for route in each.routes}
    for module in sources.modules("stripe"):
        for older in (Found(module, node) for node in module.classes.values()):
            for method in older.methods():
                for route in _sent(method) if not isinstance(method, ast.AsyncFunctionDef) else ():
                    if shape(route) not in known:
                        known.add(shape(route))
                        yield Named(f"{route.split('/')[2]}.{method.name.removeprefix('_cls_')}", (route,))


def _unread(sources: Sources) -> Iterator[str]:
    """Yield the requests of services whose route is not written out."""
    for module in sources.modules("stripe"):
        for node in module.classes.values():
            for call in _requests(node) if node.name.endswith("Service") and node.name != _BASE else ():
                if not _route(call):
                    yield f"not read: {module.dotted}: line {call.lineno}: {ast.unparse(call)[:80]}"
