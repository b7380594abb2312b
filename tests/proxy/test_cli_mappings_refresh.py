"""`claiim mappings refresh` compiles what this machine has, says what changes, and never leaves half a catalogue."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mappings.catalogues import Source
from mappings.loading import catalogues_in_use, load_mappings
from mappings.sources import COMPILERS, Compiled, SourceError, compiling
from mappings.sources.compiling import Described, catalogue
from proxy.cli.main import main
from proxy.installed import find

PACKAGE = "PyPI:acme-sdk"

type Claiim = Callable[..., Result]


class Compiler:
    """A compiler of the family "acme": the operations are the lines of a file of its package."""

    PACKAGES = (PACKAGE,)

    @staticmethod
    def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
        """Read ``name METHOD /path``, an operation a line."""
        lines = (packages[PACKAGE] / "acme" / "operations.txt").read_text().splitlines()
        if lines == ["broken"]:
            raise SourceError("acme: operations.txt: nothing can be read")
        rows = [line.split(" ", 1) for line in lines]
        return catalogue("acme", [Described(name, "write", (route,)) for name, route in rows], hosts=["api.acme.test"])


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    """One family more, with a compiler as small as can be; no package is installed beside the gate."""
    monkeypatch.setattr(compiling, "COMPILERS", {**COMPILERS, "acme": "acme_compiler"})
    monkeypatch.setattr("proxy.cli.refreshing.COMPILERS", {"acme": "acme_compiler"})
    monkeypatch.setattr("proxy.refreshing.compiler", lambda _: (Compiler.PACKAGES, Compiler.compile_catalogue))
    monkeypatch.delenv("CLAIIM_RUN_ID", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose catalogues go beside it."""
    path = tmp_path / "claiim.yaml"
    path.write_text("version: 1\nmappings: []\npolicies: []\n")
    return path


