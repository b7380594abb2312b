"""The Chron in PostgreSQL: the same log as in a file, written by one gate a chain, and guarded."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from chron import (
    Chron,
    ChronError,
    FilterError,
    Signing,
    check,
    find,
    kept_text,
    people,
    prove,
    rules_made_of,
    seen,
    show,
    tail,
    verify,
)
from chron.body import VERSION, canonical, stamp
from chron.chain import chain_hash, leaf_hash
from chron.copying import copy
from chron.doubt import doubts
from chron.errors import ServerAwayError
from chron.filtering import All
from chron.manifest import origin_and_hash_before
from chron.postgres.connection import connect_chain, connected, translated
from chron.postgres.ledger import ServerLedger
from chron.postgres.place import Place
from chron.postgres.structure import _view_as_written
from chron.querying import counts, head, page, stored
from chron.scanning import erased, scan
from chron.statistics import statistics
from support.daemon import Daemon, joined, until_connected_again, wire
from support.filters import WORDS, filters, numbers, texts
from support.postgres import Database, PostgresServer, database, mortal, postgres

__all__ = ["database", "mortal", "postgres"]

DECISION = {"agent": "bot", "action": "deploy:staging", "outcome": "ALLOW", "channel": "wire"}
DENIED = {"agent": "bot", "action": "deploy:production", "outcome": "DENY", "channel": "api"}


@pytest.fixture
def opens(database: Database, tmp_path: Path) -> Iterator[Callable[..., Chron]]:
    """Opens a chain; closes at the end what the test left open."""
    opened: list[Chron] = []

    def open_chain(chain: str = "a", role: str = "gate", **options: object) -> Chron:
        chron = Chron.open(database.url(chain, role), **options)
        opened.append(chron)
        return chron

    yield open_chain
    for chron in opened:
        if not chron._writer.finished():
            chron.close()


def signing(folder: Path, name: str = "a") -> Signing:
    return Signing(folder / f"{name}.key")


def fill(chron: Chron, number: int = 3) -> list[str]:
    """Decisions, some with an outcome, a kept text and a name."""

    async def write() -> list[str]:
        ids = [receipt.id for receipt in await chron.append_many([("decision", DECISION)] * number)]
        await chron.append("outcome", {"ref": ids[0], "result": "sent", "status": 200})
        await chron.append("decision", DENIED)
        return ids

    chron.keep([("skill", "deploy", "1", "d1", "skill: deploy\n")])
    chron.name({"h1": "Hanna"})
    return asyncio.run(write())


# --- writing and reading ---------------------------------------------------------------------------------------------


def test_a_chain_is_a_log_like_any_other(database: Database, opens: Callable[..., Chron], tmp_path: Path) -> None:
    """What is written is read, verified and proved with the same calls as of a file, by a role that can only read."""
    with opens(signing=signing(tmp_path)) as chron:
        ids = fill(chron)
        chron.checkpoint()
    source = database.url("a", "auditor")
    found = verify(source)
    assert (found.ok, found.fault, found.loose, found.checkpoints) == (True, "", 0, 2)
    shown = show(source, ids[0])
    assert shown is not None
    assert [record.text("result") for record in shown.outcomes] == ["sent"]
    assert [record.text("outcome") for record in find(source, kind="decision", action="deploy:*")] == ["ALLOW"] * 3 + [
        "DENY"
    ]
    assert tail(source, 1, kind="decision")[0].text("outcome") == "DENY"
    assert kept_text(source, "skill", "d1") == "skill: deploy\n"
    assert (seen(source), people(source)) == ({("skill", "deploy", 1): "d1"}, {"h1": "Hanna"})
    proof = prove(source, ids[1])
    assert proof is not None
    assert check(proof, found.vkey).fields["id"] == ids[1]


def test_the_texts_that_decided_are_found_by_the_rules_alone(database: Database, opens: Callable[..., Chron]) -> None:
    """As in a file, of two that have one name that of the decision's own rules, also without a record of the load."""
    lists = {
        digest: json.dumps(
            {
                "mappings": [],
                "texts": [
                    {"kind": "skill", "id": "s", "version": 1, "digest": digest, "usable": True, "in_force": True}
                ],
            }
        )
        for digest in ("d1", "d2")
    }
    rules = {digest: rules_made_of(text) for digest, text in lists.items()}
    with opens() as log:
        log.keep([("skill", "s", "1", digest, f"skill: s\n# {digest}\n") for digest in lists])
        log.keep([("rules", "rules", "", f"list of {digest}", text) for digest, text in lists.items()])
        log.write("policy", {"event": "loaded", "rules_digest": rules["d2"], "manifest": "list of d2"})
        said = {"code": "skill.denied", "rule": "s.yaml:2:1", "skill": "s", "skill_version": 1}
        ids = [log.write("decision", {**said, "rules_digest": digest}).id for digest in rules.values()]
    shown = [show(database.url("a", "auditor"), id_) for id_ in ids]
    assert [text.digest for each in shown if each for text in each.texts] == ["d1", "d2"]


