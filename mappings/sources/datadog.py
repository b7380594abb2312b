"""Compiles the catalogue of Datadog's API from its Python client.

Names are its operation ids (``datadog:list_monitors``). Every operation is an `_Endpoint` with method, path, id and
version. Where both versions of the API have an id in the chapter of one name (`UsersApi`), it means the same and both
routes carry it. In different chapters it does not (``list_metrics`` of metrics, and of experiments), nor where only
one of them reads: these names are ``v1.`` and ``v2.`` and the id.

Some operations have servers of their own (log intake, paging). Their hosts are bound as well, and what they serve is
named on every Datadog host alike, but for a bare "/", which says nothing without its host.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, catalogue
from mappings.sources.one_name import Named, one_name_each
from mappings.sources.python_ast import Sources, calls_in, keyword, text_of

PACKAGES = ("PyPI:datadog-api-client",)

_PACKAGE = "datadog_api_client"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of one version."""

    version: str
    chapter: str
    """Module of the class that offers it: ``users_api``."""
    operation: str
    method: str
    path: str
    hosts: tuple[str, ...]
    """Its own servers; none for those of the whole API."""

    @property
    def routes(self) -> tuple[str, ...]:
        """As a catalogue writes them."""
        hosts = self.hosts if self.path == "/" else ("",)
        return tuple(f"{self.method} {host}{self.path}" for host in hosts)


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue."""
    sources = Sources(packages[PACKAGES[0]])
    found = tuple(endpoints(sources))
    meanings: dict[str, set[tuple[str, str]]] = {}
    for each in found:
        meanings.setdefault(each.operation, set()).add((each.chapter, access_of_method(each.method)))
    routes: dict[str, tuple[str, ...]] = {}
    for each in found:
        name = each.operation if len(meanings[each.operation]) == 1 else f"{each.version}.{each.operation}"
        routes[name] = (*routes.get(name, ()), *each.routes)
    kept, gone = one_name_each(Named(name, own) for name, own in routes.items())
    described = [Described(name, access_of_method(own[0].split(" ")[0]), own) for name, own in kept.items()]
    apart = [f"{name} is told apart by version" for name, both in sorted(meanings.items()) if len(both) > 1]
    return catalogue("datadog", described, hosts=_hosts(sources, found), notes=[*gone, *apart])


def endpoints(sources: Sources) -> Iterator[Endpoint]:
    """Yield every operation of the client; SourceError for one that is not written out."""
    for module in sources.modules(_PACKAGE):
        for call in calls_in(module.tree) if ".api." in module.dotted else ():
            if ast.unparse(call.func) != "_Endpoint":
                continue
            settings = _dictionary(keyword(call, "settings"))
            texts = [text_of(settings.get(key)) for key in ("version", "operation_id", "http_method", "endpoint_path")]
            if not all(texts):
                raise module.at(call, "an endpoint without version, operation_id, http_method or endpoint_path")
            version, operation, method, path = (str(text) for text in texts)
            servers = settings.get("servers")
            hosts = tuple(dict.fromkeys(_hosts_of(ast.literal_eval(servers)))) if servers is not None else ()
            yield Endpoint(version, module.dotted.rpartition(".")[2], operation, method, path, hosts)


def _dictionary(node: ast.expr | None) -> dict[str, ast.expr]:
    if not isinstance(node, ast.Dict):
        return {}
    return {key: value for key, value in zip(map(text_of, node.keys), node.values, strict=True) if key is not None}


def _hosts(sources: Sources, found: Iterable[Endpoint]) -> tuple[str, ...]:
    """Return the hosts of the whole API and those of single operations, each once."""
    everywhere = _hosts_of(_servers(sources))
    return tuple(sorted({*everywhere, *(host for each in found for host in each.hosts)}))


def _servers(sources: Sources) -> list[dict[str, object]]:
    module = sources.module(f"{_PACKAGE}.configuration")
    for node in ast.walk(module.tree) if module is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == "get_host_settings":
            returned = next(each for each in ast.walk(node) if isinstance(each, ast.Return))
            servers: list[dict[str, object]] = ast.literal_eval(ast.unparse(returned).removeprefix("return "))
            return servers
    raise SourceError(f"{sources.folder}: no get_host_settings in {_PACKAGE}/configuration.py")


def _hosts_of(servers: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield every host that servers written as ``https://{subdomain}.{site}`` can have."""
    for server in servers:
        variables = server.get("variables")
        assert isinstance(variables, Mapping)  # noqa: S101 - narrows a type
        choices = {name: each.get("enum_values", [each["default_value"]]) for name, each in variables.items()}
        for chosen in itertools.product(*choices.values()):
            url = str(server["url"])
            for name, value in zip(choices, chosen, strict=True):
                url = url.replace(f"{{{name}}}", value)
            yield url.partition("://")[2]