@pytest.fixture
def claiim(config: Path) -> Claiim:
    """Runs `claiim mappings refresh ...` with that configuration."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["mappings", "refresh", *arguments, "-c", str(config)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def wheel(folder: Path, version: str, *operations: str, at: datetime = datetime(2026, 10, 1, tzinfo=UTC)) -> str:
    """Lay a package out as an unpacked wheel has it."""
    info = folder / f"acme_sdk-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / "acme").mkdir()
    (folder / "acme" / "operations.txt").write_text("\n".join(operations))
    described = info / "METADATA"
    described.write_text(f"Metadata-Version: 2.1\nName: acme-sdk\nVersion: {version}\nLicense-Expression: MIT\n")
    os.utime(described, (at.timestamp(), at.timestamp()))
    return str(folder)


def told(result: Result) -> Any:
    """Return what the command says of its one family."""
    assert result.exit_code == 0, result.output
    (said,) = json.loads(result.stdout)
    return said


def test_new_operations_are_known_at_the_next_load(claiim: Claiim, config: Path, tmp_path: Path) -> None:
    """Where the configuration says nothing the folder is `catalogues` beside it; the gate looks there first."""
    result = claiim("acme", "--from", wheel(tmp_path / "w", "1.0.0", "orders.list GET /orders"))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "acme: 1 operations, from acme-sdk 1.0.0 of 2026-10-01",
        "  gained      acme:orders.list",
    ]
    assert "a running gate uses them when it next loads" in result.stderr
    header = catalogues_in_use(config.with_name("catalogues"))["acme"].header
    assert header.sources == (Source("acme-sdk", "PyPI", "1.0.0", "2026-10-01", "MIT"),)
    mapped = CliRunner().invoke(main, ["map", "GET", "https://api.acme.test/orders", "-c", str(config)])
    assert "operation    acme:orders.list" in mapped.stdout


def test_what_changes_is_said(claiim: Claiim, tmp_path: Path) -> None:
    """What came, what went, and what is reached by the same route under another name."""
    told(claiim("acme", "--json", "--from", wheel(tmp_path / "1", "1.0.0", "a GET /a", "b GET /b", "c GET /c")))
    said = told(claiim("acme", "--json", "--from", wheel(tmp_path / "2", "1.1.0", "a GET /a", "bb GET /b", "d GET /d")))
    assert (said["gained"], said["lost"]) == (["acme:d"], ["acme:c"])
    assert said["renamed"] == [["acme:b", "acme:bb"]]
    assert said["attributes"] == []


def test_a_file_is_never_written_over(claiim: Claiim, config: Path, tmp_path: Path) -> None:
    """A running gate may open the old one later; the one before that is gone."""
    folder = config.with_name("catalogues")
    kept = []
    for version, name in {"1.0.0": "a", "1.1.0": "b", "1.2.0": "c"}.items():
        told(claiim("acme", "--json", "--from", wheel(tmp_path / version, version, f"{name} GET /{name}")))
        kept.append(catalogues_in_use(folder)["acme"].header.file)
    assert len(set(kept)) == 3
    assert {path.name for path in folder.iterdir()} == {kept[1], kept[2], "index.json"}


def test_the_digest_of_the_rules_moves_with_a_catalogue(claiim: Claiim, config: Path, tmp_path: Path) -> None:
    """Names of operations are evidence: what they were told by is part of what a decision names."""
    folder = config.with_name("catalogues")
    before = load_mappings([], folder).digest
    claiim("acme", "--from", wheel(tmp_path / "w", "1.0.0", "a GET /a"))
    assert load_mappings([], folder).digest != before


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "the same version": (("1.1.0",), "PyPI:acme-sdk 1.1.0 is in use already; --force compiles it anew"),
    "an older version": (("1.0.9",), "acme-sdk 1.0.9 is older than 1.1.0, which is in use; --force takes it"),
}


@pytest.mark.parametrize(("version", "said"), REFUSED.values(), ids=REFUSED)
def test_a_version_that_is_not_newer(claiim: Claiim, tmp_path: Path, version: tuple[str], said: str) -> None:
    """It is left out without --force, and taken with it."""
    claiim("acme", "--from", wheel(tmp_path / "1", "1.1.0", "a GET /a"))
    other = wheel(tmp_path / "2", *version, "b GET /b")
    result = claiim("acme", "--from", other)
    assert result.stdout == ""
    assert result.stderr.startswith(f"acme: {said}")
    # Being up to date is no failure.
    assert result.exit_code == (0 if "already" in said else 1)
    assert told(claiim("acme", "--json", "--force", "--from", other))["gained"] == ["acme:b"]


def test_packages_that_are_not_here(claiim: Claiim, tmp_path: Path) -> None:
    """Exit 1 for a family that was named; the others are looked for and left out."""
    result = claiim("acme")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "acme: PyPI:acme-sdk not found; give the folder that holds it with --from\n"
    assert claiim("acme", "--from", str(tmp_path)).exit_code == 1
    assert claiim().exit_code == 0


def test_a_package_that_is_not_what_it_was(claiim: Claiim, config: Path, tmp_path: Path) -> None:
    """What the compiler cannot read leaves everything as it was."""
    claiim("acme", "--from", wheel(tmp_path / "1", "1.0.0", "a GET /a"))
    result = claiim("acme", "--from", wheel(tmp_path / "2", "1.1.0", "broken"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "acme: operations.txt: nothing can be read\n"
    (tmp_path / "3").mkdir()
    missing = wheel(tmp_path / "3" / "w", "1.1.0")
    (Path(missing) / "acme" / "operations.txt").unlink()
    result = claiim("acme", "--from", missing)
    assert result.exit_code == 1
    assert "acme: PyPI:acme-sdk 1.1.0 is not laid out as its compiler expects: " in result.stderr
    assert catalogues_in_use(config.with_name("catalogues"))["acme"].header.sources[0].version == "1.0.0"


def test_files_that_do_not_say_how_old_they_are(claiim: Claiim, tmp_path: Path) -> None:
    """Archives without times hold 1980 or 1985: age is asked for, not invented."""
    folder = wheel(tmp_path / "w", "1.0.0", "a GET /a", at=datetime(1985, 10, 26, tzinfo=UTC))
    result = claiim("acme", "--from", folder)
    assert result.exit_code == 1
    assert "do not say how old they are; give --date" in result.stderr
    said = told(claiim("acme", "--json", "--from", folder, "--date", "2026-09-30"))
    assert said["sources"][0]["date"] == "2026-09-30"


def test_an_old_package_is_warned_of(claiim: Claiim, tmp_path: Path) -> None:
    """Compiling today makes nothing younger."""
    folder = wheel(tmp_path / "w", "1.0.0", "a GET /a", at=datetime(2020, 1, 1, tzinfo=UTC))
    result = claiim("acme", "--from", folder)
    assert result.exit_code == 0
    assert "days old; newer operations are unrecognised" in result.stderr


WRONG = {
    "no such family": (("acmee",), 2, 'no catalogue is called "acmee"; known: acme'),
    "no such folder": (("acme", "--from", "/nowhere/x"), 2, "does not exist"),
    "no day": (("acme", "--date", "yesterday"), 2, '"yesterday" is no day'),
}


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG.values(), ids=WRONG)
def test_wrong_use(claiim: Claiim, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One line on what to write."""
    result = claiim(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_another_folder(claiim: Claiim, config: Path, tmp_path: Path) -> None:
    """What is written where the gate does not look is said to be there."""
    package = wheel(tmp_path / "w", "1.0.0", "a GET /a")
    result = claiim("acme", "--from", package, "--into", str(tmp_path / "other"))
    assert result.exit_code == 0
    assert "is not where your gate looks; set catalogues:" in result.stderr
    assert not config.with_name("catalogues").exists()
    (tmp_path / "file").write_text("")
    result = claiim("acme", "--from", package, "--into", str(tmp_path / "file" / "x"))
    assert result.exit_code == 1
    assert "cannot write: not a directory; give another folder with --into" in result.stderr


def test_an_agent_does_not_refresh(claiim: Claiim, monkeypatch: pytest.MonkeyPatch) -> None:
    """What requests are called is not for a gated agent to change."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "x")
    result = claiim("acme")
    assert result.exit_code == 2
    assert '"claiim mappings refresh" is refused inside "claiim run"' in result.stderr


# --- where packages are ---


def test_python_packages(tmp_path: Path) -> None:
    """An unpacked wheel, a folder of them, an environment; and what is installed beside the gate."""
    wheel(tmp_path / "store" / "acme-sdk-1.0.0", "1.0.0", "a GET /a")
    wheel(tmp_path / "venv" / "lib" / "python3.13" / "site-packages", "2.0.0", "a GET /a")
    for folder, version in {"store/acme-sdk-1.0.0": "1.0.0", "store": "1.0.0", "venv": "2.0.0"}.items():
        found = find(PACKAGE, [tmp_path / folder])
        assert found is not None
        assert (found.version, found.licence, found.dated) == (version, "MIT", "2026-10-01")
        assert (found.folder / "acme" / "operations.txt").exists()
    assert find(PACKAGE, [tmp_path]) is None
    beside = find("PyPI:click", [])
    assert beside is not None
    assert (beside.folder / "click").is_dir()


def test_npm_packages(tmp_path: Path) -> None:
    """An archive as npm unpacks it, a package, node_modules, the folder above it; never another package."""
    places = {"archive/package": "archive", "node_modules/@acme/api": "", "bare": "bare", "store/a-1/package": "store"}
    for place, given in places.items():
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"name": "@acme/api", "version": "1.2.3", "license": "MIT"}')
        found = find("npm:@acme/api", [tmp_path / given])
        assert found is not None
        assert (found.folder, found.version, found.licence) == (folder, "1.2.3", "MIT")
        for file in folder.iterdir():
            file.unlink()
    assert find("npm:@acme/api", [tmp_path]) is None
    assert find("npm:@acme/api", []) is None
    (tmp_path / "bare" / "package.json").write_text("{")
    assert find("npm:@acme/api", [tmp_path / "bare"]) is None


def test_the_day_of_a_version_in_use_is_kept(claiim: Claiim, tmp_path: Path) -> None:
    """Compiled anew, it is as old as it was, whenever its files came here."""
    claiim("acme", "--from", wheel(tmp_path / "1", "1.0.0", "a GET /a"))
    again = wheel(tmp_path / "2", "1.0.0", "a GET /a", at=datetime(2026, 11, 1, tzinfo=UTC))
    assert told(claiim("acme", "--json", "--force", "--from", again))["sources"][0]["date"] == "2026-10-01"
