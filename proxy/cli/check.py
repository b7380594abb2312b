"""`claiim check`: validate everything the configuration names, and say every fault at once.

Exit 0 when the gate would start with these files, 1 when it would not. Where there is a Chron already, texts are
compared with the versions it has seen; it is only read, so a running gate does not mind. Not looked at: whether
the ports are free and whether the Chron verifies ("claiim chron verify").

    policies/deploy-v2.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version
    k8s-ca.pem: no PEM certificate; give a file that holds at least one
"""

import datetime
from collections.abc import Callable
from pathlib import Path

import click

import chron
from chron import ChronError
from chron.sources import Source
from mappings import DocumentError, load_mappings
from mappings.catalogues import CatalogueError, age, shipped
from mappings.loading import catalogues_in_use
from policies import Policies
from policies.rulebook import TextKey
from policies.versions import History
from proxy.activations import load_in_force, not_activated, recorded
from proxy.ca import certificate_faults
from proxy.cli.options import EXIT_DENY, config_option, json_option, print_json
from proxy.cli.policylint import lint_site
from proxy.config import Config
from proxy.configloading import load_config
from proxy.identity import load_issuers


@click.command()
@json_option
@config_option
def check(as_json: bool, config_path: Path | None) -> None:
    """Validate configuration, agents, policies and mappings."""
    faults: list[str] = []
    warnings: list[str] = []
    policies: Policies | None = None
    config = _tried(lambda: load_config(config_path), faults)
    if config is not None:
        policies = _load_rules(config, faults)
        now = datetime.datetime.now(datetime.UTC)
        faults.extend(certificate_faults(config, now))
        _tried(lambda: load_issuers(config.issuers), faults)
        warnings = _warnings(config, now.date()) + _waiting(config, policies)
        if not faults:
            _lint(config, now, faults, warnings)
    if as_json:
        print_json({"ok": not faults, "faults": faults, "warnings": warnings})
    for fault in [] if as_json else faults:
        click.echo(fault)
    for warning in [] if as_json else warnings:
        click.echo(f"warning: {warning}", err=True)
    if faults:
        if not as_json:
            click.echo(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}", err=True)
        raise SystemExit(EXIT_DENY)
    if policies is not None and not as_json:
        kinds = [text.kind for text in policies.texts]
        counted = f"{len(policies.agents)} agents, {kinds.count('skill')} skills, {kinds.count('policy')} policies"
        click.echo(f"ok: {counted}", err=True)


def _load_rules(config: Config, faults: list[str]) -> Policies | None:
    seen, history = _tried(lambda: _past(config.chron), faults) or ({}, History())
    policies = _tried(lambda: load_in_force(config, history=history, seen=seen), faults)
    _tried(lambda: load_mappings(config.mappings, config.catalogues), faults)
    return policies


def _past(path: Source) -> tuple[dict[TextKey, str], History]:
    return (chron.seen(path) if chron.is_there(path) else {}), recorded(path)


def _lint(config: Config, now: datetime.datetime, faults: list[str], warnings: list[str]) -> None:
    """Add what the lint finds in files that load; its advice is left to "claiim policy lint"."""
    for found in _tried(lambda: lint_site(config, now), faults) or ():
        if found.severity != "info":
            (faults if found.severity == "error" else warnings).append(str(found))


def _warnings(config: Config, today: datetime.date) -> list[str]:
    """What would not keep the gate from starting; nothing where the catalogues themselves are a fault."""
    try:
        return age.warnings(catalogues_in_use(config.catalogues), shipped(), today)
    except CatalogueError:
        return []


def _waiting(config: Config, policies: Policies | None) -> list[str]:
    """Versions that were never put in force, where that takes an act of somebody."""
    if policies is None or not config.activation.required:
        return []
    remedy = 'run "claiim policy activate"'
    return [f"{line}; {remedy}" for line in not_activated(policies, recorded(config.chron))]


def _tried[T](load: Callable[[], T], faults: list[str]) -> T | None:
    try:
        return load()
    except (DocumentError, ChronError) as wrong:
        faults.extend(str(wrong).splitlines())
        return None
