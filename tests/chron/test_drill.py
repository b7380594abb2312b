"""Tampering (T12): every attack at many places is noticed, by what the documentation says notices it."""

import asyncio
import random
import re
import shutil
from pathlib import Path

import pytest

from chron import Cadence, Chron, ChronError, Known, Signing, check, find, parse_vkey, prove, verify
from chron.attacks import ATTACKS
from chron.drill import attacked, copy_log, drill
from support.torture.numbers import SEED, how_many, tell

PLACES = how_many(14, 63)
"""16 attacks: 224 copies in `make test`, 1,008 in `make torture`."""
CLEAN = how_many(100, 10_000)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"


async def _made(path: Path) -> None:
    signing = Signing(path.with_name("key.pem"), cadence=Cadence(every_records=20))
    chron = Chron.open(path, low_water_bytes=0, signing=signing)
    chron.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\n"), ("policy", "no-prod", 1, "d2", "policy: x\n")])
    for number in range(60):
        fields = {"channel": "wire", "agent": f"bot-{number % 3}", "outcome": "ALLOW" if number % 2 else "DENY"}
        receipt = await chron.append("decision", {**fields, "n": number})
        await chron.append("outcome", {"ref": receipt.id, "result": "sent", "status": 200})
    chron.checkpoint()
    chron.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed log of sixty decisions on the wire."""
    path = tmp_path_factory.mktemp("drilled") / "chron.db"
    asyncio.run(_made(path))
    return path


@pytest.fixture(scope="module")
def known(log: Path) -> Known:
    """What somebody outside has kept: key and head."""
    key = parse_vkey(next(find(log, kind="key")).text("vkey"))
    return Known(key, list(find(log, kind="checkpoint"))[-1].text("note"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_at_any_place_is_noticed(log, known, tmp_path, attack):
    """With key and head kept elsewhere each is found, at the right record, by what is said to find it."""
    whole = tmp_path / "log.db"
    copy_log(log, whole)
    for place in range(PLACES):
        found = attacked(attack, whole, tmp_path, known, random.Random(f"{SEED} {attack.id} {place}"))
        assert found.caught, (place, found)
    tell(f"tampering, {attack.id}: {PLACES} copies, all noticed")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_what_needs_something_kept_elsewhere_is_missed_without(log, tmp_path, attack):
    """Nothing inside of a file shows a cut end, or a log that was written anew: without key and head, missed."""
    whole = tmp_path / "log.db"
    copy_log(log, whole)
    found = attacked(attack, whole, tmp_path, Known(), random.Random(attack.id))
    assert found.caught is not bool(attack.needs), found


def test_a_clean_log_is_never_called_tampered(log, known, tmp_path):
    """No false alarm, whatever is known of the log and however its file was copied."""
    for number in range(CLEAN):
        path = tmp_path / f"{number}.db"
        if number % 10:
            shutil.copyfile(log, path)
        else:
            copy_log(log, path)
        with_key = (Known(), Known(known.key), known)[number % 3]
        found = verify(path, known=with_key)
        assert (found.ok, found.loose) == (True, 0), found
        path.unlink()
    tell(f"tampering: {CLEAN} clean logs verified, no false alarm")


async def test_what_is_proved_while_the_log_grows_holds(tmp_path):
    """A reader that takes proofs and verifies while records are written is never told of tampering."""
    path = tmp_path / "chron.db"
    signing = Signing(path.with_name("key.pem"), cadence=Cadence(every_records=25))
    chron = Chron.open(path, low_water_bytes=0, signing=signing)
    writing, proved = True, 0

    async def write() -> None:
        nonlocal writing
        for number in range(how_many(600, 25_000)):
            await chron.append("decision", {"channel": "api", "outcome": "DENY", "n": number})
        writing = False

    async def read() -> None:
        nonlocal proved
        while writing:
            for record in await asyncio.to_thread(lambda: list(find(path, kind="decision", newest=60))[:3]):
                try:
                    proof = await asyncio.to_thread(prove, path, record.id)
                except ChronError as error:
                    if "no checkpoint covers this record yet" not in str(error):
                        raise
                    continue
                vkey = next(find(path, kind="key")).text("vkey")
                assert check(proof, vkey).seq == record.seq
                proved += 1
            found = await asyncio.to_thread(verify, path)
            assert found.ok, found

    await asyncio.gather(write(), read())
    chron.close()
    assert proved
    assert verify(path).ok


def test_the_drill_leaves_the_log_as_it_is(log, known, tmp_path):
    """All attacks are on copies, which are gone afterwards but for the one that all were made from."""
    before = log.read_bytes()
    findings = list(drill(log, tmp_path, key=known.key, head=known.head, chance=random.Random(1)))
    assert [finding.id for finding in findings] == [attack.id for attack in ATTACKS]
    assert all(finding.caught for finding in findings)
    assert log.read_bytes() == before
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {"log.db"}


def test_a_log_that_is_tampered_with_already_is_not_drilled(log, tmp_path, known):
    """What does not verify as it is shows nothing when it is attacked."""
    import sqlite3
    from contextlib import closing

    path = tmp_path / "bad.db"
    copy_log(log, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("DROP TRIGGER chron_no_delete")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ChronError, match=r"the log does not verify as it is: .*that is no drill"):
        list(drill(path, folder))


def test_a_young_log_is_too_young(tmp_path):
    """A log without decisions and checkpoints cannot be attacked in all ways, and that is said."""
    Chron.open(tmp_path / "chron.db", low_water_bytes=0).close()
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ChronError, match="too young for a drill"):
        list(drill(tmp_path / "chron.db", folder))


def test_the_page_says_what_the_drill_does():
    """The table in docs/evidence.md is the table of attacks."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(attack.id, attack.what, attack.catch) for attack in ATTACKS]
