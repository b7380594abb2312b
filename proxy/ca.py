"""The gate's own certificate authority: made on first start or supplied, and the leaves it mints.

The authority's key signs leaves and does nothing else: the leaves have a key of their own that lives
only in this process, so that no TLS handshake with an agent ever touches the authority's key.
Key files are created 0600; a key that others can read is refused. Roots that the operator trusts towards
targets are read here too, so that a file of them that holds nothing is found at the start.

    ca-key.pem: others can read this key (mode 0644); run "chmod 600 ca-key.pem"
    ca.pem: expired on 2026-01-01; remove it and its key to have a new one made, or supply another
"""

import contextlib
import datetime
import ipaddress
import os
import ssl
import stat
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.config import Config, ConfigError, TlsConfig, why

_AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
_LEAF_LIFETIME = datetime.timedelta(days=30)
_LEAF_RENEWAL = datetime.timedelta(days=15)
_CLOCK_SKEW = datetime.timedelta(days=2)
"""Leaves and authorities begin this long ago, for agents whose clock is behind ours."""
_CACHED_LEAVES = 1024


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one host and the key that proves it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    made_at: datetime.datetime


class Authority:
    """Signs a leaf for each host the gate answers for."""

    def __init__(self, certificate: x509.Certificate, key: CertificateIssuerPrivateKeyTypes) -> None:
        self.certificate = certificate
        self._key = key
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()

    @property
    def pem(self) -> bytes:
        """The public certificate, for trust stores."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, host: str, now: datetime.datetime) -> Leaf:
        """A leaf for `host` (canonical name or IP), made anew when it is half through its life."""
        leaf = self._leaves.get(host)
        if leaf is None or now - leaf.made_at > _LEAF_RENEWAL:
            leaf = self._leaves[host] = Leaf(self._sign(host, now), self._leaf_key, now)
        self._leaves.move_to_end(host)
        if len(self._leaves) > _CACHED_LEAVES:
            self._leaves.popitem(last=False)
        return leaf

    def _sign(self, host: str, now: datetime.datetime) -> x509.Certificate:
        # RFC 5280, appendix A: a common name holds at most 64 characters; the SAN is what counts.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(min(now + _LEAF_LIFETIME, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_alternative_name(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def create_authority(certificate_path: Path, key_path: Path, now: datetime.datetime) -> None:
    """Make a new authority in two files, both or neither; the key 0600 and never over an existing one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "claiim"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"claiim gate CA {os.urandom(4).hex()}"),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        key_path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            _write_new(key_path, pem, 0o600, undo)
            _write_new(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644, undo)
            undo.pop_all()
    except OSError as error:
        raise ConfigError.plain(
            f"{error.filename or key_path}: cannot create the CA: {why(error)}; make room for it, or supply a CA"
        ) from None


def _write_new(path: Path, content: bytes, mode: int, undo: contextlib.ExitStack) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    # Half a CA would keep every later start from making a whole one.
    undo.callback(path.unlink, missing_ok=True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def load_authority(certificate_path: Path, key_path: Path, now: datetime.datetime) -> Authority:
    """Read an authority and check that it can sign; raises ConfigError with the remedy."""
    certificate = read_certificate(certificate_path, "supply the CA's, or remove it and its key")
    key = read_key(key_path, certificate_path, certificate)
    _check_usable(certificate, certificate_path, now)
    return Authority(certificate, key)


def read_key(key_path: Path, certificate_path: Path, certificate: x509.Certificate) -> CertificateIssuerPrivateKeyTypes:
    """Read the key of a certificate, which nobody else may read; raises ConfigError with the remedy."""
    mode = _stat(key_path).st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError.plain(
            f'{key_path}: others can read this key (mode {stat.S_IMODE(mode):04o}); run "chmod 600 {key_path}"'
        )
    try:
        key = serialization.load_pem_private_key(_read(key_path), password=None)
    except (ValueError, TypeError):
        raise ConfigError.plain(f"{key_path}: not an unencrypted PEM private key; supply one") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ConfigError.plain(f"{key_path}: neither an EC nor an RSA key; supply one of these")
    if key.public_key() != certificate.public_key():
        raise ConfigError.plain(f"{key_path}: does not belong to {certificate_path}; supply the matching key")
    return key


def _check_usable(certificate: x509.Certificate, path: Path, now: datetime.datetime) -> None:
    check_dates(certificate, path, "remove it and its key to have a new one made, or supply another", now)
    if not _may_sign(certificate):
        raise ConfigError.plain(
            f"{path}: not a CA certificate (basicConstraints CA:TRUE, keyUsage keyCertSign); supply one that is"
        )


def check_dates(certificate: x509.Certificate, path: Path, remedy: str, now: datetime.datetime) -> None:
    """Raise ConfigError for a certificate that is not valid at a time; `remedy` is for one that has expired."""
    if certificate.not_valid_after_utc <= now:
        day = certificate.not_valid_after_utc.date()
        raise ConfigError.plain(f"{path}: expired on {day}; {remedy}")
    if certificate.not_valid_before_utc > now:
        day = certificate.not_valid_before_utc.date()
        raise ConfigError.plain(f"{path}: not valid before {day}; set this machine's clock, or supply another")


def _may_sign(certificate: x509.Certificate) -> bool:
    """RFC 5280, 4.2.1.3 and 4.2.1.9; without keyUsage nothing is restricted."""
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid


def own_authority(config: Config, now: datetime.datetime) -> Authority:
    """The CA of the configuration, made now when there is none and none is supplied; raises ConfigError."""
    missing = not config.ca_certificate.exists() and not config.ca_key.exists()
    if missing and not config.ca_supplied:
        create_authority(config.ca_certificate, config.ca_key, now)
    return load_authority(config.ca_certificate, config.ca_key, now)


def certificate_faults(config: Config, now: datetime.datetime) -> list[str]:
    """What is wrong with the certificate files that the configuration names; makes none."""
    faults: list[str] = []
    named = [config.upstream.ca_bundle, *(entry.ca for entry in config.resolve.values())]
    if tls := config.proxy.tls:
        named += [tls.client_ca, tls.ca]
        with _gathered(faults):
            _check_listener(tls, now)
    for path in dict.fromkeys(path for path in named if path is not None):
        with _gathered(faults):
            read_roots(path)
    if config.ca_supplied or config.ca_certificate.exists() or config.ca_key.exists():
        with _gathered(faults):
            load_authority(config.ca_certificate, config.ca_key, now)
    return faults


def _check_listener(tls: TlsConfig, now: datetime.datetime) -> None:
    """Raise ConfigError unless the listener can show this certificate and prove it."""
    certificate = read_certificate(tls.certificate, "supply the one that the proxy's listener shows")
    read_key(tls.key, tls.certificate, certificate)
    check_dates(certificate, tls.certificate, "supply a new one", now)


@contextlib.contextmanager
def _gathered(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        faults.append(str(error))


def read_roots(path: Path) -> bytes:
    """The certificates in a file of trusted roots; raises ConfigError when there is none that can be used."""
    pem = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ConfigError.plain(f"{path}: no PEM certificate; give a file that holds at least one") from None
    return pem


def read_certificate(path: Path, remedy: str) -> x509.Certificate:
    """Read the first certificate of a PEM file; raises ConfigError, with `remedy` when there is none."""
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise ConfigError.plain(f"{path}: not a PEM certificate; {remedy}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError.plain(f"{path}: cannot read: {why(error)}; put it back, or name another in claiim.yaml")
