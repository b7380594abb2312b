"""What the room costs to import, and what it offers."""

import subprocess
import sys

import pytest

import mappings

CHEAP = ["DocumentError", "PackError", "Request", "Resolution", "Problem", "Call", "canonical_action"]


def test_names_that_compile_nothing_load_no_reader() -> None:
    """Catching the room's errors or building a request does not start pydantic or the YAML reader."""
    code = (
        f"import sys; from mappings import {', '.join(CHEAP)}; "
        "print(sorted({'pydantic', 'yaml', 'idna'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_resolving_needs_no_schemas() -> None:
    """Neither does the class that resolves; only compiling documents does."""
    code = "import sys; from mappings import Mappings, Document, read_document; print('pydantic' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


@pytest.mark.parametrize("name", mappings.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """What `__all__` lists can be had."""
    assert getattr(mappings, name) is not None


def test_a_name_nobody_has() -> None:
    """A misspelt name is an error as in any module."""
    with pytest.raises(AttributeError, match='no name "Requst"'):
        mappings.Requst  # noqa: B018
