"""`claiim chron` as a person and as a script sees it."""

import asyncio
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from chron import Chron
from proxy.cli.chron import chron as command
from support.children import child

SKILL = "skill: deploy-v2\nallow:\n- deploy:staging\ndeny:\n- deploy:production\n"


@pytest.fixture
def log(path):
    """Four decisions, one of them hostile, one outcome."""

    async def fill():
        with Chron.open(path, low_water_bytes=0) as chron:
            chron.keep([("skill", "deploy-v2", 1, "d1", SKILL)])
            common = {"agent": "deploy-bot", "anchor": "alice@acme.test", "host": "api.k8s.test", "mode": "enforce"}
            allowed = await chron.append("decision", common | {"action": "deploy:staging", "outcome": "ALLOW"})
            denied = await chron.append(
                "decision",
                common
                | {
                    "action": "deploy:production",
                    "outcome": "DENY",
                    "reason": "skill:deploy-v2 -- action in deny list",
                    "code": "skill.denied",
                    "rule": "skills/deploy.yaml:5:3",
                    "skill_digest": "d1",
                },
            )
            await chron.append("outcome", {"ref": denied.id, "result": "blocked", "status": 403})
            hostile = "x\r\n2026-01-01 00:00:00Z  ALLOW\x1b[2J"
            await chron.append("decision", {"agent": hostile, "action": "=cmd()", "outcome": "DENY", "reason": hostile})
            await chron.append("decision", {"agent": "test-bot", "outcome": "DENY", "mode": "observe", "action": "a:b"})
            return allowed, denied

    return asyncio.run(fill())


