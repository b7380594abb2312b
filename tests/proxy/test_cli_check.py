"""`claiim check` beside a Chron: it reads what the gate has seen, also while a gate writes it."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import chron
from chron import Chron
from proxy.cli.main import main
from proxy.config import ConfigError
from proxy.configloading import load_config
from support.gate import LiveGate
from support.identity import AUDIENCE, ISSUER, CertificateIssuer, TokenIssuer

CHANGED = 'skill "deploy-v2" version 1 changed since it was first loaded; bump the version'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveGate:
    """A folder a gate can run from."""
    for name in ("CLAIIM_STATE", "CLAIIM_CHRON", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return LiveGate(tmp_path / "site")


def check(site: LiveGate, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "-c", str(site.folder / "claiim.yaml"), *arguments])


def loosen(site: LiveGate, version: str = "") -> None:
    site.write("policies/deploy-v2.yaml", f"skill: deploy-v2\n{version}allow: ['**']\n")


def test_before_the_first_start_every_text_is_new(site: LiveGate) -> None:
    """No Chron, nothing to compare with; `check` makes none."""
    loosen(site)
    assert check(site).exit_code == 0
    assert not site.config.state.exists()


def test_a_text_that_changed_under_its_version_is_found(site: LiveGate) -> None:
    """After a start the same version with another text is a fault, and a new version is none."""
    with site:
        pass
    loosen(site)
    done = check(site)
    assert (done.exit_code, done.stdout) == (1, f"{site.folder}/policies/deploy-v2.yaml:1:8: {CHANGED}\n")
    said = json.loads(check(site, "--json").stdout)
    faults = [f"{site.folder}/policies/deploy-v2.yaml:1:8: {CHANGED}"]
    assert (said["ok"], said["faults"]) == (False, faults)
    loosen(site, "version: 2\n")
    assert check(site).exit_code == 0


def test_a_running_gate_does_not_mind(site: LiveGate) -> None:
    """The Chron is read while it is written; the gate goes on recording."""
    with site:
        loosen(site)
        assert check(site).exit_code == 1
        site.settle()
        assert site.service.faults() == []
    assert chron.verify(site.config.chron).ok


def test_a_chron_that_cannot_be_read_is_a_fault(site: LiveGate) -> None:
    """The gate would not start with it either."""
    site.config.state.mkdir()
    site.config.chron.write_text("no database " * 1000)
    done = check(site)
    assert done.exit_code == 1
    assert done.stdout.startswith(f'"{site.config.chron}" is not a Chron (')
    assert done.stdout.count("\n") == 1


def test_what_is_seen_is_what_the_gate_sees(site: LiveGate) -> None:
    """The read-only look gives the same digests as the gate's own, the first one of each version."""
    with site:
        pass
    path = load_config(site.folder / "claiim.yaml", environ={}).chron

    async def with_another_text() -> dict[tuple[str, str, int], str]:
        with Chron.open(path, low_water_bytes=0) as opened:
            opened.keep([("skill", "deploy-v2", 1, "another digest", "another text")])
            return opened.seen()

    seen = asyncio.run(with_another_text())
    assert chron.seen(path) == seen
    assert set(seen) == {("skill", "deploy-v2", 1), ("skill", "reader-v1", 1)}
    assert "another digest" not in seen.values()


PROOFS: dict[str, tuple[Callable[[Path], object], str]] = {
    "the key of another certificate": (
        lambda folder: CertificateIssuer().issue(folder / "x", "listener").key.rename(folder / "listener-key.pem"),
        "listener-key.pem: does not belong to {folder}/listener.pem; supply the matching key",
    ),
    "a key that others can read": (
        lambda folder: (folder / "listener-key.pem").chmod(0o640),
        'listener-key.pem: others can read this key (mode 0640); run "chmod 600 {folder}/listener-key.pem"',
    ),
    "no certificate": (
        lambda folder: (folder / "listener.pem").write_text("x"),
        "listener.pem: not a PEM certificate; supply the one that the proxy's listener shows",
    ),
    "an expired certificate": (
        lambda folder: CertificateIssuer().issue(folder, "listener", ends=timedelta(hours=-1)),
        "listener.pem: expired on ",
    ),
    "no authority": (
        lambda folder: (folder / "agents.pem").write_text("x"),
        "agents.pem: no PEM certificate; give a file that holds at least one",
    ),
    "no keys of the issuer": (
        lambda folder: (folder / "jwks.json").unlink(),
        "jwks.json: cannot read: no such file or directory; save the issuer's JWKS there",
    ),
    "a shared key": (
        lambda folder: (folder / "jwks.json").write_text('{"keys": [{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}]}'),
        'jwks.json: key "s" is shared (oct); workload tokens are signed with a key pair',
    ),
}


@pytest.mark.parametrize(("harm", "fault"), PROOFS.values(), ids=PROOFS)
def test_the_files_that_prove_who_acts_are_looked_at(
    tmp_path: Path, harm: Callable[[Path], object], fault: str
) -> None:
    """What would keep the gate from starting, said before it is tried, and the same by both."""
    folder = tmp_path / "site"
    authority = CertificateIssuer()
    listener = authority.issue(folder, "listener", hosts=("127.0.0.1",), client=False, server=True)
    tls = {
        "certificate": str(listener.path),
        "key": str(listener.key),
        "client_ca": str(authority.write(folder, "agents")),
    }
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(TokenIssuer().write(folder / "jwks.json"))}
    site = LiveGate(folder, config={"proxy": {"tls": tls}, "identity": {"jwt": [jwt]}})
    assert check(site).exit_code == 0
    harm(folder)
    done = check(site)
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 1)
    assert done.stdout.startswith(f"{folder}/{fault.format(folder=folder)}")
    with pytest.raises(ConfigError) as raised, site:
        pass
    assert str(raised.value) == done.stdout.strip()
