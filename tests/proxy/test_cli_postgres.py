"""`claiim chron ...` on logs in PostgreSQL: made, copied and read by URL, as if they were files."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chron import Chron, Signing, prove, tail, verify
from chron.chains import ends_of, follow_all, logs_of
from chron.postgres.structure import script
from proxy.cli.main import main
from support.postgres import Database, PostgresServer, database, postgres

__all__ = ["database", "postgres"]


def claiim(*arguments: object) -> Result:
    """Runs `claiim chron ...`, which needs no configuration where the log is named."""
    result = CliRunner().invoke(main, ["chron", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the caller's leads a command elsewhere."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_CHRON"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "claiim.yaml").write_text("version: 1\n")
    monkeypatch.chdir(tmp_path)


def fill(chron: Chron, agent: str) -> None:
    """Three decisions, with what came of the first."""

    async def write() -> None:
        receipt = await chron.append("decision", {"agent": agent, "action": "deploy:staging", "outcome": "ALLOW"})
        await chron.append("outcome", {"ref": receipt.id, "result": "sent", "status": 200})
        await chron.append("decision", {"agent": agent, "action": "infra:destroy", "outcome": "DENY"})
        await chron.append("decision", {"agent": agent, "action": "deploy:staging", "outcome": "ALLOW"})

    asyncio.run(write())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed log in a file, which no test changes."""
    path = tmp_path_factory.mktemp("log") / "chron.db"
    with Chron.open(path, low_water_bytes=0, signing=Signing(path.with_name("key.pem"))) as chron:
        fill(chron, "bot")
        chron.checkpoint()
    return path


# --- making ----------------------------------------------------------------------------------------------------------


def test_tables_are_made_by_command(postgres: PostgresServer) -> None:
    """An empty database gets its tables, and a gate's role what it needs; doing it again changes nothing."""
    empty = postgres.empty_database()
    admin = empty.url(role="admin")
    for _ in range(2):
        done = claiim("init-db", admin)
        assert (done.exit_code, "claiim_writer" in done.stderr) == (0, True), done.output
    empty.make_roles()
    with Chron.open(empty.url("a")):
        pass
    assert claiim("verify", empty.url("a", "auditor")).exit_code == 0


def test_the_script_is_printed_for_somebody_else(database: Database) -> None:
    """What is printed is the text that makes the tables, without a database to reach."""
    done = claiim("init-db", "--print")
    assert (done.exit_code, done.stdout) == (0, script())


