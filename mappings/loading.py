"""Reading mapping files: the only part of the room that touches the disk, and it only reads.

Every fault of every file comes at once. The shipped packs are read with the first call and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from mappings.catalogues import shipped
from mappings.compile import compile_documents
from mappings.documents import Document, DocumentError, Fault, PackError, Place, read_document
from mappings.mapping import Mappings
from mappings.packs import shipped_packs
from mappings.recognition import Pack

_SHIPPED = Path(__file__).parent / "packs"


def compile_mappings(documents: Sequence[Document], packs: Sequence[Pack] | None = None) -> Mappings:
    """Return the mappings of exactly these documents; raise PackError with every fault.

    Reads no file but, when no packs are given, the index of the shipped catalogues.
    """
    return Mappings(compile_documents(documents, shipped_packs(shipped()) if packs is None else packs), documents)


def load_mappings(paths: Sequence[Path]) -> Mappings:
    """Return the mappings in files and folders (``*.yaml``, ``*.yml``), with the shipped packs.

    Raises PackError with every fault of every file.
    """
    faults: list[Fault] = []
    documents: list[Document] = list(_shipped())
    for path in _files(paths, faults):
        try:
            text = path.read_bytes().decode("utf-8")
            documents.append(read_document(text, str(path), error=PackError))
        except DocumentError as error:
            faults.extend(error.faults)
        except UnicodeDecodeError:
            faults.append(Fault(Place(str(path), 1, 1), "the file is not UTF-8; save it as UTF-8"))
        except OSError as error:
            faults.append(Fault(Place(str(path), 1, 1), f"cannot be read: {error.strerror}"))
    try:
        mappings = compile_mappings(documents)
    except PackError as error:
        faults.extend(error.faults)
        raise PackError(faults) from None
    if faults:
        raise PackError(faults)
    return mappings


def _files(paths: Sequence[Path], faults: list[Fault]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        elif path.exists():
            yield path
        else:
            faults.append(Fault(Place(str(path), 1, 1), "there is no such file; create it or remove the path"))


@cache
def _shipped() -> tuple[Document, ...]:
    return tuple(
        read_document(path.read_text("utf-8"), f"pack:{path.stem}", error=PackError)
        for path in sorted(_SHIPPED.glob("*.yaml"))
    )
