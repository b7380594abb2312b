"""Writes the registry of agents, `agents.yaml`; nothing else writes it, and nothing else here writes at all.

A change is one step: lock, read, edit, load the result as the gate would, write beside, flush, rename.
Whatever fails, the file is as it was. Comments, order and file mode stay; a new file is readable by its owner
only. Only the SHA-256 of a token is ever written.

    agents.yaml:12:7: agent "deploy-bot" exists already; choose another name, or "claiim agent rotate" it
    agents.yaml:9:1: agent "deploy-bott" does not exist; did you mean "deploy-bot"
    agents.yaml:17:12: agent "old-bot" is revoked, which is final; add a new agent instead
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import io
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from mappings.documents import Document, DocumentError, Fault, Place, read_document
from policies.deciding import Policies
from policies.loading import PolicyPaths, load_with_agents
from policies.values import Mode, PolicyError, State

TOKEN_PREFIX = "clm_"  # noqa: S105 -- lets secret scanners find a leaked token
_TOKEN_BYTES = 32  # 256 bits; shorter ones could be guessed against a stolen registry

_EMPTY = """\
# Who may act, and which person answers for it. "claiim agent add" writes here and keeps your comments.
version: 1

humans: []

agents: []
"""

type Tree = Any
"""What the round-trip reader gives: a mapping that remembers comments and quotes."""


def new_token() -> str:
    """Return a fresh token; it is shown once and kept only as its digest."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def add_agent(
    path: Path,
    policy_paths: PolicyPaths,
    *,
    agent: str,
    anchor: str,
    org: str,
    skill: str | None,
    mode: Mode,
    token_sha256: str,
    created: str,
    new_anchor: str | None = None,
) -> Policies:
    """Add an active agent, and its human too when `new_anchor` gives the person's name.

    An empty `org` means the human's own. Returns what now holds; on PolicyError nothing was written.
    """

    def edit(tree: Tree, document: Document) -> None:
        if agent in _ids(tree, "agents"):
            place = document.place(["agents", _ids(tree, "agents").index(agent), "id"])
            _stop(place, f'agent "{agent}" exists already; choose another name, or "claiim agent rotate" it')
        humans = _ids(tree, "humans")
        if anchor not in humans:
            if new_anchor is None:
                remedy = 'give --new-anchor "NAME" to add this person'
                _stop(document.place(["humans"]), f'anchor "{anchor}" is not among the humans; {remedy}')
            person = {"id": anchor, "name": new_anchor, "org": org, "state": State.ACTIVE.value}
            _append(tree, "humans", person)
        home = org or str(tree["humans"][_ids(tree, "humans").index(anchor)].get("org", ""))
        entry = {"id": agent, "anchor": anchor, "org": home, "state": State.ACTIVE.value}
        entry |= {"skill": skill} if skill else {}
        entry |= {"mode": mode.value, "created": created}
        _append(tree, "agents", entry, tokens=_tokens([token_sha256]))

    return _change(path, policy_paths, edit)


def set_state(path: Path, policy_paths: PolicyPaths, agent: str, state: State) -> Policies:
    """Suspend, resume or revoke an agent; revoking removes its tokens and is final. Raises PolicyError."""

    def edit(tree: Tree, document: Document) -> None:
        entry, place = _find(tree, document, agent)
        if entry.get("state") == State.REVOKED.value and state is not State.REVOKED:
            _stop(place, f'agent "{agent}" is revoked, which is final; add a new agent instead')
        entry["state"] = state.value
        if state is State.REVOKED:
            _put_tokens(entry, [])

    return _change(path, policy_paths, edit)


def set_token(
    path: Path, policy_paths: PolicyPaths, agent: str, token_sha256: str, *, keep_newest_old: bool = False
) -> Policies:
    """Give an agent another token in place of all it had, or of all but the newest. Raises PolicyError."""

    def edit(tree: Tree, document: Document) -> None:
        entry, place = _find(tree, document, agent)
        if entry.get("state") == State.REVOKED.value:
            _stop(place, f'agent "{agent}" is revoked, which is final; add a new agent instead')
        old = [str(token) for token in entry.get("tokens", [])][:1] if keep_newest_old else []
        _put_tokens(entry, [token_sha256, *old])

    return _change(path, policy_paths, edit)


