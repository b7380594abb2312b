"""The front of the command line: help, versions, usage errors, and look-ups that do not load the engine."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from proxy.cli.main import COMMANDS, main
from support.serving import claiim, clean_environment

HEAVY = ["aiohttp", "cryptography", "mappings", "mitmproxy", "policies", "prometheus_client", "pydantic", "rich"]

_LOADED = """\
import json, sys
from claiim_gate.__main__ import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code or 0, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def loaded(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and which modules it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


def test_help_lists_every_command_with_a_line() -> None:
    """Names and one line each, from the table; nothing is imported for it."""
    said = CliRunner().invoke(main, ["--help"])
    assert said.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text[:40])}", said.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    """The table leads to commands that know their own name and explain themselves."""
    said = CliRunner().invoke(main, [name, "--help"])
    assert said.exit_code == 0
    assert said.stdout.startswith(f"Usage: main {name} ")
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help


def test_version_names_what_matters() -> None:
    """Ours, the engines', Python's and OpenSSL's: what a bug report needs."""
    said = CliRunner().invoke(main, ["--version"])
    assert said.exit_code == 0
    assert re.fullmatch(
        r"claiim-gate \d+\.\d+\.\d+\S*  httptools \d+\.\S+  mitmproxy \d+\.\S+\nPython 3\.\d+\.\d+\S*  OpenSSL .+\n",
        said.stdout,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["serve", "--nonsense"], "No such option"),
        (["map", "GET"], "Missing argument 'URL'"),
        (["explain"], "Missing option"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], message: str) -> None:
    """Usage on stderr, nothing on stdout."""
    said = CliRunner().invoke(main, arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr


LOOK_UPS = {
    "help": (["--help"], 0),
    "version": (["--version"], 0),
    "init": (["init", "new"], 0),
    "chron tail": (["chron", "tail", "nowhere.db"], 2),
    "chron show": (["chron", "show", "chr_x", "--chron", "nowhere.db"], 2),
    "chron help": (["chron", "--help"], 0),
    "exit codes": (["help", "exit-codes"], 0),
}


@pytest.mark.parametrize(("arguments", "code"), LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_look_up_loads_nothing_heavy(tmp_path: Path, arguments: list[str], code: int) -> None:
    """No engine, no web server, no schema library for commands that need none."""
    ended, modules = loaded(tmp_path, *arguments)
    assert ended == code
    assert sorted(modules & set(HEAVY)) == []


@pytest.mark.parametrize("arguments", [["healthcheck"], ["check"], ["explain", "--agent", "a", "--action", "b"]])
def test_a_command_about_files_does_not_load_the_engine(tmp_path: Path, arguments: list[str]) -> None:
    """The configuration needs the schema library, but neither the engine nor the web server."""
    (tmp_path / "claiim.yaml").write_text('version: 1\napi: {listen: "127.0.0.1:1"}\n')
    _, modules = loaded(tmp_path, *arguments)
    assert sorted(modules & {"aiohttp", "mitmproxy", "prometheus_client", "rich"}) == []


@pytest.mark.parametrize(
    "arguments", [["serve"], ["healthcheck"], ["check"], ["agent", "list"], ["chron", "tail"], ["run", "--", "true"]]
)
def test_without_a_configuration_the_remedy_is_said(tmp_path: Path, arguments: list[str]) -> None:
    """Every command that needs one says how to get it, in one line, never a trace."""
    if Path("/etc/claiim/claiim.yaml").exists():  # it would be found, rightly, and a test must not move it
        pytest.skip("this machine has a configuration of its own")
    done = claiim(*arguments, cwd=tmp_path)
    assert done.returncode == (1 if arguments == ["check"] else 78)
    said = (done.stdout + done.stderr).splitlines()
    assert said[0] == 'no claiim.yaml found; run "claiim init" here, or give --config PATH'
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["agent", "suspend", "a"], ["agent", "list"], ["agent", "add", "b", "--anchor", "x"], ["serve"]]
)
def test_a_gated_agent_cannot_govern_itself(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside "claiim run" the registry is closed, and no gate of the agent's own is opened."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "r1")
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 2
    assert (
        said.stderr
        == f'"claiim {arguments[0]}" is refused inside "claiim run", and in a shell that has evaluated "claiim env": '
        "a gated agent cannot change what governs it\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["help", "exit-codes"], ["mappings", "list"]])
def test_output_that_cannot_be_written_is_said(tmp_path: Path, arguments: list[str]) -> None:
    """A full disk is no denial and no tampered log, whose exit code is 1, and no trace."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "claiim_gate", *arguments], cwd=tmp_path, env=clean_environment(tmp_path),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "the output: cannot write: no space left on device; make room\n"


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    """An argument by itself, a variable by its name: it may be a token."""
    assert claiim("init", cwd=tmp_path).returncode == 0
    (tmp_path / "chron.db").touch()
    for arguments, more, named in (
        (["env", "--agent", "a"], {"CLAIIM_TOKEN": "s3cret\udcff"}, "CLAIIM_TOKEN"),
        (["env", "--agent", "\udcff"], {}, "'\\udcff'"),
    ):
        environ = clean_environment(tmp_path) | more
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / "ca.pem").write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "claiim_gate", *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == f"{named}: not UTF-8; give it as UTF-8"
        assert "s3cret" not in done.stderr