def test_what_a_crash_left_is_written_down(database: Database, opens: Callable[..., Chron]) -> None:
    """A wire decision without an outcome is in doubt at the next opening, as in a file."""
    chron = opens()
    ids = fill(chron)
    chron._writer._ledger.abandon()  # type: ignore[attr-defined, union-attr]
    with pytest.raises(ChronError):
        chron.close()
    with opens():
        pass
    source = database.url("a")
    assert [(each.state, each.id) for each in doubts(source)] == [("in doubt", id_) for id_ in ids[1:]]
    opened = [record for record in find(source, kind="lifecycle") if record.text("event") == "open"][-1]
    assert (opened.fields["clean"], opened.fields["in_doubt"]) == (False, 2)
    assert verify(source).ok


@pytest.mark.parametrize("got_there", [False, True], ids=["the commit is lost", "its answer is lost"])
def test_what_came_of_a_request_is_kept_until_the_server_is_back(
    database: Database, opens: Callable[..., Chron], monkeypatch: pytest.MonkeyPatch, got_there: bool
) -> None:
    """An outcome that meets a lost connection is written when there is one again, and only where it is not yet."""
    now = [1_700_000_000_000_000_000]
    chron = opens(clock_ns=lambda: now[0])
    ids = fill(chron)
    commit = ServerLedger.commit

    def loses(ledger: ServerLedger, *batch: Any) -> None:
        monkeypatch.setattr(ServerLedger, "commit", commit)
        if got_there:
            commit(ledger, *batch)
        raise ServerAwayError("the connection is lost")

    async def meets_it() -> None:
        monkeypatch.setattr(ServerLedger, "commit", loses)
        chron.note("outcome", {"ref": ids[1], "result": "sent", "status": 201})
        with pytest.raises(ChronError, match="the connection is lost"):
            await chron.append("decision", DENIED)
        now[0] += 60_000_000_000
        await chron.append("decision", DENIED)

    asyncio.run(meets_it())
    chron.close()
    source = database.url("a")
    told = [record for record in find(source, kind="outcome") if record.text("ref") == ids[1]]
    assert [(record.text("result"), record.text("ts")[14:19]) for record in told] == [
        ("sent", "13:20" if got_there else "14:20")
    ]
    assert [record.text("event") for record in find(source, kind="lifecycle")] == ["open", "reopen", "close"]
    assert verify(source).ok


def test_a_lost_connection_refuses_and_comes_back(database: Database, opens: Callable[..., Chron]) -> None:
    """A record that meets a dead session is refused; the next one finds a new session and a log that goes on."""
    chron = opens()
    fill(chron)
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gate'")

    async def two() -> None:
        with pytest.raises(ChronError, match="cannot use chron"):
            await chron.append("decision", DECISION)
        assert chron.faults()
        while True:
            try:
                await chron.append("decision", DENIED)
            except ChronError:
                continue
            break

    asyncio.run(two())
    assert chron.faults() is None
    chron.close()
    source = database.url("a")
    events = [record.text("event") for record in find(source, kind="lifecycle")]
    assert events == ["open", "reopen", "close"]
    assert verify(source).ok


