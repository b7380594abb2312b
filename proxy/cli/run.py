"""`claiim run`: a command behind a private gate that lives exactly as long as the command.

The command keeps stdin, stdout and stderr, gets INT, TERM and HUP passed on, and its exit code is ours (128+n
when signal n ended it, 127 when there is no such command, 126 when it cannot be run). What the gate decided is
said in one paragraph on stderr at the end.

    claiim run --agent deploy-bot -- terraform apply
    claiim run -- sh -c 'curl https://api.acme.test/'      the only active agent of agents.yaml

    no agent "deploy-bto" in agents.yaml; known: deploy-bot, report-bot
    which agent runs this? give --agent; known: deploy-bot, report-bot
"""

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from chron.sources import Source
from proxy.cli.options import EXIT_USAGE, config_option, fail, located_errors, refuse_gated_caller
from proxy.config import Config
from proxy.configloading import load_config
from proxy.wiring import environment, overriding, write_files, write_kubeconfig

if TYPE_CHECKING:
    from chron import Record

EXIT_CANNOT_RUN = 126  # POSIX, Shell Command Language, 2.8.2 "Exit Status for Commands"
EXIT_NOT_FOUND = 127
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DRAIN_TIMEOUT_S = 5
"""The command has ended: what a stray child of it still has open is not waited for as `serve` would."""
_DENIALS_SHOWN = 3


class PrivateGate(Protocol):
    """What is used of `proxy.serve.Service`."""

    session: str

    @property
    def api_url(self) -> str: ...
    @property
    def ca_pem(self) -> bytes: ...
    def proxy_url(self, agent: str) -> str: ...
    def token(self, agent: str) -> str: ...
    def summary(self) -> list[tuple[str, int]]: ...


@click.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@config_option
@click.option("--agent", envvar="CLAIIM_AGENT", metavar="ID", help="Who acts [default: the only active agent].")
@click.option("-q", "--quiet", is_flag=True, help="No summary at the end.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@located_errors
def run(config_path: Path | None, agent: str | None, quiet: bool, command: tuple[str, ...]) -> None:
    """Run a command behind a private gate.

    Proxy, trust stores and credentials are set for every tool it starts; its exit code is passed on.
    """
    refuse_gated_caller("claiim run")
    config = load_config(config_path)
    chosen = _agent(config, agent)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("mitmproxy").setLevel(logging.ERROR)
    raise SystemExit(asyncio.run(_run(config, chosen, command, quiet=quiet)))


def _agent(config: Config, named: str | None) -> str:
    from policies import State
    from proxy.activations import load_in_force

    agents = load_in_force(config).agents
    known = ", ".join(sorted(agents)) or f'none; see "claiim agent add --help" and {config.agents.name}'
    if named is None:
        active = [agent.id for agent in agents.values() if agent.state is State.ACTIVE]
        return (
            active[0] if len(active) == 1 else fail(f"which agent runs this? give --agent; known: {known}", EXIT_USAGE)
        )
    if named not in agents:
        fail(f'no agent "{named}" in {config.agents.name}; known: {known}', EXIT_USAGE)
    return named


async def _run(config: Config, agent: str, command: Sequence[str], *, quiet: bool) -> int:
    from proxy.serve import Service

    started_at = datetime.now(UTC)
    config = replace(config, proxy=replace(config.proxy, drain_timeout_s=_DRAIN_TIMEOUT_S))
    async with Service(config, private=True) as gate:
        code = await run_behind(gate, agent, command)
        if not quiet:
            denials = await asyncio.to_thread(_denials, config.chron, started_at)
            click.echo(summary(gate.summary(), denials), err=True)
    return code


async def run_behind(gate: PrivateGate, agent: str, command: Sequence[str]) -> int:
    """Run the command with the gate's environment; its exit code as a shell would give it."""
    with tempfile.TemporaryDirectory(prefix="claiim-run-") as folder:
        files = write_files(Path(folder), gate.ca_pem, gate.proxy_url(agent))
        wired = environment(
            gate.proxy_url(agent),
            files,
            agent=agent,
            api_url=gate.api_url,
            run_id=gate.session,
            inherited=os.environ,
        )
        wired |= write_kubeconfig(Path(folder), gate.proxy_url(agent), files.bundle, os.environ)
        return await _child(command, inherited(os.environ) | wired | {"CLAIIM_TOKEN": gate.token(agent)})


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What the command keeps of our environment: nothing that overrides the wiring, nothing of another gate."""
    dropped = overriding(environ)
    return {name: value for name, value in environ.items() if name not in dropped and not name.startswith("CLAIIM_")}


async def _child(command: Sequence[str], environ: Mapping[str, str]) -> int:
    # Before the command is started: a signal that came in between would end us and leave the command behind.
    with _signals_passed_on() as passing:
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environ)
        except FileNotFoundError:
            click.echo(f'no command "{command[0]}"; is it installed and on PATH?', err=True)
            return EXIT_NOT_FOUND
        except OSError as error:
            click.echo(f'cannot run "{command[0]}": {os.strerror(error.errno or 0).lower()}', err=True)
            return EXIT_CANNOT_RUN
        passing.to(process)
        code = await process.wait()
    return code if code >= 0 else 128 - code


class _Passing:
    """Hands signals to a command; those that came before it was there wait for it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: list[signal.Signals] = []

    def to(self, process: asyncio.subprocess.Process) -> None:
        """Pass on from now on, and what has waited first."""
        self._process = process
        for number in self._waiting:
            self.pass_on(number)

    def pass_on(self, number: signal.Signals) -> None:
        """Hand one signal over."""
        if self._process is None:
            self._waiting.append(number)
            return
        if number is signal.SIGINT and _in_foreground():
            return  # Ctrl-C: the terminal has told the command itself; twice would kill what wanted to clean up
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[_Passing]:
    passing, loop = _Passing(), asyncio.get_running_loop()
    for number in _PASSED_ON:
        loop.add_signal_handler(number, passing.pass_on, number)
    try:
        yield passing
    finally:
        for number in _PASSED_ON:
            loop.remove_signal_handler(number)


def _in_foreground() -> bool:
    """Whether a terminal sends its signals to our process group, of which the command is a member."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _denials(path: Source, since: datetime) -> list["Record"]:
    import chron

    return list(chron.find(path, kind="decision", outcome="DENY", since=since, newest=_DENIALS_SHOWN))


def summary(counts: Sequence[tuple[str, int]], denials: Sequence["Record"]) -> str:
    """One paragraph on what the gate decided, the newest denials last."""
    by_outcome = dict(counts)
    if not any(by_outcome.values()):
        return "claiim: no call came to the gate"
    held = f", {by_outcome['HOLD']} held for approval" if by_outcome.get("HOLD") else ""
    lines = [f"claiim: {by_outcome.get('ALLOW', 0)} allowed, {by_outcome.get('DENY', 0)} denied{held}"]
    for record in denials:
        observed = " (observed only: it was forwarded)" if record.text("mode") == "observe" else ""
        asked = " ".join(filter(None, (record.text("action"), record.text("target"))))
        lines.append(f"  {record.id}  {asked or record.text('host')}: {record.text('reason')}{observed}")
    return "\n".join(lines)
