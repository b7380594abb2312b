"""The wheel is whole: it works with the sources out of reach, beside packages that took our rooms' names."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("proxy", "mappings", "policies", "chron")
CARRIED = (*ROOMS, "claiim")
DECOY = "raise SystemExit('the decoy was imported: ' + __file__)\n"


def build(source: Path, into: Path) -> Path:
    """Builds one wheel with the tools of this environment and returns its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into), str(source)]
    # cwd: a folder named "build" beside the sources would be imported instead of the tool.
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def gate_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the application."""
    return build(ROOT, tmp_path_factory.mktemp("gate-wheel"))


@pytest.fixture(scope="module")
def installed(gate_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel and, beside it, a foreign module for each of our rooms' names."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(gate_wheel) as wheel:
        wheel.extractall(target)
    for room in CARRIED:
        (target / f"{room}.py").write_text(DECOY)
    return target


def run(installed: Path, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs Python with `installed` and the dependencies, but without the path files that name the sources."""
    site_packages = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(installed), *site_packages]),
        "PYTHONDONTWRITEBYTECODE": "1",
        **(more or {}),
    }
    # -S: no .pth file is read, so an editable installation is not seen. -P: nor is the current folder.
    command = [sys.executable, "-S", "-P", *arguments]
    return subprocess.run(command, cwd=installed, env=environ, capture_output=True, text=True, timeout=60)


def test_the_sources_are_out_of_reach(installed: Path) -> None:
    """Without the wheel's folder nothing of ours can be imported; the tests below mean something."""
    empty = installed / "empty"
    empty.mkdir()
    for name in ("claiim_gate", "claiim", *ROOMS):
        # An empty folder of that name, left by an earlier installation, imports too, but has no file.
        done = run(empty, "-c", f"import {name}; print({name}.__file__)")
        assert done.stdout.strip() in ("", "None"), name


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_the_command_starts_beside_decoys(installed: Path, arguments: list[str]) -> None:
    """`python -m claiim_gate` finds its own `proxy`, not the module of that name installed beside it."""
    done = run(installed, "-m", "claiim_gate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "decoy" not in done.stdout + done.stderr
    assert done.stdout.startswith("claiim-gate 0." if arguments == ["--version"] else "Usage: ")


def test_the_script_starts_beside_decoys(installed: Path) -> None:
    """The `claiim` script, as installers write it from the wheel's entry point, starts too."""
    script = (
        "import importlib.metadata, sys\n"
        "sys.argv = ['claiim', '--help']\n"
        "scripts = importlib.metadata.distribution('claiim-gate').entry_points\n"
        "[entry] = scripts.select(group='console_scripts')\n"
        "assert entry.name == 'claiim'\n"
        "sys.exit(entry.load()())\n"
    )
    done = run(installed, "-c", script)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_the_rooms_come_from_inside_the_wheel(installed: Path) -> None:
    """Once started, every room and the carried SDK are imported from inside `claiim_gate/`."""
    script = (
        "import sys, importlib, claiim_gate.__main__ as start\n"
        "sys.argv = ['claiim', '--version']\n"
        "try: start.main()\n"
        "except SystemExit as done: assert not done.code, done\n"
        f"for room in {CARRIED!r}: print(importlib.import_module(room).__file__)\n"
    )
    done = run(installed, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(CARRIED) :] == [
        str(installed / "claiim_gate" / room / "__init__.py") for room in CARRIED
    ]


def test_every_file_of_every_room_is_in_the_wheel(gate_wheel: Path) -> None:
    """Modules, shipped packs and other data all travel, and the SDK; caches, tests and databases do not."""
    with zipfile.ZipFile(gate_wheel) as wheel:
        names = set(wheel.namelist())
    expected = {
        f"claiim_gate/{file.relative_to(ROOT)}"
        for room in ROOMS
        for file in (ROOT / room).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected |= {f"claiim_gate/claiim/{file.name}" for file in (ROOT / "sdk/src/claiim").glob("*.py")}
    assert expected <= names
    assert {name for name in names if not name.startswith(("claiim_gate/", "claiim_gate-"))} == set()
    assert not [name for name in names if name.endswith((".pyc", ".db", ".key"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdk_wheel_stands_alone(tmp_path: Path) -> None:
    """The library's wheel holds `claiim` with its type marker and license, and depends on nothing."""
    with zipfile.ZipFile(build(ROOT / "sdk", tmp_path)) as wheel:
        names = set(wheel.namelist())
        [metadata] = [wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
        wheel.extractall(tmp_path / "installed")
    assert {name.partition("/")[0] for name in names} == {"claiim", "claiim-0.1.0.dist-info"}
    assert {"claiim/py.typed", "claiim-0.1.0.dist-info/licenses/LICENSE"} <= names
    assert "Requires-Dist" not in metadata
    done = run(tmp_path / "installed", "-c", "import claiim; print(claiim.__file__)")
    assert done.stdout.strip() == str(tmp_path / "installed" / "claiim" / "__init__.py")
