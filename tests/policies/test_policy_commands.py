"""`claiim agent`, `claiim explain` and `claiim check`: what they print, write, announce and exit with."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from policies import credential, load_policies
from proxy.cli.main import main

AGENTS = """\
version: 1
humans:
- {id: alice@acme.test, org: acme, state: active}
agents:
- id: deploy-bot
  anchor: alice@acme.test
  org: acme
  state: active
  skill: deploy-v2
"""


class _Gate(http.server.BaseHTTPRequestHandler):
    """Answers a reload as told, and keeps what it was asked."""

    def do_POST(self) -> None:
        gate = self.server
        gate.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        status, body = gate.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Gate)
    server.asked, server.answer = [], (200, b'{"status": "loaded"}')  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def site(tmp_path: Path, gate: http.server.HTTPServer, skill_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder whose gate is `gate`, as the working directory."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "mappings").mkdir()
    (tmp_path / "policies/deploy-v2.yaml").write_text(skill_text)
    (tmp_path / "agents.yaml").write_text(AGENTS)
    (tmp_path / "claiim.yaml").write_text(f'version: 1\napi: {{listen: "127.0.0.1:{gate.server_port}"}}\n')
    (tmp_path / "state").mkdir()
    (tmp_path / "state/operator.token").write_text("clm_operator\n")
    monkeypatch.chdir(tmp_path)
    for name in ("CLAIIM_RUN_ID", "CLAIIM_CONFIG", "CLAIIM_API_LISTEN", "CLAIIM_STATE"):
        monkeypatch.delenv(name, raising=False)
    # The gate's own proxy must not be asked to reach the control API.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    return tmp_path


def claiim(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def registered(site: Path):
    return load_policies(site / "agents.yaml", [site / "policies"])


def test_add(site: Path, gate) -> None:
    """The token alone is on stdout; only its digest is written; the gate is asked to reload as the operator."""
    done = claiim("agent", "add", "new-bot", "--anchor", "alice@acme.test", "--skill", "deploy-v2@1")
    assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    assert token.startswith("clm_")
    assert registered(site).agent_of_token(credential("new-bot", token).token_sha256) == "new-bot"
    assert token not in (site / "agents.yaml").read_text()
    assert done.stderr == "the token of new-bot, shown this once:\nthe gate has loaded the change\n"
    assert gate.asked == [("/v1/reload", "Bearer clm_operator")]


def test_add_as_json(site: Path) -> None:
    """With --json, name and token are one document."""
    done = claiim("agent", "add", "b", "--anchor", "bob@x.test", "--new-anchor", "Bob", "--org", "x", "--json")
    said = json.loads(done.stdout)
    assert said["agent"] == "b"
    loaded = registered(site)
    assert loaded.agent_of_token(credential("b", said["token"]).token_sha256) == "b"
    assert loaded.agents["b"].created.endswith("Z")
    assert loaded.humans["bob@x.test"].org == "x"


def test_no_gate(site: Path, gate) -> None:
    """Without a gate the change stands, and the command says when it takes effect."""
    gate.shutdown()
    gate.server_close()
    done = claiim("agent", "suspend", "deploy-bot")
    assert done.exit_code == 0
    assert done.stderr.endswith("; the change takes effect when the gate next loads\n")
    assert registered(site).agents["deploy-bot"].state.value == "suspended"


REFUSALS = {
    "faults": (422, b'{"status":"refused","faults":["a.yaml:1:1: x","b.yaml:2:2: y"]}', "a.yaml:1:1: x\nb.yaml:2:2: y"),
    "operator": (403, b'{"reason": "send the operator\'s token", "code": "x"}', "send the operator's token"),
    "not JSON": (500, b"<html>", "status 500"),
    "other JSON": (500, b"[1]", "status 500"),
    "not a list": (422, b'{"faults": "odd"}', "odd"),
}


@pytest.mark.parametrize(("status", "body", "expected"), REFUSALS.values(), ids=REFUSALS)
def test_refused_reload(site: Path, gate, status: int, body: bytes, expected: str) -> None:
    """A reload that the gate refuses is printed, and the exit code says so."""
    gate.answer = status, body
    done = claiim("agent", "suspend", "deploy-bot")
    assert done.exit_code == 78
    assert f"the change is written, but the gate keeps its older rules:\n{expected}\n" in done.stderr


def test_no_operator_token(site: Path, gate) -> None:
    """Without the operator's token the gate is asked all the same, and says itself what is missing."""
    (site / "state/operator.token").unlink()
    claiim("agent", "suspend", "deploy-bot")
    assert gate.asked == [("/v1/reload", None)]


