"""`claiim init`: a configuration that works as it stands, and nothing overwritten."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

WRITTEN = [
    "agents.yaml",
    "claiim.yaml",
    "mappings/site.yaml",
    "policies/deploy-v2.test.yaml",
    "policies/deploy-v2.yaml",
    "policies/no-prod-v1.yaml",
]


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_it_writes_is_valid(tmp_path: Path) -> None:
    """`check` finds nothing wrong with it, and the registry is nobody else's to read."""
    done = init(str(tmp_path / "gate"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert files(tmp_path / "gate") == WRITTEN
    assert done.stderr.splitlines()[:-1] == [
        f"wrote {tmp_path}/gate/{name}" for name in ["claiim.yaml", "mappings/site.yaml", "agents.yaml", *WRITTEN[3:]]
    ]
    assert done.stderr.splitlines()[-1].startswith(f"next: cd {tmp_path}/gate; claiim agent add NAME --anchor PERSON")
    assert stat.S_IMODE((tmp_path / "gate/agents.yaml").stat().st_mode) == 0o600
    checked = CliRunner().invoke(main, ["check", "-c", str(tmp_path / "gate/claiim.yaml")])
    assert (checked.exit_code, checked.output) == (0, "ok: 1 agents, 1 skills, 1 policies\n")


def test_here_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder it writes here, beside what is there, and does not say "cd"."""
    (tmp_path / "README").write_text("mine")
    monkeypatch.chdir(tmp_path)
    done = init()
    assert files(tmp_path) == ["README", *WRITTEN]
    assert done.stderr.splitlines()[-1].startswith("next: claiim agent add NAME")


@pytest.mark.parametrize("name", WRITTEN)
def test_an_existing_file_is_never_overwritten(tmp_path: Path, name: str) -> None:
    """One file in the way: it is named, and nothing at all is written."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    done = init(str(tmp_path))
    assert (done.exit_code, done.stderr) == (2, f"{tmp_path}/{name}: already there; give another folder\n")
    assert files(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """One line with the remedy."""
    (tmp_path / "file").write_text("")
    done = init(str(tmp_path / "file/gate"))
    assert done.exit_code == 2
    assert done.stderr == (f"{tmp_path}/file/gate/claiim.yaml: cannot write: not a directory; give another folder\n")
