"""Reading: what is found, what decided, and with which tools."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from chron import Chron, ChronError, find, follow, open_reader, seen, show, tail
from chron.schema import SELDOM

START = datetime(2026, 3, 1, tzinfo=UTC)
SKILL = "skill: deploy-v2\n# allowed\nallow:\n- deploy:staging\n# denied\ndeny:\n- deploy:production\n"


@pytest.fixture
def log(path):
    """Ten decisions a minute apart from seq 3 on, each third denied, with one outcome."""
    clock = [START]

    def clock_ns():
        clock[0] += timedelta(minutes=1)
        return int(clock[0].timestamp()) * 1_000_000_000

    async def fill():
        with Chron.open(path, low_water_bytes=0, clock_ns=clock_ns) as chron:
            chron.keep([("skill", "deploy-v2", 1, "d1", SKILL)])
            receipts = [
                await chron.append(
                    "decision",
                    {
                        "agent": "deploy-bot" if n % 2 else "test-bot",
                        "anchor": "alice@acme.test",
                        "action": ["deploy:production", "deploy:staging", "pr:merge"][n % 3],
                        "host": "api.k8s.test",
                        "outcome": "ALLOW" if n % 3 else "DENY",
                        "code": "skill.deny",
                        "rule": "skills/deploy.yaml:7:3",
                        "skill_digest": "d1",
                    },
                )
                for n in range(10)
            ]
            await chron.append("outcome", {"ref": receipts[0].id, "result": "blocked", "status": 403})
        return receipts

    return asyncio.run(fill())


FILTERS = {
    "nothing": ({}, list(range(1, 15))),
    "kind": ({"kind": "lifecycle"}, [1, 14]),
    "agent": ({"agent": "deploy-bot"}, [4, 6, 8, 10, 12]),
    "anchor of nobody": ({"anchor": "bob@acme.test"}, []),
    "action": ({"action": "pr:merge"}, [5, 8, 11]),
    "action with a star": ({"action": "deploy:*"}, [3, 4, 6, 7, 9, 10, 12]),
    "a star does not make brackets special": ({"action": "[d]eploy:*"}, []),
    "outcome": ({"outcome": "DENY"}, [3, 6, 9, 12]),
    "outcome and agent": ({"outcome": "DENY", "agent": "deploy-bot"}, [6, 12]),
    "host": ({"host": "api.k8s.test", "outcome": "ALLOW"}, [4, 5, 7, 8, 10, 11]),
    "since is included": ({"kind": "decision", "since": START + timedelta(minutes=10)}, [10, 11, 12]),
    "until is not": ({"kind": "decision", "until": START + timedelta(minutes=4)}, [3]),
    "newest": ({"kind": "decision", "newest": 2}, [11, 12]),
    "newest of few": ({"outcome": "DENY", "newest": 9}, [3, 6, 9, 12]),
    "behind a seq": ({"kind": "decision", "after_seq": 10}, [11, 12]),
    "quotes are text": ({"agent": "' OR 1=1 --"}, []),
}


@pytest.mark.parametrize(("filters", "seqs"), FILTERS.values(), ids=FILTERS)
def test_what_is_found(log, path, filters, seqs):
    """Every filter narrows, all must hold, and the order is that of the log."""
    assert [record.seq for record in find(path, **filters)] == seqs


def test_pages_lose_nothing(log, path, monkeypatch):
    """Reading in short transactions gives every record once."""
    monkeypatch.setattr("chron.reading._ROWS_PER_READ", 3)
    assert [record.seq for record in find(path)] == list(range(1, 15))


def test_a_zone_is_respected(log, path):
    """A time in another zone means the same moment."""
    from datetime import timezone

    elsewhere = (START + timedelta(minutes=10)).astimezone(timezone(timedelta(hours=5)))
    assert [record.seq for record in find(path, kind="decision", since=elsewhere)] == [10, 11, 12]


def test_tail_and_follow(log, path):
    """Tail gives the newest in order; follow gives what arrives later, until told to stop."""
    assert [record.seq for record in tail(path, 2, kind="decision")] == [11, 12]
    assert tail(path, 0) == []
    turns = iter([True, False])

    def wait():
        more = next(turns)
        if more:
            Chron.open(path, low_water_bytes=0).close()
        return more

    assert [(record.seq, record.text("event")) for record in follow(path, 14, wait)] == [(15, "open"), (16, "close")]


def test_a_record_is_shown_with_what_came_of_it_and_why(log, path):
    """Show gives the outcome and the deciding line of the very text that decided."""
    shown = show(path, log[0].id)
    assert shown.record.hash == log[0].hash
    assert shown.record.text("outcome") == "DENY"
    assert [(o.text("result"), o.fields["status"]) for o in shown.outcomes] == [("blocked", 403)]
    [text] = shown.texts
    assert (text.kind, text.id, text.version, text.place, text.line) == (
        "skill",
        "deploy-v2",
        "1",
        "skills/deploy.yaml:7:3",
        7,
    )
    assert text.lines == ((5, "# denied"), (6, "deny:"), (7, "- deploy:production"), (8, ""))
    assert show(path, "chr_none") is None


async def test_the_mapping_and_the_policy_are_shown_too(open_chron, path):
    """A policy's decision points into the policy, the skill stands beside it, and the mapping names its line: in a
    record until 0.1.0, which names each text's digest."""
    chron = open_chron()
    chron.keep(
        [("policy", "no-prod", 1, "p", "a\nb\nc"), ("mapping", "site", "", "m", "x\ny"), ("skill", "s", 2, "s", "z")]
    )
    receipt = await chron.append(
        "decision",
        {
            "code": "policy.not-allowed",
            "rule": "policies/no-prod.yaml:2:1",
            "policy": "no-prod",
            "policy_digest": "p",
            "skill": "s",
            "skill_digest": "s",
            "mapping_digest": "m",
            "mapping_place": "mappings/site.yaml:1:1",
        },
    )
    texts = [(text.kind, text.version, text.line, text.lines) for text in show(path, receipt.id).texts]
    assert texts == [
        ("policy", "1", 2, ((1, "a"), (2, "b"), (3, "c"))),
        ("skill", "2", 0, ((1, "z"),)),
        ("mapping", "", 1, ((1, "x"), (2, "y"))),
    ]


