"""A site whose gate is reached by TLS, believes an issuer and asks for client certificates."""

import copy
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.gate import AGENTS
from support.identity import (
    AUDIENCE,
    ISSUER,
    JWT_IDENTITY,
    SPIFFE_ID,
    CertificateIssuer,
    IssuedCertificate,
    TokenIssuer,
)

type Curl = Callable[..., subprocess.CompletedProcess[str]]
"""curl(*options, url=..., who="agent:token@")."""


@dataclass(frozen=True)
class Site:
    """What the gate believes, and where the files are."""

    folder: Path
    issuer: TokenIssuer
    authority: CertificateIssuer
    authority_pem: Path
    deploy: IssuedCertificate
    """The certificate of deploy-bot, by its SPIFFE ID."""
    other: IssuedCertificate
    """The certificate of other-bot, by its fingerprint."""

    def config(self) -> dict[str, Any]:
        """Sections of claiim.yaml."""
        listener = self.authority.issue(self.folder, "listener", hosts=("127.0.0.1",), client=False, server=True)
        tls = {"certificate": str(listener.path), "key": str(listener.key)}
        trusted = str(self.authority_pem)
        jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(self.issuer.write(self.folder / "jwks.json"))}
        return {"proxy": {"tls": {**tls, "client_ca": trusted, "ca": trusted}}, "identity": {"jwt": [jwt]}}

    def agents(self) -> dict[str, Any]:
        """The usual ones, each with an identity."""
        agents = copy.deepcopy(AGENTS)
        agents["agents"][0]["identities"] = [SPIFFE_ID, JWT_IDENTITY]
        agents["agents"][1]["identities"] = [self.other.identity]
        return agents


def certified(issued: IssuedCertificate) -> list[str]:
    """curl's options for a client certificate towards the proxy."""
    return ["--proxy-cert", str(issued.path), "--proxy-key", str(issued.key)]
