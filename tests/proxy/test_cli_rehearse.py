"""`claiim rehearse`: it succeeds, fails when anything is wrong, and touches nothing of the operator's."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import chron
import proxy.rehearsal
from proxy.cli.main import main
from proxy.rehearsal import Scene, rehearse
from support.serving import claiim

DENIED = "policy:no-prod-v1 -- action not in allow list"


def test_it_shows_both_answers_both_ways(tmp_path: Path) -> None:
    """In a process of its own: four questions, their answers and ids, what reached the target, the verified Chron."""
    done = claiim("rehearse", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    asked = re.findall(r"^(\S+) +(deploy:\w+) +(ALLOW|DENY) +(?:HTTP (\d+))? +(chr_\w+)$", done.stdout, re.MULTILINE)
    assert [(action, outcome, status) for _, action, outcome, status, _ in asked] == [
        ("deploy:staging", "ALLOW", "201"),
        ("deploy:production", "DENY", "403"),
        ("deploy:staging", "ALLOW", ""),
        ("deploy:production", "DENY", ""),
    ]
    assert len({id_ for *_, id_ in asked}) == 4
    assert done.stdout.count(DENIED) == 2
    assert "reached the target: /environments/staging/deployments\n" in done.stdout
    assert re.search(r"the Chron verifies: \d+ records, unbroken", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_can_be_looked_at(tmp_path: Path) -> None:
    """--keep leaves configuration, CA and Chron behind; every id that was printed is in it."""
    said = json.loads(CliRunner().invoke(main, ["rehearse", "--keep", str(tmp_path / "kept"), "--json"]).stdout)
    assert said["faults"] == []
    kept = tmp_path / "kept"
    assert {path.name for path in kept.iterdir()} >= {"claiim.yaml", "agents.yaml", "chron.db", "state", "policies"}
    for scene in said["scenes"]:
        shown = chron.show(kept / "chron.db", scene["chron_id"])
        assert shown is not None
        assert shown.record.text("outcome") == scene["outcome"]
    checked = CliRunner().invoke(main, ["check", "-c", str(kept / "claiim.yaml")])
    assert checked.exit_code == 0, checked.output
    tail = CliRunner().invoke(main, ["chron", "tail", str(kept / "chron.db")])
    assert len(tail.stdout.splitlines()) == 4


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """Nothing is mixed with what is there."""
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(main, ["rehearse", "--keep", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (2, f"{tmp_path}: not empty; give a new folder\n")


def test_the_operators_settings_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CLAIIM_STATE and CLAIIM_CHRON set the real log stays as it is."""
    for name in ("CLAIIM_STATE", "CLAIIM_CHRON"):
        monkeypatch.setenv(name, str(tmp_path / "real"))
    monkeypatch.setenv("CLAIIM_PROXY_LISTEN", "127.0.0.1:1")
    (tmp_path / "rehearsal").mkdir()
    done = asyncio.run(rehearse(tmp_path / "rehearsal", datetime.now(UTC)))
    assert done.faults == ()
    assert not (tmp_path / "real").exists()


SPOILED: dict[str, tuple[Any, list[str]]] = {
    "a wrong reason": (
        Scene("curl", "deploy:production", "DENY", "another reason", "chr_1", 403),
        [f"curl deploy:production: expected DENY {DENIED}, got DENY another reason"],
    ),
    "an allow": (
        Scene("curl", "deploy:production", "ALLOW", "", "chr_1", 201),
        [f"curl deploy:production: expected DENY {DENIED}, got ALLOW "],
    ),
    "no record": (Scene("curl", "deploy:production", "DENY", DENIED, "", 403), ["curl deploy:production: no Chron id"]),
}


@pytest.mark.parametrize(("scene", "faults"), SPOILED.values(), ids=SPOILED)
def test_anything_unexpected_fails_it(
    tmp_path: Path, scene: Scene, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 and what was expected, for any answer, reason or id that is not as it should be."""
    real = proxy.rehearsal._call

    async def call(environ: Any, place: str) -> Scene:
        return await real(environ, place) if place == "staging" else scene

    monkeypatch.setattr(proxy.rehearsal, "_call", call)
    done = CliRunner().invoke(main, ["rehearse"])
    assert (done.exit_code, done.stderr.splitlines()) == (1, faults)


def test_without_curl_python_is_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without curl rehearses with the standard library."""
    monkeypatch.setattr(proxy.rehearsal.shutil, "which", lambda _: None)
    done = asyncio.run(rehearse(tmp_path, datetime.now(UTC)))
    assert done.faults == ()
    assert done.scenes[0].status == 201
