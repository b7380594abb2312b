"""`claiim map` says in a terminal what the gate would say on the wire."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.map import map_request

SITE = """version: 1
bind:
  - {host: tfc.test, pack: http, facts: {env: production}}
rules:
  - id: destroy
    match: {host: tfc.test, method: POST, path: /runs, json: {destroy: true}}
    action: "infra:destroy-${env}"
    target: "tfc/${json:workspace}"
  - id: run
    match: {host: tfc.test, method: POST, path: /runs}
    action: "infra:plan"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration with one mapping file."""
    (tmp_path / "site.yaml").write_text(SITE)
    path = tmp_path / "claiim.yaml"
    path.write_text("version: 1\nmappings: [site.yaml]\npolicies: []\n")
    return path


def claiim_map(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(map_request, [*arguments, "-c", str(config)])


def test_named(config: Path) -> None:
    """A request that is named is shown with its rule, its place and who lost."""
    site = config.with_name("site.yaml")
    result = claiim_map(config, "post", "https://tfc.test/runs", "-d", '{"destroy": true, "workspace": "ws-1"}')
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "operation    http:POST",
        "action       infra:destroy-production",
        "target       tfc/ws-1",
        "environment  production",
        f"rule         destroy  {site}:5:5",
        "",
        "also considered:",
        f"  run  {site}:9:5  less specific",
    ]


def test_problem(config: Path) -> None:
    """A request that is not named ends with 1 and says what stands in the way."""
    result = claiim_map(config, "POST", "https://tfc.test/runs", "-H", "Content-Type: text/plain", "-d", "x")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == (
        "mapping.unreadable  a rule depends on the body, but it is not declared as JSON; "
        "send content-type: application/json"
    )


def test_unbound(config: Path) -> None:
    """A host nobody bound is told from a request nobody named."""
    result = claiim_map(config, "GET", "https://evil.test/")
    assert result.exit_code == 1
    assert result.stdout == "mapping.unmapped  no rule names this request\n"
    assert result.stderr == "the host is bound to no pack; bind it, or name it in a rule, in a mapping file\n"


def test_json_and_body_from_a_file(config: Path, tmp_path: Path) -> None:
    """Machines get the same as people; a body may come from a file."""
    body = tmp_path / "run.json"
    body.write_text('{"destroy": false}')
    result = claiim_map(config, "POST", "https://tfc.test/runs", "-d", f"@{body}", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["problem"] is None
    assert told["family"] == "http"
    assert [operation["action"] for operation in told["operations"]] == ["infra:plan"]
    assert told["considered"][0]["verdict"] == "does not hold"


REFUSED = {
    "no scheme": (("GET", "tfc.test/x"), 2, "is no http:// or https:// URL"),
    "another scheme": (("GET", "ftp://tfc.test/x"), 2, "is no http:// or https:// URL"),
    "no header": (("GET", "https://tfc.test/x", "-H", "nope"), 2, "is no header"),
    "no file": (("GET", "https://tfc.test/x", "-d", "@/nowhere/x"), 2, "cannot be read"),
    "two readings": (("GET", "https://tfc.test/a//b"), 1, "wire.path.empty-segment: path"),
    "odd host": (("GET", "https://127.1/"), 1, "wire.host.ipv4: host"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(config: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """What is no request is one line, never a trace."""
    result = claiim_map(config, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_broken_mapping(config: Path) -> None:
    """A broken mapping file is bad configuration, each fault on its line."""
    site = config.with_name("site.yaml")
    site.write_text(SITE.replace("tfc.test", "'*'"))
    result = claiim_map(config, "GET", "https://tfc.test/")
    assert result.exit_code == 78
    assert result.stderr.splitlines()[0] == (f'{site}:3:12: host "*" would match everything; write "*.github.com"')


def test_without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any configuration the shipped packs answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CLAIIM_CONFIG", raising=False)
    result = CliRunner().invoke(map_request, ["PUT", "https://api.github.com/repos/acme/web/pulls/7/merge", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["operations"][0]["action"] == "pr:merge"
