"""The files that came with the gate: read as late as can be, and no differently for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from mappings import Mappings, PackError, Request, compile_mappings, load_mappings, read_document
from mappings.compile import compile_documents
from mappings.loading import load_compiled
from mappings.shipped import SHIPPED, ShippedFile, shipped_files

FILES = {file.name: file for file in shipped_files()}


@pytest.mark.parametrize("name", FILES)
def test_the_head_says_what_the_file_says(name: str) -> None:
    """What is known of a file before it is read is what stands in it, and its digest is that of all of it."""
    file = FILES[name]
    whole = read_document((SHIPPED / f"{name}.yaml").read_text("utf-8"), f"pack:{name}")
    assert isinstance(whole.value, dict)
    assert file.name == whole.value["pack"] == name
    assert file.hosts == tuple(whole.value.get("hosts", ()))
    assert file.family == whole.value.get("family", name)
    assert (file.unread.text, file.unread.digest) == (whole.text, whole.digest)
    assert file.document == whole


def test_every_file_is_right() -> None:
    """Compiled with every check there is, no shipped file has a fault; and each is compiled for real when used."""
    compile_mappings([file.document for file in FILES.values()])
    for file in FILES.values():
        assert len(file.routes().routes) >= len(file.document.value.get("operations", ()))  # type: ignore[attr-defined]
        file.rules()


def test_loading_reads_no_rules_and_opens_no_catalogue() -> None:
    """Whoever loads the mappings waits for the files of no family, and for the start of no library."""
    code = """
import sys, zipfile
zipfile.ZipFile = None
import mappings.compile as compile
compile.parse = None
from mappings import load_mappings
load_mappings([])
print('pydantic' in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


HEALTH = Request("GET", "https", "a.test", 443, "/healthz", (), (), b"")


def test_a_file_read_late_answers_like_one_read_early(tmp_path: Path) -> None:
    """The rules and routes of a file are the same whenever it is read."""
    site = tmp_path / "site.yaml"
    site.write_text("version: 1\nbind: [{host: a.test, pack: health}, {host: k.test, pack: kubernetes}]\n")
    late = load_mappings([site])
    early = compile_mappings([*(file.document for file in FILES.values()), read_document(site.read_text(), str(site))])
    # Only what is loaded from files says which catalogues it used.
    assert [text for text in late.texts if text.kind == "mapping"] == list(early.texts)
    deletion = Request("DELETE", "https", "k.test", 443, "/api/v1/namespaces/shop/pods/a", (), (), b"")
    for request in (HEALTH, deletion):
        assert late.resolve(request) == early.resolve(request)
        assert late.resolve(request).operations


def test_a_file_that_turns_out_wrong_refuses(tmp_path: Path) -> None:
    """A broken file names nothing: what its hosts are asked for fails, others are as they were."""
    path = tmp_path / "broken.yaml"
    path.write_text("pack: broken\nhosts: [a.test]\nrules: [{id: a, match: {op: 5}, action: x}]\n")
    file = ShippedFile(path)
    with pytest.raises(PackError, match="expected text"):
        file.rules()
    documents = [read_document("version: 1\nbind: [{host: a.test, pack: http}]", "site.yaml")]
    compiled = compile_documents(documents, [], {"http": file.rules})
    problem = Mappings(compiled, documents).resolve(HEALTH).problem
    assert problem is not None
    assert problem.code == "mapping.failed"


def test_a_shipped_name_is_taken(tmp_path: Path) -> None:
    """An operator's pack cannot stand in for a shipped one, although that one was not read."""
    path = tmp_path / "own.yaml"
    path.write_text("pack: health\noperations: {check: GET /all}\n")
    with pytest.raises(PackError, match='pack "health" is already there; choose another name'):
        load_mappings([path])


def test_tools_get_the_documents_in_full() -> None:
    """Whoever lists rules gets every shipped document with its values."""
    _, documents = load_compiled([])
    assert [document.digest for document in documents] == [file.unread.digest for file in FILES.values()]
    assert all(isinstance(document.value, dict) for document in documents)
