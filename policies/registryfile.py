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
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from mappings.documents import Document, DocumentError, Fault, Place, read_document
from policies.deciding import Policies
from policies.loading import load_with_agents
from policies.values import PolicyError

_EMPTY = """\
# Who may act, and which person answers for it. "claiim agent add" writes here and keeps your comments.
version: 1

humans: []

agents: []
"""

type Tree = Any
"""What the round-trip reader gives: a mapping that remembers comments and quotes."""
type Kind = Literal["agents", "humans", "organisations"]

NOUNS: Mapping[Kind, str] = {"agents": "agent", "humans": "human", "organisations": "organisation"}
_COMMANDS: Mapping[Kind, str] = {"agents": "agent", "humans": "human", "organisations": "org"}


def change(path: Path, policy_paths: Sequence[Path], edit: Callable[[Tree, Document], None]) -> Policies:
    """Edit the file and return what now holds; on PolicyError nothing was written."""
    file = Path(os.path.realpath(path))  # a link stays a link; what it points to is replaced
    try:
        with _locked(file):
            text = file.read_bytes().decode("utf-8") if file.exists() else _EMPTY
            document = read_document(text, str(path), error=PolicyError)
            yaml = _round_trip(document.text)
            tree = yaml.load(document.text)
            if not isinstance(tree, CommentedMap):
                stop(document.place(), 'expected "version: 1" to begin the file')
            edit(tree, document)
            written = io.StringIO()
            yaml.dump(tree, written)
            # If this line is removed, a change can leave a registry that the gate refuses to load.
            policies = load_with_agents(written.getvalue(), path, policy_paths)
            _replace(file, written.getvalue().encode())
            return policies
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


def _round_trip(text: str) -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # never fold a line
    dash = re.search(r"^( *)- ", text, re.MULTILINE)
    offset = len(dash[1]) if dash else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml


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


def append(tree: Tree, kind: str, entry: Mapping[str, str | Tree]) -> None:
    """Add an entry at the end of a list; fields that are empty texts are left out."""
    if not tree.get(kind):
        tree[kind] = CommentedSeq()  # an empty "[]" would go on in one line
    added = mapping(entry)
    if tree[kind] and (tail := _take_tail(_ends(tree[kind]))):
        _put_tail(added, list(added)[-1], tail)
    tree[kind].append(added)


def put(entry: Tree, key: str, value: str | Tree) -> None:
    """Set a field; comments on an old list go with it, what follows the entry stays behind it."""
    old = entry.get(key)
    tail = _take_tail(_ends(old if key in entry else entry))
    entry[key] = _node(value)
    if tail:
        _put_tail(entry, key, tail)


def clear(entry: Tree, key: str) -> None:
    """Take a field away, if it is there; what follows the entry stays behind it."""
    if key not in entry:
        return
    tail = _take_tail(_ends(entry)) if key == list(entry)[-1] else ""
    del entry[key]
    if tail:
        _put_tail(entry, list(entry)[-1], tail)


def drop(tree: Tree, kind: str, index: int) -> None:
    """Take an entry out of a list; the comments before and behind it stay."""
    entries = tree[kind]
    before = (entries.ca.items.get(index) or [None] * 4)[1] or ()
    tail = _texts(before) + _take_tail([(entries, index, 0), *_ends(entries[index])])
    del entries[index]
    above = (entries.ca.comment or [None, None])[1] or []
    if not entries:
        tree[kind] = sequence([])
        tail = _texts(above) + tail + _texts(entries.ca.end or ())
        above = []
    if tail and index:
        _hang([(entries, index - 1, 0), *_ends(entries[index - 1])], tail)
    elif tail and above:
        above[-1].value += tail
    elif tail:
        _put_tail(tree, kind, tail)


def _texts(comments: Iterable[CommentToken]) -> str:
    return "".join(comment.value for comment in comments)


def _hang(holders: Sequence[tuple[Tree, Any, int]], tail: str) -> None:
    """Put comments behind those that follow an entry already."""
    # Inside braces a comment would break the line.
    holder, key, slot = [each for each in holders if not each[0].fa.flow_style()][-1]
    comments = holder.ca.items.setdefault(key, [None] * 4)
    if comments[slot] is None:
        comments[slot] = CommentToken("\n", CommentMark(0))
    comments[slot].value += tail


def mapping(fields: Mapping[str, str | Tree], *, flow: bool = False) -> Tree:
    """Return a mapping to be written, without its empty texts."""
    given = {key: value for key, value in fields.items() if value != ""}
    made = CommentedMap([(quoted(key), _node(value)) for key, value in given.items()])
    if flow:
        made.fa.set_flow_style()
    return made


def _node(value: str | Tree) -> Tree:
    return quoted(value) if isinstance(value, str) else value


def sequence(items: Iterable[str | Tree]) -> Tree:
    """Return a list to be written in one line, its texts in quotes."""
    made = CommentedSeq([DoubleQuotedScalarString(item) if isinstance(item, str) else item for item in items])
    made.fa.set_flow_style()
    return made


def _take_tail(holders: Iterable[tuple[Tree, Any, int]]) -> str:
    """Cut off and return what follows the last line of an entry: blank lines, the next heading's comment.

    The round-trip reader hangs it on whichever value ends that line: a collection, a key in it, and the slot
    of the comment there.
    """
    for holder, key, slot in holders:
        comment = (holder.ca.items.get(key) or [None] * 4)[slot]
        if comment is not None:
            own, _, tail = comment.value.partition("\n")
            comment.value = own + "\n"
            return str(tail)
    return ""


def _ends(node: Tree) -> Iterator[tuple[Tree, Any, int]]:
    """Yield every holder of the comment that may follow a collection."""
    if isinstance(node, CommentedSeq) and node:
        yield node, len(node) - 1, 0
        yield from _ends(node[-1])
    elif isinstance(node, CommentedMap) and node:
        key = list(node)[-1]
        yield node, key, 2
        yield from _ends(node[key])


def _put_tail(entry: Tree, key: str, tail: str) -> None:
    entry.ca.items[key] = [None, None, CommentToken("\n" + tail, CommentMark(0)), None]


def quoted(text: str) -> str:
    """Return `text` so that our own reader will read it as the same text."""
    with contextlib.suppress(DocumentError):
        if read_document(text, "").value == text:
            return text
    quoted: str = DoubleQuotedScalarString(text)
    return quoted


def stop(place: Place, message: str) -> NoReturn:
    """Refuse the change."""
    raise PolicyError([Fault(place, message)])
