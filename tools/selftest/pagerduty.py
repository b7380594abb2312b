"""Every path of the pagerduty client under every method; the client's own `canonical_path` reads the same path.

The client lists paths without methods, so this shows that the templates do not collide and that a URL leads back to
the path it was made from; it does not show which methods the API has.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 10

_METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_BEFORE = {
    "rest_api_v2_client": ("", ""),
    "jira_cloud_integration_api_client": ("integration-jira-cloud.", "/integration-jira-cloud"),
    "jira_server_integration_api_client": ("integration-jira-service.", "/integration-jira-service"),
    "slack_integration_api_client": ("integration-slack.", "/integration-slack"),
    "slack_integration_connections_api_client": ("integration-slack.", "/integration-slack"),
    "ms_teams_integration_api_client": ("integration-ms-teams.", "/integration-ms-teams"),
}


def cases() -> Iterator[Case]:
    """Yield a case for every path and method."""
    folder = package("PyPI:pagerduty").folder
    sys.path.insert(0, str(folder))
    sys.modules.pop("pagerduty", None)  # this module, when it goes by that name
    sys.modules.setdefault("httpx2", _Absent("httpx2"))
    reader: Any = importlib.import_module("pagerduty.rest_api_v2_base_client").canonical_path
    for module, (words_before, path_before) in _BEFORE.items():
        paths = _paths((folder / "pagerduty" / f"{module}.py").read_text("utf-8"))
        for listed in paths:
            for path in [listed.replace("{entity_type}", each) for each in ("users", "teams", "escalation_policies")]:
                url = "https://api.pagerduty.com" + re.sub(r"\{\w+\}", "PX1", path)
                if _read_back(reader, paths, url) not in (listed, ""):
                    raise SystemExit(f"{url} is no {listed} to the client")
                full = url.replace(".com", f".com{path_before}", 1)
                for method in _METHODS:
                    name = f"pagerduty:{words_before}{_name(path, method, paths)}"
                    yield Case(method, full, frozenset({name}))
                if path == listed:
                    break


def _read_back(reader: Any, paths: list[str], url: str) -> str:
    """Return the path that the client reads from a URL; "" where it finds two, of which the literal one is meant."""
    try:
        return str(reader(paths, "https://api.pagerduty.com", url))
    except Exception:  # noqa: BLE001 - its own error class is not ours to import
        return ""


class _Absent(types.ModuleType):
    """Stands for the HTTP library, of which nothing is used: nothing is sent."""

    def __getattr__(self, name: str) -> Any:
        return type(name, (Exception,), {})


def _paths(text: str) -> list[str]:
    found = re.search(r"^CANONICAL_PATHS = (\[.*?\])", text, re.DOTALL | re.MULTILINE)
    assert found
    return list(ast.literal_eval(found[1]))


def _name(path: str, method: str, paths: list[str]) -> str:
    words = [word for word in path.split("/") if word and "{" not in word]
    things = [other for other in paths if re.fullmatch(re.escape(path) + r"/\{\w+\}", other)]
    verb = "list" if method == "GET" and things else _METHODS[method]
    return ".".join([*words, verb])
