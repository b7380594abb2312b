"""A gate that loads its texts from signed bundles: made by the command, refused when touched, named in the record."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from proxy.config import ConfigError
from support.gate import SKILLS, TOKEN, LiveGate

type Claiim = Callable[..., Result]


@pytest.fixture
def claiim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claiim:
    """Runs `claiim policy bundle ...` in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLAIIM_RUN_ID", raising=False)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["policy", "bundle", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with the texts of the gate, beside a registry that is none of them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, skill in SKILLS.items():
        (folder / f"{name}.yaml").write_text(json.dumps(skill))
    (folder / "agents.yaml").write_text("version: 1\n")
    return folder


def gate(folder: Path, *policies: str, require: bool = True, keys: tuple[str, ...] = ("release.pub",)) -> LiveGate:
    """A gate in the folder of the test, where the bundles and keys are."""
    bundles: dict[str, Any] = {"keys": list(keys), "require": require}
    return LiveGate(folder, skills={}, config={"policies": list(policies), "bundles": bundles})


def asked(live: LiveGate, action: str) -> str:
    answer = httpx.post(
        f"{live.api}/v1/check", json={"action": action}, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    )
    return str(answer.json()["reason"])


def reload(live: LiveGate) -> httpx.Response:
    token = live.config.operator_token.read_text().strip()
    return httpx.post(f"{live.api}/v1/reload", headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def test_a_gate_obeys_a_signed_bundle_and_names_it(tmp_path: Path, claiim: Claiim, texts: Path) -> None:
    """Id, digest and key stand in the record of what was loaded; the deciding line names bundle and file."""
    key = claiim("key", "release").stdout.strip()
    assert stat.S_IMODE(Path("release").stat().st_mode) == 0o600
    made = json.loads(claiim("create", "texts", "-o", "site.claiim", "--key", "release", "--json").stdout)
    assert made["texts"] == ["deploy-v2.yaml", "reader-v1.yaml"]
    with gate(tmp_path, "site.claiim") as live:
        assert asked(live, "deploy:staging") == "skill:deploy-v2 -- action in allow list"
        (record,) = live.records()
        assert record["rule"].startswith(f"{tmp_path}/site.claiim:deploy-v2.yaml:1:")
        (loaded,) = live.records("policy", event="loaded")
        assert loaded["bundles"] == f"texts:{made['digest']}:{key}"


def test_a_bundle_that_was_touched_is_not_loaded_and_the_last_good_one_stays(
    tmp_path: Path, claiim: Claiim, texts: Path
) -> None:
    """The reason is recorded and in /readyz; the right bundle ends it."""
    claiim("key", "release")
    claiim("key", "foreign")
    claiim("create", "texts", "-o", "site.claiim", "--key", "release")
    good = Path("site.claiim").read_bytes()
    with gate(tmp_path, "site.claiim") as live:
        Path("site.claiim").write_bytes(good.replace(b"deploy:production", b"deploy:productiox"))
        refused = reload(live)
        assert refused.status_code == 422
        assert refused.json()["faults"] == [
            f'{tmp_path}/site.claiim:1:1: text "deploy-v2.yaml" is not the one that was signed'
        ]
        assert "was signed" in live.records("policy", event="refused")[0]["error"]
        assert asked(live, "deploy:staging") == "skill:deploy-v2 -- action in allow list"
        claiim("create", "texts", "-o", "site.claiim", "--key", "foreign")
        assert 'none of the keys in "bundles.keys"' in reload(live).json()["faults"][0]
        claiim("create", "texts", "-o", "site.claiim")
        assert "is not signed" in reload(live).json()["faults"][0]
        assert claiim("sign", "site.claiim", "--key", "release").exit_code == 0
        assert reload(live).status_code == 200


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "loose texts where signed ones are wanted": (
        ("site.claiim", "texts"),
        {},
        '/texts:1:1: is loose, and "bundles.req',
    ),
    "a bundle that is not there": (("other.claiim",), {}, "/other.claiim:1:1: cannot be read: no such file"),
    "a key that is not there": (("site.claiim",), {"keys": ("other.pub",)}, "/other.pub:1:1: cannot be read: no such"),
    "a private key": (("site.claiim",), {"keys": ("release",)}, "/release:1:1: holds no public Ed25519 key"),
    "no key": (("site.claiim",), {"keys": (), "require": False}, 'which is none of the keys in "bundles.keys"'),
    "no key though signed ones are wanted": (("site.claiim",), {"keys": ()}, '"require" needs "keys"'),
    "a bundle in a folder": (("texts",), {"require": False}, "is a bundle, which is not looked for in folders"),
}


@pytest.mark.parametrize(("policies", "more", "said"), REFUSED.values(), ids=REFUSED)
def test_a_gate_does_not_start_without_what_its_configuration_wants(
    tmp_path: Path, claiim: Claiim, texts: Path, policies: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    """It says which file and why."""
    claiim("key", "release")
    claiim("create", "texts", "-o", "site.claiim", "--key", "release")
    (texts / "inside.claiim").write_bytes(b"")
    with pytest.raises(ConfigError) as refused, gate(tmp_path, *policies, **more):
        pass
    assert said in str(refused.value)


def test_verify_says_what_a_gate_would(tmp_path: Path, claiim: Claiim, texts: Path) -> None:
    """Exit 0 with what is in it; 1 for a wrong signature; the same folder makes the same file."""
    claiim("key", "release")
    claiim("key", "foreign")
    for name in ("one", "two"):
        assert claiim("create", "texts", "-o", f"{name}.claiim", "--key", "release", "--id", "site").exit_code == 0
    assert Path("one.claiim").read_bytes() == Path("two.claiim").read_bytes()
    right = claiim("verify", "one.claiim", "--key", "release.pub")
    assert (right.exit_code, right.stdout.split("  ")[:2]) == (0, ["site", "2 texts"])
    shown = json.loads(claiim("verify", "one.claiim", "--key", "release.pub", "--json").stdout)
    assert shown["texts"] == ["deploy-v2.yaml", "reader-v1.yaml"]
    wrong = claiim("verify", "one.claiim", "--key", "foreign.pub")
    assert wrong.exit_code == 1
    assert "none of the keys" in wrong.stderr


def test_what_would_not_load_is_not_packed_and_no_key_is_overwritten(
    tmp_path: Path, claiim: Claiim, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written; a gated agent makes neither keys nor bundles."""
    (texts / "bad.yaml").write_text("skill: bad\nextends: [gone@1]\nallow: [data:read]\n")
    bad = claiim("create", "texts", "-o", "site.claiim")
    assert bad.exit_code == 78
    assert 'skill "gone" does not exist' in bad.stderr
    assert not Path("site.claiim").exists()
    claiim("key", "release")
    before = Path("release").read_bytes()
    assert claiim("key", "release").exit_code == 2
    assert Path("release").read_bytes() == before
    monkeypatch.setenv("CLAIIM_RUN_ID", "x")
    for arguments in (
        ("key", "other"),
        ("create", "texts", "-o", "x.claiim"),
        ("sign", "x.claiim", "--key", "release"),
    ):
        assert claiim(*arguments).exit_code == 2
    assert not Path("other").exists()
