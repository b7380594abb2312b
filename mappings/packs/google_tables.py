"""Which Google API a host serves, and which of its operations a method and a path are.

One table for each API, made when the first request for it comes; it holds each template once, with the prefixes
(``compute/v1``) that serve it. A custom verb is cut off first and looked up with the method, so that a verb nobody
knows is never taken for a part of a name:

    POST .../instances/vm:stop       the operation with ":stop", or none
    GET  .../dockerImages/a@sha256:e5...    no verb: a digest
    GET  .../things/a%3Astop         none: some servers would see the verb

Hosts, all ending in ".googleapis.com", and the API they serve ("Regional and locational endpoints",
https://docs.cloud.google.com/docs/geography-and-regions; AIP-4114 for mutual TLS):

    compute, compute.mtls                   compute
    us-central1-aiplatform                  aiplatform
    spanner.us-east1.rep, batch-spanner.us-east1.rep    spanner
    my.bucket.storage                       storage, bucket "my.bucket"
    evil-compute, compute.example           none
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

from mappings.catalogues import Archive, Operation, RouteTable
from mappings.catalogues.routes import ACCESS_OF_LETTER, EXECUTES, MINTS

SUFFIX = ".googleapis.com"
HOSTS = "hosts.json"
STORAGE = "storage"
STORAGE_ALIAS = "commondatastorage"
"""The older name of the same host (https://cloud.google.com/storage/docs/request-endpoints)."""
WWW = "www"

MAX_HOSTS = 1024
"""Remembered; a hostile client makes up bucket hosts without end."""

REGION = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
"""Also regions newer than the catalogue."""

VERB = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""What a custom verb looks like (https://google.aip.dev/136)."""

TRANSPORTS = frozenset({"upload", "resumable", "download"})
"""First segments that say how content is sent; the API's own path follows."""

_SESSION_METHODS = ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class Place:
    """What a host stands for."""

    api: str
    """First label of the API's own host; "" when the host is none that is known."""
    bucket: str = ""
    """Of storage, when the host names one."""


class Found(NamedTuple):
    """An operation that a path leads to."""

    operation: Operation
    captures: dict[str, str]
    resource: tuple[str, ...]
    """The segments behind the prefix, without a custom verb."""


NOWHERE = Place("")


class Hosts:
    """The hosts of the catalogue."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._places: dict[str, Place] = {}
        self._tables: dict[str, Table] = {}

    @cached_property
    def _index(self) -> Any:
        return self._archive.read(HOSTS)

    def place(self, host: str) -> Place:
        """Return what a host stands for."""
        known = self._places.get(host)
        if known is None:
            if len(self._places) >= MAX_HOSTS:
                self._places.clear()
            known = self._places[host] = self._read(host)
        return known

    def table(self, api: str) -> Table:
        """Return the table of an API; raises CatalogueError when the catalogue is not what its index says."""
        table = self._tables.get(api)
        if table is None:
            content = self._archive.read(self._index["hosts"][api])[api]
            table = self._tables[api] = Table(content)
        return table

    def moved(self, segments: tuple[str, ...]) -> list[str]:
        """Return the APIs that www serves under these segments although they have hosts of their own."""
        found: list[str] = self._index["legacy"].get(first_word(segments), [])
        return found

    def _read(self, host: str) -> Place:
        if not host.endswith(SUFFIX):
            return NOWHERE
        name = host.removesuffix(SUFFIX)
        for label in (STORAGE, STORAGE_ALIAS):
            if name == label:
                return Place(STORAGE)
            if name.endswith(f".{label}"):
                return Place(STORAGE, name.removesuffix(f".{label}"))
        return Place(self._api(name))

    def _api(self, name: str) -> str:
        labels = name.split(".")
        if len(labels) == 3 and labels[2] == "rep" and self._is_location(labels[1]):
            label = labels[0].removeprefix("batch-").removesuffix("-preprod")
            return label if label in self._index["hosts"] else ""
        if len(labels) == 2 and labels[1] == "mtls":
            labels.pop()
        if len(labels) != 1:
            return ""
        label = labels[0]
        if label in self._index["hosts"]:
            return label
        for at, character in enumerate(label):
            if character == "-" and label[at + 1 :] in self._index["hosts"] and self._is_location(label[:at]):
                return label[at + 1 :]
        return ""

    def _is_location(self, text: str) -> bool:
        return bool(REGION.fullmatch(text)) or text in self._index["locations"]


class Table:
    """The operations of one API."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._prefixes: dict[tuple[str, ...], tuple[int, bool]] = {}
        for at, (prefix, colon_is_text) in enumerate(content["prefixes"]):
            self._prefixes[tuple(prefix.split("/")) if prefix else ()] = (1 << at, bool(colon_is_text))
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        self._routes: RouteTable[tuple[Operation, int, bool]] = RouteTable()
        for name, letter, traits, routes in content["rows"]:
            operation = Operation(name, ACCESS_OF_LETTER[letter], EXECUTES in traits, MINTS in traits)
            for at in range(0, len(routes), 2):
                method, _, template = routes[at].partition(" ")
                path, colon, verb = template.rpartition(":") if ":" in template else (template, "", "")
                self._routes.add(method + colon + verb, "/" + named(path), (operation, routes[at + 1], "+}" in path))

    def find(self, method: str, segments: tuple[str, ...], *, escaped_colon: bool) -> Found | None:
        """Return the operation, None when there is none; the closest when several templates fit."""
        for length in self._lengths:
            known = self._prefixes.get(segments[:length])
            if known is None:
                continue
            bit, colon_is_text = known
            rest = segments[length:]
            last = rest[-1] if rest else ""
            if ":" in last:
                found = self._with_colon(method, rest, bit, colon_is_text=colon_is_text, escaped=escaped_colon)
            else:
                found = self._closest(method, rest, bit)
            if found is not None:
                return found
        return None

    def sessions(self, segments: tuple[str, ...]) -> list[Found]:
        """Return every operation whose upload may go on under these segments: its own method is no longer said."""
        found = (self.find(method, segments, escaped_colon=False) for method in _SESSION_METHODS)
        return [each for each in found if each is not None]

    def _with_colon(
        self, method: str, rest: tuple[str, ...], bit: int, *, colon_is_text: bool, escaped: bool
    ) -> Found | None:
        head, _, verb = rest[-1].rpartition(":")
        found = self._closest(f"{method}:{verb}", (*rest[:-1], head), bit) if head else None
        # "%3A" is text to a server that cuts before it decodes, and a verb to one that cuts afterwards.
        if found is not None:
            return None if escaped else found
        if colon_is_text or not VERB.fullmatch(verb) or head.endswith("@sha256") or _is_old_project(rest, head):
            return self._closest(method, rest, bit)
        return None

    def _closest(self, method: str, segments: tuple[str, ...], bit: int) -> Found | None:
        for hit in self._routes.find(method, segments):
            operation, bits, spans = hit.entry
            if bits & bit:
                # Without a span every value is a text already.
                plain = cast("tuple[str, ...]", hit.captured)
                captures = hit.captures(segments) if spans else dict(zip(hit.names, plain, strict=True))
                if "-" in segments:
                    # A wildcard (https://google.aip.dev/159): the request does not say where.
                    captures = {name: value for name, value in captures.items() if value != "-"}
                return Found(operation, captures, segments)
        return None


def _is_old_project(rest: tuple[str, ...], head: str) -> bool:
    """Say whether the last segment is a project in a domain, ``example.com:project``; no other id has a dot there."""
    return len(rest) > 1 and rest[-2] == "projects" and "." in head


def named(template: str) -> str:
    """Return a template with each ``{}`` called after the collection before it."""
    segments = template.split("/")
    before = ""
    for at, segment in enumerate(segments):
        if segment in ("{}", "{+}"):
            segments[at] = f"{{{singular(before)}{segment[1:]}"
        elif "{" not in segment:
            before = segment
    return "/".join(segments)


def first_word(segments: Sequence[str]) -> str:
    """Return the first segment that does not say how content is sent, "" when there is none."""
    return next((each for each in segments if each not in TRANSPORTS), "")


def singular(word: str) -> str:
    """Return the English singular of a collection's name, by its ending alone."""
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending) + instead
    return word
