"""The files that the environment points to: trust stores of the system's roots plus the gate's CA, and what tools load.

Both are needed, since most tools replace their roots by the file they are given. The system's roots are the
first of these that holds a certificate: the file Python's ssl module uses (SSL_CERT_FILE included), the
files of the common distributions, certifi. None of them anywhere is not an error: everything that goes
through the gate is signed by the gate. Files appear complete or not at all.

    bundle.pem      PEM, for everything that reads OpenSSL's format
    ca.pem          the gate's CA alone, for tools that add to their own roots
    trust.p12       PKCS #12, for Java
    preload.cjs     for Node
    credentials.jar for Java
    wgetrc, .curlrc read instead of the user's own, whose proxy would win
    maven.xml       for `mvn -gs`; who the proxy is for it takes from the environment
"""

import importlib.util
import os
import re
import ssl
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

JAVA_STORE_PASSWORD = "changeit"  # noqa: S105  # the JDK's own for its public roots; it protects nothing here

_PRELOAD = Path(__file__).with_name("preload.cjs")
_JAVA_AGENT = Path(__file__).with_name("credentials.jar")
_CURLRC = "# Read instead of ~/.curlrc, whose proxy would win over the one of the environment.\n"
_WGETRC = (
    "# Read instead of ~/.wgetrc, whose proxy would win over the one of the environment.\nca_certificate = {bundle}\n"
)
_MAVEN = """<settings>
  <proxies>
    <proxy>
      <id>claiim</id>
      <host>{host}</host>
      <port>{port}</port>
      <username>${{env.CLAIIM_AGENT}}</username>
      <password>${{env.CLAIIM_TOKEN}}</password>
    </proxy>
  </proxies>
</settings>
"""  # maven.apache.org, Settings Reference, Proxies
_SYSTEM_FILES = (  # the list of Go, crypto/x509/root_linux.go and root_bsd.go
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 7
    "/etc/ssl/cert.pem",  # Alpine, macOS, BSD
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")  # RFC 7468, section 5


@dataclass(frozen=True, slots=True)
class Files:
    """Where these files stand, as `environment` takes them."""

    bundle: Path
    added: Path
    java_store: Path
    java_agent: Path
    node_preload: Path
    wgetrc: Path
    maven: Path

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Their names in `folder`."""
        return cls(
            folder / "bundle.pem",
            folder / "ca.pem",
            folder / "trust.p12",
            folder / "credentials.jar",
            folder / "preload.cjs",
            folder / "wgetrc",
            folder / "maven.xml",
        )


def write_files(folder: Path, ca_pem: bytes, proxy_url: str) -> Files:
    """Write all of them into `folder`, which exists; raises OSError.

    Of `proxy_url` (empty: there is none) host and port are written, and never the credentials: the files are
    readable for all.
    """
    files = Files.of(folder)
    write_bundle(files.bundle, ca_pem)
    _replace(files.added, b"\n".join(_certificates(ca_pem)) + b"\n")
    write_java_store(files.java_store, ca_pem)
    # Copied: they must outlive an upgrade of this package, and be readable for the agent's user.
    _replace(files.node_preload, _PRELOAD.read_bytes())
    _replace(files.java_agent, _JAVA_AGENT.read_bytes())
    _replace(folder / ".curlrc", _CURLRC.encode())
    _replace(files.wgetrc, _WGETRC.format(bundle=files.bundle).encode())
    proxy = urlsplit(proxy_url)
    if proxy.hostname:
        _replace(files.maven, _MAVEN.format(host=proxy.hostname, port=proxy.port).encode())
    return files


def write_bundle(path: Path, ca_pem: bytes) -> None:
    """Write the system's roots and ours as one PEM file, each certificate once; raises OSError."""
    certificates = dict.fromkeys([*system_roots(), *_certificates(ca_pem)])
    _replace(path, b"\n".join(certificates) + b"\n")


def write_java_store(path: Path, ca_pem: bytes) -> None:
    """Write the same certificates as a PKCS #12 trust store; its password is `JAVA_STORE_PASSWORD`."""
    certificates = [_parsed(pem) for pem in dict.fromkeys([*_certificates(ca_pem), *system_roots()])]
    entries = [
        pkcs12.PKCS12Certificate(certificate, f"root-{number}".encode())
        for number, certificate in enumerate(certificate for certificate in certificates if certificate)
    ]
    encryption = serialization.BestAvailableEncryption(JAVA_STORE_PASSWORD.encode())
    _replace(path, pkcs12.serialize_java_truststore(entries, encryption))


def system_roots() -> list[bytes]:
    """The machine's own roots as PEM blocks; empty when it has none."""
    for path in _root_files():
        try:
            found = _certificates(path.read_bytes())
        except OSError:
            continue
        if found:
            return found
    return []


def _root_files() -> Iterator[Path]:
    default = ssl.get_default_verify_paths()
    yield from (Path(name) for name in (default.cafile, default.openssl_cafile, *_SYSTEM_FILES) if name)
    if importlib.util.find_spec("certifi"):
        import certifi

        yield Path(certifi.where())


def _certificates(pem: bytes) -> list[bytes]:
    """The certificates in a file, without the comments and keys that may stand between them."""
    return [match.group().replace(b"\r\n", b"\n") for match in _CERTIFICATE.finditer(pem)]


def _parsed(pem: bytes) -> x509.Certificate | None:
    """The certificate, or None for one that is too malformed for a trust store."""
    with warnings.catch_warnings():
        # Old roots break rules that came later (serial number 0); they are the system's choice.
        warnings.simplefilter("ignore")
        try:
            return x509.load_pem_x509_certificate(pem)
        except ValueError:
            return None


def _replace(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step, readable for all: these files hold nothing secret."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
