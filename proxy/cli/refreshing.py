"""`claiim mappings refresh`: compile catalogues anew from the packages this machine has.

New operations of an API come with a new version of its SDK; until the gate knows them they are unrecognised, and
denied. What is compiled goes into the folder `catalogues` of the configuration and is used before what was shipped.

    claiim mappings refresh aws                                     from botocore, installed beside the gate
    claiim mappings refresh aws --from ~/project/.venv              from the botocore of a project
    claiim mappings refresh github --from node_modules --date 2026-12-01

    github: npm:@octokit/openapi not found; give the folder that holds it with --from
    aws: botocore 1.40.0 is older than 1.44.5, which is in use; --force takes it all the same
"""

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from mappings.catalogues import Archive, CatalogueError, Source
from mappings.catalogues.age import MAX_AGE_DAYS, older
from mappings.loading import catalogues_in_use
from mappings.sources import COMPILERS, SourceError
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    refuse_gated_caller,
)
from proxy.config import why
from proxy.configloading import load_config
from proxy.installed import Found
from proxy.refreshing import change, compiled, needed, put

_SHOWN = 20


class _Refused(Exception):
    """A family that is not refreshed, and why."""


class _NotHere(_Refused):
    """Its packages are not on this machine."""


class _UpToDate(_Refused):
    """What is here is in use already."""


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    try:
        return datetime.date.fromisoformat(value).isoformat() if value else ""
    except ValueError:
        raise click.BadParameter(f'"{value}" is no day; write for example 2026-01-31', ctx, param) from None


@click.command()
@click.argument("families", metavar="[FAMILY]...", nargs=-1)
@click.option(
    "--from",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the packages are: an environment, node_modules, unpacked archives; repeatable.",
)
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where to write.")
@click.option(
    "--date", callback=_day, metavar="DAY", help="When the packages were published, if their files do not say."
)
@click.option("--force", is_flag=True, help="Also take a version that is in use already, or an older one.")
@json_option
@config_option
@located_errors
def refresh(
    families: Sequence[str],
    folders: Sequence[Path],
    into: Path | None,
    date: str,
    force: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Compile catalogues from installed packages and say what changes; exit 1 when one of those named is not.

    Without --date a package counts as being as old as its files here: it was published then or before.
    """
    refuse_gated_caller("claiim mappings refresh")
    for family in families:
        if family not in COMPILERS:
            fail(f'no catalogue is called "{family}"; known: {", ".join(COMPILERS)}', EXIT_USAGE)
    config = load_config(config_path, required=False)
    try:
        in_use = catalogues_in_use(config.catalogues)
    except CatalogueError as error:
        fail(str(error))
    told: list[dict[str, object]] = []
    failed = 0
    for family in families or COMPILERS:
        try:
            told.append(_refreshed(family, in_use.get(family), folders, into or config.catalogues, date, force))
        except _Refused as error:
            click.echo(f"{family}: {error}", err=True)
            failed += not isinstance(error, _UpToDate) and (bool(families) or not isinstance(error, _NotHere))
            continue
        if not as_json:
            _print(told[-1])
    if as_json:
        print_json(told)
    if told:
        click.echo("a running gate uses them when it next loads: send it HUP", err=True)
        if into is not None and into.resolve() != config.catalogues.resolve():
            click.echo(f"{into} is not where your gate looks; set catalogues: in its configuration", err=True)
    if failed:
        raise SystemExit(EXIT_DENY)


def _refreshed(
    family: str, old: Archive | None, folders: Sequence[Path], into: Path, date: str, force: bool
) -> dict[str, object]:
    packages, missing = needed(family, folders)
    if missing:
        raise _NotHere(f"{', '.join(missing)} not found; give the folder that holds it with --from")
    if not force:
        _check_versions(packages, old)
    sources = [package.source(_published(package, old, date)) for package in packages]
    named = {source.package for source in sources}
    sources += [source for source in (old.header.sources if old else ()) if source.package not in named]
    try:
        result = compiled(family, packages, old)
        new = put(into, result, sources)
        changes = change(old, new)
    except (SourceError, CatalogueError) as error:
        raise _Refused(str(error).removeprefix(f"{family}: ")) from None
    except OSError as error:
        raise _Refused(f"{into}: cannot write: {why(error)}; give another folder with --into") from None
    return {
        "family": family,
        "operations": new.header.operations,
        "sources": [asdict(source) for source in sources],
        "into": str(into),
        **asdict(changes),
        "notes": list(result.notes),
    }


def _in_use(package: Found, old: Archive | None) -> Source | None:
    name = package.reference.partition(":")[2]
    return next((source for source in (old.header.sources if old else ()) if source.package == name), None)


def _check_versions(packages: Sequence[Found], old: Archive | None) -> None:
    known = [(package, _in_use(package, old)) for package in packages]
    for package, source in known:
        if source is not None and older(package.version, source.version):
            name = f"{source.package} {package.version}"
            raise _Refused(f"{name} is older than {source.version}, which is in use; --force takes it all the same")
    if all(source is not None and package.version == source.version for package, source in known):
        named = ", ".join(f"{package.reference} {package.version}" for package in packages)
        raise _UpToDate(f"{named} is in use already; --force compiles it anew")


def _published(package: Found, old: Archive | None, date: str) -> str:
    source = _in_use(package, old)
    if source is not None and source.version == package.version:
        return source.date
    if date or package.dated:
        return date or package.dated
    raise _Refused(f"the files of {package.reference} {package.version} do not say how old they are; give --date")


def _print(told: dict[str, object]) -> None:
    sources = told["sources"]
    assert isinstance(sources, list)  # noqa: S101 - narrows a type
    named = ", ".join(f"{each['package']} {each['version']} of {each['date']}" for each in sources)
    click.echo(f"{told['family']}: {told['operations']:,} operations, from {named}")
    for word in ("gained", "lost", "renamed", "attributes"):
        names = told[word]
        assert isinstance(names, tuple)  # noqa: S101 - narrows a type
        for name in names[:_SHOWN]:
            click.echo(f"  {word:<10}  {' -> '.join(name) if isinstance(name, tuple) else name}")
        if len(names) > _SHOWN:
            click.echo(f"  {word:<10}  and {len(names) - _SHOWN:,} more; --json lists them")
    published = datetime.date.fromisoformat(sources[0]["date"])
    age = (datetime.datetime.now(datetime.UTC).date() - published).days
    if age > MAX_AGE_DAYS:
        click.echo(f"{told['family']}: that is {age} days old; newer operations are unrecognised", err=True)