@pytest.fixture
def run(path, monkeypatch):
    """Runs `claiim chron ...` and gives exit code, standard output and standard error."""
    monkeypatch.setenv("CLAIIM_CHRON", str(path))

    def runs(*args):
        result = CliRunner().invoke(command, [str(arg) for arg in args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.stdout, result.stderr

    return runs


def test_tail_is_one_line_for_each_decision(log, path, run):
    """Time, outcome, agent and anchor, action and host, reason, id: one line, whatever an agent sent."""
    code, out, _ = run("tail", path)
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert lines[0].split("  ")[1] == "ALLOW"
    assert [part.strip() for part in lines[1].split("  ")][1:] == [
        "DENY",
        "deploy-bot <- alice@acme.test",
        "deploy:production on api.k8s.test",
        "skill:deploy-v2 -- action in deny list",
        log[1].id,
    ]
    assert r"x\r\n2026-01-01 00:00:00Z  ALLOW\x1b[2J <- -" in lines[2]
    assert "DENY  (observed)" in lines[3]
    assert "\x1b" not in out


def test_tail_filters_and_counts(log, path, run):
    """-n, --agent, --outcome and --kind narrow what is shown; JSON is one object for each line."""
    assert len(run("tail", path, "-n", 2)[1].splitlines()) == 2
    assert len(run("tail", path, "--outcome", "deny")[1].splitlines()) == 3
    _, out, _ = run("tail", path, "--agent", "deploy-bot", "--outcome", "ALLOW", "--json")
    [record] = map(json.loads, out.splitlines())
    assert (record["id"], record["seq"]) == (log[0].id, 3)
    _, out, _ = run("tail", path, "--kind", "all")
    assert [line.split("  ")[1].strip() for line in out.splitlines()] == [
        "lifecycle",
        "text",
        "ALLOW",
        "DENY",
        "outcome",
        *["DENY"] * 2,
        "lifecycle",
    ]
    code, out, err = run("tail", path, "--agent", "nobody")
    assert (code, out, err) == (0, "", "no record matches; --kind all shows every kind\n")


def test_the_path_comes_from_three_places(log, path, run, tmp_path):
    """A positional path, --chron, or the configuration's Chron."""
    config = tmp_path / "claiim.yaml"
    config.write_text("version: 1\nagents: agents.yaml\n")
    for args in ((path,), ("--chron", path), ("-c", config)):
        code, out, err = run("tail", *args)
        assert (code, len(out.splitlines())) == (0, 4), err
    code, _, err = run("tail", "-c", tmp_path / "none.yaml")
    assert code == 78
    assert "none.yaml" in err


def test_query_as_csv_cannot_calculate(log, path, run):
    """A spreadsheet shows what an agent sent and does not run it."""
    code, out, _ = run("query", path, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 4)
    assert rows[2]["action"] == "'=cmd()"
    assert rows[2]["agent"] == r"x\r\n2026-01-01 00:00:00Z  ALLOW\x1b[2J"


def test_query_filters(log, path, run):
    """Action with a star, anchor, host and times."""
    assert len(run("query", path, "--action", "deploy:*")[1].splitlines()) == 2
    assert len(run("query", path, "--anchor", "alice@acme.test", "--host", "api.k8s.test")[1].splitlines()) == 2
    assert len(run("query", path, "--since", "1h")[1].splitlines()) == 4
    assert run("query", path, "--until", "2020-01-01")[1] == ""
    assert len(run("query", path, "--since", "2020-01-01T00:00:00Z", "--json")[1].splitlines()) == 4
    code, out, err = run("query", path, "--limit", 1)
    hint = "these are the newest 1; --limit 0 shows all, --cursor 7 those before\n"
    assert (code, len(out.splitlines()), err) == (0, 1, hint)
    code, _, err = run("query", path, "--since", "yesterday")
    assert code == 2
    assert '"yesterday" is not a time; write "24h", "7d" or' in err


def test_show_tells_what_came_of_it_and_which_line_decided(log, path, run):
    """The record, its outcome and the deciding line with its neighbours."""
    code, out, _ = run("show", log[1].id.upper(), "--chron", path)
    assert code == 0
    assert f"record {log[1].id}" in out
    assert "  result             blocked" in out
    assert "skill deploy-v2@1, skills/deploy.yaml:5:3" in out
    assert " >   5 | - deploy:production" in out
    assert f"  hash               {log[1].hash.hex()}" in out
    code, out, _ = run("show", log[1].id, "--chron", path, "--json")
    shown = json.loads(out)
    assert shown["record"]["reason"] == "skill:deploy-v2 -- action in deny list"
    assert [outcome["status"] for outcome in shown["outcomes"]] == [403]
    assert (shown["texts"][0]["line"], shown["texts"][0]["place"]) == (5, "skills/deploy.yaml:5:3")
    code, out, err = run("show", "chr_none\x1b[2J", "--chron", path)
    assert (code, out) == (1, "")
    assert err.startswith(r'no record "chr_none\x1b[2J" in chron')


def test_verify_says_ok(log, path, run):
    """An untouched Chron: exit 0, the number of records and the head."""
    code, out, err = run("verify", path)
    assert code == 0
    assert out.startswith("ok: 8 records verify, head ")
    assert "records cut off at the end show only against it" in err
    code, out, _ = run("verify", path, "--lint", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["records"], found["first_bad_seq"]) == (0, True, 8, None)
    assert len(found["head_hash"]) == 64
    assert found["indexes"] is True


def test_verify_leaves_the_indexes_out(log, path, run):
    """Who wants the records proved in half the time is told what was not looked at; with the lint it makes no sense."""
    code, out, err = run("verify", path, "--no-indexes")
    assert (code, out[:21]) == (0, "ok: 8 records verify,")
    assert "indexes were not looked at" in err
    code, _, err = run("verify", path, "--no-indexes", "--lint")
    assert code == 2
    assert "leave one of the two out" in err


def test_verify_says_tampered(log, path, run, harm):
    """A changed Chron: exit 1, the first bad record and why."""
    harm("UPDATE chron SET body = replace(body, 'DENY', 'ALLOW') WHERE seq = 4")
    code, out, _ = run("verify", path)
    assert (code, out) == (1, "tampered: record 4: its body was changed; 3 records before it verify\n")
    code, out, _ = run("verify", path, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["first_bad_seq"], found["fault"]) == (1, False, 4, "its body was changed")


@pytest.mark.parametrize(
    "verb", [["tail"], ["query"], ["verify"], ["show", "chr_x", "--chron"]], ids=lambda verb: verb[0]
)
def test_no_chron_is_a_usage_error(run, tmp_path, verb):
    """A path with no Chron: exit 2 and one line with the remedy."""
    code, out, err = run(*verb, tmp_path / "none.db")
    assert (code, out) == (2, "")
    assert err == f'there is no Chron at "{tmp_path / "none.db"}"; start "claiim serve" first, or give its path\n'


def in_terminal(args, **environ):
    """Runs the command with a terminal as its standard output and gives what it wrote."""
    reader, writer = pty.openpty()
    program = "from proxy.cli.chron import chron; chron(prog_name='chron')"
    command = [sys.executable, "-c", program, *map(str, args)]
    with child(*command, stdout=writer, env={**os.environ, "COLUMNS": "200", **environ}) as process:
        os.close(writer)
        seen = b""
        try:
            while block := os.read(reader, 65536):
                seen += block
        except OSError:  # Linux says so when the other end of a terminal is closed
            pass
    os.close(reader)
    assert process.returncode == 0
    return seen.decode()


def test_a_terminal_gets_colour_and_tables_unless_unwanted(log, path):
    """On a terminal outcomes are coloured and queries are tables; NO_COLOR is respected; agents' escapes never pass."""
    seen = in_terminal(["tail", path])
    assert "\x1b[31mDENY" in seen
    assert "\x1b[2J" not in seen
    assert "\x1b[" not in in_terminal(["tail", path], NO_COLOR="1")
    seen = in_terminal(["query", path])
    assert "outcome" in seen.splitlines()[0]
    assert log[1].id in seen
    assert "\x1b[2J" not in seen
    assert "\x1b[" not in in_terminal(["query", path], NO_COLOR="1")


def test_tail_f_shows_what_arrives_and_ends_quietly(log, path):
    """tail -f prints a decision as it is recorded by another process, and Ctrl-C ends it with exit 0."""
    # A test run in the background ignores Ctrl-C, and its children would too.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from proxy.cli.chron import chron; chron(prog_name='chron')"
    command = [sys.executable, "-c", program, "tail", "-f", "-n", "1", path]

    async def record():
        with Chron.open(path, low_water_bytes=0) as chron:
            await chron.append("decision", {"agent": "late-bot", "outcome": "DENY", "action": "a:b"})

    with child(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        assert "test-bot" in tail.stdout.readline()
        asyncio.run(record())
        assert "late-bot" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        out, err = tail.communicate(timeout=30)
    assert (tail.returncode, out, err) == (0, "", "")


def test_query_by_a_filter(log, path, run):
    """A filter behind the path or alone, in one word or several; decisions, unless it names another kind."""
    for args in (
        (path, "agent=deploy-bot outcome=DENY"),
        (path, "agent=deploy-bot", "outcome=DENY"),
        ("agent=deploy-bot", "outcome=DENY", "--chron", path),
        (path, "--agent", "deploy-bot", "outcome=DENY"),
        (path, 'reason~"*deny list"'),
    ):
        code, out, err = run("query", *args, "--format", "jsonl")
        assert (code, err) == (0, "")
        assert [json.loads(line)["id"] for line in out.splitlines()] == [log[1].id], args
    _, out, _ = run("query", path, "kind=outcome", "status>=400", "--format", "json")
    assert [record["ref"] for record in json.loads(out)] == [log[1].id]
    assert run("query", path, "status>=400")[1] == ""
    _, out, _ = run("query", path, "--kind", "all", "blocked", "--format", "csv")
    assert [row["kind"] for row in csv.DictReader(io.StringIO(out))] == ["outcome"]


def test_a_filter_with_a_fault_is_one_line(log, path, run):
    """Exit 2, the place of the fault and what may have been meant; nothing of it moves a terminal."""
    code, out, err = run("query", path, "agnt=deploy-bot")
    assert (code, out, err) == (2, "", 'filter:1:1: there is no field "agnt"; did you mean "agent"?\n')
    code, _, err = run("query", path, "x ) \x1b[2J\n")
    assert (code, err.count("\n")) == (2, 1)
    assert "\x1b" not in err
    code, _, err = run("query", path, "--group-by", "agent,colour")
    assert (code, err.startswith('there is no field "colour"; ')) == (2, True)
    code, _, err = run("query", path, "--group-by", "agent,anchor,host,action,code")
    assert (code, err) == (2, "records are counted by 1 to 4 fields; name fewer\n")


def test_query_counts(log, path, run):
    """--group-by counts, the most first, with the first and last time; "-" where a record has no such field."""
    _, out, _ = run("query", path, "--group-by", "agent,outcome", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["count"], row["outcome"]) for row in rows] == [(1, "ALLOW"), (1, "DENY"), (1, "DENY"), (1, "DENY")]
    _, out, _ = run("query", path, "--group-by", "host")
    assert [line.split()[:2] for line in out.splitlines()] == [["count", "host"], ["2", "-"], ["2", "api.k8s.test"]]
    _, out, _ = run("query", path, "--group-by", "action", "--csv")
    assert "1,'=cmd()," in out


def test_pages_of_a_query(log, path, run):
    """A cursor goes on where a page ended, also when records were written meanwhile; the last page names none."""
    _, out, err = run("query", path, "--limit", 3, "--json")
    first = [json.loads(line)["seq"] for line in out.splitlines()]
    assert (first, "--cursor 4 those before" in err) == ([4, 6, 7], True)
    Chron.open(path, low_water_bytes=0).close()
    _, out, err = run("query", path, "--limit", 3, "--cursor", 4, "--json")
    assert ([json.loads(line)["seq"] for line in out.splitlines()], err) == ([3], "")


def test_query_with_sql(log, path, run):
    """A SELECT in every format; whatever else it would do is refused, and it goes with nothing else."""
    select = "SELECT outcome, count(*) AS n FROM decisions GROUP BY outcome ORDER BY n"
    assert run("query", path, "--sql", select, "--csv")[1] == "outcome,n\nALLOW,1\nDENY,3\n"
    assert json.loads(run("query", path, "--sql", select, "--format", "json")[1])[1] == {"outcome": "DENY", "n": 3}
    _, out, err = run("query", path, "--sql", select, "--limit", 1)
    assert (out.split(), err) == (["outcome", "n", "ALLOW", "1"], "there are more rows; --limit 0 shows all\n")
    code, _, err = run("query", path, "--sql", "DELETE FROM chron")
    assert (code, err.startswith("the statement may only read chron, artefact, decisions and person: ")) == (2, True)
    code, _, err = run("query", path, "outcome=DENY", "--sql", select)
    assert (code, err) == (2, "--sql asks alone; write the filter and the grouping into the statement\n")


def test_the_help_of_query_says_how_a_filter_is_written(run):
    """Whoever asks for help sees every form of a filter."""
    from chron.filtering import SYNTAX

    code, out, _ = run("query", "--help")
    assert code == 0
    assert all(line in out for line in SYNTAX.splitlines())
    code, out, _ = run("--help")
    assert all(name in out for name in ("query", "tail", "verify"))


def test_all_of_a_query(log, path, run):
    """--limit 0 gives everything, before a cursor everything before it."""
    assert [json.loads(line)["seq"] for line in run("query", path, "--limit", 0, "--json")[1].splitlines()] == [
        3,
        4,
        6,
        7,
    ]
    _, out, err = run("query", path, "--limit", 0, "--cursor", 6, "--csv")
    assert ([row["seq"] for row in csv.DictReader(io.StringIO(out))], err) == (["3", "4"], "")


def test_what_is_a_path_and_what_a_filter(log, path, run, tmp_path):
    """A path may have operators in it if there is such a file; a long word is a filter, not an error."""
    odd = tmp_path / "a=b (old).db"
    odd.write_bytes(path.read_bytes())
    assert len(run("query", odd, "outcome=DENY")[1].splitlines()) == 3
    code, out, _ = run("query", "--chron", path, "x" * 3000)
    assert (code, out) == (0, "")
    assert run("query", tmp_path / "none.db", "outcome=DENY")[2].startswith("there is no Chron at ")
