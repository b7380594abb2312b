"""The directory of the chains in a database: no chain can be hidden, shortened or exchanged without a contradiction."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from chron import Chron, ChronError, Signing, find
from chron.batch import Batch, Entry
from chron.copying import copy
from chron.postgres.connection import connected
from chron.postgres.directory import DIRECTORY
from chron.postgres.whole import Whole, verify_whole
from proxy.cli.main import main
from support.postgres import Database, PostgresServer, database, postgres

__all__ = ["database", "postgres"]

DECISION = {"agent": "bot", "action": "deploy:staging", "outcome": "ALLOW", "channel": "wire"}
HOUR_NS = 3600 * 1_000_000_000


class Gates:
    """Opens signed chains; closes at the end what the test left open, if its harm lets that be."""

    def __init__(self, database: Database, keys: Path) -> None:
        self.database, self.keys = database, keys
        self.opened: list[Chron] = []

    def __call__(self, chain: str, role: str = "gate") -> Chron:
        """Open a chain, with its own key."""
        chron = Chron.open(self.database.url(chain, role), signing=Signing(self.keys / f"{chain}.key"))
        self.opened.append(chron)
        return chron

    @property
    def running(self) -> list[Chron]:
        """Those that are open."""
        return [chron for chron in self.opened if not chron._writer.finished()]


@pytest.fixture
def opens(database: Database, tmp_path: Path) -> Iterator[Gates]:
    """Gates of a database."""
    gates = Gates(database, tmp_path)
    yield gates
    for chron in gates.running:
        with suppress(ChronError):
            chron.close()


def decide(chron: Chron, number: int = 3) -> None:
    async def write() -> None:
        await chron.append_many([("decision", DECISION)] * number)

    asyncio.run(write())


def whole(database: Database, later_ns: int = 0) -> Whole:
    """Verify as an auditor, so much later than the last that was said."""
    (newest,) = database.run("SELECT extract(epoch FROM max(field(body, 'ts')::timestamptz)) FROM records")[0]
    return verify_whole(database.url(role="auditor"), int(newest * 1_000_000_000) + later_ns)


@pytest.fixture
def two(database: Database, opens: Gates) -> Database:
    """Two gates that ran at the same time; the second stopped, the first signed after that and runs."""
    first, second = opens("gate-1"), opens("gate-2", role="other")
    decide(first)
    decide(second, 5)
    second.checkpoint()
    second.close()
    decide(first)
    first.checkpoint()
    return database


def test_every_chain_is_in_the_directory(two: Database) -> None:
    """Openings, checkpoints and ends are told there in the transaction that writes them, by the server's clock."""
    found = whole(two)
    assert (found.ok, found.fault, found.notices) == (True, "", ())
    assert list(found.chains) == [DIRECTORY, "gate-1", "gate-2"]
    entries = list(find(two.url(DIRECTORY, "auditor"), kind=DIRECTORY))
    told = [(each.text("chain"), each.text("event")) for each in entries]
    assert [event for chain, event in told if chain == "gate-2"][-3:] == ["checkpoint", "close", "checkpoint"]
    last = [each for each in entries if each.text("chain") == "gate-2"][-1]
    assert last.fields["size"] == found.chains["gate-2"].records
    assert last.text("head") == found.chains["gate-2"].head_hash
    assert two.run("SELECT 1 FROM chains WHERE chain = 'directory' AND writer = 'claiim_writer'")


def test_each_checkpoint_says_where_the_directory_stands(two: Database) -> None:
    """What it says is signed with it, by a key that the database does not have."""
    signed = list(find(two.url("gate-1", "auditor"), kind="checkpoint"))
    (first,) = two.run("SELECT id FROM records WHERE chain = 'directory' AND seq = 1")[0]
    for record in signed:
        (hash_,) = two.run(
            "SELECT encode(hash, 'hex') FROM records WHERE chain = 'directory' AND seq = %s",
            record.fields["directory_size"],
        )[0]
        assert (record.text("directory"), record.text("directory_head")) == (first, hash_)
    assert signed


HIDDEN = {
    "a chain": (["DELETE FROM records WHERE chain = 'gate-2'"], 'chain "gate-2" is missing; the directory knows'),
    "the end of a chain": (
        ["DELETE FROM records WHERE chain = 'gate-2' AND seq > 4"],
        'chain "gate-2" ends at record 4; the directory knows',
    ),
    "the end of the directory": (
        ["DELETE FROM records WHERE chain = 'directory' AND seq > 3"],
        'of chain "gate-1" is not in the directory, which was cut',
    ),
    "the directory": (["DELETE FROM records WHERE chain = 'directory'"], 'chain "gate-1" is not in the directory'),
    "a chain and all that the directory knows of it": (
        [
            "DELETE FROM records WHERE chain = 'gate-2'",
            "DELETE FROM chains WHERE chain = 'gate-2'",
            "DELETE FROM records WHERE chain = 'directory' AND field(body, 'chain') = 'gate-2'",
        ],
        'of the directory is missing or another; chain "gate-1" has signed for it',
    ),
    "a chain, and its last trace in the directory": (
        [
            "DELETE FROM records WHERE chain = 'gate-2'",
            "DELETE FROM records WHERE chain = 'directory' AND field(body, 'chain') = 'gate-2'",
        ],
        'chain "gate-2" is missing; a role has begun it',
    ),
    "the first gate's word": (
        [
            "DELETE FROM records WHERE chain = 'gate-1' AND field(body, 'kind') = 'checkpoint'",
        ],
        'chain "gate-1" ends at record',
    ),
}


