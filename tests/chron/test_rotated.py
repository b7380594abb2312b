"""A log that is lived with answers as if no body had ever gone: log and segments together, and each segment alone."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chron import ChronError, Known, check, find, parse_vkey, prove, show, verify
from chron.exported import check_export
from chron.filtering import All, Compare, Filter
from chron.querying import counts, page, stored
from chron.schema import EMPTIABLE
from proxy.cli.chron import chron as command
from proxy.replaying import Replay
from support.filters import filters
from support.lives import ACTIONS, BEGIN, Life, steps
from support.torture.numbers import TORTURE, how_many

_MEMORY = Path("/dev/shm")
_ALL = 2**62
_NAMES = ("action", "outcome")
_MOVED = Compare("kind", "=", EMPTIABLE)
lives = settings(
    max_examples=how_many(6, 500),
    deadline=None,
    derandomize=not TORTURE,
    phases=[Phase.generate],  # making a life smaller takes minutes, and what failed is told as it is
    suppress_health_check=[HealthCheck.too_slow],
)


@contextmanager
def lived(done: list[tuple[str, object]]) -> Iterator[Life]:
    """The log of such a life."""
    folder = Path(tempfile.mkdtemp(prefix="claiim-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        life = Life(folder)
        life.live(done)
        yield life
    finally:
        shutil.rmtree(folder)


def key_of(life: Life) -> Known:
    return Known(parse_vkey(next(find(life.path, kind="key")).text("vkey")))


def segments(life: Life) -> list[tuple[Path, range]]:
    """Each segment that is there, with the places that it answers for."""
    return [(life.folder / each.file, range(each.first, each.last + 1)) for each in life.segments("live", "archived")]


def together(life: Life) -> list[Path]:
    """The log, and the segments that alone have what was moved into them."""
    return [life.path, *(life.folder / each.file for each in life.segments("archived"))]


@lives
@given(steps)
def test_it_verifies(done):
    """Log and segments together, and each alone, by the first key that the log ever had; nothing is missing."""
    with lived(done) as life:
        known, twin = key_of(life), life.twin()
        found, whole = verify(life.path, known=known), verify(twin, known=known)
        assert (found.ok, found.fault, found.missing) == (True, "", ())
        assert replace(found, emptied=0, segments=0) == replace(whole, emptied=0, segments=0)
        assert found.emptied >= len(life.gone)
        for file, span in segments(life):
            found = verify(file, known=known)
            assert (found.ok, found.fault, found.covered) == (True, "", span.stop - 1)
            assert found.emptied == len(life.gone.intersection(span))


@lives
@given(steps, st.sampled_from(ACTIONS), st.integers(1, 5), st.integers(0, 120))
def test_it_finds_and_shows(done, action, newest, seconds):
    """The same records, as JSON and in the same order, with what came of each and the lines that decided it."""
    asked = [
        {"kind": "decision", "action": action},
        {"agent": "deploy-bot", "outcome": "DENY", "newest": newest},
        {"kind": "outcome", "since": BEGIN.replace(minute=seconds // 60, second=seconds % 60)},
        {"kind": "policy", "after_seq": newest},
    ]
    with lived(done) as life:
        twin = life.twin()
        for wanted in asked:
            most = wanted.pop("newest", 0)
            there = [record for record in find(twin, **wanted) if record.seq not in life.gone]
            found = {record.seq: record for file in together(life) for record in find(file, **wanted)}
            assert [found[seq] for seq in sorted(found)] == there
            for file, span in segments(life):
                own = [record for record in there if record.seq in span]
                assert list(find(file, **wanted, newest=most)) == own[-most:]
            for record in there:
                _shows_the_same(life, twin, record.id)


def _shows_the_same(life: Life, twin: Path, id_: str) -> None:
    whole = show(twin, id_)
    shown = [each for each in (show(file, id_) for file in together(life)) if each]
    (said,) = {each.record.seq: each for each in shown if each.record.fields}.values()
    assert said.record == whole.record
    assert said.texts == whole.texts
    # What came of a request may stand in a later segment, which is asked for it by the decision's id.
    files = together(life)
    outcomes = {each.seq: each for file in files for each in page(file, Compare("ref", "=", (id_,)), limit=9).records}
    assert [outcomes[seq] for seq in sorted(outcomes)] == [each for each in whole.outcomes if each.seq not in life.gone]
    assert {each.seq for one in shown for each in one.outcomes} <= outcomes.keys()


@lives
@given(steps, st.lists(filters, min_size=2, max_size=5), st.integers(1, 4))
def test_it_answers_filters(done, asked, limit):
    """Whatever is asked: the same rows to the byte, the same counts, and the same pages."""
    with lived(done) as life:
        twin = life.twin()
        for wanted in [Compare("action", "~", ("deploy:*",)), All(()), *asked]:
            there = [row for row in stored(twin, wanted, upto=_ALL) if row[0] not in life.gone]
            rows = {row[0]: row for file in together(life) for row in stored(file, wanted, upto=_ALL) if row[2]}
            assert [rows[seq] for seq in sorted(rows)] == there
            for file, span in segments(life):
                own = [row for row in there if row[0] in span]
                assert [row for row in stored(file, wanted, upto=_ALL) if row[2]] == own
                assert _paged(file, wanted, limit) == [row[1] for row in own]
            moved = [json.loads(row[2]) for row in there]
            named = Counter(tuple(map(body.get, _NAMES)) for body in moved if body["kind"] in EMPTIABLE)
            assert sum((_counted(file, wanted) for file in together(life)), Counter()) == named


def _paged(file: Path, wanted: Filter, limit: int) -> list[str]:
    ids, before = [], 0
    while True:
        found = page(file, wanted, limit=limit, before=before)
        ids = [record.id for record in found.records if record.fields] + ids
        before = found.cursor
        if not before:
            return ids


def _counted(file: Path, wanted: Filter) -> Counter[tuple[str | None, ...]]:
    found = counts(file, All((wanted, _MOVED)), _NAMES, limit=1000)
    return Counter({each.values: each.records for each in found})


@lives
@given(steps)
def test_it_proves(done):
    """The proof of a record is the same text, whether the log or a segment gives it; else it is said why not."""
    with lived(done) as life:
        twin, vkeys = life.twin(), [record.text("vkey") for record in find(life.path, kind="key")]
        covered = max(record.fields["size"] for record in find(twin, kind="checkpoint"))
        there = {record.id: record.seq for record in find(twin) if record.seq <= covered}
        proofs = {id_: prove(twin, id_) for id_ in there}
        for file in (life.path, *(file for file, _ in segments(life))):
            for record in find(file):
                if record.fields and record.seq <= covered:
                    assert prove(file, record.id) == proofs[record.id]
                elif not record.fields:
                    why = "nothing is left to prove" if record.seq in life.gone else "alone; prove it from that file"
                    with pytest.raises(ChronError, match=why):
                        prove(file, record.id)
        for id_, proof in proofs.items():
            assert any(_proves(proof, vkey) == there[id_] for vkey in vkeys)


def _proves(proof: str, vkey: str) -> int:
    try:
        return check(proof, vkey).seq
    except ChronError:
        return 0


@lives
@given(steps)
def test_it_replays(done):
    """Each decision is made again from the segment that has it, and is what it was."""
    with lived(done) as life:
        whole = {each.record["seq"]: each for each in Replay(life.twin()).decisions()}
        assert not any(each.left_out or each.differing for each in whole.values())
        there = {seq: each for seq, each in whole.items() if seq not in life.gone}
        found = [each for file in together(life) for each in Replay(file).decisions()]
        assert {each.record["seq"]: each for each in found} == there
        for file, span in segments(life):
            alone = {each.record["seq"]: each for each in Replay(file).decisions()}
            assert alone == {seq: each for seq, each in there.items() if seq in span}


@lives
@given(steps)
def test_it_exports(done):
    """The lines are the same bytes; each export is whole, compares with the log, and is proved by the key alone."""
    with lived(done) as life:
        vkeys = [record.text("vkey") for record in find(life.path, kind="key")]
        lines = _exported(life.twin())
        for number, line in enumerate(_exported(life.path)):
            assert line == lines[number] or line.startswith(b'{"erased":true')
        for file, span in segments(life):
            own = _exported(file)
            assert len(own) == len(span)
            for seq, line in zip(span, own, strict=True):
                assert line == lines[seq - 1] if seq not in life.gone else line.startswith(b'{"erased":true')
            export = file.with_suffix(".jsonl")
            for log in (None, file, life.path):
                found = check_export(export, log)
                assert (found.fault, found.chained, found.records) == ("", True, len(span))
            assert max(_covered(export, vkey) for vkey in vkeys) == len(span)


def _exported(log: Path) -> list[bytes]:
    target = log.with_suffix(".jsonl")
    result = CliRunner().invoke(command, ["export", "--chron", str(log), "-o", str(target)])
    assert result.exit_code == 0, result.output
    return target.read_bytes().splitlines()


def _covered(export: Path, vkey: str) -> int:
    try:
        return check_export(export, None, parse_vkey(vkey)).covered
    except ChronError:
        return 0
