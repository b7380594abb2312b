"""Names a request to Slack by the method in its path, by a webhook's address, or by what is done to a file.

The Web API has one path for each method and takes GET and POST alike, with the token and the arguments wherever the
caller put them; none of that changes which method it is, so nothing but the path is read. A method that the list
lacks is named from the path and marked as not known; a path that is no method is not recognised.

    POST slack.com/api/chat.postMessage                 slack:chat.postMessage
    GET  acme.slack.com/api/brand.newMethod             slack:brand.newMethod, not known
    POST hooks.slack.com/services/T0/B0/secret          slack:webhook; the secret stands in no target
    POST slack.com/api/chat.postMessage/now             not recognised
    POST slack.com/api/chat                             not recognised

The last part of a webhook's or an upload's address is a credential (docs.slack.dev, "Sending messages using incoming
webhooks"): neither target nor path shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mappings.catalogues import CatalogueError, CataloguePack, Operation
from mappings.paths import split_path
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, unreadable
from mappings.request import Request

_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}(?:\.[A-Za-z0-9_]{1,64}){1,7}")
"""As docs.slack.dev/reference/methods writes them, with room for what may come."""
_METHODS = ("GET", "POST")
_HIDDEN = "-"


@dataclass(frozen=True, slots=True)
class _Address:
    """Addresses of which the last part is a credential."""

    operation: str
    access: str
    executes: bool
    shown: int
    """How many segments may be shown."""


_HOOKS: Mapping[str, _Address] = {
    "services": _Address("webhook", "write", False, 3),
    "commands": _Address("response", "write", False, 2),
    "actions": _Address("response", "write", False, 2),
    "workflows": _Address("workflow", "write", True, 2),
    "triggers": _Address("workflow", "write", True, 2),
}
"""First segment on hooks.slack.com: incoming webhooks, the ``response_url`` of commands and actions, and the webhooks
that start a workflow (docs.slack.dev: "Sending messages using incoming webhooks", "Handling user interaction",
"Creating a webhook trigger")."""

_UPLOAD = _Address("upload", "write", False, 2)
_DOWNLOADS = ("files-pri", "files-tmb")
_OWN = frozenset({f"slack:{each.operation}" for each in (*_HOOKS.values(), _UPLOAD)} | {"slack:download"})


class SlackPack(CataloguePack):
    """The Web API, webhooks, files, and the REST APIs of the catalogue."""

    @cached_property
    def _by_name(self) -> Mapping[str, Operation]:
        # Folded: were Slack to take a method in another case, it would still be this one.
        return {name.lower(): operation for name, operation in self.routes.operations.items()}

    @property
    def operations(self) -> frozenset[str]:
        """Full names of all operations, those of webhooks and files among them."""
        return super().operations | _OWN

    def recognise(self, request: Request) -> Recognition:
        """Return the one call that host and path name."""
        segments = split_path(request.path)
        if not segments:
            return NOT_RECOGNISED
        first = request.host.partition(".")[0]
        if first == "hooks":
            return self._hook(request, segments)
        if first == "files":
            return self._file(request, segments)
        if segments[0] == "api":
            return self._method(request, segments)
        return super().recognise(request)

    def _method(self, request: Request, segments: tuple[str, ...]) -> Recognition:
        if len(segments) != 2 or request.method not in _METHODS or not _METHOD.fullmatch(segments[1]):
            return NOT_RECOGNISED
        method = segments[1]
        try:
            known = self._by_name.get(method.lower())
        except CatalogueError:
            return unreadable('the catalogue of "slack" cannot be read')
        captures = {"method": method}
        if known is None:
            return _one(Call(f"slack:{method}", captures, access="write", known=False))
        return _one(
            Call(f"slack:{known.name}", captures, access=known.access, executes=known.executes, mints=known.mints)
        )

    def _hook(self, request: Request, segments: tuple[str, ...]) -> Recognition:
        address = _HOOKS.get(segments[0])
        if address is None or request.method != "POST" or len(segments) <= address.shown:
            return NOT_RECOGNISED
        return _one(_addressed(address, request, segments))

    def _file(self, request: Request, segments: tuple[str, ...]) -> Recognition:
        if segments[0] == "upload" and request.method in ("POST", "PUT") and len(segments) > _UPLOAD.shown:
            return _one(_addressed(_UPLOAD, request, segments))
        if segments[0] in _DOWNLOADS and request.method in ("GET", "HEAD"):
            return _one(Call("slack:download", {}, access="read"))
        return NOT_RECOGNISED


def _addressed(address: _Address, request: Request, segments: tuple[str, ...]) -> Call:
    path = "/" + "/".join((*segments[: address.shown], _HIDDEN))
    captures = {"team": segments[1]} if request.host.startswith("hooks.") else {}
    return Call(
        f"slack:{address.operation}",
        captures,
        trusted=frozenset(captures),
        target=f"{request.host}{path}",
        path=path,
        access=address.access,
        executes=address.executes,
    )


def _one(call: Call) -> Recognition:
    return Recognition((call,))
