"""`claiim explain`: every stage of a decision, the line that decides, and the nearest thing allowed.

It asks the files as they are now, not a running gate, and leaves the token out of the question.
"""

import datetime
from pathlib import Path

import click

from policies import Credential, Explanation, Outcome, Question
from proxy.activations import load_in_force
from proxy.cli.options import EXIT_DENY, config_option, json_option, located_errors, print_json
from proxy.config import load_config


@click.command()
@click.option("--agent", required=True, help="Who would act.")
@click.option("--action", required=True, help="What it would do, e.g. deploy:production.")
@click.option("--target", default="", help="What it would do it to.")
@click.option("--environment", default="", help="Where, e.g. production.")
@json_option
@config_option
@located_errors
def explain(agent: str, action: str, target: str, environment: str, as_json: bool, config_path: Path | None) -> None:
    """Show every stage of a decision; exit 0 when it is ALLOW, 1 when it is DENY."""
    config = load_config(config_path)
    policies = load_in_force(config)
    now = datetime.datetime.now(datetime.UTC)
    question = Question(Credential(agent, ""), action, target, environment, now, client="")
    explanation = policies.explain(question)
    if as_json:
        print_json(_described(question, explanation))
    else:
        _print(question, explanation)
    if explanation.decision.outcome is not Outcome.ALLOW:
        raise SystemExit(EXIT_DENY)


def _print(question: Question, explanation: Explanation) -> None:
    decision = explanation.decision
    asked = [question.credential.agent, question.action, question.target, question.environment]
    click.echo("  ".join(part for part in asked if part))
    rows = [(stage.name, stage.verdict, stage.detail, stage.place) for stage in explanation.stages]
    widths = [max(len(row[index]) for row in rows) for index in range(3)]
    for name, verdict, detail, place in rows:
        line = f"  {name:{widths[0]}}  {verdict:{widths[1]}}  {detail:{widths[2]}}  {place}"
        click.echo(line.rstrip())
    observed = "" if decision.mode.value == "enforce" else f" (mode {decision.mode.value})"
    click.echo(f"{decision.outcome.value}{observed}  {decision.reason}  [{decision.code}]")
    if decision.observed:
        click.echo(f"would deny: {decision.observed}")
    if decision.rule:
        pattern = f'"{decision.pattern}" ' if decision.pattern else ""
        click.echo(f"decided by: {pattern}{decision.rule}")
    if explanation.nearest_allow and decision.outcome is not Outcome.ALLOW:
        click.echo(f"nearest allow: {explanation.nearest_allow}")


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
        "nearest_allow": explanation.nearest_allow,
        "stages": [
            {"name": stage.name, "verdict": stage.verdict, "detail": stage.detail, "place": stage.place}
            for stage in explanation.stages
        ],
    }
