"""Reading mapping files: the only part of the room that touches the disk, and it only reads.

Every fault of every file comes at once. Of the shipped packs only the heads are read (`mappings.shipped`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from mappings.catalogues import INDEX, SHIPPED, Archive, CatalogueError, read_folder, shipped
from mappings.compile import compile_documents
from mappings.compiled import Compiled
from mappings.documents import Document, DocumentError, Fault, PackError, Place, read_document
from mappings.mapping import Mappings, Text
from mappings.packs import shipped_packs
from mappings.recognition import Pack
from mappings.routepack import RoutePack
from mappings.shipped import shipped_files


def compile_mappings(documents: Sequence[Document], packs: Sequence[Pack] | None = None) -> Mappings:
    """Return the mappings of exactly these documents; raise PackError with every fault.

    Reads no file but, when no packs are given, the index of the shipped catalogues.
    """
    return Mappings(compile_documents(documents, shipped_packs(shipped()) if packs is None else packs), documents)


def load_mappings(paths: Sequence[Path], catalogues: Path | None = None) -> Mappings:
    """Return the mappings in files and folders (``*.yaml``, ``*.yml``), with the shipped packs.

    What the folder `catalogues` holds, when there is one, goes before the shipped catalogue of the same family.
    Raises PackError with every fault of every file.
    """
    compiled, own = _loaded(paths, catalogues)
    documents = (*(file.unread for file in shipped_files()), *own)
    return Mappings(compiled, documents, tuple(_indexes(catalogues)))


def load_compiled(paths: Sequence[Path], catalogues: Path | None = None) -> tuple[Compiled, tuple[Document, ...]]:
    """Return what `load_mappings` makes its answer of: everything compiled, and the documents it stands in.

    Of the shipped documents too all values are read, which takes a while.
    """
    compiled, own = _loaded(paths, catalogues)
    return compiled, (*(file.document for file in shipped_files()), *own)


def _loaded(paths: Sequence[Path], catalogues: Path | None) -> tuple[Compiled, tuple[Document, ...]]:
    faults: list[Fault] = []
    documents: list[Document] = []
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
        compiled = _with_shipped(documents, catalogues_in_use(catalogues))
    except CatalogueError as error:
        raise PackError([*faults, Fault(Place(str(catalogues), 1, 1), str(error))]) from None
    except PackError as error:
        faults.extend(error.faults)
        raise PackError(faults) from None
    if faults:
        raise PackError(faults)
    return compiled, tuple(documents)


def _with_shipped(documents: Sequence[Document], archives: dict[str, Archive]) -> Compiled:
    files = shipped_files()
    code = shipped_packs(archives)
    taken = {pack.name for pack in code}
    tables = [RoutePack(file.name, file.family, file.hosts, file.routes) for file in files if file.name not in taken]
    return compile_documents(documents, [*code, *tables], {file.name: file.rules for file in files})


def catalogues_in_use(folder: Path | None = None) -> dict[str, Archive]:
    """Return the catalogues by family: those of the folder, and the shipped ones of every other family.

    Raises CatalogueError when the folder's index cannot be read; a folder without one holds no catalogue.
    """
    if folder is None or not (folder / INDEX).exists():
        return dict(shipped())
    return {**shipped(), **read_folder(folder)}


def _indexes(folder: Path | None) -> Iterable[Text]:
    """Yield the indexes of the catalogues in use: by the digests in them, names hang on the catalogues too."""
    yield _index_text(SHIPPED / INDEX, "shipped")
    path = folder / INDEX if folder is not None else None
    if path is not None and path.exists():
        yield _index_text(path, str(path))


def _index_text(path: Path, name: str) -> Text:
    text = path.read_text("utf-8")
    return Text("catalogue", name, "", hashlib.sha256(text.encode()).hexdigest(), text)


def _files(paths: Sequence[Path], faults: list[Fault]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        elif path.exists():
            yield path
        else:
            faults.append(Fault(Place(str(path), 1, 1), "there is no such file; create it or remove the path"))
