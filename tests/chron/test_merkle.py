"""The tree against the definition in RFC 6962, written down once more in the plainest way, and against known values."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chron.chain import leaf_hash
from chron.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    consistent,
    included,
    inclusion_proof,
    spans,
    subtrees,
)


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, to the letter."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = largest_power_below(len(leaves))
    return sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), tree_hash(leaves[split:])]
    return [*path(index - split, leaves[split:]), tree_hash(leaves[:split])]


def proof(old: int, leaves: list[bytes]) -> list[bytes]:
    """PROOF of RFC 6962 section 2.1.2."""

    def sub(m: int, part: list[bytes], whole: bool) -> list[bytes]:
        if m == len(part):
            return [] if whole else [tree_hash(part)]
        split = largest_power_below(len(part))
        if m <= split:
            return [*sub(m, part[:split], whole), tree_hash(part[split:])]
        return [*sub(m - split, part[split:], False), tree_hash(part[:split])]

    return sub(old, leaves, True)


def largest_power_below(number: int) -> int:
    power = 1
    while power * 2 < number:
        power *= 2
    return power


def some(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def grown(leaves: list[bytes]) -> Frontier:
    tree = Frontier()
    tree.extend(leaves)
    return tree


# The eight entries and roots that Certificate Transparency's implementations are tested with, since 2013
# (google/certificate-transparency, merkletree/merkle_tree_test.cc).
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_are_the_published_ones(size):
    """Our tree is the tree of Certificate Transparency, not one of our own."""
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES[:size]]
    assert grown(leaves).root().hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_published_root():
    """SHA-256 of nothing."""
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


@given(st.lists(st.integers(0, 40), max_size=8))
def test_growing_in_any_steps_gives_the_same_tree(steps):
    """However the leaves arrive, root and frontier are those of the definition."""
    leaves = some(sum(steps))
    tree, at = Frontier(), 0
    for step in steps:
        tree.extend(leaves[at : at + step])
        at += step
    assert tree.root() == tree_hash(leaves)
    assert list(tree.nodes) == [tree_hash(leaves[start:end]) for start, end in spans(len(leaves))]
    again = Frontier(tree.size, tree.nodes)
    again.extend(some(3))
    tree.extend(some(3))
    assert again.root() == tree.root()


@pytest.mark.parametrize(("size", "count"), [(0, 1), (3, 1), (4, 2), (7, 4)])
def test_a_frontier_that_cannot_be_is_refused(size, count):
    """The number of hashes follows from the size."""
    with pytest.raises(ValueError, match=f"a tree of {size} leaves has a frontier of"):
        Frontier(size, [bytes(32)] * count)


@given(st.data(), st.integers(1, 130))
def test_every_leaf_can_be_proved_and_nothing_else(data, size):
    """A proof is the one of the RFC, shows its leaf at its place, and shows no other leaf, place, size or root."""
    leaves = some(size)
    index = data.draw(st.integers(0, size - 1))
    known = data.draw(st.integers(0, index))
    found = inclusion_proof(index, size, subtrees(grown(leaves[:known]), part_of(leaves)))
    root = tree_hash(leaves)
    assert list(found) == path(index, leaves)
    assert included(leaves[index], index, size, found, root)
    assert not included(leaf_hash(b"another"), index, size, found, root)
    assert not included(leaves[index], index, size, found, leaf_hash(b"another"))
    assert not included(leaves[index], index, size, (*found, root), root)
    other = data.draw(st.integers(-1, size))
    assert other == index or not included(leaves[index], other, size, found, root)
    if found:
        assert not included(leaves[index], index, size, found[:-1], root)
        bit = data.draw(st.integers(0, len(found) * 256 - 1))
        flipped = flip(b"".join(found), bit)
        wrong = [flipped[at : at + 32] for at in range(0, len(flipped), 32)]
        assert not included(leaves[index], index, size, wrong, root)


@given(st.data(), st.integers(1, 130))
def test_every_beginning_can_be_proved_and_nothing_else(data, size):
    """A consistency proof is the one of the RFC, and does not hold for a log that was rewritten."""
    leaves = some(size)
    old = data.draw(st.integers(1, size))
    found = consistency_proof(old, size, subtrees(Frontier(), part_of(leaves)))
    root, old_root = tree_hash(leaves), tree_hash(leaves[:old])
    assert list(found) == proof(old, leaves)
    assert consistent(old, old_root, size, root, found)
    rewritten = [*leaves]
    rewritten[data.draw(st.integers(0, old - 1))] = leaf_hash(b"another")
    other = consistency_proof(old, size, subtrees(Frontier(), part_of(rewritten)))
    assert not consistent(old, old_root, size, tree_hash(rewritten), other)
    assert not consistent(old, old_root, size, tree_hash(rewritten), found)
    assert not consistent(old, tree_hash(rewritten[:old]), size, root, found)
    assert not consistent(old, old_root, size, root, (*found, root))
    assume(found)
    assert not consistent(old, old_root, size, root, found[:-1])


def test_the_trivial_trees_are_consistent_with_little():
    """The empty tree is the beginning of every tree; a tree is its own; a larger one is no beginning."""
    root = tree_hash(some(3))
    assert consistent(0, EMPTY_ROOT, 3, root, ())
    assert not consistent(0, root, 3, root, ())
    assert not consistent(0, EMPTY_ROOT, 3, root, (root,))
    assert consistent(3, root, 3, root, ())
    assert not consistent(3, EMPTY_ROOT, 3, root, ())
    assert not consistent(4, root, 3, root, ())
    assert not consistent(2, tree_hash(some(2)), 3, root, ())
    assert consistency_proof(3, 3, subtrees(Frontier(), part_of(some(3)))) == ()


def part_of(leaves: list[bytes]) -> Callable[[int, int], list[bytes]]:
    """The leaves as a log gives them."""
    return lambda start, end: leaves[start:end]


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
