"""`claiim init`: write a commented configuration to start from; never over an existing file."""

import os
from pathlib import Path

import click

import policies
from proxy.cli.options import EXIT_USAGE, fail

_TEMPLATES = Path(__file__).parent / "templates"
_EXAMPLES = Path(policies.__file__).parent / "examples"


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
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # The registry holds token digests: nobody but its owner needs to read it.
        mode = 0o600 if name.name == "agents.yaml" else 0o644
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(source.read_text(encoding="utf-8"))
        click.echo(f"wrote {target}", err=True)
    click.echo("next: claiim agent add NAME --anchor PERSON --skill SKILL; claiim check; claiim serve", err=True)
