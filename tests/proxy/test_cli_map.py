"""`claiim map` reads a request as the wire does, refusals included."""

import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.gate import LiveGate


def claiim_map(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["map", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration: the shipped packs answer alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CLAIIM_CONFIG", raising=False)


REFUSED = {
    "dot segments": (["GET", "https://a.test/a/../b"], 1, "wire.path.dot-segment: "),
    "doubly encoded": (["GET", "https://a.test/%252e%252e"], 1, "wire.path.double-encoding: "),
    "userinfo": (["GET", "https://u:hunter2@a.test/"], 1, "wire."),
    "short address": (["GET", "https://127.1/"], 1, "wire.host.ipv4: "),
    "another Host": (["GET", "https://a.test/", "-H", "Host: b.test"], 1, "wire.authority-mismatch: "),
    "TRACE": (["TRACE", "https://a.test/"], 1, "wire.method: "),
    "no URL": (["GET", "a.test/"], 2, "Usage: "),
    "another scheme": (["GET", "ftp://a.test/"], 2, "Usage: "),
    "no header": (["GET", "https://a.test/", "-H", "nonsense"], 2, "Usage: "),
    "no such body": (["POST", "https://a.test/", "-d", "@none.json"], 2, "Usage: "),
    "no such configuration": (["GET", "https://a.test/", "-c", "none.yaml"], 78, "none.yaml: cannot read: "),
}


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_the_wire_refuses_is_refused(arguments: list[str], code: int, said: str) -> None:
    """The same code as in the record, or a word on usage; nothing on stdout."""
    done = claiim_map(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert "hunter2" not in done.output


def test_it_says_what_the_gate_records(gate: LiveGate, client: httpx.Client) -> None:
    """Action, target and rule of a request are the same on paper and on the wire."""
    client.post("https://origin.test/runs", json={"destroy": True})
    (record,) = gate.records()
    config = str(gate.folder / "claiim.yaml")
    done = claiim_map("POST", "https://origin.test/runs", "-d", '{"destroy": true}', "--json", "-c", config)
    (operation,) = json.loads(done.stdout)["operations"]
    assert done.exit_code == 0
    for name, field in {
        "operation": "operation",
        "action": "action",
        "target": "target",
        "rule": "mapping_rule",
    }.items():
        assert operation[name] == record[field]
    assert operation["place"] == record["mapping_place"]


@pytest.mark.parametrize(("place", "code"), [("Pinned.test:443", 0), ("pinned.test:8443", 1), ("other.test:443", 1)])
def test_a_connect_is_what_the_tunnels_say(tmp_path: Path, place: str, code: int) -> None:
    """Whether a host and port pass unread is seen on paper, and by which entry."""
    (tmp_path / "claiim.yaml").write_text("version: 1\nmappings: [site.yaml]\npolicies: []\n")
    (tmp_path / "site.yaml").write_text(
        "version: 1\ntunnels: [{id: pinned, host: pinned.test, facts: {env: staging}}]\n"
    )
    done = claiim_map("CONNECT", place, "--json")
    assert done.exit_code == code
    operations = [(each["action"], each["target"], each["rule"]) for each in json.loads(done.stdout)["operations"]]
    assert operations == ([] if code else [("tunnel:open", "pinned.test:443", "pinned")])
