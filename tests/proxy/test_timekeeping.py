"""What time the gate goes by is on record, and what nobody knows of it is left out."""

import ctypes
from pathlib import Path

import pytest

import chron
from chron import Chron
from proxy import timekeeping
from proxy.timekeeping import EVERY_S, Kernel, Reading, Timekeeping, clock_fields, look
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.waiting import Clock

SPAN_US = 1_800_000_000
RIGHT = Kernel(synchronised=True, offset_us=-41, max_error_us=1250)


def test_a_look_says_what_the_kernel_says() -> None:
    """Without a look before there is nothing that the clock was moved against."""
    assert clock_fields(Reading(10, 7, "b-1", RIGHT), None) == {
        "uptime_us": 7,
        "boot": "b-1",
        "synchronised": True,
        "offset_us": -41,
        "max_error_us": 1250,
    }


@pytest.mark.parametrize(
    ("wall_us", "moved_us"), [(SPAN_US, 0), (SPAN_US + 9, 9), (3 * SPAN_US, 2 * SPAN_US), (5, 5 - SPAN_US)]
)
def test_a_clock_that_was_moved_shows(wall_us: int, moved_us: int) -> None:
    """Forwards and back, by what the machine's own time says."""
    last, now = Reading(0, 100, "b-1", RIGHT), Reading(wall_us, 100 + SPAN_US, "b-1", RIGHT)
    assert clock_fields(now, last)["moved_us"] == moved_us


def test_what_nobody_knows_is_left_out() -> None:
    """A kernel that says nothing does not make a clock that is right, nor one that is wrong."""
    assert clock_fields(Reading(10, 7, "", None), None) == {"uptime_us": 7}


@pytest.mark.parametrize(
    ("state", "status", "offset", "found"),
    [
        (0, 0x2001, 4_100, Kernel(True, 4, 1250)),  # TIME_OK, STA_PLL | STA_NANO
        (0, 0x0001, 4_100, Kernel(True, 4_100, 1250)),
        (0, 0x0041, 0, Kernel(False, 0, 1250)),  # STA_UNSYNC
        (5, 0x0001, 0, Kernel(False, 0, 1250)),  # TIME_ERROR
        (-1, 0, 0, None),
    ],
)
def test_the_kernels_words_are_understood(
    monkeypatch: pytest.MonkeyPatch, state: int, status: int, offset: int, found: Kernel | None
) -> None:
    """adjtimex(2): synchronised only when neither the state nor the status says otherwise."""

    class Library:
        def adjtimex(self, told: object) -> int:
            timex = told._obj  # type: ignore[attr-defined]
            timex.status, timex.offset, timex.maxerror = status, offset, 1250
            return state

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert timekeeping.ask_kernel() == found


def test_a_system_without_that_question_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Linux, no answer, and no trace."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert timekeeping.ask_kernel() is None


def test_this_machine_has_a_clock() -> None:
    """The real kernel is asked, changes nothing, and time goes on."""
    first, then = look(), look()
    assert first.boot == then.boot
    assert 0 < first.uptime_us <= then.uptime_us
    assert first.wall_us > first.uptime_us


async def test_it_is_recorded_at_once_and_again(tmp_path: Path) -> None:
    """A record now and whenever half an hour has passed, until the gate stops."""
    clock = Clock()
    looks = iter([Reading(0, 0, "b-1", RIGHT), Reading(SPAN_US + 7, SPAN_US, "b-1", None)])
    log = Chron.open(tmp_path / "chron.db", low_water_bytes=0)
    keeping = Timekeeping(log, "s-1", later=clock.later, look=lambda: next(looks))
    keeping.start()
    clock.wait_timers(EVERY_S, 1)
    clock.pass_(EVERY_S)
    clock.wait_timers(EVERY_S, 1)
    keeping.stop()
    clock.wait_timers(EVERY_S, 0)
    log.close()
    first, then = chron.find(tmp_path / "chron.db", kind="clock")
    assert (first.fields["synchronised"], first.fields["session"], "moved_us" in first.fields) == (True, "s-1", False)
    assert (then.fields["moved_us"], "synchronised" in then.fields) == (7, False)


async def test_a_log_that_takes_no_record_is_asked_again(tmp_path: Path) -> None:
    """What could not be recorded stops nothing: later the clock is looked at again."""
    clock, looked = Clock(), list[int]()
    log = Chron.open(tmp_path / "chron.db", low_water_bytes=0)
    log.close()

    def look_at() -> Reading:
        looked.append(1)
        return Reading(0, 0, "", None)

    Timekeeping(log, "s-1", later=clock.later, look=look_at).start()
    clock.pass_(EVERY_S)
    assert len(looked) == 2
    assert list(chron.find(tmp_path / "chron.db", kind="clock")) == []


def test_a_gate_records_its_clock(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Each run of a real gate says once what time it goes by, after its rules are in force."""
    gate = LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with gate:
        pass
    (record,) = chron.find(gate.config.chron, kind="clock")
    assert int(record.fields["uptime_us"]) > 0
    assert record.text("session") == next(chron.find(gate.config.chron, kind="policy")).text("session")
    assert chron.verify(gate.config.chron).ok
