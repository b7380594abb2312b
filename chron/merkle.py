"""The Merkle tree over the leaves of all records: RFC 6962 section 2.1, the same as RFC 9162 section 2.1.

    leaf = SHA-256(0x00 || body), as `chron.chain` has it          node = SHA-256(0x01 || left || right)

What is not there to be seen of a tree of n leaves is told by few hashes: its *frontier*, the roots of the largest
perfect subtrees from the left (one for each bit of n that is set), is all that it takes to append and to know the
root; an inclusion proof shows that one leaf is in it; a consistency proof that a smaller tree is its beginning.

Everything here is pure. Indexes count from 0: record `seq` is leaf `seq - 1`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256

type Subtree = Callable[[int, int], bytes]
"""The root over the leaves [start, end)."""
type Leaves = Callable[[int, int], Sequence[bytes]]
"""The leaves [start, end)."""

_LEAVES_AT_ONCE = 1 << 16
"""In memory at a time, some ten megabytes."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of no leaves at all."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node; the prefix 0x01 keeps it from being mistaken for a leaf."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that grows at its end and remembers no more than it needs for that and for its root."""

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if len(nodes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has a frontier of {size.bit_count()} hashes, not {len(nodes)}")
        self.size = size
        self._nodes = list(nodes)

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest, which is the leftmost, first."""
        return tuple(self._nodes)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaves; level by level, because a loop over single leaves takes three times as long."""
        row, level_bits, kept = list(leaves), self.size, []
        while row:
            if level_bits & 1:
                row.insert(0, self._nodes.pop())
            if len(row) & 1:
                kept.append(row[-1])
            pairs = zip(row[::2], row[1::2], strict=False)
            row = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
            level_bits >>= 1
        self._nodes += reversed(kept)
        self.size += len(leaves)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._nodes:
            return EMPTY_ROOT
        root = self._nodes[-1]
        for node in self._nodes[-2::-1]:
            root = node_hash(node, root)
        return root

    def copy(self) -> "Frontier":
        """Another one that grows on its own."""
        return Frontier(self.size, self._nodes)


def spans(size: int) -> Iterator[tuple[int, int]]:
    """Where the subtrees of a frontier lie: [start, end) of each, the largest first."""
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            yield start, start + (1 << level)
            start += 1 << level


def subtrees(known: Frontier, leaves: Leaves) -> Subtree:
    """The subtrees of a tree of which a frontier is known, and the leaves behind it can be had.

    Enough for every proof about a leaf behind the frontier: what such a proof needs of the leaves before it are
    just the subtrees that the frontier names.
    """
    roots = dict(zip(spans(known.size), known.nodes, strict=True))
    return lambda start, end: _subtree(start, end, roots, leaves, known.size)


def _subtree(start: int, end: int, roots: Mapping[tuple[int, int], bytes], leaves: Leaves, first: int) -> bytes:
    if (root := roots.get((start, end))) is not None:
        return root
    if start >= first and end - start <= _LEAVES_AT_ONCE:
        # All of it is behind the frontier: no need to go down leaf by leaf.
        tree = Frontier()
        tree.extend(leaves(start, end))
        return tree.root()
    split = start + split_of(end - start)
    return node_hash(_subtree(start, split, roots, leaves, first), _subtree(split, end, roots, leaves, first))


def split_of(size: int) -> int:
    """The largest power of two below the size: where RFC 6962 divides a tree."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, from the leaf's sibling up."""
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + split_of(end - start)
        if index < split:
            proof.append(subtree(split, end))
            end = split
        else:
            proof.append(subtree(start, split))
            start = split
    return tuple(reversed(proof))


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows the leaf in a tree: RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    position, last, hash_ = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            hash_ = node_hash(sibling, hash_)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and hash_ == root


def consistency_proof(old_size: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """PROOF(old_size, D[size]) of RFC 6962 section 2.1.2; empty when either tree is trivial or both are the same."""
    if not 0 < old_size < size:
        return ()
    proof: list[bytes] = []
    start, end, whole = 0, size, True
    while end != old_size:
        split = start + split_of(end - start)
        if old_size <= split:
            proof.append(subtree(split, end))
            end = split
        else:
            proof.append(subtree(start, split))
            start, whole = split, False
    if not whole:
        proof.append(subtree(start, end))
    return tuple(reversed(proof))


def consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows the old tree to be the beginning of the new one: RFC 9162 section 2.1.4.2."""
    if not 0 <= old_size <= size:
        return False
    if old_size in (0, size):
        return not proof and old_root == (EMPTY_ROOT if old_size == 0 else root)
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(hash_, old), node_hash(hash_, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, hash_)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == root