def test_states_and_rotation(site: Path, gate) -> None:
    """Each verb writes what it says and announces it."""
    for verb, state in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked")):
        if verb == "revoke":
            first = claiim("agent", "rotate", "deploy-bot").stdout.strip()
            second = claiim("agent", "rotate", "deploy-bot", "--keep-old").stdout.strip()
            digests = [credential("deploy-bot", token).token_sha256 for token in (second, first)]
            assert [token.sha256 for token in registered(site).agents["deploy-bot"].tokens] == digests
        done = claiim("agent", verb, "deploy-bot", "--json")
        assert json.loads(done.stdout) == {"agent": "deploy-bot", "state": state}
        assert registered(site).agents["deploy-bot"].state.value == state
    assert len(gate.asked) == 5
    done = claiim("agent", "resume", "deploy-bot")
    assert (done.exit_code, len(gate.asked)) == (78, 5)
    assert "is revoked, which is final" in done.stderr


def test_list_and_show(site: Path) -> None:
    """Agents are listed as a table or as JSON; no token and no digest is shown."""
    claiim("agent", "rotate", "deploy-bot")
    listed = claiim("agent", "list")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["agent", "state", "anchor", "org", "skill", "mode", "tokens"],
        ["deploy-bot", "active", "alice@acme.test", "acme", "deploy-v2@1", "enforce", "1"],
    ]
    assert [one["agent"] for one in json.loads(claiim("agent", "list", "--json").stdout)] == ["deploy-bot"]
    shown = claiim("agent", "show", "deploy-bot")
    assert "anchor       alice@acme.test\n" in shown.stdout
    described = json.loads(claiim("agent", "show", "deploy-bot", "--json").stdout)
    assert (described["tokens"], described["policies"], described["anchor_state"]) == (1, [], "active")
    missing = claiim("agent", "show", "ghost")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr == 'agent "ghost" does not exist; "claiim agent list" shows those that do\n'


VERBS = [["add", "x", "--anchor", "alice@acme.test"], ["list"], ["show", "deploy-bot"], ["suspend", "deploy-bot"],
         ["resume", "deploy-bot"], ["revoke", "deploy-bot"], ["rotate", "deploy-bot"]]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=[verb[0] for verb in VERBS])
