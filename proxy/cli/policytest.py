"""`claiim policy test`: put the questions of `*.test.yaml` to the skills and policies, and compare the answers.

The texts are those of the configuration, as they are on disk; where there is no configuration, those that lie beside
the tests. Nothing is asked of a running gate and nothing is written but the report.

    claiim policy test
    claiim policy test policies/deploy-v2.test.yaml --coverage --threshold 90
    claiim policy test --format junit -o policies.xml

Exit 0 when every test passed, 1 when one failed or too few lines were met, 2 when there is nothing to run.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from mappings import Document, load_mappings
from mappings.vocabulary import WORDS
from policies.loading import BUNDLE_SUFFIX, TESTS, files_of_tests, read_tests, read_texts
from policies.testing import Report, run_tests
from policies.testschema import CasesError
from proxy.bundles import signed_sources
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, config_option, fail, located_errors
from proxy.cli.testreports import as_json, as_junit, as_sarif, as_text, counted
from proxy.cli.versions import version_of
from proxy.config import Config
from proxy.configloading import find_config, load_config
from proxy.paper import Paper


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--coverage", is_flag=True, help="Also tell which lines of the texts no case met.")
@click.option("--threshold", type=click.IntRange(0, 100), metavar="N", help="Fail when less than N % are met.")
@click.option("--format", "kind", type=click.Choice(["text", "json", "junit", "sarif"]), default="text")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to a file.")
@config_option
@located_errors
def test(
    paths: Sequence[Path],
    coverage: bool,
    threshold: int | None,
    kind: str,
    output: Path | None,
    config_path: Path | None,
) -> None:
    """Run the tests in PATHS [default: the folders of the configuration]."""
    site = find_config(config_path, os.environ) is not None
    config = load_config(config_path, required=not paths)
    folders = [path for path in config.policies if path.suffix != BUNDLE_SUFFIX]
    tested = _tested(config, site, list(paths) or folders)
    report = _report(tested, kind, coverage or threshold is not None)
    if output is None:
        click.echo(report, nl=False)
    else:
        _write(output, report)
        click.echo(as_text(tested, coverage).splitlines()[-1], err=True)
    short = threshold is not None and tested.coverage.percent < threshold
    if short:
        click.echo(f"{counted(tested.coverage)}; {threshold} % are asked for", err=True)
    if tested.failed or short:
        raise SystemExit(EXIT_DENY)


def _tested(config: Config, site: bool, paths: Sequence[Path]) -> Report:
    agents, rules = read_texts(config.agents, signed_sources(config)) if site else _beside(paths)
    rules += _drafts(paths, rules) if site else []
    paper = Paper(lambda: load_mappings(config.mappings, config.catalogues), config.proxy.max_body_bytes)
    try:
        tests = read_tests(paths)
        if not tests:
            shown = ", ".join(str(path) for path in paths)
            fail(f'no "*{TESTS}" in {shown}; "claiim init" writes one to start from', EXIT_USAGE)
        return run_tests(agents, rules, tests, paper.questions, known=_words())
    except CasesError as wrong:
        fail(str(wrong), EXIT_USAGE)


def _beside(paths: Sequence[Path]) -> tuple[Document | None, list[Document]]:
    """Read the texts that lie beside tests, and the registry that does."""
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))
    registries = [folder / "agents.yaml" for folder in folders if (folder / "agents.yaml").is_file()]
    return read_texts(next(iter(registries), None), folders)


def _drafts(paths: Sequence[Path], loaded: Sequence[Document]) -> list[Document]:
    """Read the text beside each file of tests that the site does not load: NAME.yaml, of NAME.test.yaml."""
    known = {Path(document.source).resolve() for document in loaded}
    tests = [path for path in files_of_tests(paths) if path.name.endswith(TESTS)]
    texts = [path.with_name(f"{path.name.removesuffix(TESTS)}.yaml") for path in tests]
    return read_texts(None, [text for text in texts if text.is_file() and text.resolve() not in known])[1]


def _words() -> list[str]:
    """Return the vocabulary as actions; of those with an environment, the one that matters."""
    return [word.replace("${env}", "production") for word in WORDS]


def _report(tested: Report, kind: str, coverage: bool) -> str:
    match kind:
        case "json":
            return as_json(tested)
        case "junit":
            return as_junit(tested)
        case "sarif":
            return as_sarif(tested, version_of("claiim-gate"), Path.cwd())
        case _:
            return as_text(tested, coverage)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot write: {(error.strerror or '').lower()}; give another file", EXIT_USAGE)
