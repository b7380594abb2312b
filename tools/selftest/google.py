"""Every method of Google's discovery documents, as its flat path on its own host, and on the other hosts it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 180

DOCUMENTS = "googleapiclient/discovery_cache/documents"
BATCHED = 20
"""Requests in a batch."""
OWN_WORD = re.compile(r"(?!v[0-9])[a-z][A-Za-z]*/")
"""How a path begins that says which API it is, so that www.googleapis.com could serve it."""

_PARAMETER = re.compile(r"\{\+?([^{}]*)\}")


def cases() -> Iterable[Case]:
    """Yield every method in every spelling."""
    folder = package("PyPI:google-api-python-client").folder / DOCUMENTS
    for path in sorted(folder.glob("*.json")):
        if path.name != "index.json":
            yield from _of_document(path)


def _of_document(path: Path) -> Iterator[Case]:
    document = json.loads(path.read_bytes())
    root = document["rootUrl"]
    methods = list(_methods(document))
    for method in methods:
        flat = document["servicePath"] + method.get("flatPath", method["path"])
        yield _case(method, root + _filled(flat), "flatPath")
        yield _case(method, root.replace(".googleapis.com", ".mtls.googleapis.com") + _filled(flat), "mutual TLS")
        if OWN_WORD.match(flat) and _was_on_www(document):
            yield _case(method, "https://www.googleapis.com/" + _filled(flat), "www")
        by_pattern = _by_pattern(method)
        # Patterns with choices in them, which 16 methods of compute have, are not made into names here.
        if "{+" in method["path"] and "[" not in by_pattern:
            yield _case(method, root + document["servicePath"] + by_pattern, "path with patterns filled")
        yield from _uploads(document, method, methods, flat)
    for number, endpoint in enumerate(document.get("endpoints", ())):
        method = methods[number % len(methods)]
        flat = document["servicePath"] + method.get("flatPath", method["path"])
        yield _case(method, endpoint["endpointUrl"].rstrip("/") + "/" + _filled(flat), "regional host")
    for start in range(0, len(methods), BATCHED):
        yield _batch(document, methods[start : start + BATCHED])


def _methods(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from part.get("methods", {}).values()
    for resource in part.get("resources", {}).values():
        yield from _methods(resource)


def _case(method: Mapping[str, Any], url: str, group: str) -> Case:
    return Case(method["httpMethod"], url, frozenset({f"google:{method['id']}"}), group=group)


def _filled(template: str, value: str = "x1") -> str:
    return _PARAMETER.sub(value, template)


def _by_pattern(method: Mapping[str, Any]) -> str:
    """Return the path with each parameter as the client fills it in: a resource name that fits its pattern."""

    def name(found: re.Match[str]) -> str:
        pattern = method["parameters"].get(found[1], {}).get("pattern", "")
        if found[0][1] != "+" or not pattern:
            return "x1"
        text = str(pattern).removeprefix("^").removesuffix("$")
        return text.replace("[^/]+", "x1").replace("[0-9]{0,20}", "12345").replace(".*", "x1/y2/z3")

    return _PARAMETER.sub(name, str(method["path"]))


def _was_on_www(document: Mapping[str, Any]) -> bool:
    words = {
        (document["servicePath"] + method.get("flatPath", method["path"])).split("/")[0]
        for method in _methods(document)
    }
    return len(words) == 1


def _uploads(
    document: Mapping[str, Any], method: Mapping[str, Any], methods: list[dict[str, Any]], flat: str
) -> Iterator[Case]:
    for protocol in method.get("mediaUpload", {}).get("protocols", {}).values():
        start = protocol["path"].partition("upload/")[0] + "upload/"
        url = document["rootUrl"].rstrip("/") + start + _filled(flat)
        yield _case(method, url + "?uploadType=media", "upload")
        # Which of the methods under one path began it, the path does not say: all are wanted.
        path = _filled(flat.removeprefix(document["servicePath"]))
        wanted = {f"google:{each['id']}" for each in methods if "mediaUpload" in each and _fits(each, path)}
        yield Case("PUT", f"{url}?uploadType=resumable&upload_id=x", frozenset(wanted), group="upload that goes on")
    if method.get("useMediaDownloadService"):
        yield _case(method, f"{document['rootUrl']}download/{_filled(flat)}?alt=media", "download")


def _fits(method: Mapping[str, Any], path: str) -> bool:
    pieces = re.split(r"\{[^{}]*\}", method.get("flatPath", method["path"]))
    return re.fullmatch("[^/]+".join(re.escape(piece) for piece in pieces), path) is not None


def _batch(document: Mapping[str, Any], methods: list[dict[str, Any]]) -> Case:
    parts = []
    for number, method in enumerate(methods):
        path = document["servicePath"] + method.get("flatPath", method["path"])
        parts.append(
            f"--batch_x1\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n"
            f"{method['httpMethod']} /{_filled(path)} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        )
    return Case(
        "POST",
        document["rootUrl"] + document["batchPath"],
        frozenset(f"google:{method['id']}" for method in methods),
        (("content-type", "multipart/mixed; boundary=batch_x1"),),
        ("".join(parts) + "--batch_x1--\r\n").encode(),
        "batch",
    )
