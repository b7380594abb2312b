"""Names what the XML API of Cloud Storage is asked for: the bucket in the host or the path, the rest is the key.

    GET    https://storage.googleapis.com/                       storage.xml.buckets.list
    PUT    https://media.storage.googleapis.com/a/b.png          storage.xml.objects.insert, bucket "media", "a/b.png"
    PUT    .../media/a.png with x-goog-copy-source               storage.xml.objects.copy
    PUT    .../media/a.png?acl                                   storage.xml.objects.setAcl
    DELETE .../media/a.png?unheardOf                             not recognised: the key may select something else
    GET    .../media?acl&cors                                    conflict: two subresources

A write that carries a canned access list also changes who may read: it is named a second time, by setAcl. Nothing
is read from bodies; a form upload names its object there, so it has none here.

Source of methods, subresources and headers: https://cloud.google.com/storage/docs/xml-api/reference-methods and
https://cloud.google.com/storage/docs/xml-api/reference-headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict
from mappings.request import Request

JSON_WORDS = frozenset({"storage", "upload", "resumable", "download", "batch", "discovery", "b"})
"""First segments the JSON API has for itself on the shared host; no bucket's content is named behind them."""

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
"""https://cloud.google.com/storage/docs/buckets#naming; what is none, such as "$discovery", is another service."""

PLAIN_KEYS = frozenset(
    {
        *(f"X-{brand}-{key}" for brand in ("Goog", "Amz") for key in ("Algorithm", "Credential", "Date", "Expires")),
        *(f"X-{brand}-{key}" for brand in ("Goog", "Amz") for key in ("SignedHeaders", "Signature")),
        *("X-Amz-Security-Token", "X-Amz-Content-Sha256", "GoogleAccessId", "AWSAccessKeyId", "Expires", "Signature"),
        *("userProject", "generation", "response-content-type", "response-content-disposition", "x-id"),
        *("delimiter", "prefix", "marker", "max-keys", "encoding-type", "list-type", "continuation-token"),
        *("start-after", "fetch-owner", "versions", "key-marker", "generation-marker", "version-id-marker"),
        *("upload-id-marker", "max-uploads", "max-parts", "part-number-marker"),
    }
)
"""Query keys that change what is answered or prove who asks, never which method it is."""

BUCKET_PARTS: Mapping[str, str] = {
    "acl": "Acl",
    "billing": "Billing",
    "cors": "Cors",
    "defaultObjectAcl": "DefaultObjectAcl",
    "encryptionConfig": "EncryptionConfig",
    "lifecycle": "Lifecycle",
    "location": "Location",
    "logging": "Logging",
    "storageClass": "StorageClass",
    "tagging": "Tagging",
    "versioning": "Versioning",
    "websiteConfig": "WebsiteConfig",
}
"""Subresources of a bucket that are read with GET and set with PUT."""

OBJECT_PARTS: Mapping[str, str] = {"acl": "Acl", "retention": "Retention", "tagging": "Tagging"}

PARTS = frozenset({*BUCKET_PARTS, *OBJECT_PARTS, "uploads", "uploadId", "upload_id", "compose", "delete"})

BUCKET_METHODS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("GET", ""): ("objects.list", "list"),
    ("HEAD", ""): ("buckets.get", "read"),
    ("PUT", ""): ("buckets.insert", "write"),
    ("DELETE", ""): ("buckets.delete", "write"),
    ("POST", ""): ("objects.insert", "write"),
    ("POST", "delete"): ("objects.bulkDelete", "write"),
    ("GET", "uploads"): ("uploads.list", "list"),
}

OBJECT_METHODS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("GET", ""): ("objects.get", "read"),
    ("HEAD", ""): ("objects.get", "read"),
    ("PUT", ""): ("objects.insert", "write"),
    ("DELETE", ""): ("objects.delete", "write"),
    ("PUT", "compose"): ("objects.compose", "write"),
    ("POST", "uploads"): ("uploads.insert", "write"),
    ("GET", "uploadId"): ("uploads.get", "read"),
    ("PUT", "uploadId"): ("uploads.insertPart", "write"),
    ("POST", "uploadId"): ("objects.insert", "write"),
    ("DELETE", "uploadId"): ("uploads.delete", "write"),
    ("PUT", "upload_id"): ("objects.insert", "write"),
    ("DELETE", "upload_id"): ("uploads.delete", "write"),
}

