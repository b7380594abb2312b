"""The compiler of the Google catalogue, over documents small enough to read."""

import json
from pathlib import Path
from typing import Any

import pytest

from mappings.sources import SourceError, google, google_templates

FOLDER = "googleapiclient/discovery_cache/documents"


def _document(name: str, methods: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a discovery document as the client library carries it."""
    found = {"id": f"{name}:v1", "name": name, "servicePath": "", "batchPath": "batch", "resources": {}}
    found["rootUrl"] = f"https://{name}.googleapis.com/"
    found["methods"] = {key: {"id": f"{name}.{key}", "httpMethod": "GET", **each} for key, each in methods.items()}
    return {**found, **more}


def _compiled(tmp_path: Path, *documents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    # The corrections are for the real documents; here each would fit nothing.
    monkeypatch.setattr(google, "corrected", lambda _, described: list(described))
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for number, document in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(document), "utf-8")
    return google.compile_catalogue({google.PACKAGES[0]: tmp_path}).members


def test_versions_share_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two versions serve under the same template is one row with a bit for each."""
    documents = [
        _document("lamp", {"rooms.get": {"path": f"{version}/rooms/{{roomId}}"}}, version=version)
        for version in ("v1", "v2")
    ]
    members = _compiled(tmp_path, *documents, monkeypatch=monkeypatch)
    assert members["0.json"]["lamp"] == {
        "prefixes": [["v1", 0], ["v2", 0]],
        "rows": [["lamp.rooms.get", "r", "", ["GET rooms/{}", 3]]],
    }


def test_a_pattern_that_lets_slashes_through_makes_a_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server takes any number of segments, so does the template; elsewhere exactly one."""
    method = {
        "path": "v1/{+name}:poke",
        "flatPath": "v1/rooms/{roomsId}/things/{thingsId}:poke",
        "parameters": {"name": {"pattern": "^rooms/[^/]+/things/.*$", "location": "path"}},
        "httpMethod": "POST",
    }
    members = _compiled(tmp_path, _document("lamp", {"poke": method}), monkeypatch=monkeypatch)
    assert members["0.json"]["lamp"]["rows"] == [["lamp.poke", "w", "", ["POST rooms/{}/things/{+}:poke", 1]]]


def test_an_upload_is_another_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths by which content is sent and fetched lead to the same operation."""
    method = {
        "path": "rooms/{roomId}",
        "httpMethod": "POST",
        "mediaUpload": {"protocols": {"simple": {"path": "/upload/lamp/v1/rooms/{roomId}"}}},
        "useMediaDownloadService": True,
    }
    document = _document("lamp", {"rooms.fill": method}, servicePath="lamp/v1/")
    content = _compiled(tmp_path, document, monkeypatch=monkeypatch)["0.json"]["lamp"]
    assert [prefix for prefix, _ in content["prefixes"]] == ["download/lamp/v1", "lamp/v1", "upload/lamp/v1"]
    assert content["rows"] == [["lamp.rooms.fill", "w", "", ["POST rooms/{}", 7]]]


def test_two_operations_on_one_route_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route that would name two operations stops the compiler, rather than naming one of them."""
    document = _document("lamp", {"a": {"path": "v1/rooms/{x}"}, "b": {"path": "v1/rooms/{y}"}})
    with pytest.raises(SourceError, match=r'"lamp\.b" and of "lamp\.a"|"lamp\.a"'):
        _compiled(tmp_path, document, monkeypatch=monkeypatch)


def test_an_upload_path_unlike_the_method_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload path that is not the method's own with a word before it is not guessed at."""
    method = {"path": "v1/a", "mediaUpload": {"protocols": {"simple": {"path": "/upload/v1/b"}}}}
    with pytest.raises(SourceError, match="is unlike"):
        _compiled(tmp_path, _document("lamp", {"a": method}), monkeypatch=monkeypatch)


def test_a_host_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue speaks for hosts under googleapis.com and for no others."""
    document = _document("lamp", {"a": {"path": "v1/a"}}, rootUrl="https://lamp.example/")
    with pytest.raises(SourceError, match="does not end in"):
        _compiled(tmp_path, document, monkeypatch=monkeypatch)


ACCESS = {
    "a GET reads": ("rooms.get", "GET", [], "read"),
    "a GET of many lists": ("rooms.list", "GET", [], "list"),
    "a POST writes": ("rooms.get", "POST", [], "write"),
    "a POST with a read-only scope and a reading word reads": ("rooms.search", "POST", ["a.readonly"], "list"),
    "a read-only scope alone is no proof": ("rooms.create", "POST", ["a.readonly"], "write"),
    "nor is it for another method": ("rooms.listAll", "DELETE", ["a.readonly"], "write"),
    "the other spelling of the scope": ("rooms.fetchAll", "POST", ["cloud-platform.read-only"], "read"),
    "a policy is a permission": ("rooms.setIamPolicy", "POST", [], "permissions"),
    "a policy read is none": ("rooms.getIamPolicy", "POST", [], "read"),
    "rights asked about are read": ("rooms.testIamPermissions", "POST", [], "read"),
}


@pytest.mark.parametrize(("word", "method", "scopes", "wanted"), ACCESS.values(), ids=ACCESS)
def test_access_is_never_milder_than_the_method(word: str, method: str, scopes: list[str], wanted: str) -> None:
    """Only what is sent as a read, or is known to be one, counts as one."""
    assert google.access_of({"id": f"lamp.{word}", "httpMethod": method, "scopes": scopes}) == wanted


NAMES = {
    "projectsId": "project",
    "projectId": "project",
    "project": "project",
    "policiesId": "policy",
    "addressesId": "address",
    "documentsId1": "document1",
    "v1betaId1": "parent1",
    "instanceGroupManager": "instanceGroupManager",
}


@pytest.mark.parametrize(("parameter", "wanted"), NAMES.items())
def test_parameters_have_one_name_in_every_spelling(parameter: str, wanted: str) -> None:
    """A fact that rules and classifiers read has the same name in documents of every age."""
    assert google_templates.fact(parameter) == wanted
