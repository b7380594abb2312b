"""`claiim map` says in a terminal what the gate would say on the wire."""

import base64
import json
from pathlib import Path
from typing import Any

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
    assert result.stdout.splitlines() == [
        "mapping.unmapped  no rule names this request",
        "action       http:unbound",
    ]
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


def test_what_is_known_of_an_operation(config: Path) -> None:
    """Access level and traits are shown with it, and nothing is when the pack knows nothing."""
    url = "https://api.github.com/repos/acme/web/actions/workflows/ci.yml/dispatches"
    result = claiim_map(config, "POST", url)
    assert [line.split() for line in result.stdout.splitlines() if line.startswith(("access", "executes"))] == [
        ["access", "write"],
        ["executes", "true"],
    ]
    assert "access" not in claiim_map(config, "POST", "https://tfc.test/runs", "-d", "{}").stdout


def test_the_name_of_what_has_none(config: Path) -> None:
    """Machines are told what the record will say."""
    result = claiim_map(config, "GET", "https://api.github.com/unheard-of", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["unnamed"] == "github:unrecognised"


# --- recorded traffic ---

RUN: dict[str, Any] = {
    "method": "POST",
    "url": "https://tfc.test/runs?token=s3cret",
    "httpVersion": "h2",
    "headers": [{"name": "content-type", "value": "application/json"}],
    "postData": {"mimeType": "application/json", "text": '{"destroy": true, "workspace": "ws-1"}'},
}
MERGE = {"method": "PUT", "url": "https://api.github.com/repos/acme/web/pulls/7/merge", "headers": []}


def har(tmp_path: Path, *requests: object, name: str = "traffic.har") -> str:
    """Write an HTTP Archive and return its path."""
    path = tmp_path / name
    path.write_text(json.dumps({"log": {"entries": [{"request": each} for each in requests]}}))
    return str(path)


def lines(result: Result) -> list[Any]:
    """Return the JSON lines of a result."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_line_for_each_recorded_request(config: Path, tmp_path: Path) -> None:
    """In order, with the keys that are promised, and nothing of a query."""
    result = claiim_map(config, "--har", har(tmp_path, RUN, MERGE), "--json")
    assert result.exit_code == 0
    run, merge = lines(result)
    assert run == {
        "entry": 0,
        "method": "POST",
        "url": "https://tfc.test/runs",
        "operation": "http:POST",
        "action": "infra:destroy-production",
        "target": "tfc/ws-1",
        "env": "production",
        "rule": "destroy",
        "problem": None,
    }
    assert (merge["entry"], merge["operation"], merge["action"]) == (1, "github:pulls/merge", "pr:merge")
    assert "s3cret" not in result.output


def test_several_operations_are_lists_of_one_length(config: Path, tmp_path: Path) -> None:
    """One place for each operation in every list."""
    config.with_name("site.yaml").write_text(
        SITE + "  - id: many\n    match: {host: tfc.test, method: DELETE, path: /runs}\n"
        '    each: "json:ids.*"\n    action: "infra:destroy"\n    target: "tfc/${each}"\n'
    )
    many = {**RUN, "method": "DELETE", "postData": {"text": '{"ids": ["a", "b"]}'}}
    (line,) = lines(claiim_map(config, "--har", har(tmp_path, many), "--json"))
    assert line["target"] == ["tfc/a", "tfc/b"]
    assert line["action"] == ["infra:destroy"] * 2
    assert line["operation"] == ["http:DELETE"] * 2
    assert line["env"] == ["production"] * 2
    assert line["rule"] == ["many"] * 2


UNNAMED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unbound": ({"url": "https://evil.test/x"}, "http:unbound", "mapping.unmapped"),
    "unrecognised": ({"url": "https://api.github.com/unheard-of"}, "github:unrecognised", "mapping.unmapped"),
    "conflict": (
        {"postData": {"text": '{"destroy": true, "destroy": false}'}},
        "conflict",
        "mapping.conflict",
    ),
    "body lost": ({"bodySize": 40, "postData": {"text": ""}}, "http:unreadable", "mapping.unreadable"),
    "refused on the wire": ({"url": "https://tfc.test/a/../b"}, "http:unreadable", "wire.path.dot-segment"),
    "another authority": (
        {"headers": [{"name": ":authority", "value": "evil.test"}]},
        "http:unreadable",
        "wire.authority-mismatch",
    ),
    "lower-case method": ({"method": "post"}, "http:unreadable", "wire.method"),
    "half a character": ({"url": "https://tfc.test/\ud800"}, "http:unreadable", "wire."),
    "no request": ({"url": None}, "http:unreadable", "har.entry"),
}


@pytest.mark.parametrize(("changed", "name", "code"), UNNAMED.values(), ids=UNNAMED)
def test_what_is_not_named_says_so(config: Path, tmp_path: Path, changed: dict[str, Any], name: str, code: str) -> None:
    """Exit 1; the name of what has none, the code, and a message that says which entry."""
    result = claiim_map(config, "--har", har(tmp_path, MERGE, {**RUN, **changed}), "--json")
    assert result.exit_code == 1
    named, line = lines(result)
    assert named["problem"] is None
    assert (line["entry"], line["operation"], line["action"], line["rule"]) == (1, name, name, "")
    assert line["problem"]["code"].startswith(code)
    if code == "har.entry":
        assert line["problem"]["message"].startswith("log.entries[1]: request.url is missing")
    assert result.stderr == "2 requests, 1 of them not named\n"


def test_a_body_in_base64(config: Path, tmp_path: Path) -> None:
    """Binary bodies are recorded so, also where they are text."""
    text = base64.b64encode(RUN["postData"]["text"].encode()).decode()
    (line,) = lines(
        claiim_map(config, "--har", har(tmp_path, {**RUN, "postData": {"text": text, "encoding": "base64"}}), "--json")
    )
    assert line["action"] == "infra:destroy-production"


def test_a_body_longer_than_the_gate_reads(config: Path, tmp_path: Path) -> None:
    """The limit is that of the configuration, as on the wire."""
    config.write_text(config.read_text() + "proxy: {max_body_bytes: 10}\n")
    (line,) = lines(claiim_map(config, "--har", har(tmp_path, RUN), "--json"))
    assert line["problem"]["code"] == "mapping.unreadable"


def test_recorded_traffic_for_people(config: Path, tmp_path: Path) -> None:
    """A line each: where it stands, what it is, on what; nothing that moves a cursor."""
    evil = {**MERGE, "url": "https://evil.test/\x1b[2J"}
    result = claiim_map(config, "--har", har(tmp_path, RUN, evil))
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == "   0  POST    https://tfc.test/runs  ->  infra:destroy-production  tfc/ws-1  production"
    assert "\x1b" not in result.stdout
    assert "[wire." in second


def test_recorded_traffic_from_stdin(config: Path, tmp_path: Path) -> None:
    """`-` reads what another tool writes."""
    content = Path(har(tmp_path, MERGE)).read_bytes()
    result = CliRunner().invoke(map_request, ["--har", "-", "--json", "-c", str(config)], input=content)
    assert result.exit_code == 0
    assert lines(result)[0]["action"] == "pr:merge"


WRONG_USE = {
    "no file": (("--har", "none.har"), "cannot read: no such file"),
    "a request beside it": (("GET", "https://tfc.test/", "--har", "HAR"), "leave METHOD, URL, -H and -d out"),
    "a body beside it": (("--har", "HAR", "-d", "x"), "leave METHOD, URL, -H and -d out"),
    "no archive": (("--har", "SITE"), "is not JSON; export it anew"),
    "nothing": ((), "Missing argument 'METHOD'. Or give --har FILE."),
    "only a method": (("GET",), "Missing argument 'URL'. Or give --har FILE."),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use(config: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and nothing on stdout."""
    files = {"HAR": har(tmp_path, MERGE), "SITE": str(config.with_name("site.yaml"))}
    result = claiim_map(config, *(files.get(argument, argument) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
