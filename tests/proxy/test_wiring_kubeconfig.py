"""A kubeconfig of `claiim run` leads every cluster of the user's through the gate, and copies nothing secret."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.wiring.kubeconfig import through, write_kubeconfig

PROXY = "http://deploy-bot:t0ken@127.0.0.1:8080"
BUNDLE = Path("/s/bundle.pem")


def named(name: Any, **cluster: Any) -> dict[str, Any]:
    return {"name": name, "cluster": cluster}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param(named("a", server="https://a.test"), {"server": "https://a.test"}, id="plain"),
        pytest.param(
            named("a", server="https://a.test", **{"proxy-url": "http://x", "insecure-skip-tls-verify": True}),
            {"server": "https://a.test"},
            id="another proxy, no verification",
        ),
        pytest.param(
            named("a", server="https://a.test", **{"certificate-authority-data": "AA==", "tls-server-name": "b.test"}),
            {"server": "https://a.test", "tls-server-name": "b.test"},
            id="own roots",
        ),
    ],
)
def test_a_cluster_is_reached_through_the_gate(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """Server and name stay; proxy and roots are ours."""
    expected = {"name": "a", "cluster": kept | {"certificate-authority": "/s/bundle.pem", "proxy-url": PROXY}}
    assert through([given], PROXY, BUNDLE) == [expected]


def test_the_first_of_a_name_counts_and_nonsense_is_left_out() -> None:
    """As kubectl merges them; what is no cluster is for kubectl to complain about."""
    clusters = [
        named("a", server="https://1"),
        named("a", server="https://2"),
        named(7, server="x"),
        {"name": "b"},
        None,
    ]
    assert [each["cluster"]["server"] for each in through(clusters, PROXY, BUNDLE)] == ["https://1"]


def test_the_file_goes_before_the_user_s_own(tmp_path: Path) -> None:
    """It is its owner's alone, has no user's secrets, and stands first in the list."""
    own = tmp_path / "own"
    user = {"name": "me", "user": {"token": "s3cret"}}
    own.write_text(yaml.safe_dump({"clusters": [named("a", server="https://a.test")], "users": [user]}))
    given = write_kubeconfig(tmp_path, PROXY, BUNDLE, {"KUBECONFIG": f"{own}{os.pathsep}/nowhere"})
    assert given == {"KUBECONFIG": os.pathsep.join((str(tmp_path / "kubeconfig"), str(own), "/nowhere"))}
    assert stat.S_IMODE((tmp_path / "kubeconfig").stat().st_mode) == 0o600
    assert "s3cret" not in (tmp_path / "kubeconfig").read_text()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param("a", "---\n", id="a second document"),
        pytest.param("a", "---\nx: [\n", id="a second one that is none"),
        pytest.param("a", "x: !their own\n", id="a tag"),
        pytest.param("a", "x: =\n", id="a default value"),
        pytest.param("a", "x: 2024-13-45\n", id="no date"),
        pytest.param("2024-01-01", "", id="a date for a name"),
    ],
)
def test_what_kubectl_can_read_is_read(tmp_path: Path, name: str, more: str) -> None:
    """Each of these led kubectl 1.32 around the gate, or ended `claiim run`, while it was read as other YAML is."""
    own = tmp_path / "own"
    own.write_text(f"clusters: [{{name: {name}, cluster: {{server: 'https://a.test'}}}}]\n{more}")
    assert write_kubeconfig(tmp_path, PROXY, BUNDLE, {"KUBECONFIG": str(own)})
    written = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    assert written["clusters"] == [
        named(name, server="https://a.test", **{"certificate-authority": str(BUNDLE), "proxy-url": PROXY})
    ]


def test_what_nests_too_deep_is_left_to_kubectl(tmp_path: Path) -> None:
    """As is all else that cannot be read: no file, and no trace."""
    (tmp_path / "own").write_text("x: " + "[" * 3000 + "]" * 3000)
    assert write_kubeconfig(tmp_path, PROXY, BUNDLE, {"KUBECONFIG": str(tmp_path / "own")}) == {}


@pytest.mark.parametrize("text", [None, "", "[", "clusters: 7", "clusters: [{name: a}]"])
def test_without_clusters_there_is_no_file(tmp_path: Path, text: str | None) -> None:
    """Nothing is set, so that a tool says itself what is wrong."""
    home = tmp_path / "home" / ".kube"
    home.mkdir(parents=True)
    if text is not None:
        (home / "config").write_text(text)
    assert write_kubeconfig(tmp_path, PROXY, BUNDLE, {"HOME": str(tmp_path / "home")}) == {}
    assert not (tmp_path / "kubeconfig").exists()
