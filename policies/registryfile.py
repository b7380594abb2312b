"""The file of the registry, `agents.yaml`, as it is edited: whole or not at all, with its comments.

A change is one step: lock, read, edit, load the result as the gate would, write beside, flush, rename.
Whatever fails, the file is as it was. Comments, order and file mode stay; a new file is readable by its owner
only. What is edited is told by `policies.registry`.

    agents.yaml:9:1: agent "deploy-bott" does not exist; did you mean "deploy-bot"
    agents.yaml:1:1: cannot be changed: no space left on device; nothing was written
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NoReturn

from ruamel.yaml.comments import CommentedMap

from mappings.documents import Document, Fault, Place, read_document
from policies.deciding import Policies
from policies.loading import PolicyPaths, load_with_agents
from policies.roundtrip import Tree, round_trip
from policies.values import PolicyError

_EMPTY = """\
# Who may act, and which person answers for it. "claiim agent add" writes here and keeps your comments.
version: 1

humans: []

agents: []
"""

type Kind = Literal["agents", "humans", "organisations"]

NOUNS: Mapping[Kind, str] = {"agents": "agent", "humans": "human", "organisations": "organisation"}
_COMMANDS: Mapping[Kind, str] = {"agents": "agent", "humans": "human", "organisations": "org"}


def change(path: Path, policy_paths: PolicyPaths, edit: Callable[[Tree, Document], None]) -> Policies:
    """Edit the file and return what now holds; on PolicyError nothing was written."""
    return _changed(path, edit, lambda text: load_with_agents(text, path, policy_paths))


def narrow(path: Path, policy_paths: PolicyPaths, edit: Callable[[Tree, Document], None]) -> Policies | None:
    """As `change`, for what only takes away: written too where other files are at fault, and then None.

    Stopping somebody never waits for a policy to be mended: a gate takes away what it can (`policies.narrowing`).
    """

    def loaded(text: str) -> Policies | None:
        try:
            return load_with_agents(text, path, policy_paths)
        except PolicyError as wrong:
            if any(fault.place.file == str(path) for fault in wrong.faults):
                raise
            return None

    return _changed(path, edit, loaded)


def _changed[T](path: Path, edit: Callable[[Tree, Document], None], load: Callable[[str], T]) -> T:
    file = Path(os.path.realpath(path))  # a link stays a link; what it points to is replaced
    try:
        with _locked(file):
            text = file.read_bytes().decode("utf-8") if file.exists() else _EMPTY
            document = read_document(text, str(path), error=PolicyError)
            yaml = round_trip(document.text)
            tree = yaml.load(document.text)
            if not isinstance(tree, CommentedMap):
                stop(document.place(), 'expected "version: 1" to begin the file')
            edit(tree, document)
            written = io.StringIO()
            yaml.dump(tree, written)
            # If this line is removed, a change can leave a registry that the gate refuses to load.
            loaded = load(written.getvalue())
            _replace(file, written.getvalue().encode())
            return loaded
    except UnicodeDecodeError:
        stop(Place(str(path), 1, 1), "is not UTF-8 text; save it as UTF-8")
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        stop(Place(str(path), 1, 1), f"cannot be changed: {why}; nothing was written")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the registry's lock; waits for another change to end."""
    # Beside the file, not the file itself: a rename would leave the next writer a lock on the old one.
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the file's place, all or nothing, durably."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.exists():
                before = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                with contextlib.suppress(PermissionError):  # only root may give files away
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a crash may bring the old registry back after a suspension was reported
    finally:
        os.close(folder)


def ids(tree: Tree, kind: str) -> list[str]:
    """Return the names of all entries of one kind."""
    found = tree.get(kind)
    return [str(entry.get("id")) for entry in found if isinstance(entry, dict)] if found else []


def find(tree: Tree, document: Document, kind: Kind, name: str, field: str = "state") -> tuple[Tree, Place]:
    """Return an entry and the place of one of its fields; raise PolicyError when there is no such entry."""
    known = ids(tree, kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f'did you mean "{near[0]}"' if near else f'"claiim {_COMMANDS[kind]} list" shows those that do'
        stop(document.place([kind]), f'{NOUNS[kind]} "{name}" does not exist; {remedy}')
    index = known.index(name)
    return tree[kind][index], document.place([kind, index, field])


def new(tree: Tree, document: Document, kind: Kind, name: str, remedy: str) -> None:
    """Raise PolicyError when there is such an entry already."""
    known = ids(tree, kind)
    if name in known:
        place = document.place([kind, known.index(name), "id"])
        stop(place, f'{NOUNS[kind]} "{name}" exists already; {remedy}')


def stop(place: Place, message: str) -> NoReturn:
    """Refuse the change."""
    raise PolicyError([Fault(place, message)])
