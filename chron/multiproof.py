"""Many records of a log shown at once: one proof that they stand in the tree that a checkpoint signed.

The proof is the roots of the largest subtrees that hold none of them, from the left. With the leaves of the records
they give the root; for records that follow each other they are few, for every hundredth record some seven each.

    shown(places, leaves, size, hashes, root)       places count from 0: record `seq` is leaf `seq - 1`

As with the proofs of RFC 6962, the size has to be known to belong to the root: in a checkpoint both are signed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from chron.merkle import Frontier, node_hash, split_of

_AT_ONCE = 1 << 14


def gaps(places: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Where the largest subtrees with none of these leaves lie, from the left; places ascend, below the size."""
    yield from _gaps(places, 0, size) if size else ()


def _gaps(places: Sequence[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    held = _held(places, start, end)
    if not held:
        yield start, end
    elif held < end - start:
        split = start + split_of(end - start)
        yield from _gaps(places, start, split)
        yield from _gaps(places, split, end)


def shown(places: Sequence[int], leaves: Iterable[bytes], size: int, hashes: Sequence[bytes], root: bytes) -> bool:
    """Whether these leaves stand at these places of the tree; reads so many leaves, one after the other."""
    if not size or len(hashes) != sum(1 for _ in gaps(places, size)):
        return False
    return _root(places, iter(leaves), iter(hashes), 0, size) == root


def _root(places: Sequence[int], leaves: Iterator[bytes], hashes: Iterator[bytes], start: int, end: int) -> bytes:
    held = _held(places, start, end)
    if not held:
        return next(hashes)
    if held == end - start:
        return _grown(leaves, held)
    split = start + split_of(end - start)
    left = _root(places, leaves, hashes, start, split)
    return node_hash(left, _root(places, leaves, hashes, split, end))


def _grown(leaves: Iterator[bytes], count: int) -> bytes:
    tree = Frontier()
    while tree.size < count and (some := list(islice(leaves, min(_AT_ONCE, count - tree.size)))):
        tree.extend(some)
    return tree.root()


def _held(places: Sequence[int], start: int, end: int) -> int:
    return bisect_left(places, end) - bisect_left(places, start)
