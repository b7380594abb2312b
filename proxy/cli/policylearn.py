"""`claiim policy learn`: a skill that would have been enough for what an agent was seen to do, and tests of it.

claiim policy learn --agent deploy-bot --since 7d
claiim policy learn --agent deploy-bot --since 7d --denied --risky omit -o learned

Writes NAME.yaml and NAME.test.yaml into a folder that the gate does not load from, and overwrites nothing: it takes a
human to read them, to move them, and to put them in force. Exit 0 when they are written, 1 when nothing was seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

import chron
from chron import ChronError, Record, printable
from chron.sources import Source
from mappings.documents import Document, read_document
from policies import Policies, PolicyError, Sources
from policies.drafting import compile_drafts
from policies.learning import Entries, Lesson, Observed, Risky, entries_of, listed
from policies.learning import learn as lesson_of
from policies.lessontext import Heading, skill_text, tests_text
from policies.loading import read_text, read_texts
from policies.rulebook import TextKey
from proxy.activations import sources_of
from proxy.cli.chron import when
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, LOG, config_option, fail, located_errors, refuse_gated_caller
from proxy.config import Config, why
from proxy.configloading import load_config
from proxy.questions import asked_again

_KEPT = ("deny", "require", "limits")
_BY_RULES = ("policy", "skill", "approval")


@click.command()
@click.option("--agent", required=True, help="Whose calls are looked at.")
@click.option("--since", callback=when, default="7d", show_default=True, help='"7d", "24h" or an ISO 8601 time.')
@click.option("--until", callback=when, help="As --since; not included.")
@click.option("--denied", is_flag=True, help="Also what skills and policies denied, marked as such.")
@click.option(
    "--risky",
    type=click.Choice(get_args(Risky.__value__)),
    default="approve",
    show_default=True,
    help="Where risky actions go: what executes, mints, destroys, changes permissions, or touches production.",
)
@click.option("--name", help="The skill [default: the next version of the agent's own, or its name].")
@click.option(
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("learned"),
    show_default=True,
    help="The folder to write into.",
)
@click.option("--chron", "chron_path", type=LOG, help="The Chron: a file or a URL.")
@config_option
@located_errors
def learn(
    agent: str,
    since: datetime,
    until: datetime | None,
    denied: bool,
    risky: Risky,
    name: str | None,
    folder: Path,
    chron_path: Source | None,
    config_path: Path | None,
) -> None:
    """Write a skill that allows what an agent was seen to do and nothing else, with its tests."""
    refuse_gated_caller("claiim policy learn")
    config = load_config(config_path)
    path, until = chron_path or config.chron, until or datetime.now(UTC)
    _refuse_loaded_folder(config, folder)
    try:
        site = _Site(config, path)
        if agent not in site.policies.agents:
            fail(f'agent "{printable(agent)}" does not exist; "claiim agent list" shows those that do', EXIT_USAGE)
        seen = chron.find(path, kind="decision", agent=agent, since=since, until=until)
        lesson = lesson_of(site.policies, agent, _observed(seen, denied), site.entries, risky=risky)
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    if not lesson.lines:
        for reason, count in lesson.left_out.items():
            click.echo(f"{count} calls are not in it: {reason}", err=True)
        fail(
            f"nothing to learn: {agent} was allowed nothing in that time; look further back, or at --denied", EXIT_DENY
        )
    _write(site, site.heading(agent, name, since, until), lesson, folder)


class _Site:
    """The rules that there are, and where each of their lines stands."""

    def __init__(self, config: Config, path: Source) -> None:
        self.sources: Sources = sources_of(config)
        registry, self.texts = read_texts(config.agents, self.sources)
        self.registry = registry or read_text(config.agents)
        self.seen: Mapping[TextKey, str] = chron.seen(path)
        self.policies: Policies = self.compiled([])
        self.entries: Entries = entries_of(self.texts)

    def compiled(self, drafts: Sequence[Document]) -> Policies:
        """Return the policies, with drafts; raises PolicyError."""
        activations = self.sources.activations
        return compile_drafts(self.registry, self.texts, drafts, seen=self.seen, activations=activations).policies

    def heading(self, agent: str, name: str | None, since: datetime, until: datetime) -> Heading:
        """Return what the learned skill is beside its lines."""
        one, rules = self.policies.agents[agent], self.policies.standings[agent].rules.skill
        skill = name or (one.skill.id if one.skill else agent)
        versions = [int(text.version) for text in self.policies.texts if (text.kind, text.id) == ("skill", skill)]
        versions += [version for kind, id_, version in self.seen if (kind, id_) == ("skill", skill)]
        documents = {document.digest: document for document in self.texts}
        missing = [ref for ref in rules.parts if ref.digest not in documents]
        if missing:
            fail(f"the text of {missing[0]} is in no file, so what it denies would be lost; put its file back")
        parts = [documents[ref.digest] for ref in rules.parts]
        kept = {name: [entry for part in parts for entry in listed(part, name)] for name in _KEPT}
        own = parts[0].value if parts else {}
        ends = str(own.get("until", "")) if isinstance(own, dict) else ""
        return Heading(one, skill, max(versions, default=0) + 1, since, until, kept, ends)


def _observed(records: Iterator[Record], denied: bool) -> Iterator[Observed]:
    for record in records:
        allowed = record.text("outcome") == "ALLOW"
        if not allowed and not (denied and record.text("stage") in _BY_RULES):
            continue
        question = asked_again(record.fields, {})
        if question is not None:
            reason = "" if allowed else record.text("reason")
            yield Observed(question, record.id, reason, excepted=bool(record.text("exception")))


def _refuse_loaded_folder(config: Config, folder: Path) -> None:
    # What lies in a folder of the gate may be in force when it next loads; nothing learned gets there by itself.
    for loaded in config.policies:
        if loaded.is_dir() and folder.resolve().is_relative_to(loaded.resolve()):
            fail(f'{folder}: the gate loads what is in "{loaded}"; write elsewhere, read it, then move it', EXIT_USAGE)


def _write(site: _Site, heading: Heading, lesson: Lesson, folder: Path) -> None:
    skill, tests = folder / f"{heading.skill}.yaml", folder / f"{heading.skill}.test.yaml"
    text = skill_text(lesson, heading)
    try:
        site.compiled([read_document(text, str(skill), error=PolicyError)])
    except PolicyError as error:
        fail(f"what was learned does not load, so nothing is written:\n{error}", EXIT_DENY)
    for path in (skill, tests):
        if path.exists():
            fail(f"{path}: exists already; move it away, or give another folder with -o", EXIT_USAGE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in ((skill, text), (tests, tests_text(lesson, heading))):
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
    except OSError as error:
        fail(f"{folder}: cannot write: {why(error)}; give another folder", EXIT_USAGE)
    _tell(heading, lesson, skill, tests)


def _tell(heading: Heading, lesson: Lesson, skill: Path, tests: Path) -> None:
    held = sum(line.approve for line in lesson.lines)
    click.echo(f"{skill}: {heading.name}, {len(lesson.lines) - held} allowed, {held} to be approved")
    click.echo(f"{tests}: its tests")
    for line in (*lesson.lines, *lesson.omitted):
        if line.risks:
            click.echo(f"look at {line.action}: {', '.join(line.risks)}", err=True)
    for reason, count in sorted(lesson.left_out.items()):
        click.echo(f"{count} calls are not in it: {reason}", err=True)
    if "@" in heading.agent.pin:
        click.echo(f"{heading.agent.id} pins {heading.agent.pin}: change the pin before this concerns it", err=True)
    click.echo(f"nothing is in force yet; next: claiim policy simulate {skill}", err=True)
