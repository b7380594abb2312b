"""`claiim env`: what a shell is given to go through a running gate."""

import json
import subprocess
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from proxy.cli.env import env
from support.identity import CertificateIssuer

CONFIG = 'version: 1\nproxy: {listen: "0.0.0.0:9080"}\napi: {listen: "[::]:9181"}\nstate: state\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with its CA, and nothing of the machine's."""
    (tmp_path / "claiim.yaml").write_text(CONFIG)
    (tmp_path / "state").mkdir()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "state" / "ca.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CLAIIM_AGENT", "CLAIIM_TOKEN", "CLAIIM_CONFIG", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ask(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(env, ["--config", str(folder / "claiim.yaml"), *arguments])


def test_a_shell_that_evaluates_it_is_wired(folder: Path) -> None:
    """Proxy with credentials, trust files that exist, and the SDK's variables; listeners on any address are local."""
    (folder / "token").write_text("t0ken/%\n")
    answer = ask(folder, "--agent", "deploy-bot", "--token-file", str(folder / "token"))
    assert answer.exit_code == 0, answer.output
    script = answer.stdout + 'printf "%s\\n" "$https_proxy" "$CLAIIM_URL" "$CLAIIM_TOKEN" "${SSL_CERT_DIR-gone}"; cat'
    script += ' "$SSL_CERT_FILE"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={"SSL_CERT_DIR": "/x"})
    proxy, api, token, rest = done.stdout.split("\n", 3)
    assert proxy == "http://deploy-bot:t0ken%2F%25@127.0.0.1:9080"
    assert (api, token) == ("http://[::1]:9181", "t0ken/%")
    assert rest.startswith("gone\n")
    assert (folder / "state" / "ca.pem").read_text().strip() in rest


def test_the_token_comes_from_the_environment_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLAIIM_AGENT and CLAIIM_TOKEN stand in for the options; --json gives the same as data."""
    monkeypatch.setenv("CLAIIM_AGENT", "deploy-bot")
    monkeypatch.setenv("CLAIIM_TOKEN", "t0ken")
    answer = ask(folder, "--json", "--no-proxy", "docs.test")
    given = json.loads(answer.stdout)
    assert given["set"]["HTTPS_PROXY"] == "http://deploy-bot:t0ken@127.0.0.1:9080"
    assert given["set"]["NO_PROXY"] == "docs.test"
    assert "SSL_CERT_DIR" in given["unset"]
    assert len(given["set"]["CLAIIM_RUN_ID"]) == 26


def test_without_a_token_there_is_a_placeholder(folder: Path) -> None:
    """The remedy goes to stderr, so that evaluating the output stays harmless."""
    answer = ask(folder, "--agent", "deploy-bot")
    assert (answer.exit_code, "deploy-bot:TOKEN@" in answer.stdout) == (0, True)
    assert answer.stderr.startswith("# no token: replace TOKEN")
    assert "CLAIIM_TOKEN" not in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["--agent", "a", "--token-file", "/none"], 4, "/none: cannot read: no such file", id="no file"),
        pytest.param(["--agent", "a", "--token-file", "/dev/null"], 4, "/dev/null: empty; give", id="empty file"),
        pytest.param(["--agent", "a", "--files", "/dev/null/x"], 78, "/dev/null/x: cannot write: not", id="no folder"),
        pytest.param([], 2, "Missing option '--agent'", id="no agent"),
    ],
)
def test_what_is_missing_is_said(folder: Path, arguments: list[str], code: int, said: str) -> None:
    """One line with the remedy, and nothing to evaluate."""
    answer = ask(folder, *arguments)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert said in answer.stderr


def test_without_a_ca_the_remedy_is_said(folder: Path) -> None:
    """A gate that never ran has no CA yet."""
    (folder / "state" / "ca.pem").unlink()
    answer = ask(folder, "--agent", "deploy-bot")
    assert answer.exit_code == 78
    assert answer.stderr.endswith(
        'ca.pem: cannot read: no such file or directory; the first "claiim serve" makes the CA\n'
    )


@pytest.mark.parametrize(
    ("hosts", "reached"),
    [
        pytest.param(("gate.acme.test", "127.0.0.1"), "127.0.0.1", id="where it listens is in the certificate"),
        pytest.param(("*.acme.test", "gate.acme.test"), "gate.acme.test", id="the certificate has another name"),
        pytest.param((), "127.0.0.1", id="the certificate names no host"),
    ],
)
def test_a_gate_that_speaks_tls_is_reached_by_https(folder: Path, hosts: tuple[str, ...], reached: str) -> None:
    """By a name that its certificate has, and trusted by the authority that the configuration names."""
    authority = CertificateIssuer()
    trusted = authority.write(folder, "listener-ca")
    listener = authority.issue(folder, "listener", hosts=hosts, client=False, server=True)
    tls = f"{{certificate: {listener.path}, key: {listener.key}, ca: {trusted}}}"
    (folder / "claiim.yaml").write_text(
        CONFIG.replace('proxy: {listen: "0.0.0.0:9080"}', f'proxy: {{listen: "0.0.0.0:9080", tls: {tls}}}')
    )
    answer = ask(folder, "--json", "--agent", "deploy-bot")
    assert answer.exit_code == 0, answer.output
    given = json.loads(answer.stdout)["set"]
    assert given["HTTPS_PROXY"] == f"https://deploy-bot:TOKEN@{reached}:9080"
    assert trusted.read_text().strip() in Path(given["SSL_CERT_FILE"]).read_text()
    assert trusted.read_text().strip() in Path(given["NODE_EXTRA_CA_CERTS"]).read_text()
    assert given["GIT_PROXY_SSL_CAINFO"] == given["SSL_CERT_FILE"]
