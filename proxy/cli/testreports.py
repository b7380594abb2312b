"""What came of the tests of policies, as text, JSON, JUnit XML or SARIF; returns text and writes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree  # written only; nothing is parsed

from chron import printable
from policies.loading import TESTS
from policies.testcases import Result
from policies.testcoverage import Coverage, Line
from policies.testing import FileResult, Report
from proxy.sarif import Located, sarif

RULE = "policy-test"


def as_text(tested: Report, coverage: bool) -> str:
    """Return what people read: failures with their reasons, then the sums."""
    return "\n".join(printable(line) for line in _lines(tested, coverage)) + "\n"


def _lines(tested: Report, coverage: bool) -> Iterator[str]:
    for result in tested.failed:
        yield f"{result.place}: FAILED {result.name}"
        yield from (f"    {failure}" for failure in result.failures)
    failed = len(tested.failed)
    yield f"{len(tested.results) - failed} passed, {failed} failed"
    if coverage:
        yield counted(tested.coverage)
        for line in tested.coverage.missed:
            yield f'    {line.place}: {line.kind} "{line.pattern}" was met by no case'


def counted(coverage: Coverage) -> str:
    """Say in one line how much was met."""
    met = len(coverage.lines) - len(coverage.missed)
    return f"{coverage.percent} % covered: {met} of {len(coverage.lines)} lines met"


def as_json(tested: Report) -> str:
    """Return one document."""
    return _dumped(
        {
            "passed": len(tested.results) - len(tested.failed),
            "failed": len(tested.failed),
            "results": [
                {"file": file.source, "name": each.name, "place": each.place, "failures": list(each.failures)}
                for file in tested.files
                for each in file.results
            ],
            "coverage": {
                "percent": tested.coverage.percent,
                "lines": len(tested.coverage.lines),
                "missed": [_described(line) for line in tested.coverage.missed],
            },
        }
    )


def _described(line: Line) -> dict[str, str]:
    return {"place": line.place, "text": line.text, "kind": line.kind, "pattern": line.pattern}


def _dumped(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def as_junit(tested: Report) -> str:
    """Return JUnit XML with the elements and attributes that its schemas share.

    https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
    """
    root = ElementTree.Element("testsuites", {"name": "claiim policy test", **_sums(tested.results)})
    for file in tested.files:
        _suite(root, file)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _sums(results: tuple[Result, ...]) -> dict[str, str]:
    failed = sum(1 for result in results if result.failures)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0"}


def _suite(root: ElementTree.Element, file: FileResult) -> None:
    suite = ElementTree.SubElement(root, "testsuite", {"name": printable(file.source), **_sums(file.results)})
    for result in file.results:
        # Consumers take what follows the last dot for the name of a class.
        where = printable(file.source.removesuffix(TESTS))
        names = {"name": printable(result.name), "classname": where, "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", names)
        if result.failures:
            message = printable(result.failures[0])
            failure = ElementTree.SubElement(case, "failure", {"message": message, "type": RULE})
            failure.text = "\n".join(printable(line) for line in (result.place, *result.failures))


def as_sarif(tested: Report, version: str, root: Path) -> str:
    """Return one result for each reason of a failure."""
    found = [
        Located(RULE, "error", f"{result.name}: {failure}", result.place)
        for result in tested.failed
        for failure in result.failures
    ]
    rules = {RULE: "A test of a skill or policy has not the answer it must have."}
    return _dumped(sarif(version, rules, found, root))
