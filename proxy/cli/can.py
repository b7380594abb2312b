"""`claiim can`: yes or no, whether an agent may do an action; the exit code says it too.

    $ claiim can deploy:production --as deploy-bot
    no   policy:no-prod-v1 -- action not in allow list

    $ claiim can --list --as deploy-bot

Exit 0 for yes, 1 for no, 8 when a human would be asked. It asks the files as they are now and the versions that are
in force, not a running gate, and leaves the token out of the question.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mappings import canonical_action
from mappings.vocabulary import WORDS
from policies import Outcome, Policies
from policies.patterns import Matcher
from proxy.activations import load_in_force
from proxy.cli.options import EXIT_DENY, config_option, json_option, located_errors, print_json
from proxy.cli.questioning import EXIT_CODES, Circumstances, circumstances_options
from proxy.cli.tables import print_table
from proxy.configloading import load_config

_WORDS = {Outcome.ALLOW: "yes", Outcome.HOLD: "ask", Outcome.DENY: "no"}
_ENVIRONMENTS = ("production", "staging")
"""What stands for the environment in the words of the vocabulary."""


@click.command()
@click.argument("action", required=False)
@click.option("--as", "agent", required=True, help="Who would act.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it.")
@click.option("--list", "listing", is_flag=True, help="List what the agent may do, of all that is known by name.")
@circumstances_options
@json_option
@config_option
@located_errors
def can(
    action: str | None,
    agent: str,
    quiet: bool,
    listing: bool,
    circumstances: Circumstances,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Say whether an agent may do an action."""
    if (action is None) != listing:
        raise click.UsageError("name one action, or give --list" if listing is False else "--list takes no action")
    if action is not None:
        _check(action)
    policies = load_in_force(load_config(config_path))
    if action is None:
        _list(policies, agent, circumstances, as_json)
        return
    decision = policies.explain(circumstances.question(policies, agent, action)).decision
    answer = _answer(action, decision.outcome, decision.reason, decision.rule)
    if as_json:
        print_json(answer)
    elif not quiet:
        click.echo(f"{answer['answer']:3}  {decision.reason}")
        if hint := circumstances.left_out(decision):
            click.echo(hint, err=True)
    raise SystemExit(EXIT_CODES[decision.outcome])


def _check(action: str) -> None:
    try:
        canonical_action(action)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ACTION") from None


def _list(policies: Policies, agent: str, circumstances: Circumstances, as_json: bool) -> None:
    if agent not in policies.agents:
        click.echo(f"agent:{agent} -- unknown", err=True)
        raise SystemExit(EXIT_DENY)
    rows = []
    for action in sorted(set(_known(policies, agent))):
        decision = policies.explain(circumstances.question(policies, agent, action)).decision
        if decision.outcome is not Outcome.DENY:
            rows.append(_answer(action, decision.outcome, decision.reason, decision.rule))
    if as_json:
        print_json(rows)
    else:
        print_table(("action", "answer", "reason", "rule"), (tuple(row.values()) for row in rows))
        if any("*" in pattern for pattern in _permitting(policies, agent)):
            click.echo("wildcards may permit more than is known here by name", err=True)


def _known(policies: Policies, agent: str) -> Iterator[str]:
    """Yield the actions that the skill spells out, and the vocabulary where its patterns hold it."""
    patterns = set(_permitting(policies, agent))
    yield from (pattern for pattern in patterns if "*" not in pattern)
    permits = Matcher([(pattern, True) for pattern in patterns], allow=True)
    words = (word.replace("${env}", environment) for word in WORDS for environment in _ENVIRONMENTS)
    yield from (word for word in words if permits.match(word))


def _permitting(policies: Policies, agent: str) -> Iterator[str]:
    skill = policies.standings[agent].rules.skill
    for matcher in filter(None, (skill.allow, skill.approvable)):
        yield from (pattern for pattern, _ in matcher.rules)


def _answer(action: str, outcome: Outcome, reason: str, rule: str) -> dict[str, Any]:
    return {"action": action, "answer": _WORDS[outcome], "reason": reason, "rule": rule}
