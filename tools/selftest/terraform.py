"""Every method of pytfe: the client itself is called, and what it would send is caught.

Each public method of each resource is called with a text for every argument, and every request it makes is
answered with an empty thing, until it has done or can go on no longer. It does not show routes that the client
lacks (overrides/terraform.yaml), nor signed links, which the server hands out.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 4

_VERBS = ("list", "read", "create", "update", "delete")

RENAMED = {
    "agent_tokens.read": "authentication_tokens.read",
    "agent_tokens.delete": "authentication_tokens.delete",
    "workspaces.assign_ssh_key": "workspaces.set_ssh_key",
    "organizations.set_data_retention_policy_dont_delete": "organizations.set_data_retention_policy",
    "workspaces.set_data_retention_policy_dont_delete": "workspaces.set_data_retention_policy",
    **{
        f"{cloud}_oidc_configurations.{verb}": f"oidc_configurations.{verb}"
        for cloud in ("aws", "azure", "gcp", "vault")
        for verb in _VERBS
    },
}
"""Where one route serves several methods and overrides/terraform.yaml gives it a name of its own."""


def cases() -> Iterator[Case]:
    """Yield a case for every request the client makes; see the module."""
    sent: dict[tuple[str, str], list[tuple[int, int, int, str]]] = defaultdict(list)
    for name, requests in _methods():
        verb = name.rpartition(".")[2]
        plain = 0 if verb in _VERBS else 1 if verb.startswith(tuple(f"{each}_" for each in _VERBS)) else 2
        for request in requests:
            sent[request].append((len(requests), plain, len(name), name))
    for (method, url), names in sorted(sent.items()):
        name = min(names)[3]
        yield Case(method, url, frozenset({f"terraform:{RENAMED.get(name, name)}"}))


def _methods() -> Iterator[tuple[str, set[tuple[str, str]]]]:
    sys.path.insert(0, str(package("PyPI:pytfe").folder))
    pytfe = importlib.import_module("pytfe")
    client = pytfe.TFEClient(pytfe.TFEConfig(address="https://app.terraform.io", token="unused"))
    caught: list[tuple[str, str]] = []

    def catch(method: str, path: str, **_: Any) -> _Answer:
        url = path if path.startswith("https://") else f"https://app.terraform.io/{path.lstrip('/')}"
        if not url.endswith(".io/x1"):  # a link that our answer handed out
            caught.append((method, url.split("?page")[0]))
        return _Answer()

    client._transport.request = catch
    for name, resource in _resources(client, ""):
        for title in dir(type(resource)):
            if not title.startswith("_") and inspect.isfunction(inspect.getattr_static(type(resource), title)):
                caught.clear()
                _try(getattr(resource, title), f"{name}.{title}")
                if caught:
                    yield f"{name}.{title}", set(caught)


def _resources(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(vars(owner).items()):
        module = type(value).__module__
        if not name.startswith("_") and module.startswith("pytfe.resources"):
            yield f"{prefix}{name}", value
            yield from _resources(value, f"{prefix}{name}.")


class _Text(str):
    """A text that has every attribute, each such a text; also good for a thing with an id."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Text("x1")

    def __iter__(self) -> Iterator[Any]:
        return iter([self, self] if len(self) > 1 else [])

    def __call__(self, *_: Any, **__: Any) -> Any:
        return {}


class _Answer:
    """An answer that holds one empty thing, with a link for whoever looks for one."""

    status_code = 200
    content = b"{}"
    text = "{}"

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def json(self) -> dict[str, Any]:
        return {"data": {"id": "x1", "type": "x", "attributes": {"name": "x1"}, "relationships": {}, "links": {}}}


def _try(method: Any, name: str) -> None:
    given: dict[str, Any] = {}
    for title, parameter in inspect.signature(method).parameters.items():
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and (
            parameter.default is parameter.empty
        ):
            given[title] = _Text("x1")
    try:
        made = method(**given)
        if inspect.isgenerator(made):
            next(made)
    except StopIteration:
        pass
    except Exception as error:  # noqa: BLE001 - after its requests, an answer like ours is no matter
        print(f"  stopped: {name}: {type(error).__name__}", file=sys.stderr)
