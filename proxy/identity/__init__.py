"""Who acts, proven: the credential of a request, a client certificate, a signed workload token.

It reads what a caller presents and says which agent that is, or why it is none. What it accepts as proven was
verified here or by the TLS handshake; what a caller says about itself proves nothing. It never decides whether
the agent may act: that is the policies' part, which is also where two proofs for two agents are refused.
"""

from proxy.identity.certificates import ClientCertificate, client_certificate
from proxy.identity.presenting import NOBODY, Unproven, agent_of_token, read_credential
from proxy.identity.workload import NO_ISSUERS, Issuers, Proof, load_issuers

__all__ = [
    "NOBODY",
    "NO_ISSUERS",
    "ClientCertificate",
    "Issuers",
    "Proof",
    "Unproven",
    "agent_of_token",
    "client_certificate",
    "load_issuers",
    "read_credential",
]
