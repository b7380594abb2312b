"""`claiim policy diff A B`: which actions are gained and lost between two versions, files or folders.

What the texts say of every action that is known is compared, not how they are written. Of folders also what each
agent of the registry gains and loses.

    claiim policy diff deploy-v2@2 deploy-v2@3
    skill:deploy-v2@2 -> skill:deploy-v2@3
      gained   deny -> allow
        deploy:staging
      lost     allow -> deny
        aws:ec2:*                    687 actions: aws:ec2:acceptaddresstransfer, ...

Exit 0 when both say the same, 1 when they do not, 2 when one of them is not there.
"""

from pathlib import Path

import click

from policies.comparing import Difference, grouped
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, config_option, fail, json_option, located_errors, print_json
from proxy.comparison import Compared, NotComparable, compare_folders, compare_texts
from proxy.configloading import load_config
from proxy.knownactions import known_actions

_SHOWN = 3
"""Actions of one pattern that are named; --json has all."""


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@json_option
@config_option
@located_errors
def diff(before: str, after: str, as_json: bool, config_path: Path | None) -> None:
    """Show which actions are gained and lost from A to B; each is NAME@VERSION, a file or a folder."""
    config = load_config(config_path, required=False)
    folders = [Path(each).is_dir() for each in (before, after)]
    if any(folders) and not all(folders):
        fail("a folder is compared with a folder; give two folders, or two texts", EXIT_USAGE)
    known = known_actions(config)
    try:
        found = (
            compare_folders(config, Path(before), Path(after), known)
            if all(folders)
            else compare_texts(config, before, after, known)
        )
    except NotComparable as error:
        fail(str(error), EXIT_USAGE)
    differing = [each for each in found if not each.same]
    if as_json:
        print_json({"same": not differing, "compared": [_described(each) for each in differing]})
    else:
        for each in differing:
            _print(each)
    if differing:
        raise SystemExit(EXIT_DENY)
    if not as_json:
        click.echo(f"the same for all {len(known)} actions", err=True)


def _print(compared: Compared) -> None:
    click.echo(compared.title)
    for note in compared.notes:
        click.echo(f"  {note}")
    for (direction, before, after), by_pattern in grouped(compared.differences).items():
        click.echo(f"  {direction:<8} {before} -> {after}")
        for pattern, actions in sorted(by_pattern.items()):
            click.echo(f"    {_actions(pattern, actions)}")


def _actions(pattern: str, actions: list[str]) -> str:
    """Return the actions of one pattern in one line."""
    if len(actions) == 1 and pattern in ("", actions[0]):
        return actions[0]
    more = ", ..." if len(actions) > _SHOWN else ""
    counted = f"{len(actions)} action{'s' if len(actions) > 1 else ''}: {', '.join(actions[:_SHOWN])}{more}"
    return f"{pattern or '(no pattern)':<28} {counted}"


def _described(compared: Compared) -> dict[str, object]:
    by_direction: dict[str, list[dict[str, str]]] = {"gained": [], "lost": [], "changed": []}
    for each in compared.differences:
        by_direction[each.direction].append(_difference(each))
    return {"title": compared.title, "notes": list(compared.notes), **by_direction}


def _difference(one: Difference) -> dict[str, str]:
    return {"action": one.action, "before": str(one.before), "after": str(one.after), "pattern": one.pattern}
