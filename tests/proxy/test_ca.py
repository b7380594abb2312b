"""The gate's CA: made once, private, refused when it cannot sign; leaves that clients accept."""

import datetime
import ipaddress
import os
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.ca import Authority, create_authority, load_authority, read_roots
from proxy.config import ConfigError

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """A CA that was made just now."""
    made = tmp_path / "ca.pem", tmp_path / "ca-key.pem"
    create_authority(*made, NOW)
    return made


@pytest.fixture
def authority(paths: tuple[Path, Path]) -> Authority:
    return load_authority(*paths, NOW)


def test_a_new_authority_is_private_and_can_sign_leaves_only(paths: tuple[Path, Path], authority: Authority) -> None:
    """Key 0600, certificate readable; CA:TRUE with path length 0, so that it signs no other CA."""
    certificate, key = paths
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate.stat().st_mode) & 0o044
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert authority.pem == certificate.read_bytes()


def test_two_authorities_have_two_names(tmp_path: Path, authority: Authority) -> None:
    """A machine that trusts two gates can tell their certificates apart."""
    create_authority(tmp_path / "b.pem", tmp_path / "b-key.pem", NOW)
    other = load_authority(tmp_path / "b.pem", tmp_path / "b-key.pem", NOW)
    assert other.certificate.subject != authority.certificate.subject


def test_an_existing_key_is_never_replaced(paths: tuple[Path, Path]) -> None:
    """Making a CA where there is one is refused, and nothing is changed."""
    before = [path.read_bytes() for path in paths]
    with pytest.raises(ConfigError, match=r"ca-key\.pem: cannot create the CA: file exists; "):
        create_authority(*paths, NOW)
    assert [path.read_bytes() for path in paths] == before


def test_half_an_authority_is_not_left_behind(tmp_path: Path) -> None:
    """When the certificate cannot be written the key goes too, so that the next start can make both."""
    (tmp_path / "ca.pem").mkdir()
    with pytest.raises(ConfigError, match="cannot create the CA"):
        create_authority(tmp_path / "ca.pem", tmp_path / "ca-key.pem", NOW)
    assert not (tmp_path / "ca-key.pem").exists()


# --- leaves --------------------------------------------------------------------------------------------

