"""Issuers, workload tokens and client certificates for tests."""

import datetime
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc import jwk, jws

ISSUER = "https://ci.acme.test"
AUDIENCE = "claiim"
SUBJECT = "repo:acme/api"
JWT_IDENTITY = f"jwt:{ISSUER}#{SUBJECT}"
SPIFFE_ID = "spiffe://acme.test/deploy"


class Signing(jws.JWSRegistry):
    """Signs with whatever a test asks for, without a warning."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


class TokenIssuer:
    """An issuer with one key pair per kid."""

    def __init__(self, **keys: jwk.Key) -> None:
        self.keys = keys or {"k1": jwk.ECKey.generate_key("P-256")}

    def jwks(self, **more: Any) -> dict[str, Any]:
        """What it publishes."""
        return {"keys": [{**key.as_dict(private=False), "kid": kid, **more} for kid, key in self.keys.items()]}

    def write(self, path: Path, **more: Any) -> Path:
        """Its JWKS as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.jwks(**more)))
        return path

    def sign(
        self, claims: Mapping[str, Any], *, kid: str | None = "k1", alg: str = "ES256", key: Any = None, **header: Any
    ) -> str:
        """A token with these claims, signed whatever they say."""
        protected = {"alg": alg, **({"kid": kid} if kid is not None else {}), **header}
        registry = Signing(algorithms=[alg], strict_check_header=False)
        return jws.serialize_compact(protected, json.dumps(claims), key or self.keys[kid or "k1"], registry=registry)

    def token(self, at: datetime.datetime, **claims: Any) -> str:
        """A token that is in order at a time, but for the claims given; None leaves one out."""
        return self.sign(self.claims(at, **claims))

    @staticmethod
    def claims(at: datetime.datetime, **claims: Any) -> dict[str, Any]:
        """The claims of a token that is in order at a time, but for those given; None leaves one out."""
        now_s = int(at.timestamp())
        usual = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "iat": now_s - 5, "nbf": now_s - 5, "exp": now_s + 600}
        return {name: value for name, value in {**usual, **claims}.items() if value is not None}


class CertificateIssuer:
    """An authority for agents' certificates, and for the gate's listener."""

    def __init__(self, name: str = "agents") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key, name, None, ca=True)

    def write(self, folder: Path, name: str) -> Path:
        """Its certificate as a file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, folder: Path, name: str, **more: Any) -> "IssuedCertificate":
        """A certificate and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        return IssuedCertificate.written(folder, name, self._sign(key, name, self, **more), key)

    def own(self, folder: Path, name: str) -> "IssuedCertificate":
        """The authority's own certificate and key, as files: self-signed."""
        return IssuedCertificate.written(folder, name, self.certificate, self.key)

    @staticmethod
    def _sign(
        key: ec.EllipticCurvePrivateKey,
        name: str,
        issuer: "CertificateIssuer | None",
        *,
        ca: bool = False,
        uris: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        starts: datetime.timedelta = datetime.timedelta(days=-1),
        ends: datetime.timedelta = datetime.timedelta(days=30),
        client: bool = True,
        server: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH] * client + [ExtendedKeyUsageOID.SERVER_AUTH] * server
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [_general_name(host) for host in hosts]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key()),
                critical=False,
            )
        )
        if ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class IssuedCertificate:
    """A certificate with its key, as files."""

    def __init__(self, path: Path, key: Path, certificate: x509.Certificate) -> None:
        self.path = path
        self.key = key
        self.certificate = certificate

    @classmethod
    def written(cls, folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Self:
        """Put both into files."""
        folder.mkdir(parents=True, exist_ok=True)
        issued = cls(folder / f"{name}.pem", folder / f"{name}-key.pem", certificate)
        issued.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        issued.key.write_bytes(pem)
        issued.key.chmod(0o600)
        return issued

    @property
    def identity(self) -> str:
        """As the registry writes it."""
        return f"cert-sha256:{self.certificate.fingerprint(hashes.SHA256()).hex()}"
