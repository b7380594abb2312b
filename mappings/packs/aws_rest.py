"""Finds the route of an AWS REST request: method and path, then the query, headers and host that tell routes apart.

The path is split before it is decoded, as these services do; a segment that is empty fits nothing. Of the routes on
the closest template, those count whose conditions all hold, and of these the ones that ask for most. It never
takes a template further away when the conditions of the closest one fail.

    PUT /b/k                         PutObject
    PUT /b/k?partNumber=1&uploadId=u, x-amz-copy-source      UploadPartCopy, which asks for more than the others
    GET /b?acl&tagging               conflict: two routes, and neither asks for more than the other
    PUT /b?brand-new                 None: what is undeclared may be how a service newer than the catalogue tells an
                                     operation from this one; signin came to do so with a route it had before
"""

from __future__ import annotations

from collections.abc import Mapping

from mappings.catalogues import Hit
from mappings.packs.aws_catalogue import Entry, Group
from mappings.packs.aws_s3 import S3, values
from mappings.request import Request

SIGNING = frozenset(
    {
        *("x-id", "awsaccesskeyid", "signature", "expires", "x-amz-algorithm", "x-amz-credential", "x-amz-date"),
        *("x-amz-expires", "x-amz-signedheaders", "x-amz-signature", "x-amz-security-token", "x-amz-region-set"),
        *("x-amz-content-sha256", "x-amz-user-agent"),
    }
)
"""Parameters that never choose an operation: what SDKs add for log readers, and signatures of versions 2 and 4 (S3
user guide, "Signing and authenticating REST requests"; IAM user guide, "Elements of an AWS API request signature")."""


type Found = tuple[Hit[list[Entry]], Entry]
"""A route, and the path it was found by."""


class TwoReadingsError(ValueError):
    """The request fits two routes, or one that servers would read differently."""


def find_route(request: Request, group: Group, segments: tuple[str, ...], key: str) -> Found | None:
    """Return the one route that fits; `key` is that of the host. None when there is none."""
    best: list[Found] = []
    closest: Hit[list[Entry]] | None = None
    query, twice = _query(request)
    for hit in group.routes.find(request.method, segments):
        closest = closest or hit
        if hit.captured != closest.captured:
            break
        for entry in hit.entry:
            if twice and not twice.isdisjoint([name for name, _ in entry.query]):
                raise TwoReadingsError("a query parameter that chooses the operation stands twice, differently")
            if _holds(request, entry, query, key):
                best.append((hit, entry))
    if not best:
        return None
    found = best[0] if len(best) == 1 else _most_asking(best)
    return found if _declared(found[1], query, hoisted=S3 in group.names) else None


def _query(request: Request) -> tuple[Mapping[str, str], set[str]]:
    """Return the parameters, and the names of those that stand there with different values."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for name, value in request.query:
        if found.setdefault(name, value) != value:
            twice.add(name)
    return found, twice


def _holds(request: Request, entry: Entry, query: Mapping[str, str], key: str) -> bool:
    for name, wanted in entry.query:
        value = query.get(name)
        if value is None or (wanted is not None and value != wanted):
            return False
    if entry.host and not key.startswith(entry.host):
        return False
    for name in entry.headers:
        sent = values(request, name)
        if not sent:
            return False
        if len(set(sent)) > 1 or not sent[0].strip():
            raise TwoReadingsError(f'"{name}" chooses the operation and stands twice or is empty')
    return True


def _most_asking(found: list[Found]) -> Found:
    """Return the route that asks for what all others ask and more, or needs more where they ask the same."""
    for level in (0, 1):
        asked = [entry.asks[level] for _, entry in found]
        found = [each for each, own in zip(found, asked, strict=True) if not any(own < other for other in asked)]
        if level == 0 and len({entry.asks[0] for _, entry in found}) > 1:
            break
    if len({entry.operation.name for _, entry in found}) > 1:
        raise TwoReadingsError("the request names an operation in more than one query parameter or header")
    return found[0]


def _declared(entry: Entry, query: Mapping[str, str], *, hoisted: bool) -> bool:
    """Whether the route may have all parameters; presigned URLs of S3 have headers among them (S3 API reference,
    "Authenticating Requests: Using Query Parameters"), which are read as such."""
    if entry.allowed is None:
        return True
    for name in query:
        if name not in entry.allowed:
            folded = name.lower()
            if folded not in SIGNING and not (hoisted and folded.startswith("x-amz-")):
                return False
    return True