HOSTS = {
    "name": "api.github.com",
    "long name": ".".join(["a" * 50] * 4),
    "IPv4": "10.0.0.1",
    "IPv6": "2001:db8::1",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_leaf_proves_exactly_one_host(authority: Authority, host: str) -> None:
    """One SAN, of the right kind; a name too long for the common name still has it (RFC 5280, A.1)."""
    leaf = authority.leaf(host, NOW)
    certificate = leaf.certificate
    certificate.verify_directly_issued_by(authority.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        assert list(names) == [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        assert list(names) == [x509.DNSName(host)]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.public_key() == leaf.key.public_key()
    assert certificate.public_key() != authority.certificate.public_key()


def test_a_leaf_is_made_anew_half_way_through(authority: Authority) -> None:
    """Cached until then, and always valid for two weeks more; it began before now, for clocks that are behind."""
    first = authority.leaf("a.test", NOW)
    assert authority.leaf("a.test", NOW + 15 * DAY) is first
    second = authority.leaf("a.test", NOW + 16 * DAY)
    assert second is not first
    assert second.certificate.not_valid_after_utc >= NOW + 30 * DAY
    assert first.certificate.not_valid_before_utc <= NOW - DAY


def test_a_leaf_does_not_outlive_its_authority(authority: Authority) -> None:
    """Some clients reject a leaf that is valid for longer than its issuer."""
    end = authority.certificate.not_valid_after_utc
    assert authority.leaf("a.test", end - DAY).certificate.not_valid_after_utc == end


def test_leaves_do_not_fill_the_memory(authority: Authority) -> None:
    """An agent that asks for ever new names makes the oldest be forgotten, not the most used."""
    used = authority.leaf("used.test", NOW)
    for number in range(1100):
        authority.leaf(f"{number}.test", NOW)
        assert authority.leaf("used.test", NOW) is used
    assert len(authority._leaves) == 1024


# --- what is refused -----------------------------------------------------------------------------------


def write_authority(
    folder: Path,
    *,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None = None,
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + DAY,
    extensions: tuple[x509.ExtensionType, ...] = (x509.BasicConstraints(ca=True, path_length=None),),
) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as an operator could supply them."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "supplied")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begins).not_valid_after(ends)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    pem = builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    _write_key(folder / "ca-key.pem", key)
    return folder / "ca.pem", folder / "ca-key.pem"


def _write_key(
    path: Path,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    path.chmod(0o600)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not sign, False, False, False, False, sign, False, False, False)


def _other_key(folder: Path) -> None:
    write_authority(folder)
    _write_key(folder / "ca-key.pem", ec.generate_private_key(ec.SECP256R1()))


def _encrypted(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write_authority(folder, key=key)
    _write_key(folder / "ca-key.pem", key, serialization.BestAvailableEncryption(b"x"))


def _after(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def prepared(folder: Path) -> None:
        write_authority(folder)
        change(folder)

    return prepared


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no certificate": (_after(lambda f: (f / "ca.pem").unlink()), "ca.pem: cannot read: no such file or directory; "),
    "no key": (_after(lambda f: (f / "ca-key.pem").unlink()), "ca-key.pem: cannot read: no such file or directory; "),
    "certificate is a folder": (
        _after(lambda f: ((f / "ca.pem").unlink(), (f / "ca.pem").mkdir())),
        "ca.pem: cannot read: is a directory; ",
    ),
    "certificate is no PEM": (_after(lambda f: (f / "ca.pem").write_bytes(b"\0")), "ca.pem: not a PEM certificate; "),
    "key is no PEM": (
        _after(lambda f: (f / "ca-key.pem").write_text("x")),
        "ca-key.pem: not an unencrypted PEM private key; ",
    ),
    "key is encrypted": (_encrypted, "ca-key.pem: not an unencrypted PEM private key; "),
    "key of another CA": (_other_key, "ca-key.pem: does not belong to {}/ca.pem; "),
    "key that others can read": (
        _after(lambda f: (f / "ca-key.pem").chmod(0o640)),
        'ca-key.pem: others can read this key (mode 0640); run "chmod 600 {}/ca-key.pem"',
    ),
    "key of a kind that signs nothing here": (
        lambda f: write_authority(f, key=ed25519.Ed25519PrivateKey.generate()),
        "ca-key.pem: neither an EC nor an RSA key; ",
    ),
    "expired": (lambda f: write_authority(f, ends=NOW), "ca.pem: expired on 2026-06-01; "),
    "not yet valid": (lambda f: write_authority(f, begins=NOW + DAY / 2), "ca.pem: not valid before 2026-06-02; "),
    "no CA": (
        lambda f: write_authority(f, extensions=(x509.BasicConstraints(ca=False, path_length=None),)),
        "ca.pem: not a CA certificate (",
    ),
    "no constraints": (lambda f: write_authority(f, extensions=()), "ca.pem: not a CA certificate ("),
    "may not sign": (
        lambda f: write_authority(f, extensions=(x509.BasicConstraints(ca=True, path_length=None), _usage(sign=False))),
        "ca.pem: not a CA certificate (",
    ),
}


@pytest.mark.parametrize(("prepare", "message"), REFUSED.values(), ids=REFUSED)
def test_an_authority_that_cannot_sign_is_refused(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    """One line with the file and what to do, never a trace, and the key is not in it."""
    prepare(tmp_path)
    with pytest.raises(ConfigError) as refused:
        load_authority(tmp_path / "ca.pem", tmp_path / "ca-key.pem", NOW)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}/{message.format(tmp_path)}")
    assert "\n" not in said
    assert "PRIVATE" not in said


@pytest.mark.parametrize(
    "extensions",
    [
        (x509.BasicConstraints(ca=True, path_length=None),),
        (x509.BasicConstraints(ca=True, path_length=None), _usage(sign=True)),
    ],
    ids=["without key usage", "with key usage"],
)
def test_a_supplied_authority_is_used(tmp_path: Path, extensions: tuple[x509.ExtensionType, ...]) -> None:
    """A CA that may sign is taken as it is."""
    authority = load_authority(*write_authority(tmp_path, extensions=extensions), NOW)
    authority.leaf("a.test", NOW).certificate.verify_directly_issued_by(authority.certificate)


# --- roots ---------------------------------------------------------------------------------------------


def test_roots_are_read_as_openssl_reads_them(paths: tuple[Path, Path]) -> None:
    """A file with a certificate among comments is taken whole."""
    certificate, _ = paths
    certificate.write_bytes(b"# a comment\n" + certificate.read_bytes())
    assert read_roots(certificate) == certificate.read_bytes()
    assert len(ssl.create_default_context(cafile=certificate).get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no PEM certificate; "), (b"-----BEGIN CERTIFICATE-----\nx\n", "no PEM certificate; "), (None, "cannot")],
    ids=["empty", "broken", "missing"],
)
def test_roots_that_hold_nothing_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Found at the start, not at the first request."""
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}: {message}"):
        read_roots(path)


def test_the_umask_does_not_open_the_key(tmp_path: Path) -> None:
    """0600 whatever the umask of the shell that starts the gate."""
    before = os.umask(0)
    try:
        create_authority(tmp_path / "ca.pem", tmp_path / "ca-key.pem", NOW)
    finally:
        os.umask(before)
    load_authority(tmp_path / "ca.pem", tmp_path / "ca-key.pem", NOW)
