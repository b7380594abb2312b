"""`claiim explain`: every stage of a decision, the line that decides, and what would turn it.

It asks the files as they are now and the versions that are in force, not a running gate, and leaves the token out
of the question.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from policies import Explanation, Outcome, Question, Stage
from proxy.activations import load_in_force
from proxy.cli.options import config_option, json_option, located_errors, print_json
from proxy.cli.questioning import EXIT_CODES, Circumstances, circumstances_options
from proxy.configloading import load_config


@click.command()
@click.option("--agent", required=True, help="Who would act.")
@click.option("--action", required=True, help="What it would do, e.g. deploy:production.")
@circumstances_options
@json_option
@config_option
@located_errors
def explain(agent: str, action: str, circumstances: Circumstances, as_json: bool, config_path: Path | None) -> None:
    """Show every stage of a decision; exit 0 when it is ALLOW, 1 when it is DENY, 8 when it is HOLD."""
    policies = load_in_force(load_config(config_path))
    question = circumstances.question(policies, agent, action)
    explanation = policies.explain(question)
    if as_json:
        print_json(_described(question, explanation))
    else:
        _print(question, explanation)
        if hint := circumstances.left_out(explanation.decision):
            click.echo(hint, err=True)
    raise SystemExit(EXIT_CODES[explanation.decision.outcome])


def _print(question: Question, explanation: Explanation) -> None:
    decision = explanation.decision
    asked = [question.credential.agent, question.action, question.target, question.environment]
    click.echo("  ".join(part for part in asked if part))
    rows = [(stage.name, stage.verdict, stage.detail, stage.place) for stage in explanation.stages]
    widths = [max(len(row[index]) for row in rows) for index in range(3)]
    for stage, (name, verdict, detail, place) in zip(explanation.stages, rows, strict=True):
        click.echo(f"  {name:{widths[0]}}  {verdict:{widths[1]}}  {detail:{widths[2]}}  {place}".rstrip())
        if stage.note:
            click.echo(f"  {'':{widths[0]}}  {'':{widths[1]}}  {stage.note}")
    observed = "" if decision.mode.value == "enforce" else f" (mode {decision.mode.value})"
    click.echo(f"{decision.outcome.value}{observed}  {decision.reason}  [{decision.code}]")
    if decision.observed:
        click.echo(f"would deny: {decision.observed}")
    if decision.rule:
        pattern = f'"{decision.pattern}" ' if decision.pattern else ""
        click.echo(f"decided by: {pattern}{decision.rule}")
    if decision.untold:
        click.echo(f"could not be told: {decision.untold}")
    if explanation.nearest_allow and decision.outcome is not Outcome.ALLOW:
        click.echo(f"nearest allow: {explanation.nearest_allow}")
    _print_changes("ALLOW" if decision.outcome is not Outcome.ALLOW else "DENY", explanation.changes)


def _print_changes(other: str, changes: Sequence[str]) -> None:
    if len(changes) == 1:
        click.echo(f"to make it {other}: {changes[0]}")
    elif changes:
        click.echo(f"to make it {other}, all of:")
        for number, change in enumerate(changes, 1):
            click.echo(f"  {number}. {change}")


def _described(question: Question, explanation: Explanation) -> dict[str, object]:
    decision = explanation.decision
    return {
        "agent": question.credential.agent,
        "action": question.action,
        "target": question.target,
        "environment": question.environment,
        "outcome": decision.outcome.value,
        "mode": decision.mode.value,
        "reason": decision.reason,
        "code": decision.code,
        "stage": decision.stage,
        "rule": decision.rule,
        "pattern": decision.pattern,
        "observed": decision.observed,
        "policy": str(decision.policy or ""),
        "skill": str(decision.skill or ""),
        "policies": [str(ref) for ref in decision.policies],
        "untold": decision.untold,
        "exception": decision.exception,
        "holds": [
            {"rule": hold.rule, "approvers": hold.approvers, "who": list(hold.who), "anchor": hold.anchor}
            for hold in decision.holds
        ],
        "limits": [{"key": each.key, "most": each.most, "window_s": each.window_s} for each in decision.limits],
        "nearest_allow": explanation.nearest_allow,
        "changes": list(explanation.changes),
        "stages": [dict(_stage(stage)) for stage in explanation.stages],
    }


def _stage(stage: Stage) -> Iterator[tuple[str, str]]:
    for name in ("name", "verdict", "detail", "place", "note"):
        yield name, str(getattr(stage, name))