COPY_HEADERS = frozenset({"x-goog-copy-source", "x-amz-copy-source"})
CANNED_HEADERS = frozenset({"x-goog-acl", "x-amz-acl"})
GRANT_HEADERS = ("x-amz-grant-", "x-goog-grant-")


def recognise_xml(request: Request, bucket: str) -> Recognition:
    """Name one request; `bucket` is the one in the host, "" when the path holds it."""
    place, key = (bucket, request.path[1:]) if bucket else _split(request.path)
    place, key = unquote(place, errors="replace"), unquote(key, errors="replace")
    if place and not BUCKET.fullmatch(place):
        return NOT_RECOGNISED
    if not place:
        plain = request.method == "GET" and all(name in PLAIN_KEYS for name, _ in request.query)
        return Recognition((_call("buckets.list", "list", "", "", request),)) if plain else NOT_RECOGNISED
    part = _subresource(request)
    if part is None:
        return NOT_RECOGNISED
    if " " in part:
        return conflict("the query selects two subresources of one bucket or object")
    method = _method(request, part, is_object=bool(key))
    if method is None:
        return NOT_RECOGNISED
    calls = [_call(*method, place, key, request)]
    if request.method in ("PUT", "POST") and part != "acl" and _sets_access(request):
        calls.append(_call(f"{'objects' if key else 'buckets'}.setAcl", "permissions", place, key, request))
    return Recognition(tuple(calls))


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path[1:].partition("/")
    return bucket, key


def _subresource(request: Request) -> str | None:
    """Return the query key that selects the method, "" for none, two with a blank, None for one that is unknown."""
    if not request.query:
        return ""
    keys = {name for name, _ in request.query} - PLAIN_KEYS
    if "uploadId" in keys:
        keys.discard("partNumber")
    return " ".join(sorted(keys)[:2]) if keys <= PARTS else None


def _method(request: Request, part: str, *, is_object: bool) -> tuple[str, str] | None:
    found = (OBJECT_METHODS if is_object else BUCKET_METHODS).get((request.method, part))
    if found is not None:
        if is_object and (request.method, part) == ("PUT", "") and _has(request, COPY_HEADERS):
            return "objects.copy", "write"
        return found
    headers = dict(request.headers)
    if is_object and (request.method, part) == ("POST", "") and headers.get("x-goog-resumable") == "start":
        return "objects.insert", "write"
    word = (OBJECT_PARTS if is_object else BUCKET_PARTS).get(part)
    scope = "objects" if is_object else "buckets"
    if word and request.method == "GET":
        return f"{scope}.get{word}", "read"
    if word and request.method == "PUT":
        return f"{scope}.set{word}", "permissions" if word.endswith("Acl") else "write"
    return None


def _has(request: Request, names: frozenset[str]) -> bool:
    return any(name in names for name, _ in request.headers)


def _sets_access(request: Request) -> bool:
    return _has(request, CANNED_HEADERS) or any(name.startswith(GRANT_HEADERS) for name, _ in request.headers)


def _call(word: str, access: str, bucket: str, key: str, request: Request) -> Call:
    captures = {"bucket": bucket, "object": key}
    # The id of a session is all the authority there is: it decides where the bytes go, whatever the path says.
    trusted = frozenset() if any(name == "upload_id" for name, _ in request.query) else frozenset(captures)
    if word == "objects.copy":
        captures["source"] = next(value for name, value in request.headers if name in COPY_HEADERS)
    target = "google/storage/b" + (f"/{bucket}" if bucket else "") + (f"/o/{key}" if key else "")
    return Call(f"google:storage.xml.{word}", captures, trusted=trusted, target=target, access=access)