def test_a_role_that_may_not_make_tables_hears_what_to_do(database: Database) -> None:
    """One line, exit 2; for a file too, and without a place."""
    for arguments, said in (
        ([database.url()], '"claiim chron init-db --print"'),
        (["state/chron.db"], "a file needs no tables made"),
        ([], "name the database"),
    ):
        done = claiim("init-db", *arguments)
        assert (done.exit_code, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.output


def test_guards_that_were_dropped_are_put_back(database: Database) -> None:
    """A chain without its guards takes nothing; after the command it goes on."""
    with Chron.open(database.url("a")):
        pass
    database.run("DROP TRIGGER records_no_delete ON records")
    found = claiim("verify", database.url("a"))
    assert (found.exit_code, 'guard "records_no_delete"' in found.stdout) == (1, True)
    assert claiim("init-db", database.url(role="admin")).exit_code == 0
    with Chron.open(database.url("a")):
        pass
    assert claiim("verify", database.url("a")).exit_code == 0


# --- copying ---------------------------------------------------------------------------------------------------------


def test_a_log_moves_there_and_back_with_ids_and_proofs(database: Database, log: Path, tmp_path: Path) -> None:
    """By command: the same head, the same proof of a record, and never over a log that is there."""
    head, records = verify(log).head_hash, verify(log).records
    there, back = database.url("moved"), tmp_path / "back.db"
    done = claiim("copy", log, there)
    assert (done.exit_code, done.stdout) == (0, f"{there}: {records} records verify, head {head}\n"), done.output
    done = claiim("copy", there, f"sqlite://{back}", "--json")
    assert json.loads(done.stdout) == {"from": there, "to": str(back), "records": records, "head": head}
    id_ = json.loads(claiim("query", there, "outcome=DENY", "--format", "jsonl").stdout)["id"]
    assert prove(log, id_) == claiim("prove", id_, "--chron", there).stdout == prove(back, id_)
    again = claiim("copy", log, there)
    assert (again.exit_code, "there is a Chron at" in again.stderr) == (2, True)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(postgres: PostgresServer, log: Path) -> tuple[Path, str]:
    """A log in a file, and its copy in PostgreSQL as an auditor reaches it."""
    database = postgres.database()
    assert claiim("copy", log, database.url("a")).exit_code == 0
    return log, database.url("a", "auditor")


QUESTIONS = {
    "tail": ["tail", "{log}", "--kind", "all"],
    "query": ["query", "{log}", "outcome=DENY", "--json"],
    "a page": ["query", "{log}", "--limit", "1", "--csv"],
    "the page before": ["query", "{log}", "--limit", "1", "--cursor", "6"],
    "counts": ["query", "{log}", "--group-by", "agent,action", "--format", "json"],
    "sql": [
        "query",
        "{log}",
        "--sql",
        "SELECT outcome, action, count(*) AS n FROM decisions GROUP BY 1, 2 ORDER BY 3, 1",
    ],
    "sql over a body": ["query", "{log}", "--sql", "SELECT body->>'$.event' AS e, hash FROM chron WHERE seq = 1"],
    "show": ["show", "{id}", "--chron", "{log}"],
    "prove": ["prove", "{id}", "--chron", "{log}"],
    "checkpoint": ["checkpoint", "--chron", "{log}"],
    "key": ["key", "show", "{log}"],
    "replay": ["replay", "--chron", "{log}"],
    "indoubt": ["indoubt", "{log}"],
    "segments": ["segments", "--chron", "{log}"],
}


@pytest.mark.parametrize("arguments", QUESTIONS.values(), ids=QUESTIONS)
def test_a_url_answers_as_a_file_does(both: tuple[Path, str], arguments: list[str]) -> None:
    """Each command says the same of the copy as of the file, byte for byte."""
    id_ = tail(both[0], 1, kind="decision")[0].id
    told = [claiim(*(word.format(log=log, id=id_) for word in arguments)) for log in both]
    assert (told[0].exit_code, told[0].stdout, told[0].stderr) == (told[1].exit_code, told[1].stdout, told[1].stderr)
    assert told[0].exit_code in (0, 1), told[0].output


def test_verify_and_stats_say_where_it_is(both: tuple[Path, str]) -> None:
    """What they find is the same; the place and the room are its own."""
    (there, here) = (json.loads(claiim("verify", log, "--json").stdout) for log in both)
    assert {**there, "path": ""} == {**here, "path": ""}
    assert here["ok"]
    told = claiim("stats", both[1])
    assert (told.exit_code, "bytes each; the tables of all chains have" in told.stdout) == (0, True), told.output


def test_an_export_of_either_is_the_same_file(both: tuple[Path, str], tmp_path: Path) -> None:
    """Exported from the one, it verifies by the key and against the other."""
    files = [tmp_path / name for name in ("here.jsonl", "there.jsonl")]
    for log, file in zip(both, files, strict=True):
        assert claiim("export", log, "-o", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    done = claiim("export", "--verify", files[0], "--chron", both[1])
    assert (done.exit_code, done.stdout.endswith("as in the Chron\n")) == (0, True), done.output


WRITING = {
    "an update": "UPDATE records SET body = NULL",
    "a table": "CREATE TABLE t (a int)",
    "two statements": "SELECT 1; DELETE FROM records",
    "the end of the transaction": "COMMIT",
    "behind a query": "WITH gone AS (DELETE FROM persons RETURNING 1) SELECT * FROM gone",
    "in a function": "SELECT empty('a', 1, 99)",
    "another mode": "SELECT set_config('transaction_read_only', 'off', false)",
    "a copy": "COPY records TO '/tmp/x'",
    "no SQL": "SELEC 1",
    "a file of the server": "SELECT pg_read_file('/etc/passwd')",
}


@pytest.mark.parametrize("statement", WRITING.values(), ids=WRITING)
def test_sql_of_ones_own_writes_nothing(both: tuple[Path, str], statement: str) -> None:
    """Also by a role that may write: refused in one line, and the log is as it was."""
    done = claiim("query", both[1].replace("auditor@", "gate@"), "--sql", statement)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert done.stderr.startswith("the statement may only read chron, artefact, decisions and person: ")
    assert verify(both[1]) == verify(both[0])


def test_sql_that_takes_too_long_is_given_up(both: tuple[Path, str]) -> None:
    """The server ends the statement after --most-s."""
    done = claiim("query", both[1], "--sql", "SELECT pg_sleep(60)", "--most-s", "0.01")
    assert (done.exit_code, "the answer takes longer than 0.01 s" in done.stderr) == (2, True), done.output


OF_FILES = {
    "backup": (["backup", "copy.db", "--chron", "{url}"], "pg_dump copies it"),
    "compact": (["compact", "--chron", "{url}"], "a server gives room back by itself"),
    "drill": (["drill", "{url}"], "files are drilled"),
}


@pytest.mark.parametrize(("arguments", "why"), OF_FILES.values(), ids=OF_FILES)
def test_what_is_of_files_alone_says_so(both: tuple[Path, str], arguments: list[str], why: str) -> None:
    """One line with the reason, exit 2."""
    done = claiim(*(word.format(url=both[1]) for word in arguments))
    assert (done.exit_code, done.stderr) == (
        2,
        f'chron "{both[1]}" is in PostgreSQL, and {why}; give a log that is a file\n',
    )


# --- all chains of a database ----------------------------------------------------------------------------------------


def with_two_chains(database: Database) -> str:
    """The URL of a database with the chains of two gates, which it is given."""
    for chain in ("gate-1", "gate-2"):
        with Chron.open(database.url(chain)) as chron:
            fill(chron, f"bot-of-{chain}")
    return database.url(role="auditor")


@pytest.fixture(scope="module")
def two(postgres: PostgresServer) -> str:
    """The URL of a database with the chains of two gates, which no test changes."""
    return with_two_chains(postgres.database())


def test_a_database_is_queried_as_a_whole(two: str) -> None:
    """A URL without a chain means all of them, by time, each record with the name of its chain."""
    found = [json.loads(line) for line in claiim("query", two, "--json").stdout.splitlines()]
    chains = ["gate-1"] * 3 + ["gate-2"] * 3
    assert [(each["of_chain"], each["agent"]) for each in found] == [(chain, f"bot-of-{chain}") for chain in chains]
    assert [each["ts"] for each in found] == sorted(each["ts"] for each in found)
    assert claiim("query", two, "--json", "--limit", "0").stdout == claiim("query", two, "--json").stdout
    newest = claiim("query", two, "--limit", "4", "--csv")
    assert [row.rpartition(",")[2] for row in newest.stdout.splitlines()] == ["of_chain", *chains[2:]]
    assert "these are the newest 4; --limit 0 shows all" in newest.stderr
    table = claiim("query", two, "outcome=DENY", "--format", "table").stdout.splitlines()
    assert [line.split()[-1] for line in table] == ["chain", "gate-1", "gate-2"]


def test_a_database_is_counted_as_a_whole(two: str) -> None:
    """Counts of all chains are added up."""
    counted = json.loads(claiim("query", two, "--group-by", "action", "--format", "json").stdout)
    assert [(each["action"], each["count"]) for each in counted] == [("deploy:staging", 4), ("infra:destroy", 2)]
    first = json.loads(claiim("query", two, "--json", "--limit", "0").stdout.splitlines()[0])
    assert counted[0]["first"] == first["ts"]


def test_a_database_is_watched_as_a_whole(database: Database) -> None:
    """The newest of all chains, and then what is new in any of them."""
    two = with_two_chains(database)
    lines = claiim("tail", two, "-n", "4").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["gate-1", "gate-2", "gate-2", "gate-2"]
    logs = logs_of(two)
    ends = ends_of(logs)

    def writes() -> bool:
        with Chron.open(database.url("gate-1")) as chron:
            fill(chron, "later")
        return True

    followed = follow_all(logs, ends, writes, kind="decision")
    assert [(record.text("of_chain"), record.text("agent")) for record, _ in zip(followed, range(3), strict=False)] == [
        ("gate-1", "later")
    ] * 3


@pytest.mark.parametrize(
    "arguments",
    [["query", "--sql", "SELECT 1"], ["query", "--cursor", "3"], ["stats"], ["indoubt"]],
    ids=lambda words: words[-1] if words[-1].isalpha() else words[1],
)
def test_what_is_of_one_chain_names_those_there_are(two: str, arguments: list[str]) -> None:
    """One line, exit 2, with the chains to choose from."""
    done = claiim(arguments[0], two, *arguments[1:])
    assert (done.exit_code, "gate-1, gate-2" in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.output


def test_a_database_without_a_chain_says_so(database: Database) -> None:
    """Nothing is recorded there yet."""
    done = claiim("tail", database.url(role="auditor"))
    assert (done.exit_code, done.stderr) == (
        2,
        f'there is no chain at "{database.url(role="auditor")}" yet; start "claiim serve" first\n',
    )
