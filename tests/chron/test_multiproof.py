"""Many leaves shown by one proof, and nothing else shown by it."""

from hypothesis import given
from hypothesis import strategies as st

from chron.chain import leaf_hash
from chron.merkle import Frontier, inclusion_proof, subtrees
from chron.multiproof import gaps, shown

LEAVES = [leaf_hash(b"%d" % number) for number in range(130)]
ANOTHER = leaf_hash(b"another")


def tree(size: int, known: int = 0) -> tuple[bytes, object]:
    """The root of a tree, and its subtrees as a log knows them that has a frontier."""
    grown, frontier = Frontier(), Frontier()
    grown.extend(LEAVES[:size])
    frontier.extend(LEAVES[:known])
    return grown.root(), subtrees(frontier, lambda start, end: LEAVES[start:end])


@given(st.data(), st.integers(1, 130))
def test_any_records_are_shown_and_no_others(data, size):
    """Whatever is chosen: its proof holds, and for no other leaf, place or root, and with no hash more or less."""
    places = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    root, subtree = tree(size, data.draw(st.integers(0, places[0])))
    hashes = [subtree(start, end) for start, end in gaps(places, size)]
    leaves = [LEAVES[place] for place in places]
    assert shown(places, leaves, size, hashes, root)
    wrong = data.draw(st.integers(0, len(places) - 1))
    assert not shown(places, [*leaves[:wrong], ANOTHER, *leaves[wrong + 1 :]], size, hashes, root)
    assert not shown(places, leaves, size, hashes, ANOTHER)
    assert not shown(places, leaves, size, [*hashes, ANOTHER], root)
    assert not shown(places[:-1], leaves[:-1], size, hashes, root)
    assert not shown(places, leaves[:-1], size, hashes, root)
    for at in range(len(hashes)):
        assert not shown(places, leaves, size, hashes[:at] + hashes[at + 1 :], root)
        assert not shown(places, leaves, size, [*hashes[:at], ANOTHER, *hashes[at + 1 :]], root)
    moved = sorted({*places[:wrong], *places[wrong + 1 :], data.draw(st.integers(0, size - 1))})
    assert moved == places or len(moved) < len(places) or not shown(moved, leaves, size, hashes, root)


@given(st.integers(1, 130), st.data())
def test_for_one_record_it_is_the_inclusion_proof(size, data):
    """The hashes of RFC 6962, from left to right instead of from the leaf up."""
    place = data.draw(st.integers(0, size - 1))
    _, subtree = tree(size)
    assert {subtree(*gap) for gap in gaps([place], size)} == set(inclusion_proof(place, size, subtree))


def test_nothing_is_shown_of_nothing():
    """No tree, no record: there is nothing that a proof could say."""
    assert list(gaps([], 0)) == []
    assert not shown([], [], 0, [], tree(0)[0])
    root, subtree = tree(7)
    assert list(gaps([], 7)) == [(0, 7)]
    assert shown([], [], 7, [subtree(0, 7)], root)
