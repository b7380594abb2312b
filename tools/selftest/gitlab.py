"""Every operation of python-gitlab: the client itself is called, and what it would send is caught.

Managers and the things they manage are made with an id of our own and each of their functions is called with a text
for every argument; requests stop before the wire. Two groups: ids as numbers, and ids as ``group%2Fproject`` and
the like, as the client itself encodes them. It does not show routes that the client lacks, which the catalogue
adds (overrides/gitlab.yaml).
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 12

_VERBS = ("list", "get", "create", "update", "delete", "set")
_SAME_AS_GET = ("head", "refresh")
_IDS = {"numeric ids": "17", "encoded ids": "my.group/my project"}


class _Stop(Exception):
    pass


def cases() -> Iterator[Case]:
    """Yield a case for every request the client makes; see the module."""
    gitlab = _client()
    for group, value in _IDS.items():
        sent: dict[tuple[str, str], list[tuple[int, int, int, str]]] = defaultdict(list)
        for name, requests in _functions(gitlab, value):
            verb = name.rpartition(".")[2]
            plain = _VERBS.index(verb) if verb in _VERBS else len(_VERBS)
            for request in requests:
                # Of two functions that send the same, the one called by the plain verb names it.
                sent[request].append((len(requests), plain, len(name), name))
        for (method, path), names in sent.items():
            if " " in path or "%25" in path:
                continue  # uploads: here the client encodes an id not at all, or twice; only numbers work
            url = f"https://gitlab.com/api/v4{path}"
            yield Case(method, url, frozenset({f"gitlab:{min(names)[3]}"}), group=group)


def _client() -> Any:
    """Import the client from where it was unpacked, without the package that only uploads need."""
    sys.path.insert(0, str(package("PyPI:python-gitlab").folder))
    sys.modules.pop("gitlab", None)  # this module, when it goes by that name
    encoder = types.ModuleType("requests_toolbelt.multipart.encoder")
    encoder.MultipartEncoder = dict  # type: ignore[attr-defined]
    sys.modules.setdefault("requests_toolbelt", types.ModuleType("requests_toolbelt"))
    sys.modules.setdefault("requests_toolbelt.multipart", types.ModuleType("requests_toolbelt.multipart"))
    sys.modules.setdefault("requests_toolbelt.multipart.encoder", encoder)
    return importlib.import_module("gitlab")


def _functions(gitlab: Any, value: str) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Yield the name of each function and what it sends."""
    objects = importlib.import_module("gitlab.v4.objects")
    base = importlib.import_module("gitlab.base")
    client = gitlab.Gitlab("https://gitlab.com", private_token="unused")
    names = importlib.import_module("gitlab.utils").EncodedId
    caught: list[tuple[str, str]] = []

    def catch(verb: str, path: str, *_: Any, **__: Any) -> None:
        path = path.removeprefix("https://gitlab.com/api/v4")
        caught.append((verb.upper(), path.replace("//", "/").rstrip("/")))
        raise _Stop

    client.http_request = catch
    # What a body must hold is no matter here.
    importlib.import_module("gitlab.types").RequiredOptional.validate_attrs = lambda *_, **__: None
    yield from _called(client, [], names(value), caught)
    manager_class: Any
    for _, manager_class in sorted(vars(objects).items()):
        if not (inspect.isclass(manager_class) and issubclass(manager_class, base.RESTManager)):
            continue
        path = getattr(manager_class, "_path", None)
        if not path:
            continue
        words = [word for word in path.split("/") if word and "{" not in word]
        manager = manager_class(client, parent=_Parent(names(value)))
        yield from _called(manager, words, names(value), caught)
        made = manager_class._obj_cls
        # Built as an answer of the server would build it.
        thing = made(manager, {made._id_attr or "name": value, "name": value})
        yield from _called(thing, words, names(value), caught)


class _Parent:
    """Stands for the thing that a manager belongs to: whatever is asked of it is the same id."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.manager = None

    def __getattr__(self, name: str) -> Any:
        return self._value


def _called(
    subject: Any, words: list[str], value: Any, caught: list[tuple[str, str]]
) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    for name in dir(type(subject)):
        if name.startswith(("_", "http_")) or name in _SAME_AS_GET:
            continue
        function = inspect.getattr_static(type(subject), name)
        if not inspect.isfunction(function) or function.__module__ == "gitlab.base":
            continue
        caught.clear()
        for arguments in _arguments(function, value, _is_one_thing(subject)):
            _try(getattr(subject, name), arguments)
        if caught:
            yield ".".join([*words, name]), set(caught)


def _is_one_thing(subject: Any) -> bool:
    made = getattr(subject, "_obj_cls", None)
    return made is not None and made._id_attr is None


def _arguments(function: Callable[..., Any], value: Any, one_thing: bool) -> Iterator[dict[str, Any]]:
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name == "id" and not one_thing:
            given[name] = value
        elif name in ("data", "new_data"):
            given[name] = _Anything()
        elif name == "filedata" or (name == "data" and parameter.default is None):
            given[name] = b"x"
        elif parameter.default is parameter.empty:
            given[name] = value
    yield given


class _Anything(dict[str, Any]):
    """A body that has every field asked for."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return "17"

    def pop(self, *_: Any) -> Any:
        return "17"

    def copy(self) -> _Anything:
        return self


def _try(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        made = function(**arguments)
        if inspect.isgenerator(made):
            next(made)
    except _Stop:
        pass
    except Exception as error:  # noqa: BLE001 - a function that cannot be called like this asks for nothing
        print(f"  not called: {function.__qualname__}: {error!r}", file=sys.stderr)