def test_sqlite_utils_opens_it_read_only(log, path):
    """The reader is a sqlite-utils database that cannot write."""
    database = open_reader(path)
    assert {"chron", "artefact"} <= set(database.table_names())
    assert database["chron"].count_where("outcome = 'DENY'") == 4
    rows = list(database.query("SELECT outcome, result, status FROM decisions WHERE id = ?", [log[0].id]))
    assert rows == [{"outcome": "DENY", "result": "blocked", "status": 403}]
    with pytest.raises(Exception, match="readonly database"):
        database["chron"].delete_where("1 = 1")
    database.close()


def test_the_command_of_sqlite_utils_opens_it(log, path):
    """`sqlite-utils rows chron.db chron` just works."""
    command = [
        sys.executable,
        "-m",
        "sqlite_utils",
        "rows",
        str(path),
        "chron",
        "-c",
        "seq",
        "-c",
        "agent",
        "--limit",
        "4",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [row["agent"] for row in json.loads(done.stdout)][2:] == ["test-bot", "deploy-bot"]


def test_datasette_opens_it(log, path):
    """`datasette chron.db` just works: its pages count and show the records and the decisions."""
    for page, count in (("/chron/chron.json?_shape=objects", 14), ("/chron/decisions.json?_shape=objects", 10)):
        command = [sys.executable, "-W", "ignore", "-m", "datasette", str(path), "--get", page]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert len(json.loads(done.stdout)["rows"]) == count


@pytest.mark.parametrize("version", ["9" * 5000, "\u00b2", "\u0663", ""])
def test_a_version_that_is_no_number_of_ours_is_left_out(log, path, harm, version):
    """Python makes no number of so many digits; a file that somebody changed ends no look at it with a trace."""
    before = seen(path)
    harm(f"INSERT INTO artefact VALUES (-1, 'skill', 'x', '{version}', 'd', 'text')")
    assert seen(path) == before


@pytest.mark.parametrize("value", ["1.5", "[]", "{}", "9007199254740993", "9" * 5000, '"\\ud800"', '"\\uD800"'])
def test_a_body_that_holds_what_none_of_ours_does_is_told(log, path, rehash, value):
    """It is no body of a gate, and is not handed on to what reads texts and numbers."""
    rehash(lambda seq, body: body.replace('"v":1', f'"v":{value}') if seq == 4 else body)
    with pytest.raises(ChronError, match="record 4: its body "):
        list(find(path))


def test_what_no_file_can_hold_is_asked_for_in_vain(log, path):
    """An argument that is not Unicode, or a number beyond all places, ends in one line and no trace."""
    for asks in (lambda: show(path, "chr_\udcff"), lambda: tail(path, agent="\udcff"), lambda: tail(path, 2**70)):
        with pytest.raises(ChronError, match="cannot read chron"):
            asks()


def test_reading_where_there_is_nothing(tmp_path):
    """No Chron is one line with the remedy."""
    for read in (
        lambda: tail(tmp_path / "none.db"),
        lambda: show(tmp_path / "none.db", "chr_x"),
        lambda: open_reader(tmp_path),
    ):
        with pytest.raises(ChronError, match='start "claiim serve" first, or give its path'):
            read()


def test_what_the_gate_reads_at_every_start_is_found_without_a_look_at_every_decision(log, path):
    """Records of a kind that is seldom come from an index, also in a file from before there was one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX chron_seldom")
        connection.commit()
    assert [record.seq for record in find(path, kind="text")] == [2]
    Chron.open(path, low_water_bytes=0).close()
    with closing(sqlite3.connect(path)) as connection:
        (plan,) = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT body FROM chron WHERE seq > ? AND kind = ? AND {SELDOM} ORDER BY seq LIMIT ?",
            (0, "policy", 500),
        )
    assert plan[3] == "SEARCH chron USING INDEX chron_seldom (kind=? AND seq>?)"
