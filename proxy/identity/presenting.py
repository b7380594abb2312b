"""Reads what a request presents: one Proxy-Authorization field, the connection's certificate, or both.

http://deploy-bot:clm_...@gate         Basic with a token: the agent named, proven by the token
http://deploy-bot:eyJ...@gate          Basic with a workload token: proven by it, and it must be this agent's
Proxy-Authorization: Bearer eyJ...     the agent that the workload token belongs to
a certificate alone                    the agent that the certificate belongs to
a certificate and one of the others    both must be right, and of one agent
nothing, by a listener that proves     the agent that "listener:<name>" or "address:<IP>" belongs to

Basic twice                            Unproven: more than one Proxy-Authorization field
Basic with an expired workload token   Unproven: agent:deploy-bot -- workload token expired
a certificate of another authority     Unproven: agent -- client certificate of an unknown authority
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mappings import Problem
from policies import Credential, Policies, credential, shown_name
from proxy.identity.certificates import ClientCertificate
from proxy.identity.workload import NO_ISSUERS, Issuers, Proof

NOBODY = Credential("", "")
"""The credential of a request that brought none; no agent has it."""

_WORKLOAD_TOKEN = re.compile(r"(?!clm_)[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""RFC 7515, 7.1: three base64url parts; the last is empty in one that nobody signed. Our own tokens have no dots."""

_KINDS = {"jwt": "workload token", "listener": "listener", "address": "address"}
"""What proves an identity, by how that begins; the rest are of certificates."""


@dataclass(frozen=True, slots=True)
class Unproven(Problem):
    """Why what was presented proves no agent. `message` is the whole reason and quotes no secret."""

    agent: str = ""
    """Who the caller says it is."""
    identities: tuple[str, ...] = ()
    """What was proven all the same: identities that no agent has."""

    @property
    def credential(self) -> Credential:
        """What stands in the record in place of a credential."""
        return Credential(self.agent, "", self.identities)


def read_credential(
    values: Sequence[str],
    certificate: ClientCertificate | None = None,
    issuers: Issuers = NO_ISSUERS,
    policies: Policies | None = None,
    at: datetime | None = None,
    arrived: tuple[str, ...] = (),
) -> Credential | Unproven:
    """The credential in the `Proxy-Authorization` fields of a request and its connection, or why there is none.

    `arrived` are the identities that its listener proves.
    `policies` say whose a certificate or a workload token is where no name was given with it; `at` is when it
    is asked. Without them only tokens count.
    """
    if len(values) > 1:
        return _unproven("", "no-credentials", "more than one Proxy-Authorization field")
    if certificate is not None and certificate.fault:
        return _unproven("", "certificate-refused", f"client certificate {certificate.fault}")
    presented = _read_field(values[0], certificate is not None, issuers, at) if values else NOBODY
    if isinstance(presented, Unproven) or (values and presented is NOBODY):
        return presented
    if certificate is not None:
        expires = min(certificate.expires, presented.expires or certificate.expires)
        identities = (*presented.identities, *certificate.identities)
        presented = replace(presented, identities=identities, expires=expires)
    if arrived:
        presented = replace(presented, identities=(*presented.identities, *arrived))
    return _named(presented, policies) if presented.identities else presented


def _read_field(value: str, certified: bool, issuers: Issuers, at: datetime | None) -> Credential | Unproven:
    """One field: Basic (RFC 7617) with a token or a workload token, or Bearer (RFC 6750) with a workload token."""
    scheme, _, encoded = value.strip().partition(" ")
    encoded = encoded.strip()
    if scheme.lower() == "bearer" and is_workload_token(encoded, issuers) and at is not None:
        return _proven("", issuers.read(encoded, at))
    if scheme.lower() != "basic":
        return NOBODY
    try:
        agent, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # binascii.Error and UnicodeDecodeError are ones; text that is not ASCII raises the plain one
        return NOBODY
    if not (colon and agent and (secret or certified)):
        return NOBODY
    if not secret:
        return Credential(agent, "")  # a name beside a certificate; the certificate has to be its own
    if is_workload_token(secret, issuers) and at is not None:
        return _proven(agent, issuers.read(secret, at))
    return credential(agent, secret)


def is_workload_token(secret: str, issuers: Issuers) -> bool:
    """Say by its shape whether a secret is a workload token; never where no issuer is believed."""
    return bool(issuers) and _WORKLOAD_TOKEN.fullmatch(secret) is not None


def _proven(agent: str, proof: Proof | str) -> Credential | Unproven:
    if isinstance(proof, str):
        return _unproven(agent, "token-invalid", proof)
    return Credential(agent, "", (proof.identity,), proof.expires)


def _named(presented: Credential, policies: Policies | None) -> Credential | Unproven:
    """The credential with the name of the agent its identities belong to, where it brought none."""
    owner = policies.agent_of_identity(presented.identities) if policies is not None else None
    if presented.agent and (owner is not None or presented.token_sha256):
        return presented
    if owner is None:
        what = _KINDS.get(presented.identities[0].partition(":")[0], "client certificate")
        return _unproven(presented.agent, "unknown", f"no agent has this {what}", presented.identities)
    return replace(presented, agent=owner)


def agent_of_token(secret: str, issuers: Issuers, policies: Policies, at: datetime) -> Credential | Unproven:
    """Whose a bearer token of the control API is: a workload token's, or a token's; in whatever state it is."""
    if is_workload_token(secret, issuers):
        proven = _proven("", issuers.read(secret, at))
        return proven if isinstance(proven, Unproven) else _named(proven, policies)
    presented = credential("", secret)
    owner = policies.agent_of_token(presented.token_sha256)
    return _unproven("", "unknown", "no agent has this token") if owner is None else replace(presented, agent=owner)


def _unproven(agent: str, code: str, why: str, identities: tuple[str, ...] = ()) -> Unproven:
    who = f"agent:{shown_name(agent)}" if agent else "agent"
    return Unproven(f"agent.{code}", f"{who} -- {why}", agent, identities)
