"""YAML that is edited with its comments, quotes and indentation: entries added, fields set, lists shortened.

The round-trip reader hangs a comment on whatever stands before it: an element of a list, a key, or the list itself.
What follows an entry is the next heading's as often as its own, so it never goes with the entry.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from mappings.documents import DocumentError, read_document

type Tree = Any
"""What the round-trip reader gives: a mapping that remembers comments and quotes."""


def round_trip(text: str) -> YAML:
    """Return a reader and writer that keeps the style of a text."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # never fold a line
    dash = re.search(r"^( *)- ", text, re.MULTILINE)
    offset = len(dash[1]) if dash else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml


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
