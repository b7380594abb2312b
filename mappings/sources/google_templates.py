"""Path templates of Google's discovery documents, in the form the catalogue keeps.

    flatPath v1/projects/{projectsId}/secrets/{secretsId}       v1, projects/{}/secrets/{}
    pattern ^operations/.*$, flatPath v1/operations/{operationsId}:cancel       v1, operations/{+}:cancel
    storage/v1/ and b/{bucket}/o/{object}                       storage/v1, b/{bucket}/o/{object+}
    an upload path unlike the method's own                      SourceError

A prefix ends with the version. A parameter called after the collection before it is written ``{}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mappings.packs.google_tables import singular
from mappings.sources.compiling import SourceError

VERSION = re.compile(r"v[0-9][0-9a-z._]*|alpha|beta")
"""A segment that names a version; what stands up to it is the prefix."""

MAX_DOCUMENT_DEPTH = 4
"""Of documents in documents of Firestore; deeper ones, up to 100, are not recognised."""

SPANS: Mapping[str, frozenset[str]] = {
    "storage": frozenset({"object", "sourceObject", "destinationObject", "folder", "managedFolder", "sourceFolder"})
}
"""Parameters of documents without patterns whose values hold slashes, sent as "%2F".

https://cloud.google.com/storage/docs/request-endpoints#encoding
"""

PARAMETER = re.compile(r"\{\+?([^{}]*)\}")


def spellings(document: Mapping[str, Any], method: Mapping[str, Any]) -> Iterator[str]:
    """Yield every path template of a method: the plain one, for uploads and for downloads of content."""
    path = document["servicePath"] + template(document["name"], method)
    if document["name"] == "firestore":
        yield from firestore(path)
        return
    yield path
    for protocol in method.get("mediaUpload", {}).get("protocols", {}).values():
        # The document writes the start of the path in full, and the rest with parameters not expanded.
        start, found, rest = str(protocol["path"]).partition(f"upload/{document['servicePath']}")
        if not found or rest != method["path"]:
            raise SourceError(f'google: {method["id"]}: upload path "{protocol["path"]}" is unlike "{method["path"]}"')
        yield f"{start.strip('/')}/upload/{path}".lstrip("/")
    if method.get("useMediaDownloadService"):
        yield f"download/{path}"


def template(api: str, method: Mapping[str, Any]) -> str:
    """Return the flat path of a method with ``{x+}`` where a parameter may hold slashes."""
    path = str(method["path"])
    if "flatPath" not in method:
        spans = SPANS.get(api, frozenset())
        return PARAMETER.sub(lambda found: f"{{{found[1]}{'+' if found[1] in spans else ''}}}", path)
    flat = str(method["flatPath"]).split("/")
    open_ended = _expanded(method).split("/")
    if len(flat) != len(open_ended):
        return "/".join(flat)
    return "/".join(
        part.replace("}", "+}", 1) if pattern.startswith(".*") else part
        for part, pattern in zip(flat, open_ended, strict=True)
    )


def firestore(path: str) -> Iterator[str]:
    """Yield a path for each depth of a document; of what may hold slashes, only their number tells what it is.

    Queries may also begin at the root, which the documents leave out: google/firestore/v1/firestore.proto,
    `additional_bindings` of RunQuery, ListCollectionIds, PartitionQuery, RunAggregationQuery and CreateDocument.
    """
    base, found, rest = path.partition("/documents/{documentsId")
    if not found:
        yield path
        return
    base += "/documents"
    _, deep, rest = rest.partition("{documentsId1+}")
    if not deep:
        yield from (f"{base}/{{collectionId}}", f"{base}/{{parent+}}/{{collectionId}}")
        return
    for depth in range(0 if rest.startswith(":") else 1, MAX_DOCUMENT_DEPTH + 1):
        pairs = "".join(f"/{{collectionsId{number or ''}}}/{{documentsId{number or ''}}}" for number in range(depth))
        yield base + pairs + rest.replace("{collectionId}", f"{{collectionsId{depth}}}")


def _expanded(method: Mapping[str, Any]) -> str:
    """Return the path with every ``{+x}`` replaced by its pattern, a segment of which may be ``.*``."""

    def pattern(found: re.Match[str]) -> str:
        given = method["parameters"].get(found[1], {}).get("pattern", "{}") if found[0][1] == "+" else "{}"
        # A slash within brackets separates nothing.
        return str(given).removeprefix("^").removesuffix("$").replace("[^/]", "")

    return PARAMETER.sub(pattern, str(method["path"]))


def split_prefix(path: str) -> tuple[str, str]:
    """Return what stands up to the version, and the template behind it with parameters under their facts' names."""
    segments = path.split("/")
    end = 0
    for at, segment in enumerate(segments):
        if "{" in segment:
            break
        if VERSION.fullmatch(segment):
            end = at + 1
            break
    tail: list[str] = []
    names: set[str] = set()
    before = ""
    for segment in segments[end:]:
        found = PARAMETER.match(segment)
        if not found:
            tail.append(segment)
            before = segment
            continue
        span = "+" if found[1].endswith("+") else ""
        name = fact(found[1].rstrip("+"))
        if name in names:
            name = found[1].rstrip("+")
        names.add(name)
        written = "" if name == singular(before) else name
        tail.append(f"{{{written}{span}}}{segment[found.end() :]}")
    return "/".join(segments[:end]), "/".join(tail)


def fact(parameter: str) -> str:
    """Return the name a parameter is captured under: ``projectsId`` and ``projectId`` are ``project``."""
    parameter = parameter.replace("$", "").replace(".", "_").replace("-", "_")
    base = parameter.rstrip("0123456789")
    number = parameter[len(base) :]
    if base.endswith("Id") and len(base) > 2:
        base = singular(base[:-2])
    # Where nothing stands before it but the version, flatPath calls a parameter after that: "v1Id".
    return ("parent" if VERSION.fullmatch(base) else base) + number
