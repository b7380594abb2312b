"""The files of catalogues: the same for the same content, and refused when they are not what the index names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mappings import Request, compile_mappings, load_mappings
from mappings.catalogues import (
    SHIPPED,
    Archive,
    CatalogueError,
    CataloguePack,
    Header,
    Source,
    read_folder,
    shipped,
    write_catalogue,
)

HEADER = Header(
    family="shop",
    file="",
    sha256="",
    operations=3,
    sources=(Source("shop-sdk", "PyPI", "1.2.3", "2026-01-02", "MIT"),),
    hosts=("api.shop.test",),
    prefixes=("", "/api/v3"),
    fold=("owner",),
)
ROWS = [
    ["files.get", "r", "", ["GET /files/{path+}"]],
    ["files.lock", "w", "", ["GET /files/{path+}?lock", "PUT /files/{path+}?lock=on"]],
    ["files.upload", "w", "", ["POST up.shop.test/files/{name}"]],
    ["jobs.run", "w", "x", ["POST /owners/{owner}/jobs/{job}/run"]],
    ["keys.create", "p", "m", ["POST /keys"]],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_catalogue(tmp_path, HEADER, {"routes.json": ROWS})
    return tmp_path


def request(line: str) -> Request:
    method, rest = line.split(" ", 1)
    host, _, target = rest.partition("/")
    path, _, query = target.partition("?")
    pairs = tuple((name, value) for name, _, value in (each.partition("=") for each in query.split("&") if each))
    return Request(method, "https", host, 443, f"/{path}", pairs, (), b"")


def test_the_same_content_gives_the_same_file(tmp_path: Path) -> None:
    """Neither time nor order of members shows in the bytes, so a catalogue can be built again and compared."""
    first = write_catalogue(tmp_path / "a", HEADER, {"routes.json": ROWS, "index.json": {"b": 1, "a": 2}})
    second = write_catalogue(tmp_path / "b", HEADER, {"index.json": {"a": 2, "b": 1}, "routes.json": ROWS})
    assert first == second
    assert (tmp_path / "a/shop.zip").read_bytes() == (tmp_path / "b/shop.zip").read_bytes()


def test_the_index_says_where_a_catalogue_comes_from(folder: Path) -> None:
    """Source, version, date and licence come back as they were written; the file is not opened for it."""
    (folder / "shop.zip").unlink()
    header = read_folder(folder)["shop"].header
    assert replace(header, file="", sha256="") == HEADER
    assert header.date == "2026-01-02"


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_file_that_is_not_the_one_named_is_refused(folder: Path, damage: str) -> None:
    """A changed, cut or missing table names nothing: every request to its hosts is unreadable."""
    path = folder / "shop.zip"
    content = path.read_bytes()
    if damage == "changed":
        path.write_bytes(content.replace(b"PK", b"PX", 1))
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    archive = read_folder(folder)["shop"]
    with pytest.raises(CatalogueError, match="install the gate anew"):
        archive.read("routes.json")
    resolution = compile_mappings([], [CataloguePack(archive)]).resolve(request("GET api.shop.test/files/a"))
    assert resolution.problem is not None
    assert resolution.problem.code == "mapping.unreadable"
    assert resolution.problem.message == 'the catalogue of "shop" cannot be read'


@pytest.mark.parametrize("text", ["", "[]", '{"shop": {}}', '{"shop": 1}', '{"shop": {"odd": 1, "sources": []}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """What cannot be read as an index is an error with its place, never an empty set of catalogues."""
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(CatalogueError, match=r"index\.json"):
        read_folder(tmp_path)


def test_a_member_that_is_not_there_is_refused(folder: Path) -> None:
    """Asking for a member that the file has not is an error, not an empty table."""
    with pytest.raises(CatalogueError, match="absent"):
        read_folder(folder)["shop"].read("absent.json")


CASES = [
    ("a path", "GET api.shop.test/files/a/b", ["shop:files.get"], {"path": "a/b"}),
    ("head by way of get", "HEAD api.shop.test/files/a", ["shop:files.get"], {}),
    ("more query conditions win", "GET api.shop.test/files/a?lock", ["shop:files.lock"], {}),
    ("a value that must be", "PUT api.shop.test/files/a?lock=on", ["shop:files.lock"], {}),
    ("another value", "PUT api.shop.test/files/a?lock=off", [], {}),
    ("two values", "PUT api.shop.test/files/a?lock=on&lock=off", "mapping.conflict", {}),
    ("another case", "GET api.shop.test/files/a?Lock", "mapping.conflict", {}),
    ("behind a prefix", "GET api.shop.test/api/v3/files/a", ["shop:files.get"], {"path": "a"}),
    ("a host of its own", "POST up.shop.test/files/n", ["shop:files.upload"], {"name": "n"}),
    ("not on another host", "POST api.shop.test/files/n", [], {}),
    ("folded", "POST api.shop.test/owners/Acme/jobs/J/run", ["shop:jobs.run"], {"owner": "acme", "job": "J"}),
    ("another method", "DELETE api.shop.test/keys", [], {}),
]


@pytest.mark.parametrize(("name", "line", "wanted", "captures"), CASES, ids=[case[0] for case in CASES])
def test_a_catalogue_names_calls(
    folder: Path, name: str, line: str, wanted: list[str] | str, captures: dict[str, str]
) -> None:
    """Method, host, path and query name the call; what servers would judge differently is a conflict."""
    recognition = CataloguePack(read_folder(folder)["shop"]).recognise(request(line))
    if isinstance(wanted, str):
        assert recognition.problem is not None
        assert recognition.problem.code == wanted
        return
    assert [call.name for call in recognition.calls] == wanted
    for call in recognition.calls:
        assert captures.items() <= call.captures.items()
        assert call.trusted == set(call.captures)


def test_a_call_says_what_is_known_of_its_operation(folder: Path) -> None:
    """Access, what it sets going and what it mints travel with the call; the folded path does too."""
    pack = CataloguePack(read_folder(folder)["shop"])
    (run,) = pack.recognise(request("POST api.shop.test/owners/Acme/jobs/J/run")).calls
    assert run.attributes == {"access": "write", "executes": "true"}
    assert run.path == "/owners/acme/jobs/J/run"
    (key,) = pack.recognise(request("POST api.shop.test/keys")).calls
    assert key.attributes == {"access": "permissions", "mints": "true"}


@pytest.mark.parametrize("family", sorted(shipped()))
def test_a_shipped_catalogue_is_the_one_its_index_names(family: str) -> None:
    """Every shipped file has the digest, the sources and the licence that the index gives."""
    archive: Archive = shipped()[family]
    assert archive.members
    assert archive.header.operations > 0
    for source in archive.header.sources:
        assert source.version
        assert source.licence
        assert source.date[:2] == "20"


def test_the_shipped_catalogues_take_less_than_a_megabyte() -> None:
    """All data files together, as they travel in the wheel, stay under 1,000,000 bytes."""
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_000_000


def test_no_file_is_shipped_that_no_index_names() -> None:
    """Nothing lies beside the catalogues."""
    index = json.loads((SHIPPED / "index.json").read_text("utf-8"))
    assert {path.name for path in SHIPPED.iterdir()} == {"index.json", *(row["file"] for row in index.values())}


def test_the_digest_of_the_mappings_covers_the_catalogues(folder: Path) -> None:
    """What every decision names as its mappings changes with any catalogue, and the index is kept as evidence."""
    plain, own = load_mappings([]), load_mappings([], folder)
    kept = {text.id: text.text for text in own.texts if text.kind == "catalogue"}
    assert kept["shipped"] == (SHIPPED / "index.json").read_text("utf-8")
    assert kept[str(folder / "index.json")] == (folder / "index.json").read_text("utf-8")
    write_catalogue(folder, HEADER, {"routes.json": ROWS[:-1]})
    assert len({plain.digest, own.digest, load_mappings([], folder).digest}) == 3
