"""The rooms import each other in one direction only; the contracts stand in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_arrows_between_the_rooms_hold() -> None:
    """import-linter finds every contract kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_the_sdk_imports_nothing_but_the_standard_library() -> None:
    """An agent's environment gets `claiim` and nothing else with it."""
    program = (
        "import sys; before = set(sys.modules); import claiim; "
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(loaded - set(sys.stdlib_module_names) - {'claiim'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
