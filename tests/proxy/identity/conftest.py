"""A gate that is reached by TLS, believes an issuer and asks for client certificates."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gate import LiveGate, running
from support.identity import SPIFFE_ID, CertificateIssuer, TokenIssuer
from support.rules import ORIGIN_MAPPINGS
from support.secured import Curl, Site
from support.targets import H2Origin, Origin


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("identity")
    authority = CertificateIssuer()
    return Site(
        folder,
        TokenIssuer(),
        authority,
        authority.write(folder, "ca"),
        authority.issue(folder, "deploy", uris=(SPIFFE_ID,)),
        authority.issue(folder, "other"),
    )


@pytest.fixture
def secured(
    site: Site, tmp_path: Path, origin: Origin, plain_origin: Origin, h2_origin: H2Origin, target_ca_pem: Path
) -> Iterator[LiveGate]:
    """The gate; checks at its end that every decision has its outcome."""
    live = LiveGate(
        tmp_path / "gate",
        origin,
        plain_origin,
        h2_origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        agents=site.agents(),
        config=site.config(),
    )
    with running(live):
        yield live


@pytest.fixture
def curl(secured: LiveGate, site: Site) -> Curl:
    """Run curl through the gate; its stdout ends with the status of the CONNECT and of the answer."""

    def run(*arguments: str, url: str, who: str = "") -> subprocess.CompletedProcess[str]:
        trusted = ["--cacert", str(secured.ca), "--proxy-cacert", str(site.authority_pem)]
        proxy = f"https://{who}{secured.service.proxy_address}"
        shown = ["-w", "\n%{http_connect} %{http_code} %{http_version}"]
        command = ["curl", "-sS", "-m", "30", *trusted, "-x", proxy, *shown, *arguments, url]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})

    return run
