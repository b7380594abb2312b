"""What a command line says of a question to the policies: who, what, where, when, from where, with which headers.

Nothing here is looked up: what is not given could not be told, but for headers, which were not sent, and limits,
which were not used. The token is no part of the question.

    claiim can deploy:production --as deploy-bot --at 2026-03-02T09:00:00Z --header x-ticket=OPS-1
    claiim explain --agent deploy-bot --action infra:destroy --uses 3
"""

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from policies import Credential, Decision, Outcome, Policies, Question
from policies.conditionschema import moment
from proxy.cli.options import EXIT_DENY, EXIT_HOLD

_ATTRIBUTES = ("method", "scheme", "host", "access", "executes", "mints")

EXIT_CODES: Mapping[Outcome, int] = {Outcome.ALLOW: 0, Outcome.DENY: EXIT_DENY, Outcome.HOLD: EXIT_HOLD}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All of a question but for agent and action."""

    target: str
    environment: str
    at: datetime.datetime
    client: str
    attributes: Mapping[str, str]
    headers: Mapping[str, str]
    uses: Sequence[str]

    def question(self, policies: Policies, agent: str, action: str) -> Question:
        """Return the question, its headers and uses as the gate would see them."""
        headers = dict.fromkeys(policies.headers, "") | dict(self.headers)
        attributes = dict(self.attributes) | {f"header.{name}": value for name, value in headers.items()}
        return Question(
            Credential(agent, ""),
            action,
            self.target,
            self.environment,
            self.at,
            self.client,
            attributes,
            {limit.key: self._used(limit.key) for limit in policies.limits(agent, action)},
        )

    def left_out(self, decision: Decision) -> str:
        """Return which option would have told what the decision hung on; empty when none."""
        if decision.code == "org.foreign-target" and not self.target:
            return "no target was given, and organisations own some; give --target"
        return ""

    def _used(self, key: str) -> int:
        return max((count for name, count in map(_use, self.uses) if key.startswith(name)), default=0)


def circumstances_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options of `Circumstances`; it gets one as `circumstances`."""

    @functools.wraps(command)  # it carries the options over that the command has already
    def read(**given: Any) -> R:
        names = ("target", "environment", "at", "client", "attributes", "headers", "uses")
        return command(circumstances=Circumstances(**{name: given.pop(name) for name in names}), **given)

    options = (
        click.option("--target", default="", help="What it would be done to."),
        click.option("--environment", default="", help="Where, e.g. production."),
        click.option("--at", callback=_read_at, help="When: 2026-03-02T09:00:00Z [default: now]."),
        click.option("--client", default="", help="The address it would come from."),
        click.option(
            "--header", "headers", multiple=True, callback=_read_pairs, help="A header it brings: NAME=VALUE."
        ),
        click.option(
            "--attribute",
            "attributes",
            multiple=True,
            callback=_read_attributes,
            help=f"What is known of it: NAME=VALUE, of {', '.join(_ATTRIBUTES)}.",
        ),
        click.option(
            "--uses", multiple=True, callback=_read_uses, help="How often limits were used: N, or policy:NAME/LIMIT=N."
        ),
    )
    return functools.reduce(lambda done, option: option(done), reversed(options), read)


def _read_at(_: click.Context, __: click.Parameter, text: str | None) -> datetime.datetime:
    if text is None:
        return datetime.datetime.now(datetime.UTC)
    try:
        return moment(text)
    except ValueError:
        raise click.BadParameter(f'"{text}" is not a time; write 2026-03-02 or 2026-03-02T09:00:00Z') from None


def _read_pairs(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    pairs = [(name.strip().lower(), sign, value) for name, sign, value in (text.partition("=") for text in texts)]
    for text, (name, sign, _value) in zip(texts, pairs, strict=True):
        if not sign or not name:
            raise click.BadParameter(f'"{text}" says nothing; write NAME=VALUE')
    return {name: value for name, _, value in pairs}


def _read_attributes(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    pairs = _read_pairs(context, parameter, texts)
    for name in pairs:
        if name not in _ATTRIBUTES:
            raise click.BadParameter(f'"{name}" is nothing that rules ask about; write one of {", ".join(_ATTRIBUTES)}')
    return pairs


def _read_uses(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> Sequence[str]:
    for text in texts:
        number = text.rpartition("=")[2]
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise click.BadParameter(f'"{text}" is no number of uses; write 3, or policy:calm/destroys=3')
    return texts


def _use(text: str) -> tuple[str, int]:
    """Return which limits are meant, by how their name begins, and how often they were used."""
    name, _, number = text.rpartition("=")
    return name, int(number)