def test_a_gated_agent_cannot_govern_itself(site: Path, gate, monkeypatch: pytest.MonkeyPatch, verb: list[str]) -> None:
    """Inside "claiim run" every verb is refused in one line, and nothing is touched."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "01j")
    done = claiim("agent", *verb)
    assert (done.exit_code, done.stdout, gate.asked) == (2, "", [])
    assert done.stderr.count("\n") == 1
    assert "a gated agent cannot change what governs it" in done.stderr
    assert (site / "agents.yaml").read_text() == AGENTS


def test_faults_end_a_command(site: Path) -> None:
    """A broken rule is printed as file:line:col with exit 78, and the registry stays as it was."""
    (site / "policies/b.yaml").write_text("skill: b\nalow: [x]\n")
    for verb in (["agent", "rotate", "deploy-bot"], ["agent", "list"], ["explain", "--agent", "a", "--action", "b"]):
        done = claiim(*verb)
        assert done.exit_code == 78
        assert done.stderr.endswith('/policies/b.yaml:2:1: unknown key "alow"; did you mean "allow"\n')
    assert (site / "agents.yaml").read_text() == AGENTS


def test_explain(site: Path) -> None:
    """Every stage, the deciding line, the nearest allow and what would turn it; the exit code is the answer."""
    allowed = claiim("explain", "--agent", "deploy-bot", "--action", "deploy:staging", "--target", "api-v2")
    assert allowed.exit_code == 0
    assert "ALLOW  skill:deploy-v2 -- action in allow list  [skill.allowed]" in allowed.stdout
    (site / "policies/p.yaml").write_text("policy: p\nmode: observe\ndeny: ['deploy:*']\n")
    denied = claiim("explain", "--agent", "deploy-bot", "--action", "deploy:production")
    assert denied.exit_code == 1
    lines = denied.stdout.splitlines()
    assert lines[0] == "deploy-bot  deploy:production"
    told = lines.index("DENY  skill:deploy-v2 -- action in deny list  [skill.denied]")
    assert [line.split("  ")[1] for line in lines[1:told]] == [
        "agent",
        "token",
        "anchor",
        "org",
        "policy deny",
        "skill deny",
        "skill allow",
    ]
    place = f"{site}/policies/deploy-v2.yaml"
    assert lines[told + 1 :] == [
        "would deny: policy:p -- action in deny list",
        f'decided by: "deploy:production" {place}:6:3',
        f"nearest allow: deploy:staging ({place}:3:3)",
        "to make it ALLOW, all of:",
        f'  1. remove "deploy:production" from deny of skill deploy-v2 ({place}:6:3) and raise its version',
        f'  2. add "deploy:production" to allow of skill deploy-v2 ({place}:2:1) and raise its version',
    ]


def test_explain_as_json(site: Path) -> None:
    """The same as one document."""
    done = claiim("explain", "--agent", "ghost", "--action", "deploy:staging", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["outcome"], said["reason"]) == (1, "DENY", "agent:ghost -- unknown")
    stage = {"name": "agent", "verdict": "deny", "detail": "agent:ghost -- unknown", "place": "", "note": ""}
    assert said["stages"] == [stage]
    done = claiim("explain", "--agent", "deploy-bot", "--action", "health:check", "--environment", "e", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["skill"], said["pattern"]) == (0, "deploy-v2@1", "health:check")
    assert said["environment"] == "e"


def test_check(site: Path) -> None:
    """A sound site is counted on stderr; nothing is on stdout. A skill without tests is a warning."""
    told = f'{site}/policies/deploy-v2.yaml:1:8: no test is about the skill "deploy-v2"; write "deploy-v2.test.yaml"'
    assert claiim("check").stderr.splitlines()[0] == f"warning: {told} [untested-skill]"
    (site / "policies/deploy-v2.test.yaml").write_text("version: 1\ntests: deploy-v2\n")
    done = claiim("check")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "ok: 1 agents, 1 skills, 0 policies\n"
    assert json.loads(claiim("check", "--json").stdout) == {"ok": True, "faults": [], "warnings": []}


def test_check_says_everything_at_once(site: Path) -> None:
    """Faults of agents, policies and mappings come together, each with its place."""
    (site / "agents.yaml").write_text(AGENTS.replace("alice@acme.test\n", "alise@acme.test\n"))
    (site / "policies/p.yaml").write_text("policy: p\ndeny: ['a b']\n")
    (site / "mappings/m.yaml").write_text("version: 1\nruels: []\n")
    done = claiim("check")
    assert done.exit_code == 1
    places = [line.replace(f"{site}/", "").split(": ")[0] for line in done.stdout.splitlines()]
    assert places == ["agents.yaml:6:11", "policies/p.yaml:2:8", "mappings/m.yaml:2:1"]
    assert done.stderr == "3 faults\n"
    assert len(json.loads(claiim("check", "--json").stdout)["faults"]) == 3


def test_check_of_a_broken_configuration(site: Path) -> None:
    """Faults in the configuration itself are found too, with exit 1."""
    (site / "claiim.yaml").write_text("version: 1\npolicis: []\n")
    done = claiim("check")
    assert done.exit_code == 1
    assert done.stdout == 'claiim.yaml:2:1: unknown key "policis"; did you mean "policies"\n'
