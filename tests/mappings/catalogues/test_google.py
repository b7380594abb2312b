"""The Google catalogue as shipped, and what its rules make of every operation in it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mappings import Mappings, Request, canonical_action, compile_mappings, read_document
from mappings.catalogues import Archive, CatalogueError, shipped
from mappings.operations import OperationIndex, read_operations
from mappings.packs.google import GooglePack
from mappings.packs.google_batch import MAX_PARTS
from mappings.packs.google_tables import HOSTS, SUFFIX, Hosts, named

RULES = Path(__file__).parents[3] / "mappings" / "packs" / "google.yaml"
DROPPED_EVERY = 10
CHANGES = frozenset({"infra:create", "infra:update", "infra:destroy", "infra:apply", "iam:change", "code:execute"})
GRAVE = frozenset({"infra:destroy", "data:delete", "iam:change", "secret:read"})


class _Older:
    """The catalogue as it was before some of its operations were there."""

    def __init__(self, archive: Archive, missing: frozenset[str]) -> None:
        self.header = archive.header
        self._archive = archive
        self._missing = missing

    def read(self, member: str) -> Any:
        content = self._archive.read(member)
        if member == HOSTS:
            return content
        return {
            host: {**table, "rows": [row for row in table["rows"] if row[0] not in self._missing]}
            for host, table in content.items()
        }


@cache
def _archive() -> Archive:
    return shipped()["google"]


def _tables() -> Iterator[tuple[str, Any]]:
    for member in sorted(_archive().members - {HOSTS}):
        yield from _archive().read(member).items()


@cache
def _rows() -> tuple[tuple[str, str, str, str, str, str], ...]:
    """Return host, id, access letter, traits, method and a path of every operation and route."""
    found = []
    for host, table in _tables():
        prefixes = [prefix for prefix, _ in table["prefixes"]]
        for name, letter, traits, routes in table["rows"]:
            for route, bits in zip(routes[::2], routes[1::2], strict=True):
                method, _, template = route.partition(" ")
                path = "/".join("x1" if part[:1] == "{" else part for part in _parts(named(template)))
                prefix = next(text for at, text in enumerate(prefixes) if bits >> at & 1)
                found.append((host, name, letter, traits, method, f"/{prefix}/{path}".replace("//", "/")))
    return tuple(found)


def _parts(template: str) -> Iterator[str]:
    for part in template.split("/"):
        head, colon, verb = part.partition("}:")
        yield f"x1:{verb}" if colon and head[:1] == "{" else part


def _request(host: str, method: str, path: str) -> Request:
    return Request(method, "https", host + SUFFIX, 443, path, (), (), b"")


@cache
def _mappings() -> Mappings:
    document = read_document(RULES.read_text("utf-8"), "pack:google")
    return compile_mappings([document], [GooglePack(_archive())])


PLACES = {
    "the API's own host": ("compute.googleapis.com", "compute", ""),
    "with mutual TLS": ("compute.mtls.googleapis.com", "compute", ""),
    "a location before it": ("europe-west4-aiplatform.googleapis.com", "aiplatform", ""),
    "a multi-region before it": ("eu-documentai.googleapis.com", "documentai", ""),
    "a location behind it": ("spanner.us-east1.rep.googleapis.com", "spanner", ""),
    "its batches": ("batch-spanner.us-east1.rep.googleapis.com", "spanner", ""),
    "a bucket": ("media.storage.googleapis.com", "storage", "media"),
    "a bucket with dots": ("img.acme.test.storage.googleapis.com", "storage", "img.acme.test"),
    "the older name of storage": ("media.commondatastorage.googleapis.com", "storage", "media"),
    "what is no location": ("evil-compute.googleapis.com", "", ""),
    "what is no location behind it": ("compute.evil.rep.googleapis.com", "", ""),
    "a subdomain": ("a.compute.googleapis.com", "", ""),
    "mutual TLS twice": ("compute.mtls.mtls.googleapis.com", "", ""),
    "an API nobody has": ("nova.googleapis.com", "", ""),
    "another suffix": ("compute.googleapis.com.evil.test", "", ""),
    "no dot before the suffix": ("computegoogleapis.com", "", ""),
}


@pytest.mark.parametrize(("host", "api", "bucket"), PLACES.values(), ids=PLACES)
def test_a_host_is_one_api_or_none(host: str, api: str, bucket: str) -> None:
    """Only hosts that Google documents for an API are taken for it."""
    place = Hosts(_archive()).place(host)
    assert (place.api, place.bucket) == (api, bucket)


def test_made_up_hosts_cost_no_memory() -> None:
    """A client that makes up buckets without end is not remembered without end."""
    hosts = Hosts(_archive())
    for number in range(5000):
        hosts.place(f"b{number}.storage.googleapis.com")
    assert len(hosts._places) <= 1024


def test_an_older_table_does_not_name_what_is_newer() -> None:
    """With every tenth operation taken out, requests for those are not recognised, or named no milder.

    What remains is inherent: a new ``GET things/search`` reads like the thing "search", and in logging one id stands
    for what others name by their owner.
    """
    names = sorted({row[1] for row in _rows()})
    missing = frozenset(names[::DROPPED_EVERY])
    access = {row[1]: row[2] for row in _rows()}
    pack = GooglePack(_Older(_archive(), missing))  # type: ignore[arg-type]
    asked = named_other = 0
    for host, name, letter, _, method, path in _rows():
        if name not in missing:
            continue
        asked += 1
        for call in pack.recognise(_request(host, method, path)).calls:
            named_other += 1
            other = access[call.name.removeprefix("google:")]
            assert other == letter or {other, letter} <= {"r", "l"}, f"{name} was named {call.name}"
    assert asked > 1000
    assert named_other < asked * 0.02


def test_every_rule_speaks_of_operations_there_are() -> None:
    """Each pattern written in google.yaml fits an operation, so that no door is guarded under a misspelt name."""
    every = {canonical_action(f"google:{row[1]}") for row in _rows()}
    for rule in yaml.safe_load(RULES.read_text("utf-8"))["rules"]:
        written = rule["match"]["op"]
        for text in [written] if isinstance(written, str) else written:
            if text.startswith(("google:grpc.", "google:storage.xml.", "google:oauth2.")):
                continue
            index: OperationIndex[str] = OperationIndex()
            for pattern in read_operations(text):
                index.add(pattern, text)
            assert any(index.find(name) for name in every), f"{rule['id']}: {text}"


@pytest.fixture(scope="module")
def judged() -> dict[str, tuple[str, str, str, frozenset[str]]]:
    """What the rules make of each operation: access letter, traits, method and actions."""
    found = {}
    for host, name, letter, traits, method, path in _rows():
        if name not in found:
            resolution = _mappings().resolve(_request(host, method, path))
            found[name] = (letter, traits, method, frozenset(each.action for each in resolution.operations))
    return found


def test_reads_are_no_change(judged: dict[str, tuple[str, str, str, frozenset[str]]]) -> None:
    """No rule takes a read for a change."""
    wrong = {name for name, (letter, _, _, actions) in judged.items() if letter in "rl" and actions & CHANGES}
    assert wrong == set()


def test_deleting_never_has_a_mild_name(judged: dict[str, tuple[str, str, str, frozenset[str]]]) -> None:
    """Whatever is sent by DELETE is named by a grave word."""
    wrong = {name for name, (_, _, method, actions) in judged.items() if method == "DELETE" and not actions & GRAVE}
    assert wrong == set()


def test_permissions_and_secrets_are_named_as_such(judged: dict[str, tuple[str, str, str, frozenset[str]]]) -> None:
    """Every operation that changes permissions is iam:change, every one that mints is secret:read."""
    for name, (letter, traits, _, actions) in judged.items():
        assert letter != "p" or "iam:change" in actions, name
        assert "m" not in traits or "secret:read" in actions, name


def test_what_executes_is_not_called_a_mere_change(judged: dict[str, tuple[str, str, str, frozenset[str]]]) -> None:
    """What sets something going that the request does not bound is no update and no data; machines made are made."""
    mild = frozenset({"infra:update", "data:write", "data:read", "health:check"})
    wrong = {name for name, (_, traits, _, actions) in judged.items() if "x" in traits and actions & mild}
    assert wrong == set()


def test_a_file_that_is_not_the_one_named_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its catalogue the pack recognises nothing and says so."""

    def broken(_: str) -> Any:
        raise CatalogueError("gone")

    archive = Archive(Path("/nowhere"), _archive().header)
    monkeypatch.setattr(archive, "read", broken)
    recognition = GooglePack(archive).recognise(_request("compute", "GET", "/compute/v1/projects/a/zones"))
    assert recognition.problem is not None
    assert "cannot be read" in recognition.problem.message


def test_a_batch_without_end_is_refused() -> None:
    """More requests than Google takes at once are not named one by one."""
    part = "--b\nContent-Type: application/http\n\nGET /storage/v1/b/a\n\n"
    for count, readable in ((MAX_PARTS, True), (MAX_PARTS + 1, False)):
        body = (part * count + "--b--").encode()
        headers = (("content-type", "multipart/mixed; boundary=b"),)
        request = Request("POST", "https", "storage.googleapis.com", 443, "/batch/storage/v1", (), headers, body)
        recognition = GooglePack(_archive()).recognise(request)
        assert (recognition.problem is None) is readable
