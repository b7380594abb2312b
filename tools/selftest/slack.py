"""Every method of slack_sdk: the client itself is called, and what it would send is caught.

Wanted is the method that the documentation's address in the function's docstring ends with; where it has none,
the one in the URL. Each is asked for as the client sends it and, in a second group, on a workspace's own host.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 4

_DOCUMENTED = re.compile(r"https://docs\.slack\.dev/reference/methods/([A-Za-z.]+)\s*$", re.MULTILINE)
_REST = ("scim", "audit_logs")

_NEEDED: dict[str, dict[str, Any]] = {
    "conversations_acceptSharedInvite": {"channel_name": "x1", "channel_id": "x1"},
    "conversations_inviteShared": {"emails": "x1"},
    "conversations_open": {"channel": "x1"},
    "files_completeUploadExternal": {"files": [{"id": "x1"}]},
}
"""Arguments of which the client wants one of several."""


class _Stop(Exception):
    pass


def cases() -> Iterator[Case]:
    """Yield a case for every method; see the module."""
    sys.path.insert(0, str(package("PyPI:slack-sdk").folder))
    warnings.simplefilter("ignore")
    for module, made in (("slack_sdk.web.client", "WebClient"), ("slack_sdk.web.legacy_client", "LegacyWebClient")):
        client = getattr(importlib.import_module(module), made)(token="unused")
        for name, verb, url in _web(client):
            wanted = frozenset({f"slack:{name}"})
            yield Case(verb, url, wanted, group=made)
            yield Case(verb, url.replace("https://", "https://acme."), wanted, group="a workspace's own host")
    for name in _REST:
        clients = vars(importlib.import_module(f"slack_sdk.{name}.v1.client"))
        rest = next(value for key, value in clients.items() if key in ("SCIMClient", "AuditLogsClient"))
        yield from _rest(name, rest(token="unused"))


def _web(client: Any) -> Iterator[tuple[str, str, str]]:
    caught: list[tuple[str, str]] = []

    def catch(api_method: str, *, http_verb: str = "POST", **_: Any) -> None:
        caught.append((http_verb, f"https://slack.com/api/{api_method}"))
        raise _Stop

    client.api_call = catch
    for title, function in _functions(client):
        caught.clear()
        _try(getattr(client, title), title)
        documented = _DOCUMENTED.search(inspect.getdoc(function) or "")
        for verb, url in caught[:1]:
            method = url.rpartition("/")[2]
            yield documented[1] if documented and documented[1].lower() == method.lower() else method, verb, url


def _rest(name: str, client: Any) -> Iterator[Case]:
    caught: list[tuple[str, str]] = []

    def catch(*, http_verb: str = "GET", url: str, **_: Any) -> None:
        caught.append((http_verb, url))
        raise _Stop

    client._perform_http_request = catch
    for title, _ in _functions(client):
        caught.clear()
        _try(getattr(client, title), title)
        for verb, url in caught[:1]:
            yield Case(verb, url, frozenset({f"slack:{name}.{title}"}), group="SCIM and audit logs")


def _functions(client: Any) -> Iterator[tuple[str, Any]]:
    for title in dir(type(client)):
        function = inspect.getattr_static(type(client), title)
        if not title.startswith("_") and title != "api_call" and inspect.isfunction(function):
            yield title, function


def _try(function: Any, name: str) -> None:
    given = dict(_NEEDED.get(name, {}))
    for title, parameter in inspect.signature(function).parameters.items():
        if title in given or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty or title in ("text", "app_id", "request_id", "content", "external_id"):
            given[title] = {"id": "x1"} if title in ("user", "partial_user", "group", "partial_group") else "x1"
    try:
        function(**given)
    except _Stop:
        pass
    except Exception as error:  # noqa: BLE001 - a function that cannot be called like this asks for nothing
        print(f"  not called: {name}: {error!r}"[:160], file=sys.stderr)
