"""One record proved alone: what a proof file shows, and that nothing else passes for one."""

import asyncio
import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chron import Cadence, Chron, ChronError, Signing, check, find, prove, verify


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A signed Chron of sixty decisions that begins without a key, and whose last records no checkpoint covers."""
    path = tmp_path_factory.mktemp("signed") / "chron.db"

    async def fill(signing: Signing | None, count: int) -> None:
        chron = Chron.open(path, low_water_bytes=0, signing=signing)
        for number in range(count):
            await chron.append("decision", {"outcome": "DENY", "n": number})
        chron.close()

    signing = Signing(path.with_name("key.pem"), cadence=Cadence(every_records=10))
    asyncio.run(fill(None, 15))
    asyncio.run(fill(signing, 45))
    asyncio.run(fill(None, 1))
    return path


@pytest.fixture(scope="module")
def vkey(made) -> str:
    return verify(made).vkey


def test_every_covered_record_can_be_proved(made, vkey):
    """By the first checkpoint over it and by the last one, and the proof says the record itself."""
    covered = [record for record in find(made) if record.seq <= verify(made).covered]
    assert len(covered) == 70
    for record in covered:
        for newest in (False, True):
            text = prove(made, record.id, newest=newest)
            assert text is not None
            proven = check(text, vkey)
            assert (proven.seq, dict(proven.fields)) == (record.seq, dict(record.fields))
            assert proven.checkpoint.size == 70 or not newest


def test_a_proof_stays_the_same(made, vkey):
    """It leads to the first checkpoint over the record, whatever the log becomes."""
    record = next(record for record in find(made) if record.seq == 25)
    text = prove(made, record.id)
    assert text is not None
    assert check(text, vkey).checkpoint.size == 30
    assert text == prove(made, record.id)
    assert text.split("\n")[0] == "c2sp.org/tlog-proof@v1"
    assert text.split("\n")[2] == "index 24"


def test_what_no_checkpoint_covers_has_no_proof_yet(made):
    """It says what to do; a record that is not there has none at all."""
    last = list(find(made))[-1]
    with pytest.raises(ChronError, match='no checkpoint covers this record yet; run "claiim chron checkpoint --now"'):
        prove(made, last.id)
    assert prove(made, "chr_none") is None


@pytest.fixture(scope="module")
def proof(made) -> str:
    text = prove(made, next(record.id for record in find(made) if record.seq == 33))
    assert text is not None
    return text


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_bit_of_a_proof_that_changes_is_found(proof, vkey, data):
    """A proof file with one bit changed anywhere proves nothing."""
    content = bytearray(proof.encode())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises((ChronError, UnicodeDecodeError)):
        check(content.decode(), vkey)


def test_another_key_or_log_does_not_check_it(proof, tmp_path):
    """A proof is worth what its key is worth."""

    async def other() -> str:
        chron = Chron.open(tmp_path / "other.db", low_water_bytes=0, signing=Signing(tmp_path / "key.pem"))
        chron.close()
        return verify(tmp_path / "other.db").vkey

    with pytest.raises(ChronError, match="no signature on it is by a key that is known here"):
        check(proof, asyncio.run(other()))
    with pytest.raises(ChronError, match='"nonsense" is not a verifier key; give the line that "claiim chron key show'):
        check(proof, "nonsense")


BAD = {
    "nothing": lambda text: "",
    "another form": lambda text: text.replace("tlog-proof@v1", "tlog-proof@v2"),
    "without its record": lambda text: text.replace(text.split("\n")[1] + "\n", ""),
    "another record": lambda text: text.replace(text.split("\n")[1][6:], base64.b64encode(b'{"seq":33}').decode()),
    "another place": lambda text: text.replace("index 32", "index 31"),
    "a place with a leading zero": lambda text: text.replace("index 32", "index 032"),
    "a hash missing": lambda text: text.replace(text.split("\n")[3] + "\n", ""),
    "a hash too many": lambda text: text.replace(text.split("\n")[3] + "\n", text.split("\n")[3] + "\n" * 2),
    "no checkpoint": lambda text: text.partition("\n\n")[0] + "\n\n",
    "endless": lambda text: text.replace("\n\n", "\n" + "A" * 300_000 + "\n\n", 1),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_is_no_proof(proof, vkey, change):
    """Anything that is not exactly a proof is refused in one line."""
    with pytest.raises(ChronError) as caught:
        check(change(proof), vkey)
    assert "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(31, 40))
def test_a_changed_log_gives_no_proof(made, tmp_path, seq):
    """A record whose body or neighbours were changed has no proof, rather than a bad one."""
    path = tmp_path / "changed.db"
    path.write_bytes(made.read_bytes())
    from chron.schema import GUARDS

    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        for name in GUARDS:
            shell.execute(f"DROP TRIGGER {name}")
        shell.execute(
            "UPDATE chron SET leaf = zeroblob(32), body = replace(body, 'DENY', 'ALLOW') WHERE seq = ?", (seq,)
        )
        for text in GUARDS.values():
            shell.execute(text)
    with pytest.raises(ChronError, match="its record is not in the log that was signed"):
        prove(path, next(record.id for record in find(path) if record.seq == 33))
