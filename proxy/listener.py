"""By which name agents reach the proxy's listener, so that its certificate is the one they expect."""

import contextlib

from cryptography import x509

from proxy.ca import read_certificate
from proxy.config import Address, ProxyConfig


def proxy_address(proxy: ProxyConfig) -> Address:
    """Where agents on this machine reach the listener: where it listens, or by a name of its certificate.

    A certificate for ``gate.acme.test`` is no good at ``127.0.0.1``. Raises ConfigError when it cannot be read.
    """
    reachable = proxy.listen.reachable
    if proxy.tls is None:
        return reachable
    names = _names(read_certificate(proxy.tls.certificate, "supply the one that the proxy's listener shows"))
    if not names or reachable.host in names:
        return reachable
    return Address(names[0], reachable.port)


def _names(certificate: x509.Certificate) -> list[str]:
    """The names and addresses of a certificate, names first; none with a wildcard, which names no host."""
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [name for name in names.get_values_for_type(x509.DNSName) if "*" not in name]
        return hosts + [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return []
