"""The catalogue of PagerDuty, compiled from the paths that its own client lists.

The client knows paths and not which methods each takes, so every path is listed under every method that its place
can take: a list GET and POST, a thing GET, PUT, PATCH and DELETE, both all of them. A method that the API does not
know is refused there. An operation is called by the words of its path and what its method does:

    GET  /incidents                         incidents.list
    POST /incidents                         incidents.create
    PUT  /incidents/{id}/merge              incidents.merge.update
    DELETE /teams/{id}/users/{user_id}      teams.users.delete
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mappings.sources.compiling import Compiled, Described, SourceError, catalogue

PACKAGES = ("PyPI:pagerduty",)
HOSTS = (
    "api.pagerduty.com",
    "api.eu.pagerduty.com",
    "events.pagerduty.com",
    "events.eu.pagerduty.com",
    "identity.pagerduty.com",
)
"""With the European service region: support.pagerduty.com, "Service Regions". Not app.pagerduty.com, whose pages have
paths like those of the API."""

TAGGED = ("escalation_policies", "teams", "users")
"""What ``{entity_type}`` may be: developer.pagerduty.com, "Assign tags"."""

_LISTS: Mapping[str, tuple[str, str]] = {
    "rest_api_v2_client": ("", ""),
    "jira_cloud_integration_api_client": ("integration-jira-cloud", "/integration-jira-cloud"),
    "jira_server_integration_api_client": ("integration-jira-service", "/integration-jira-service"),
    "slack_integration_api_client": ("integration-slack", "/integration-slack"),
    "slack_integration_connections_api_client": ("integration-slack", "/integration-slack"),
    "ms_teams_integration_api_client": ("integration-ms-teams", "/integration-ms-teams"),
}
"""Module of the client, and what goes before its names and before its paths (`default_base_url` of its class)."""

_METHODS: Mapping[str, str] = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
PATHS = "CANONICAL_PATHS"


@dataclass(frozen=True, slots=True)
class Listed:
    """A path of the client."""

    path: str
    words: str
    """The literal words, joined by dots."""
    is_list: bool
    """Whether things are listed there, each with a path below it."""


def listed(folder: Path) -> Iterator[Listed]:
    """Yield every path of an unpacked wheel."""
    for module, (before_names, before_paths) in _LISTS.items():
        paths = [path for text in _paths(folder / "pagerduty" / f"{module}.py") for path in _tagged(text)]
        for path in paths:
            words = [word for word in path.split("/") if word and "{" not in word]
            below = any(other.startswith(f"{path}/{{") and other.count("/") == path.count("/") + 1 for other in paths)
            full = ".".join([before_names] * bool(before_names) + words)
            yield Listed(before_paths + path, full, below)


def _tagged(path: str) -> list[str]:
    return [path.replace("{entity_type}", each) for each in TAGGED] if "{entity_type}" in path else [path]


def _paths(file: Path) -> list[str]:
    if not file.exists():
        raise SourceError(f"{file}: is not there; fetch pagerduty")
    for node in ast.parse(file.read_text("utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=elements)) if name == PATHS:
                return [str(each.value) for each in elements if isinstance(each, ast.Constant)]
    raise SourceError(f"{file}: holds no {PATHS}")


def operations(folder: Path) -> list[Described]:
    """Return the operations of every path."""
    routes: dict[str, list[str]] = {}
    for each in sorted(listed(folder), key=lambda each: each.path):
        for method, verb in _METHODS.items():
            shown = "list" if verb == "get" and each.is_list else verb
            routes.setdefault(f"{each.words}.{shown}", []).append(f"{method} {each.path}")
    return [Described(name, _access(name), tuple(own)) for name, own in routes.items()]


def _access(name: str) -> str:
    verb = name.rpartition(".")[2]
    return {"get": "read", "list": "list"}.get(verb, "write")


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue of a pagerduty."""
    notes = ("the client lists no methods: every path is listed under all that its place can take",)
    return catalogue("pagerduty", operations(packages[PACKAGES[0]]), hosts=HOSTS, notes=notes)
