"""`claiim policy versions`: every version that is known, which is in force, and who put it there.

It reads files and Chron, not a running gate, and shows what that gate loads next.

kind   name       version  state     activated            by     approved by  digest        text
skill  deploy-v2  1        replaced  2026-03-01 09:12:44  alice  bob          3f0c1a9be2d4  chron
skill  deploy-v2  2        in force  2026-03-08 10:02:11  alice  bob          91ab04c7710e  policies/deploy.yaml
"""

from pathlib import Path
from typing import Any

import click

from policies.choosing import KEPT, ChoiceRefused, Known, read_name
from policies.rulebook import Activations
from policies.values import TextRef
from policies.versions import Activation, History
from proxy.activations import known_versions, recorded
from proxy.cli.options import EXIT_DENY, config_option, fail, json_option, located_errors, print_json
from proxy.cli.tables import print_table
from proxy.configloading import load_config

_COLUMNS = ("kind", "name", "version", "state", "activated", "by", "approved_by", "digest", "text")
_SHORT_DIGEST = 12


@click.command()
@click.argument("name", required=False)
@json_option
@config_option
@located_errors
def versions(name: str | None, as_json: bool, config_path: Path | None) -> None:
    """List every known version of a skill or policy, or of all."""
    config = load_config(config_path)
    history = recorded(config.chron)
    known = known_versions(config, history)
    try:
        wanted = read_name(name, known)[0] if name else None
    except ChoiceRefused as refused:
        fail(str(refused), EXIT_DENY)
    activations = history.in_force(required=config.activation.required)
    rows = [
        _row(ref, place, _state(ref, place, known, activations), _last_act(ref, history))
        for ref, place in sorted(known.values(), key=lambda each: (each[0].kind, each[0].id, each[0].version))
        if wanted in (None, (ref.kind, ref.id))
    ]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "digest": row["digest"][:_SHORT_DIGEST], "text": _near(row["text"])} for row in rows]
    print_table([column.replace("_", " ") for column in _COLUMNS], [[row[each] for each in _COLUMNS] for row in shown])


def _row(ref: TextRef, place: str, state: str, act: Activation | None) -> dict[str, Any]:
    return {
        "kind": ref.kind,
        "name": ref.id,
        "version": ref.version,
        "state": state,
        "activated": f"{act.at:%Y-%m-%d %H:%M:%S}" if act else "-",
        "by": act.by if act else "-",
        "approved_by": act.approved_by or "-" if act else "-",
        "digest": ref.digest,
        "text": "chron" if place.startswith(KEPT) else place,
    }


def _near(place: str) -> str:
    """Return a path as it is seen from here."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place


def _last_act(ref: TextRef, history: History) -> Activation | None:
    return next((each for each in reversed(history.activations) if each.change.ref == ref), None)


def _state(ref: TextRef, place: str, known: Known, activations: Activations) -> str:
    """Return "in force", "replaced" (it was once), "loaded" (a file has it) or "kept" (the Chron has it)."""
    active = activations.active.get((ref.kind, ref.id))
    if active is not None:
        counts = active == (ref.version, ref.digest)
    else:
        filed = [
            each for each, where in known.values() if (each.kind, each.id) == (ref.kind, ref.id) and KEPT not in where
        ]
        counts = not activations.required and bool(filed) and ref == max(filed, key=lambda each: each.version)
    if counts:
        return "in force"
    if (ref.kind, ref.id, ref.version, ref.digest) in activations.approved:
        return "replaced"
    return "kept" if place.startswith(KEPT) else "loaded"
