"""Notes and keys against C2SP's own examples, and everything that is almost one."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chron import ChronError, last_note, parse_note, parse_vkey
from chron.notes import Checkpoint, VerifierKey, verified
from chron.signing import Signer

# The example of golang.org/x/mod/sumdb/note: its key, its note, signed by somebody else's program.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
NAME = "claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p"
CHECKPOINT = Checkpoint(NAME, 1204, bytes(range(32)))
KEY, SECOND = SIGNER.verifier_keys(NAME)


def test_a_note_of_gos_own_verifies():
    """What Go's reference implementation signed, we accept, with its key as it writes it."""
    key = parse_vkey(GO_VKEY)
    assert (key.name, key.vkey) == ("PeterNeumann", GO_VKEY)
    assert key.signed(parse_note(GO_NOTE))
    assert not key.signed(parse_note(GO_NOTE.replace("problem", "Problem")))


def test_our_checkpoint_reads_as_the_specification_has_it():
    """Three lines, an empty one, a line for each key; each signature is key id and signature."""
    note = SIGNER.checkpoint(CHECKPOINT, at_s=1_767_225_600)
    lines = note.split("\n")
    assert lines[:4] == [NAME, "1204", base64.b64encode(bytes(range(32))).decode(), ""]
    assert [line.split(" ")[:2] for line in lines[4:6]] == [["\u2014", NAME]] * 2
    ed25519, ml_dsa = (base64.b64decode(line.split(" ")[2]) for line in lines[4:6])
    assert (len(ed25519), ed25519[:4]) == (4 + 64, KEY.id)
    assert (len(ml_dsa), ml_dsa[:4], ml_dsa[4:12]) == (4 + 8 + 2420, SECOND.id, (1_767_225_600).to_bytes(8))
    assert verified(note, [KEY]) == verified(note, [SECOND]) == verified(note, [KEY, SECOND]) == CHECKPOINT


def test_what_an_ml_dsa_key_signs_is_the_cosigned_message():
    """Label, name, time, origin, range and root, in the order and the widths of c2sp.org/tlog-cosignature."""
    name = NAME.encode()
    expected = b"subtree/v1\n\0" + bytes([len(name)]) + name + (7).to_bytes(8) + bytes([len(name)]) + name
    expected += (0).to_bytes(8) + (1204).to_bytes(8) + bytes(range(32))
    assert CHECKPOINT.cosigned(NAME, 7) == expected


def test_a_line_of_a_known_key_that_does_not_fit_spoils_the_note():
    """It is not outweighed by another good signature."""
    note = SIGNER.checkpoint(CHECKPOINT, at_s=7)
    good = parse_note(note).signatures
    other = Signer(SIGNER.key).checkpoint(Checkpoint(NAME, 1205, bytes(32)), 7)
    mixed = CHECKPOINT.text + "\n" + good[0].line + parse_note(other).signatures[0].line
    with pytest.raises(ChronError, match="its signature does not fit its text"):
        verified(mixed, [KEY])
    stranger = VerifierKey("somebody", Ed25519PrivateKey.generate().public_key())
    with pytest.raises(ChronError, match="no signature on it is by a key that is known here"):
        verified(note, [stranger])


NO_NOTE = {
    "nothing": ("", "no signature line"),
    "no signature": ("a\n1\nb\n", "no signature line"),
    "no last newline": (GO_NOTE.rstrip("\n"), "no signature line"),
    "a hyphen for the dash": (GO_NOTE.replace("\u2014", "-"), "not a dash, a name and base64"),
    "a name with a plus": (GO_NOTE.replace(" PeterNeumann ", " Peter+Neumann "), "not a dash, a name and base64"),
    "not base64": (GO_NOTE.replace("x08go/", "x08go_"), "not a dash, a name and base64"),
    "base64 with loose bits": (GO_NOTE.replace("nAM=", "nAN="), "not a dash, a name and base64"),
    "a signature of no bytes": ("a\n\n\u2014 a AAAAAA==\n", "not a dash, a name and base64"),
    "a control character": (GO_NOTE.replace("problem", "prob\x1blem", 1), "control characters"),
    "endless": ("a" * 70_000, "too long"),
    "too many signatures": ("a\n\n" + "\u2014 a AAAAAAAA\n" * 17, "more than 16 signatures"),
}