def test_a_commit_in_doubt_is_read_back(
    database: Database, opens: Callable[..., Chron], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that was committed though its producer heard "failed" gets an outcome that nothing was forwarded."""
    from chron.postgres.ledger import ServerLedger

    chron = opens()
    commit = ServerLedger.commit
    failed: list[int] = []

    def lost(self: ServerLedger, rows: list[object], texts: list[object] = ()) -> None:  # type: ignore[assignment]
        commit(self, rows, texts)  # type: ignore[arg-type]
        if not failed:
            failed.append(1)
            raise ChronError("the connection was lost while the answer was under way")

    monkeypatch.setattr(ServerLedger, "commit", lost)

    async def write() -> None:
        with pytest.raises(ChronError, match="the answer was under way"):
            await chron.append("decision", DECISION)
        await chron.append("decision", DENIED)

    asyncio.run(write())
    chron.close()
    source = database.url("a")
    (surfaced,) = [record for record in find(source, kind="decision") if record.text("channel") == "wire"]
    shown = show(source, surfaced.id)
    assert shown is not None
    assert [record.text("result") for record in shown.outcomes] == ["blocked"]


def test_one_writer_a_chain(database: Database, opens: Callable[..., Chron]) -> None:
    """A second gate for the same chain is refused and told who has it; another chain is open to it."""
    opens("a")
    with pytest.raises(ChronError, match=r"is open in another process by claiim as gate .*; stop that gate first, or"):
        Chron.open(database.url("a"))
    with opens("b"):
        pass
    assert verify(database.url("b")).ok


def test_a_chain_is_appended_to_by_the_role_that_began_it(database: Database, opens: Callable[..., Chron]) -> None:
    """A gate that is taken over cannot write into the log of another one, if each has a role of its own."""
    with opens("a", "gate"):
        pass
    with pytest.raises(ChronError, match='chain "a" is appended to by role "gate" alone'):
        Chron.open(database.url("a", "other"))
    assert verify(database.url("a")).records == 2


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "said"),
    {
        "update": ("UPDATE records SET body = '{}' WHERE seq = 2", "permission denied"),
        "delete": ("DELETE FROM records", "permission denied"),
        "truncate": ("TRUNCATE records CASCADE", "permission denied"),
        "drop a guard": ("DROP TRIGGER records_only_next ON records", "must be owner"),
        "switch a guard off": ("ALTER TABLE records DISABLE TRIGGER ALL", "must be owner"),
        "without guards": ("SET session_replication_role = replica", "permission denied"),
        "a hole": (
            "INSERT INTO records SELECT chain, seq + 7, id || 'x', body, leaf, hash FROM records",
            "only the next",
        ),
        "a fork": ("INSERT INTO records SELECT chain, seq, id || 'x', body, leaf, hash FROM records", "only the next"),
        "another's body": (
            "INSERT INTO records SELECT chain, 10, 'x', '{}', leaf, hash FROM records",
            "only the next",
        ),
        "a text without a record": ("INSERT INTO artefacts VALUES ('a', 1, 'k', 'i', '1', 'd', 't')", "its own record"),
        "a text": ("UPDATE artefacts SET text = 'x'", "permission denied"),
        "unannounced": ("SELECT empty('a', 1, 9)", "a body may only go"),
        "asynchronous": (
            "SET synchronous_commit = off; INSERT INTO records SELECT * FROM records LIMIT 0",
            "would not keep this",
        ),
    }.values(),
)
def test_a_writer_can_only_append(database: Database, opens: Callable[..., Chron], statement: str, said: str) -> None:
    """Whatever else somebody tries with the role of a gate is refused by the server, and the log stays whole."""
    with opens() as chron:
        fill(chron)
    *before, last = statement.split("; ")
    with closing(connected(database.url("a"), reads=False)) as connection:
        for each in before:
            connection.execute(each)
        with pytest.raises(ChronError, match=said):
            connection.execute(last)
    assert verify(database.url("a")).ok


def test_the_administrator_is_stopped_by_guards_until_they_are_dropped(
    database: Database, opens: Callable[..., Chron]
) -> None:
    """Guards hold for everybody; a chain whose guards are off is not appended to, and does not verify."""
    with opens() as chron:
        fill(chron)
    for statement in ("DELETE FROM records", "TRUNCATE records CASCADE", "UPDATE records SET body = body || ' '"):
        with pytest.raises(Exception, match="append-only"):
            database.run(statement)
    database.run("ALTER TABLE records DISABLE TRIGGER records_only_next")
    assert verify(database.url("a")).fault.startswith('guard "records_only_next" is missing, off or another')
    with pytest.raises(ChronError, match='is not guarded: guard "records_only_next"'):
        Chron.open(database.url("a"))


HARMS = {
    "a changed body": (
        "UPDATE records SET body = replace(body, 'DENY', 'HOLD') WHERE seq = 7",
        "its body was changed",
        7,
    ),
    "a removed record": ("DELETE FROM records WHERE seq = 4", "it is missing; the next one is 5", 4),
    "an emptied body": ("UPDATE records SET body = NULL WHERE seq = 4", "its body is gone, and no record says why", 4),
    "a changed text": ("UPDATE artefacts SET text = 'x'", "the text it kept was changed", 2),
    "a changed function": (
        "CREATE OR REPLACE FUNCTION instr(body text, part text) RETURNS integer LANGUAGE sql AS $$SELECT 0$$",
        'function "instr" was altered: the tables or their guards are not as they were written',
        None,
    ),
    "a trigger of somebody else": (
        "CREATE TRIGGER own BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION never()",
        'trigger "own" is not ours: the tables or their guards are not as they were written',
        None,
    ),
}


@pytest.mark.parametrize(("statement", "fault", "seq"), HARMS.values(), ids=HARMS)
def test_what_the_administrator_changes_is_found(
    database: Database, opens: Callable[..., Chron], statement: str, fault: str, seq: int | None
) -> None:
    """Whoever can drop the guards can change anything, and not so that verifying does not see it."""
    with opens() as chron:
        fill(chron)
    assert verify(database.url("a", "auditor")).ok
    database.harm(statement)
    found = verify(database.url("a", "auditor"))
    assert (found.ok, found.fault, found.first_bad_seq) == (False, fault, seq)


def test_a_view_that_says_something_else_is_found(database: Database, opens: Callable[..., Chron]) -> None:
    """A column that queries go by cannot say anything but what the hashed body says."""
    with opens() as chron:
        fill(chron)
    (text,) = database.run("SELECT pg_get_viewdef('chron'::regclass)")[0]
    other = text.replace("field(records.body, 'agent'::text)", """('nobody'::text COLLATE "C")""")
    database.run(f"CREATE OR REPLACE VIEW chron AS {other}")
    found = verify(database.url("a"))
    assert (found.ok, found.fault) == (False, "a column of record 1 does not say what its body says")


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("CREATE RULE own AS ON INSERT TO records DO INSTEAD NOTHING", 'rule "own" is not ours'),
        ("CREATE POLICY own ON records USING (seq <> 7)", 'policy "own" is not ours'),
        (
            "CREATE OR REPLACE VIEW decisions AS "
            "SELECT d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, "
            "d.target, d.environment, d.host, d.method, d.path, d.reason, d.code, o.result, o.status "
            "FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome' "
            "WHERE d.kind = 'decision' AND d.outcome <> 'DENY'",
            "the view of decisions does not say what record",
        ),
    ],
)
def test_what_hides_records_from_readers_is_found(
    database: Database, opens: Callable[..., Chron], statement: str, fault: str
) -> None:
    """A rule, a policy or a view of somebody else's; the chain itself is as it was."""
    with opens() as chron:
        fill(chron)
    database.run(statement)
    found = verify(database.url("a"))
    assert (found.ok, found.fault.startswith(fault)) == (False, True), found.fault


def test_a_reader_only_reads(database: Database, opens: Callable[..., Chron]) -> None:
    """A role that looks can neither write nor open the chain as a gate would."""
    with opens() as chron:
        fill(chron)
    with pytest.raises(ChronError, match=r"the role of .* may not do this"):
        Chron.open(database.url("a", "auditor"))
    with (
        closing(connected(database.url("a", "auditor"), reads=False)) as connection,
        pytest.raises(ChronError, match="permission denied"),
    ):
        connection.execute("INSERT INTO records SELECT * FROM records")


def test_a_server_that_would_forget_is_not_written_to(
    database: Database, opens: Callable[..., Chron], postgres: PostgresServer
) -> None:
    """A server whose fsync somebody switched off, while it runs, refuses every record from then on."""
    chron = opens()
    fill(chron)
    try:
        database.run("ALTER SYSTEM SET fsync = off")
        database.run("SELECT pg_reload_conf()")
        while database.run("SHOW fsync") != [("off",)]:
            pass

        async def write_until_refused() -> None:
            while True:  # a session takes notice of a setting with one of its next statements
                await chron.append("decision", DENIED)

        with pytest.raises(ChronError, match="the server would not keep this: fsync"):
            asyncio.run(write_until_refused())
    finally:
        database.run("ALTER SYSTEM RESET fsync")
        database.run("SELECT pg_reload_conf()")


# --- bodies that go ---------------------------------------------------------------------------------------------------


def test_bodies_go_under_a_record(database: Database, opens: Callable[..., Chron]) -> None:
    """Erasing works as in a file: leaf and hash stay, the log verifies, and what the log stands on is left alone."""
    with opens() as chron:
        ids = fill(chron)
        record = show(database.url("a"), ids[0])
        assert record is not None
        assert chron.empty("erasure", [(record.record.seq, record.record.seq)], {"basis": "a request"}) == 1
        assert chron.forget("h1", {"basis": "a request"})
    source = database.url("a")
    found = verify(source)
    assert (found.ok, found.emptied, erased(source), people(source)) == (True, 1, 1, {})
    assert show(source, ids[0]).record.fields == {}  # type: ignore[union-attr]


# --- the same as a file -----------------------------------------------------------------------------------------------


@pytest.fixture
def both(database: Database, tmp_path: Path) -> tuple[Path, str]:
    """A log in a file, and its copy in PostgreSQL."""
    path = tmp_path / "chron.db"
    with Chron.open(path, low_water_bytes=0, signing=signing(tmp_path)) as chron:
        ids = fill(chron, 5)
        chron.checkpoint()
        seq = show(path, ids[3]).record.seq  # type: ignore[union-attr]
        chron.empty("erasure", [(seq, seq)], {"basis": "a request"})
    target = database.url("copied")
    copy(path, target)
    return path, target


def test_a_copy_is_the_same_log(both: tuple[Path, str], tmp_path: Path, database: Database) -> None:
    """Rows, texts, names, checkpoints and proofs are those of the file, there and back again."""
    path, target = both
    back = tmp_path / "back.db"
    copy(target, back)
    for other in (target, back):
        assert list(stored(other, All(()), upto=2**40)) == list(stored(path, All(()), upto=2**40))
        assert (verify(other), people(other), seen(other)) == (verify(path), people(path), seen(path))
        for record in find(path, kind="decision"):
            if record.fields and (proof := prove(path, record.id)):
                assert prove(other, record.id) == proof
        assert list(scan(other, {"decision", "outcome"}, since=datetime(2020, 1, 1, tzinfo=UTC))) == list(
            scan(path, {"decision", "outcome"}, since=datetime(2020, 1, 1, tzinfo=UTC))
        )
        assert (head(other), origin_and_hash_before(other, 3)) == (head(path), origin_and_hash_before(path, 3))
        assert statistics(other, All(())).kinds == statistics(path, All(())).kinds
        assert list(doubts(other)) == list(doubts(path))
    with Chron.open(target, signing=signing(tmp_path)) as chron:
        fill(chron)
    assert verify(target).ok


def test_a_copy_goes_nowhere_where_a_log_is(both: tuple[Path, str], tmp_path: Path, database: Database) -> None:
    """Neither place may have a log already, nor may a gate write the one that is copied."""
    path, target = both
    for source, other in ((path, target), (target, path)):
        with pytest.raises(ChronError, match="already; give another place"):
            copy(source, other)
    with Chron.open(target), pytest.raises(ChronError, match="is open in another process"):
        copy(target, tmp_path / "live.db")
    assert not (tmp_path / "live.db").exists()


def test_a_log_that_does_not_verify_is_not_copied(both: tuple[Path, str], tmp_path: Path, database: Database) -> None:
    """A copy of a log that was changed would look like one of its own right."""
    _, target = both
    database.harm("UPDATE records SET body = replace(body, 'ALLOW', 'DENY') WHERE seq = 5")
    with pytest.raises(ChronError, match="does not verify"):
        copy(target, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))


