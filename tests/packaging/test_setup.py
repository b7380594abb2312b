"""The interpreter finder runs every candidate, prefers 3.13, and says what to install when there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(getattr(sys, "_base_executable", "") or sys.executable)
TOOLS = ("dirname", "cat", "sh", "rm")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with nothing on its PATH but the few tools every system has."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for tool in TOOLS:
        [found] = [p for folder in ("/usr/bin", "/bin") if (p := Path(folder, tool)).exists()][:1]
        (binaries / tool).symlink_to(found)
    return tmp_path


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def find(machine: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": str(machine / "bin"), "HOME": str(machine), **environ}
    return subprocess.run([ROOT / "tools/find-python.sh"], env=settings, capture_output=True, text=True, timeout=30)


def test_no_python_at_all(machine: Path) -> None:
    """With nothing installed it exits 1 and names what to install, on stderr only."""
    done = find(machine)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("no Python 3.12 or later found.")
    for remedy in ("pyenv install 3.13", "apt install python3", "brew install", "uv"):
        assert remedy in done.stderr


def test_a_python_on_the_path(machine: Path) -> None:
    """A fitting python3 on PATH is found, by its real path."""
    program(machine / "bin/python3", f'exec "{BASE}" "$@"')
    done = find(machine)
    assert (done.returncode, done.stdout.strip()) == (0, str(BASE))


UNFIT = {
    "a shim that refuses to run here": 'echo "pyenv: python3.13: command not found" >&2; exit 127',
    "an older Python": "exit 1",
    "a name that is not a Python": "echo hello",
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_candidate_is_run_not_trusted_by_name(name: str, machine: Path) -> None:
    """What does not work is passed over, and the next candidate found."""
    program(machine / "bin/python3.13", UNFIT[name])
    assert find(machine).returncode == 1
    program(machine / "bin/python3.12", f'exec "{BASE}" "$@"')
    assert find(machine).stdout.strip() == str(BASE)


def test_pyenv_comes_before_the_path(machine: Path) -> None:
    """A 3.13 that pyenv installed is found without pyenv on PATH, and before a python3 of the system."""
    program(machine / ".pyenv/versions/3.13.9/bin/python", f'exec "{BASE}" "$@"')
    program(machine / "bin/python3", "exit 1")
    assert find(machine).stdout.strip() == str(BASE)


def test_a_named_python_is_used_or_refused(machine: Path) -> None:
    """`make setup PYTHON=...` takes that one or says that it will not do; it never takes another."""
    program(machine / "bin/python3", f'exec "{BASE}" "$@"')
    assert find(machine, PYTHON=str(BASE)).stdout.strip() == str(BASE)
    refused = find(machine, PYTHON="/nonexistent/python")
    assert refused.returncode == 1
    assert refused.stderr == ('PYTHON="/nonexistent/python" is not a Python 3.12 or later; unset it or name another\n')


def test_make_alone_lists_the_targets() -> None:
    """`make` without a target explains itself and does nothing else."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, env=dict(os.environ))
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")}
    assert listed >= {"setup", "rehearse", "test", "lint", "types", "layers", "docs", "bench"}


@pytest.mark.parametrize("script", ["tools/find-python.sh", "tools/setup.sh", ".ci/run"])
def test_the_scripts_are_executable_and_parse(script: str) -> None:
    """A script without its executable bit, or with a syntax error, would only fail on somebody's machine."""
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = "bash" if script == ".ci/run" else "sh"
    assert subprocess.run([shell, "-n", path], check=False).returncode == 0
