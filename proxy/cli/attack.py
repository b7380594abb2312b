"""`claiim attack`: everything that gates like this one were talked around with, sent through one, and counted.

Without `--gate` it starts a gate of its own with the configured mappings and policies, in front of a target of its
own on loopback; nothing is sent to anybody else. With `--gate` it attacks one that runs, which must have been told of
the target before: `--prepare` writes what to add. Exit 1 when an attack was missed.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from proxy.cli.options import (
    EXIT_DENY,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    refuse_gated_caller,
)

if TYPE_CHECKING:
    from proxy.attack.judging import Shot
    from proxy.config import Config

PORTS = (18443, 18080)
"""Where the target of a running gate listens, with TLS and without."""
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--gate", "url", metavar="URL", help="Attack a running gate: http://AGENT:TOKEN@HOST:PORT.")
@click.option("--prepare", "folder", type=_FOLDER, metavar="DIR", help="What a running gate is told; written when new.")
@json_option
@config_option
@located_errors
def attack(ids: tuple[str, ...], url: str | None, folder: Path | None, as_json: bool, config_path: Path | None) -> None:
    """Attack a gate with these rules over real sockets, and count what it lets through.

    IDS are attacks of the catalogue, B35 for one; all of them when none is named. Exit 1 when one was missed.
    """
    from proxy.attack.running import NotOurs

    refuse_gated_caller("attack")
    if folder is not None and url is None:
        _prepare(folder, config_path)
        return
    try:
        shots = _own(config_path, ids) if url is None else _running(url, folder, config_path, ids)
    except NotOurs as error:
        fail(f"{error}; nothing was attacked", EXIT_UNREACHABLE)
    _show(shots, as_json)
    if any(not shot.caught for shot in shots):
        raise SystemExit(EXIT_DENY)


def _own(config_path: Path | None, ids: Sequence[str]) -> "list[Shot]":
    from proxy.attack.running import attack_own
    from proxy.configloading import load_config

    config = load_config(config_path, required=config_path is not None)
    with tempfile.TemporaryDirectory(prefix="claiim-attack-") as folder:
        return asyncio.run(attack_own(Path(folder), config if config.path else None, ids, config.proxy.engine))


def _running(url: str, folder: Path | None, config_path: Path | None, ids: Sequence[str]) -> "list[Shot]":
    from proxy.attack.running import attack_running
    from proxy.attack.wire import Gate
    from proxy.configloading import load_config

    if folder is None or not (folder / "target-ca.pem").is_file():
        fail("a running gate has to know the target; give --prepare DIR alone first, then with --gate", EXIT_USAGE)
    parts = urlsplit(url)
    if parts.scheme != "http" or not (parts.hostname and parts.port and parts.username and parts.password):
        fail("--gate takes http://AGENT:TOKEN@HOST:PORT", EXIT_USAGE)
    config = load_config(config_path)
    places = {"port": str(PORTS[0]), "proxy": str(parts.port), "api": str(config.api.listen.port)}
    agent, token = unquote(parts.username), unquote(parts.password)
    gate = Gate(parts.hostname, parts.port, agent, token, config.ca_certificate, places)
    return attack_running(folder, PORTS, gate, _readable(config), ids)


def _readable(config: "Config") -> "Path | str | None":
    """The gate's log, when it is one that can be read from here."""
    import chron

    if chron.is_there(config.chron):
        return config.chron
    click.echo("the log cannot be read from here: its records are not compared", err=True)
    return None


def _prepare(folder: Path, config_path: Path | None) -> None:
    from proxy.attack.owngate import PLAIN_HOSTS, RUNNING_HOSTS, now, target_tls, write_rules
    from proxy.configloading import load_config

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_rules(folder, running=True)
    target_tls(folder, now())
    config = load_config(config_path, required=config_path is not None)
    told = {
        "mappings": [*map(str, config.mappings), str(folder / "mappings")],
        "policies": [*map(str, config.policies), str(folder / "policies")],
    }
    click.echo(
        "Put this into the gate's claiim.yaml, in place of what it says there, and restart the gate:\n", err=True
    )
    for name, paths in told.items():
        click.echo(f"{name}: {json.dumps(list(dict.fromkeys(paths)))}")
    click.echo("resolve:")
    for host in RUNNING_HOSTS:
        click.echo(f'  {host}: {{address: "127.0.0.1:{PORTS[0]}", ca: {json.dumps(str(folder / "target-ca.pem"))}}}')
    for host in PLAIN_HOSTS:
        click.echo(f'  {host}: {{address: "127.0.0.1:{PORTS[1]}"}}')
    click.echo(
        "\nThen add an agent with the attack's skill, and attack:\n\n"
        "  claiim agent add attack-probe --anchor PERSON --skill attack-v1\n"
        f"  claiim attack --prepare {folder} --gate http://attack-probe:TOKEN@{config.proxy.listen}\n\n"
        'A policy with an allow list has to allow it "attack:**" for as long as that takes.',
        err=True,
    )


def _show(shots: "Sequence[Shot]", as_json: bool) -> None:
    from proxy.attack import SOURCES, UNSEEN

    tried = {attack_id: [shot for shot in shots if shot.attack.id == attack_id] for attack_id in SOURCES}
    caught = sum(shot.caught for shot in shots)
    if as_json:
        attacks = [
            {
                "id": attack_id,
                "source": SOURCES[attack_id],
                "caught": sum(shot.caught for shot in rows),
                "missed": [{"name": shot.attack.name, "why": shot.fault} for shot in rows if not shot.caught],
            }
            for attack_id, rows in tried.items()
            if rows
        ]
        print_json({"caught": caught, "missed": len(shots) - caught, "attacks": attacks, "unseen": UNSEEN})
        return
    for attack_id, rows in tried.items():
        if rows:
            click.echo(f"{attack_id}  {sum(shot.caught for shot in rows):>3} of {len(rows):<3}  {SOURCES[attack_id]}")
        for shot in rows:
            if not shot.caught:
                click.echo(f"     missed: {shot.attack.name}: {shot.fault}")
    for attack_id, reason in UNSEEN.items():
        click.echo(f"{attack_id}  not tried   {reason}")
    click.echo(f"\n{caught} of {len(shots)} caught")
