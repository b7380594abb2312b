"""`claiim init`: write a commented configuration to start from; never over an existing file."""

import os
from pathlib import Path

import click

from proxy.cli.options import EXIT_USAGE, fail

_TEMPLATES = Path(__file__).parent / "templates"
# By place and not by import: the rooms lie side by side in a checkout and in the wheel.
_EXAMPLES = Path(__file__).parents[2] / "policies" / "examples"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
def init(folder: Path) -> None:
    """Write claiim.yaml, agents.yaml, policies/ and mappings/ into FOLDER [default: here]."""
    files = {
        Path("claiim.yaml"): _TEMPLATES / "claiim.yaml",
        Path("mappings/site.yaml"): _TEMPLATES / "mappings" / "site.yaml",
        Path("agents.yaml"): _EXAMPLES / "agents.yaml",
        **{
            Path("policies") / example.name: example
            for example in sorted(_EXAMPLES.glob("*.yaml"))
            if example.name != "agents.yaml"
        },
    }
    existing = [str(folder / name) for name in files if (folder / name).exists()]
    if existing:
        fail(f"{', '.join(existing)}: already there; give another folder", EXIT_USAGE)
    for name, source in files.items():
        try:
            _write(folder / name, source.read_text(encoding="utf-8"))
        except OSError as error:
            why = (error.strerror or "").lower()
            fail(f"{folder / name}: cannot write: {why}; give another folder", EXIT_USAGE)
        click.echo(f"wrote {folder / name}", err=True)
    there = "" if folder == Path() else f"cd {folder}; "
    click.echo(
        f"next: {there}claiim agent add NAME --anchor PERSON --skill SKILL; claiim check; claiim serve", err=True
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The registry holds token digests: nobody but its owner needs to read it.
    mode = 0o600 if path.name == "agents.yaml" else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