@pytest.fixture(scope="module")
def answering(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A log with all sorts of values, in both places."""
    path = tmp_path_factory.mktemp("answers") / "chron.db"

    async def write(chron: Chron) -> None:
        for at, word in enumerate([*WORDS, "a", "A", "%", "_", "\\%", "a\nb"]):
            for name in ("agent", "action", "target", "reason", "custom"):
                await chron.append("decision", {name: word, "status": [0, 7, 403, 500][at % 4], "custom2": at % 2 == 0})
        await chron.append("decision", {"custom": 5, "port": -1, "outcome": "DENY"})
        await chron.append("decision", {"custom": True, "port": 4030, "outcome": "HOLD"})

    with Chron.open(path, low_water_bytes=0) as chron:
        asyncio.run(write(chron))
    target = postgres.database().url("answers")
    copy(path, target)
    return path, target


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=filters, field=texts | numbers)
def test_both_answer_alike(answering: tuple[Path, str], asked: object, field: str) -> None:
    """Any filter finds the same records in PostgreSQL as in a file, and counts them alike."""
    path, target = answering
    assert page(target, asked, limit=200) == page(path, asked, limit=200)  # type: ignore[arg-type]
    told = [
        {count.values: (count.records, count.first, count.last) for count in counts(place, asked, (field,), limit=99)}  # type: ignore[arg-type]
        for place in (path, target)
    ]
    assert told[0] == told[1]


def test_a_slow_question_is_given_up(answering: tuple[Path, str]) -> None:
    """A question that takes too long ends, with what to do about it."""

    def ask() -> None:
        with closing(connect_chain(answering[1], 0.001)) as connection:
            connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(FilterError, match=re.escape("the answer takes longer than 0.001 s; ask for less")):
        ask()


def test_a_record_in_the_gates_name_collides_with_its_next(database: Database, opens: Callable[..., Chron]) -> None:
    """Whoever may act as the gate's role can append one; the gate's next record is refused, and then it tells of it."""
    chron = opens()
    fill(chron)
    source = database.url("a")
    last, before = head(source)
    said = {"v": VERSION, "seq": last + 1, "id": "chr_forged", "ts": stamp(1_700_000_000_000_000_000), "kind": "access"}
    body, data = canonical(said)
    leaf = leaf_hash(data)
    with closing(connected(source, reads=False)) as forger:
        values = ("a", last + 1, "chr_forged", body, leaf, chain_hash(before, leaf))
        forger.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", values)

    async def decide() -> None:
        with pytest.raises(ChronError, match="the server refused a record"):
            await chron.append("decision", DENIED)
        await chron.append("decision", DENIED)

    asyncio.run(decide())
    (told,) = [record for record in find(source, kind="lifecycle") if record.text("event") == "reopen"]
    assert told.fields["unacknowledged"] == 1


def test_several_gates_write_one_chain_through_their_writer(database: Database, tmp_path: Path) -> None:
    """The writer of a host has a chain as it has a file; both its connections are made anew when they are lost."""
    with Daemon(tmp_path, path=database.url("shared")) as daemon, joined(daemon, "one") as gate:

        async def decides() -> str:
            return (await gate.append("decision", wire())).id

        id_ = asyncio.run(decides())
        database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gate'")
        daemon.cut()
        until_connected_again(gate, daemon)
        assert daemon.server._has("SELECT 1 FROM chron WHERE id = ?", id_)
    found = verify(database.url("shared"))
    assert (found.ok, found.fault) == (True, "")


# --- places -----------------------------------------------------------------------------------------------------------

REFUSED = {
    "no chain": ("postgresql://gate@/{db}?host={folder}", "names no chain"),
    "a password": ("postgresql://gate:secret@/{db}?host={folder}&chain=a", "has a password in it; put it into"),
    "a password behind": ("postgresql://gate@/{db}?host={folder}&chain=a&password=secret", "has a password in it"),
    "two chains": ("postgresql://gate@/{db}?host={folder}&chain=a&chain=b", "is no name of a chain"),
    "a bad name": ("postgresql://gate@/{db}?host={folder}&chain=A%20b", "is no name of a chain; use small letters"),
    "no tables": ("postgresql://admin@/postgres?host={folder}&chain=a", 'run "claiim chron init-db URL"'),
    "no database": ("postgresql://gate@/none?host={folder}&chain=a", "see that the server runs and lets this role in"),
    "no server": ("postgresql://gate@/none?host=/nowhere&chain=a", "see that the server runs and lets this role in"),
    "no option": ("postgresql://gate@/{db}?host={folder}&chain=a&hots=x", "cannot use chron"),
}


@pytest.mark.parametrize(("url", "said"), REFUSED.values(), ids=REFUSED)
def test_a_place_that_is_none_is_told_with_what_to_do(database: Database, url: str, said: str) -> None:
    """Each way in which a URL leads nowhere is one line with its remedy, and no line has a password in it."""
    for act in (Chron.open, verify):
        with pytest.raises(ChronError) as caught:
            act(url.format(db=database.name, folder=database.folder))
        message = str(caught.value)
        assert said in message
        assert "secret" not in message
        assert "\n" not in message


def test_a_chain_that_is_not_there_is_told_with_those_that_are(database: Database, opens: Callable[..., Chron]) -> None:
    """Who misspells a chain hears the names that there are."""
    with opens("gate-1"), opens("gate-2"):
        pass
    with pytest.raises(ChronError, match=r'there is no chain "gate1" at .*; add .* there are gate-1, gate-2'):
        tail(database.url("gate1"))


def test_statements_are_translated_and_nothing_else() -> None:
    """Marks of values and the bytes of a body are all that differs."""
    statement = "SELECT CAST(body AS BLOB) FROM chron WHERE seq > ? AND action LIKE '%'"
    assert translated(statement) == "SELECT convert_to(body, 'UTF8') FROM chron WHERE seq > %s AND action LIKE '%%'"
    assert Place.read("postgresql://h/d?chain=a&sslmode=require").url == "postgresql://h/d?sslmode=require"


# --- the server dies --------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_loses_nothing(mortal: PostgresServer) -> None:
    """With the server killed under load, every record that was acknowledged is there, and none was said to be there."""
    source = mortal.database().url("a")
    acknowledged: list[str] = []

    async def produce(chron: Chron, killed: asyncio.Event) -> None:
        while True:
            try:
                acknowledged.append((await chron.append("decision", DECISION)).id)
            except ChronError:
                if killed.is_set():
                    return
                await asyncio.sleep(0)
            if len(acknowledged) > 500 and not killed.is_set():
                killed.set()
                await asyncio.to_thread(mortal.kill)

    async def run(chron: Chron) -> None:
        killed = asyncio.Event()
        await asyncio.gather(*(produce(chron, killed) for _ in range(16)))

    chron = Chron.open(source)
    asyncio.run(run(chron))
    assert chron.faults()
    mortal.start()

    async def again() -> None:
        while True:
            try:
                await chron.append("decision", DENIED)
            except ChronError:
                continue
            return

    asyncio.run(again())
    chron.close()
    there = {record.id: record for record in find(source, kind="decision")}
    assert set(acknowledged) <= there.keys()
    surfaced = [id_ for id_, record in there.items() if record.text("channel") == "wire" and id_ not in acknowledged]
    blocked = {record.text("ref") for record in find(source, kind="outcome") if record.text("result") == "blocked"}
    assert set(surfaced) <= blocked
    assert verify(source).ok


def test_the_view_is_known_as_it_was_written(database: Database, opens: Callable[..., Chron]) -> None:
    """So that verifying need not compute every column of every record."""
    with opens(), closing(connect_chain(database.url("a"))) as chain:
        assert _view_as_written(chain)