@pytest.mark.parametrize(("statements", "fault"), HIDDEN.values(), ids=HIDDEN)
def test_what_is_hidden_contradicts_what_stays(two: Database, statements: list[str], fault: str) -> None:
    """Whoever owns the database can take records away, and not so that the rest agrees."""
    two.harm(*statements)
    found = whole(two)
    assert not found.ok
    assert fault in found.fault


def test_a_gate_goes_on_beside_the_directory_it_saw_and_no_other(two: Database, opens: Gates) -> None:
    """A chain and the directory taken away: the gate that runs refuses, and so does the next one; it is told why."""
    statements = [
        "DELETE FROM records WHERE chain IN ('gate-2', 'directory')",
        "DELETE FROM chains WHERE chain = 'gate-2'",
    ]
    two.harm(*statements)
    for chron in opens.running:
        with pytest.raises(ChronError, match="the directory was replaced; this chain has seen another"):
            chron.checkpoint()
    # Somebody begins it again with what is left.
    with opens("gate-3"):
        pass
    with pytest.raises(ChronError, match="the directory was replaced"):
        opens("gate-1")
    assert "is not in the directory" in whole(two).fault


def test_a_directory_that_was_cut_stops_its_gates(two: Database, opens: Gates) -> None:
    """At the next checkpoint, in the process that saw more of it."""
    two.harm("DELETE FROM records WHERE chain = 'directory' AND seq > 3")
    for chron in opens.running:
        with pytest.raises(ChronError, match="the directory was cut or rewritten"):
            chron.checkpoint()


def test_a_history_written_anew_is_another(two: Database) -> None:
    """A record that is exchanged, with every hash behind it, is not what the directory knows."""
    two.harm(
        "UPDATE records SET hash = sha256(hash) WHERE chain = 'gate-2'"
        " AND seq = (SELECT max(seq) FROM records WHERE chain = 'gate-2')"
    )
    assert 'of chain "gate-2" is another than the directory says in its record' in whole(two).fault


def test_a_gate_that_stops_without_a_word_is_told(two: Database) -> None:
    """The first gate runs and the second has ended; two hours later the first should have signed again."""
    assert whole(two, HOUR_NS).notices == ()
    (notice,) = whole(two, 3 * HOUR_NS).notices
    assert notice.startswith('chain "gate-1" is silent since 20')


@pytest.mark.parametrize("lie", ["a chain of another role", "another hash", "records that are not there"])
def test_a_role_tells_only_what_is_so_of_its_own_chains(two: Database, lie: str) -> None:
    """A gate that was taken over cannot speak for another one, nor say of itself what is not."""
    chain = "gate-2" if lie == "a chain of another role" else "gate-1"
    (size, head), *_ = two.run(
        "SELECT seq, encode(hash, 'hex') FROM records WHERE chain = %s ORDER BY seq DESC LIMIT 1", chain
    )
    (seq, before), *_ = two.run("SELECT seq, hash FROM records WHERE chain = 'directory' ORDER BY seq DESC LIMIT 1")
    size, head = {
        "a chain of another role": (size, head),
        "another hash": (size, "00" * 32),
        "records that are not there": (size + 1, head),
    }[lie]
    batch = Batch(seq, before)
    batch.add(Entry([("chr_x", 10**18, DIRECTORY, {"chain": chain, "event": "close", "size": size, "head": head})]))
    connection = connected(two.url("gate-1"), reads=False)
    try:
        with pytest.raises(ChronError, match="takes from a role what is so of its own chains"):
            connection.execute("INSERT INTO records VALUES ('directory', ?, ?, ?, ?, ?)", batch.rows[0])
    finally:
        connection.close()
    assert whole(two).ok


def test_no_gate_writes_the_directory_as_its_own(database: Database) -> None:
    """Its name is taken."""
    with pytest.raises(ChronError, match="names no chain of a gate"):
        Chron.open(database.url(DIRECTORY))


def test_a_chain_from_another_database_says_so(two: Database, postgres: PostgresServer, tmp_path: Path) -> None:
    """Its signatures name the directory that was there, so that whoever verifies can ask where it came from."""
    target = postgres.database()
    copy(two.url("gate-2", "other"), target.url("gate-2", "other"))
    found = whole(target)
    assert found.ok
    seq = found.chains["gate-2"].records
    told = f'"gate-2" was copied from another database; its signatures up to record {seq} name the directory there'
    assert found.notices == (f"chain {told}",)
    with Chron.open(target.url("gate-2", "other"), signing=Signing(tmp_path / "gate-2.key")) as chron:
        decide(chron)
        chron.checkpoint()
    assert (whole(target).fault, whole(target).notices) == ("", (f"chain {told}",))


def test_the_command_verifies_all_of_it(two: Database) -> None:
    """One line for each chain and one for the whole; exit 1 when something is hidden."""
    url = two.url(role="auditor")
    good = CliRunner().invoke(main, ["chron", "verify", url])
    lines = good.output.splitlines()
    assert (good.exit_code, lines[-1]) == (0, "ok: every chain is in the directory")
    assert [line.split(":")[0] for line in lines[:3]] == [DIRECTORY, "gate-1", "gate-2"]
    two.harm("DELETE FROM records WHERE chain = 'gate-2'")
    bad = CliRunner().invoke(main, ["chron", "verify", url, "--json"])
    told = json.loads(bad.output)
    assert (bad.exit_code, told["ok"]) == (1, False)
    assert told["fault"].startswith('chain "gate-2" is missing')
    usage = CliRunner().invoke(main, ["chron", "verify", url, "--incremental", "--head", __file__])
    assert usage.exit_code == 2
