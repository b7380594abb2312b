"""Folders in memory, because these tests need thousands of logs."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.torture.nursery import Nursery, nursery

_MEMORY = Path("/dev/shm")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the machine has one: what these tests look at is order and content, not the disk."""
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="claiim-", dir=_MEMORY))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def gates() -> Iterator[Nursery]:
    """Where gates are born; importing one takes seconds, forking it takes none."""
    with nursery("real_gate") as children:
        yield children