@pytest.mark.parametrize(("text", "fault"), NO_NOTE.values(), ids=NO_NOTE)
def test_what_is_no_note(text, fault):
    """Anything that a strict reader could read another way is refused."""
    with pytest.raises(ChronError, match=fault):
        parse_note(text)


NO_CHECKPOINT = {
    "two lines": "a\n1\n",
    "an extension": f"{CHECKPOINT.text}more\n",
    "a size with a zero before it": CHECKPOINT.text.replace("1204", "01204"),
    "a size with a sign": CHECKPOINT.text.replace("1204", "+1204"),
    "a name with a blank": CHECKPOINT.text.replace("claiim/", "claiim "),
    "a short root": CHECKPOINT.text.replace("AAEC", ""),
}


@pytest.mark.parametrize("text", NO_CHECKPOINT.values(), ids=NO_CHECKPOINT)
def test_what_is_no_checkpoint(text):
    """A signed note that is not name, size and root says nothing about a log."""
    with pytest.raises(ChronError, match=r"its text is not name, size and root|its root is not a SHA-256"):
        parse_note(text + "\n\u2014 a AAAAAAAA\n").checkpoint()


NO_KEY = {
    "nothing": "",
    "no parts": "x",
    "another id": GO_VKEY.replace("c74f20a3", "c74f20a4"),
    "another name": GO_VKEY.replace("Peter", "peter"),
    "another type": "a+00000000+" + base64.b64encode(bytes([2]) + bytes(32)).decode(),
    "a short key": "a+00000000+" + base64.b64encode(bytes([1]) + bytes(31)).decode(),
}


@pytest.mark.parametrize("text", NO_KEY.values(), ids=NO_KEY)
def test_what_is_no_key(text):
    """A key that is not whole is refused, with where to get it."""
    with pytest.raises(ChronError, match='is not a verifier key; give the line that "claiim chron key show" printed'):
        parse_vkey(text)


@given(st.text(max_size=200))
def test_no_text_makes_a_reader_fall_over(text):
    """Whatever somebody writes to an anchor, reading it says in one line what is wrong, or gives a note."""
    for read in (parse_note, parse_vkey):
        with contextlib.suppress(ChronError):
            read(text)
    last_note(text)


def test_an_old_note_behind_a_newer_one_hides_nothing():
    """Who can append to an anchor and do no more cannot make it forget what it has seen."""
    notes = [SIGNER.checkpoint(Checkpoint(NAME, size, bytes(32)), 7) for size in (1, 2, 30, 4)]
    assert last_note("".join(note + "\n" for note in notes)) == notes[2]
    other = SIGNER.checkpoint(Checkpoint("another/log", 3, bytes(32)), 7)
    assert last_note("".join(note + "\n" for note in (*notes, other))) == other, "so it shows that it is of another log"


def test_the_last_whole_note_of_many():
    """Of notes one after the other the last whole one counts, whatever a crash left behind it."""
    notes = [SIGNER.checkpoint(Checkpoint(NAME, size, bytes(32)), 7) for size in (1, 2, 3)]
    text = "".join(note + "\n" for note in notes)
    assert last_note(text) == notes[2]
    assert last_note(text[:-1]) == notes[1], "the last one has no empty line behind it, so it may be torn"
    assert last_note(text[:-30]) == notes[1]
    assert last_note(text[:-30] + "\n\n" + notes[2] + "\n") == notes[2]
    assert last_note(text[len(notes[0]) // 2 :]) == notes[2]
    assert last_note("") is last_note("nonsense\n\n\n\n") is None
