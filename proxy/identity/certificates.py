"""What a client certificate proves, once the handshake has shown that the agent holds its key.

no fault, URI SAN spiffe://acme.test/deploy   "cert-sha256:<hex>" and "spiffe://acme.test/deploy"
no fault, two URI SANs                        "cert-sha256:<hex>" alone
a fault: expired, of another authority        nothing
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

_FAULTS = {
    # https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/, "ERROR CODES"; its own texts change.
    2: "of an unknown authority",
    9: "not valid yet",
    10: "expired",
    18: "self-signed",
    19: "of an unknown authority",
    20: "of an unknown authority",
    21: "of an unknown authority",
    23: "revoked",
    26: "not made for clients",
}


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate that an agent brought to the handshake."""

    identities: tuple[str, ...]
    """As in `Credential.identities`; none of a certificate that has a fault."""
    expires: datetime
    fault: str = ""
    """Why it is not believed; "" when it is."""


def client_certificate(certificate: x509.Certificate, error: int | None) -> ClientCertificate:
    """Read a certificate; `error` is the first that OpenSSL found in verifying it, None when it found none."""
    expires = certificate.not_valid_after_utc
    if error is not None:
        # If this line is removed, anybody's self-made certificate proves what stands in it.
        return ClientCertificate((), expires, _FAULTS.get(error, "not verified"))
    fingerprint = f"cert-sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"
    return ClientCertificate((fingerprint, *_spiffe_id(certificate)), expires)


def _spiffe_id(certificate: x509.Certificate) -> tuple[str, ...]:
    """The SPIFFE ID of an X.509-SVID: of a leaf, and its only URI.

    https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, sections 2 and 5.2
    """
    with contextlib.suppress(x509.ExtensionNotFound):
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return ()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return tuple(uris) if len(uris) == 1 and uris[0].startswith("spiffe://") else ()