def _change(path: Path, policy_paths: PolicyPaths, edit: Callable[[Tree, Document], None]) -> Policies:
    file = Path(os.path.realpath(path))  # a link stays a link; what it points to is replaced
    try:
        with _locked(file):
            text = file.read_bytes().decode("utf-8") if file.exists() else _EMPTY
            document = read_document(text, str(path), error=PolicyError)
            yaml = _round_trip(document.text)
            tree = yaml.load(document.text)
            if not isinstance(tree, CommentedMap):
                _stop(document.place(), 'expected "version: 1" to begin the file')
            edit(tree, document)
            written = io.StringIO()
            yaml.dump(tree, written)
            # If this line is removed, a change can leave a registry that the gate refuses to load.
            policies = load_with_agents(written.getvalue(), path, policy_paths)
            _replace(file, written.getvalue().encode())
            return policies
    except UnicodeDecodeError:
        _stop(Place(str(path), 1, 1), "is not UTF-8 text; save it as UTF-8")
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        _stop(Place(str(path), 1, 1), f"cannot be changed: {why}; nothing was written")


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


def _ids(tree: Tree, kind: str) -> list[str]:
    found = tree.get(kind)
    return [str(entry.get("id")) for entry in found if isinstance(entry, dict)] if found else []


def _find(tree: Tree, document: Document, agent: str) -> tuple[Tree, Place]:
    known = _ids(tree, "agents")
    if agent not in known:
        near = difflib.get_close_matches(agent, known, n=1)
        remedy = f'did you mean "{near[0]}"' if near else '"claiim agent list" shows those that do'
        _stop(document.place(["agents"]), f'agent "{agent}" does not exist; {remedy}')
    index = known.index(agent)
    return tree["agents"][index], document.place(["agents", index, "state"])


def _append(tree: Tree, kind: str, entry: dict[str, str], **lists: CommentedSeq) -> None:
    if not tree.get(kind):
        tree[kind] = CommentedSeq()  # an empty "[]" would go on in one line
    added = CommentedMap([(key, _quoted(value)) for key, value in entry.items()] + list(lists.items()))
    if tree[kind] and (tail := _take_tail(_last_values(tree[kind]))):
        _put_tail(added, list(added)[-1], tail)
    tree[kind].append(added)


def _put_tokens(entry: Tree, digests: Sequence[str]) -> None:
    """Replace an agent's tokens; comments on them go with them, what follows the list stays."""
    old = entry.get("tokens")
    tail = _take_tail([(old, len(old) - 1, 0)]) if old else None
    entry["tokens"] = _tokens(digests)
    if tail:
        _put_tail(entry, "tokens", tail)


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


def _last_values(entries: Tree) -> Iterator[tuple[Tree, Any, int]]:
    yield entries, len(entries) - 1, 0
    last = entries[-1]
    key = list(last)[-1]
    yield last, key, 2
    if isinstance(last[key], CommentedSeq):
        yield last[key], len(last[key]) - 1, 0


def _put_tail(entry: Tree, key: str, tail: str) -> None:
    entry.ca.items[key] = [None, None, CommentToken("\n" + tail, CommentMark(0)), None]


def _tokens(digests: Sequence[str]) -> CommentedSeq:
    tokens = CommentedSeq([DoubleQuotedScalarString(digest) for digest in digests])
    tokens.fa.set_flow_style()
    return tokens


def _quoted(text: str) -> str:
    """Return `text` so that our own reader will read it as the same text."""
    with contextlib.suppress(DocumentError):
        if read_document(text, "").value == text:
            return text
    quoted: str = DoubleQuotedScalarString(text)
    return quoted


def _stop(place: Place, message: str) -> NoReturn:
    raise PolicyError([Fault(place, message)])
