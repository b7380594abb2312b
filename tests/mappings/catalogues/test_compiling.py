"""What every compiler of a catalogue relies on: checks that stop a wrong row, corrections that outlive nothing."""

from pathlib import Path

import pytest

from mappings.sources import COMPILERS, Described, SourceError, catalogue, compiling

GOOD = Described("pets.get", "read", ("GET /pets/{pet}",))


def test_rows_are_sorted_and_short() -> None:
    """A row is name, access letter, traits and routes, whatever order the compiler found them in."""
    later = Described("pets.run", "write", ("POST /pets/{pet}/run",), executes=True, mints=True)
    compiled = catalogue("zoo", [later, GOOD], hosts=["api.zoo.test"])
    assert compiled.members == {
        "routes.json": [
            ["pets.get", "r", "", ["GET /pets/{pet}"]],
            ["pets.run", "w", "xm", ["POST /pets/{pet}/run"]],
        ]
    }
    assert (compiled.operations, compiled.hosts) == (2, ("api.zoo.test",))


@pytest.mark.parametrize(
    ("name", "described", "says"),
    [
        ("two operations on one route", Described("pets.read", "read", GOOD.routes), 'is also that of "pets.get"'),
        ("a name that is no action", Described("pets get", "read", ("GET /a",)), 'character " " cannot stand'),
        ("no such access", Described("a", "harmless", ("GET /a",)), 'access "harmless" is none of'),
        ("a path that is not canonical", Described("a", "read", ("GET /a%2fb",)), "is not canonical"),
        ("a template with a name twice", Described("a", "read", ("GET /{x}/{x}",)), 'names "x" twice'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_row_stops_the_compiler(name: str, described: Described, says: str) -> None:
    """No catalogue is written that holds what no request could match, or what two operations claim."""
    with pytest.raises(SourceError, match=says):
        catalogue("zoo", [GOOD, described])


@pytest.fixture
def override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiling, "OVERRIDES", tmp_path)
    return tmp_path / "zoo.yaml"


def test_a_correction_changes_what_it_names(override: Path) -> None:
    """A glob over names changes attributes, routes, or leaves an operation out; the rest stays."""
    override.write_text(
        "- {op: 'pets.*', executes: true, access: permissions, reason: r}\n"
        "- {op: [vets.get], routes: [GET /doctors], reason: r}\n"
        "- {op: owls.get, drop: true, reason: r}\n"
    )
    vet, owl = Described("vets.get", "read", ("GET /vets",)), Described("owls.get", "read", ("GET /owls",))
    assert compiling.corrected("zoo", [GOOD, vet, owl]) == [
        Described("pets.get", "permissions", GOOD.routes, executes=True),
        Described("vets.get", "read", ("GET /doctors",)),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {op: cats.*, mints: true, reason: r}", 'no operation is called "cats'),
        ("- {op: pets.get, mints: true}", "write op, reason"),
        ("- {op: pets.get, mint: true, reason: r}", "write op, reason"),
    ],
)
def test_a_correction_that_corrects_nothing_is_an_error(override: Path, text: str, says: str) -> None:
    """A correction needs a reason, and goes when what it corrected is gone."""
    override.write_text(text)
    with pytest.raises(SourceError, match=says):
        compiling.corrected("zoo", [GOOD])


@pytest.mark.parametrize("family", COMPILERS)
def test_every_family_has_a_compiler(family: str) -> None:
    """Each compiler names the packages it reads, by registry."""
    references, compile_catalogue = compiling.compiler(family)
    assert references
    assert all(reference.partition(":")[0] in ("PyPI", "npm") for reference in references)
    assert callable(compile_catalogue)
