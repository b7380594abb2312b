"""`claiim policy test`: what it runs, prints, writes and exits with."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

SKILL = "skill: ops-v1\nallow:\n- pr:merge\n- deploy:staging\n"
MERGE = '{method: PUT, url: "https://api.github.com/repos/acme/web/pulls/7/merge", body: "{}"}'


def cases_of(*cases: str) -> str:
    lines = "".join(f"- {{name: case {number}, agent: a, {case}}}\n" for number, case in enumerate(cases, 1))
    return f"version: 1\nagents: [{{id: a, skill: ops-v1}}]\ncases:\n{lines}"


PASSES, FAILS = "action: 'deploy:staging', expect: ALLOW", "action: 'deploy:production', expect: ALLOW"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a skill and no configuration anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CLAIIM_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/ops-v1.yaml").write_text(SKILL)
    return tmp_path / "texts"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", "test", *arguments])


def test_what_init_writes_passes(tmp_path: Path, folder: Path) -> None:
    """A newcomer's first run is green, and meets most of the lines."""
    assert CliRunner().invoke(main, ["init", str(tmp_path / "gate")]).exit_code == 0
    done = run("-c", str(tmp_path / "gate/claiim.yaml"), "--coverage", "--threshold", "80")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == ["8 passed, 0 failed", "83 % covered: 10 of 12 lines met"]


def test_without_a_site(folder: Path) -> None:
    """Tests are run against the texts beside them where there is no configuration; a raw request is named first."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES, f"request: {MERGE}, expect: ALLOW"))
    done = run("texts")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "2 passed, 0 failed\n", "")
    assert run("texts/ops.test.yaml").exit_code == 0


def test_a_failure(folder: Path) -> None:
    """Exit 1, and the case with its place and both answers."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES, FAILS))
    done = run("texts")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "texts/ops.test.yaml:5:3: FAILED case 2",
        "    expected ALLOW, is DENY: skill:ops-v1 -- action not in allow list (texts/ops-v1.yaml:2:1)",
        "1 passed, 1 failed",
    ]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ('{url: "https://nobody.test/"}', "mapping.unmapped"),
        ('{url: "https://a.test/", headers: {host: b.test}}', "wire.authority-mismatch"),
    ],
)
def test_what_the_gate_would_refuse(folder: Path, request_: str, code: str) -> None:
    """A request that cannot be read or named has the code that the gate would give."""
    (folder / "ops.test.yaml").write_text(cases_of(f"request: {request_}, expect: DENY, code: {code}"))
    done = run("texts")
    assert done.exit_code == 0, done.output


def test_below_the_threshold(folder: Path) -> None:
    """Tests that pass and meet too little fail, and say how much they met."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES))
    done = run("texts", "--threshold", "51")
    assert (done.exit_code, done.stderr) == (1, "50 % covered: 1 of 2 lines met; 51 % are asked for\n")
    assert '    texts/ops-v1.yaml:3:3: allow "pr:merge" was met by no case' in done.stdout
    assert run("texts", "--threshold", "50").exit_code == 0


# Required and possible attributes by element, from junit-10.xsd of Jenkins' xUnit plugin.
JUNIT = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": ({"name", "tests", "failures", "errors"}, {"time", "skipped", "timestamp", "hostname", "file"}),
    "testcase": ({"name"}, {"time", "classname", "group"}),
    "failure": (set(), {"type", "message"}),
}


def test_junit(folder: Path) -> None:
    """Suites and cases as every consumer reads them; what XML cannot hold is shown as an escape."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES, FAILS + ', reason: "<&\\e"'))
    done = run("texts", "--format", "junit", "-o", "report.xml")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "1 passed, 1 failed\n")
    root = ElementTree.parse("report.xml").getroot()
    assert (root.tag, root.attrib) == (
        "testsuites",
        {"name": "claiim policy test", "tests": "2", "failures": "1", "errors": "0"},
    )
    for element in root.iter():
        required, possible = JUNIT[element.tag]
        assert required <= set(element.attrib) <= required | possible
    (suite,) = root
    assert [(case.get("classname"), case.get("name")) for case in suite] == [
        ("texts/ops", "case 1"),
        ("texts/ops", "case 2"),
    ]
    (failure,) = suite[1]
    assert failure.get("message").startswith("expected ALLOW, is DENY: skill:ops-v1")
    assert 'expected reason "<&\\x1b"' in failure.text


def test_sarif(folder: Path) -> None:
    """Each reason of a failure is a result at its line, with the file named from here."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES, FAILS))
    done = run("texts", "--format", "sarif")
    assert done.exit_code == 1
    log = json.loads(done.stdout)
    (result,) = log["runs"][0]["results"]
    assert (log["version"], result["ruleId"], result["level"]) == ("2.1.0", "policy-test", "error")
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "texts/ops.test.yaml"},
                "region": {"startLine": 5, "startColumn": 3},
            }
        }
    ]


def test_json(folder: Path) -> None:
    """Results and coverage in one document."""
    (folder / "ops.test.yaml").write_text(cases_of(PASSES))
    said = json.loads(run("texts", "--format", "json").stdout)
    assert (said["passed"], said["failed"], said["coverage"]["percent"]) == (1, 0, 50)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\ncase: []\n", 'texts/ops.test.yaml:2:1: unknown key "case"; did you mean "cases"'),
        ("version: 1\na: [\n", "texts/ops.test.yaml:3:1: "),
        (None, 'no "*.test.yaml" in texts; "claiim init" writes one to start from'),
    ],
)
def test_nothing_to_run(folder: Path, text: str | None, said: str) -> None:
    """Tests that cannot be read, or are not there, are exit 2: nothing was tested."""
    if text is not None:
        (folder / "ops.test.yaml").write_text(text)
    done = run("texts")
    assert done.exit_code == 2
    assert done.stderr.startswith(said), done.stderr


def test_texts_that_cannot_be_loaded(folder: Path) -> None:
    """A fault in the texts is a fault of the configuration, 78."""
    (folder / "bad.yaml").write_text("skill: x\nalow: []\n")
    (folder / "ops.test.yaml").write_text(cases_of(PASSES))
    done = run("texts")
    assert (done.exit_code, done.stderr) == (78, 'texts/bad.yaml:2:1: unknown key "alow"; did you mean "allow"\n')


def test_no_configuration_and_no_path(folder: Path) -> None:
    """Without either there is nothing to look at, and the remedy is named."""
    done = run()
    assert (done.exit_code, done.stderr) == (
        78,
        'no claiim.yaml found; run "claiim init" here, or give --config PATH\n',
    )
