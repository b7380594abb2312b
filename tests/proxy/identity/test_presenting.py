"""What a request presents, read into a credential or into the reason why it is none."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mappings import read_document
from policies import Credential, Policies, compile_policies, credential
from proxy.config import SIGNATURE_ALGORITHMS, JwtIssuer
from proxy.identity import NOBODY, ClientCertificate, Issuers, Unproven, client_certificate, load_issuers
from proxy.identity import read_credential as read
from support.identity import AUDIENCE, ISSUER, JWT_IDENTITY, SPIFFE_ID, CertificateIssuer, TokenIssuer

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRES = AT + timedelta(seconds=600)
JWT = TokenIssuer()
TOKEN = JWT.token(AT)
CERT = "cert-sha256:" + "ab" * 32

AGENTS = {
    "version": 1,
    "humans": [{"id": "alice@acme.test", "org": "acme", "state": "active"}],
    "agents": [
        {
            "id": name,
            "anchor": "alice@acme.test",
            "org": "acme",
            "state": "active",
            "tokens": [credential(name, f"clm_{name}").token_sha256],
            "identities": identities,
        }
        for name, identities in (("deploy-bot", [JWT_IDENTITY, SPIFFE_ID]), ("other-bot", [CERT]))
    ],
}
POLICIES = compile_policies(read_document(json.dumps(AGENTS), "agents.yaml"), [])

MINE = ClientCertificate(("cert-sha256:" + "00" * 32, SPIFFE_ID), AT + timedelta(hours=1))
THEIRS = ClientCertificate((CERT,), AT + timedelta(hours=1))
NOBODYS = ClientCertificate(("cert-sha256:" + "11" * 32,), AT + timedelta(hours=1))
FAULTY = ClientCertificate((), AT, "expired")


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Issuers:
    jwks = JWT.write(tmp_path_factory.mktemp("jwks") / "jwks.json")
    return load_issuers([JwtIssuer(ISSUER, AUDIENCE, jwks, SIGNATURE_ALGORITHMS)])


def basic(agent: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{agent}:{secret}".encode()).decode()


def jwt_credential(agent: str, *more: str) -> Credential:
    return Credential(agent, "", (JWT_IDENTITY, *more), EXPIRES)


EXPIRED = JWT.token(AT, exp=int(AT.timestamp()))
STRANGER = JWT.token(AT, sub="repo:acme/other")
OTHER_IDENTITY = f"jwt:{ISSUER}#repo:acme/other"

ROWS: dict[str, tuple[list[str], ClientCertificate | None, Credential | Unproven]] = {
    "nothing": ([], None, NOBODY),
    "a token": ([basic("deploy-bot", "clm_x")], None, credential("deploy-bot", "clm_x")),
    "a token with dots": ([basic("deploy-bot", "clm_a.b.c")], None, credential("deploy-bot", "clm_a.b.c")),
    "a workload token as password": ([basic("deploy-bot", TOKEN)], None, jwt_credential("deploy-bot")),
    "a workload token as bearer": ([f"Bearer {TOKEN}"], None, jwt_credential("deploy-bot")),
    "bearer in small letters": ([f"bearer {TOKEN}"], None, jwt_credential("deploy-bot")),
    "a token as bearer": (["Bearer clm_x"], None, NOBODY),
    "another's name with it": ([basic("other-bot", TOKEN)], None, jwt_credential("other-bot")),
    "an expired workload token": (
        [basic("deploy-bot", EXPIRED)],
        None,
        Unproven("agent.token-invalid", "agent:deploy-bot -- workload token expired", "deploy-bot"),
    ),
    "an expired one as bearer": (
        [f"Bearer {EXPIRED}"],
        None,
        Unproven("agent.token-invalid", "agent -- workload token expired"),
    ),
    "a name that none can have": (
        [basic("a\nb", EXPIRED)],
        None,
        Unproven("agent.token-invalid", "agent:a?b -- workload token expired", "a\nb"),
    ),
    "a workload token of nobody": (
        [f"Bearer {STRANGER}"],
        None,
        Unproven("agent.unknown", "agent -- no agent has this workload token", "", (OTHER_IDENTITY,)),
    ),
    "of nobody, with a name": (
        [basic("deploy-bot", STRANGER)],
        None,
        Unproven(
            "agent.unknown", "agent:deploy-bot -- no agent has this workload token", "deploy-bot", (OTHER_IDENTITY,)
        ),
    ),
    "two fields": (
        [basic("deploy-bot", "clm_x"), basic("other-bot", "clm_y")],
        None,
        Unproven("agent.no-credentials", "agent -- more than one Proxy-Authorization field"),
    ),
    "one field twice": (
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        None,
        Unproven("agent.no-credentials", "agent -- more than one Proxy-Authorization field"),
    ),
    "a certificate": ([], MINE, Credential("deploy-bot", "", MINE.identities, MINE.expires)),
    "a certificate and a name": (
        [basic("deploy-bot", "")],
        MINE,
        Credential("deploy-bot", "", MINE.identities, MINE.expires),
    ),
    "a certificate and another's name": (
        [basic("other-bot", "")],
        MINE,
        Credential("other-bot", "", MINE.identities, MINE.expires),
    ),
    "a certificate and a token": (
        [basic("deploy-bot", "clm_x")],
        MINE,
        Credential("deploy-bot", credential("deploy-bot", "clm_x").token_sha256, MINE.identities, MINE.expires),
    ),
    "a certificate and a workload token": ([f"Bearer {TOKEN}"], MINE, jwt_credential("deploy-bot", *MINE.identities)),
    "a certificate of nobody": (
        [],
        NOBODYS,
        Unproven("agent.unknown", "agent -- no agent has this client certificate", "", NOBODYS.identities),
    ),
    "of nobody, and a name": (
        [basic("deploy-bot", "")],
        NOBODYS,
        Unproven(
            "agent.unknown",
            "agent:deploy-bot -- no agent has this client certificate",
            "deploy-bot",
            NOBODYS.identities,
        ),
    ),
    "of nobody, and a token": (
        [basic("deploy-bot", "clm_x")],
        NOBODYS,
        Credential("deploy-bot", credential("deploy-bot", "clm_x").token_sha256, NOBODYS.identities, NOBODYS.expires),
    ),
    "a certificate and a field that cannot be read": (["Basic !"], MINE, NOBODY),
    "a certificate and another scheme": (["Negotiate abc"], MINE, NOBODY),
    "a certificate with a fault": (
        [],
        FAULTY,
        Unproven("agent.certificate-refused", "agent -- client certificate expired"),
    ),
    "a certificate with a fault, and a right token": (
        [basic("deploy-bot", "clm_deploy-bot")],
        FAULTY,
        Unproven("agent.certificate-refused", "agent -- client certificate expired"),
    ),
}


@pytest.mark.parametrize(("values", "certificate", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_presented_is_read(
    issuers: Issuers, values: list[str], certificate: ClientCertificate | None, expected: Credential | Unproven
) -> None:
    """Into exactly one credential or one reason; the reason quotes no secret."""
    assert read(values, certificate, issuers, POLICIES, AT) == expected


def test_without_an_issuer_a_workload_token_is_a_token_like_any_other() -> None:
    """And a wrong one: nothing changes for a gate that believes no issuer."""
    assert read([basic("deploy-bot", TOKEN)], policies=POLICIES, at=AT) == credential("deploy-bot", TOKEN)
    assert read([f"Bearer {TOKEN}"], policies=POLICIES, at=AT) is NOBODY


JUDGED: dict[str, tuple[list[str], ClientCertificate | None, str | None]] = {
    "a workload token": ([f"Bearer {TOKEN}"], None, None),
    "its agent's name": ([basic("deploy-bot", TOKEN)], None, None),
    "another agent's name": ([basic("other-bot", TOKEN)], None, "agent.two-identities"),
    "nobody's name": ([basic("ghost", TOKEN)], None, "agent.unknown"),
    "a certificate": ([], MINE, None),
    "and its agent's token": ([basic("deploy-bot", "clm_deploy-bot")], MINE, None),
    "and a wrong token": ([basic("deploy-bot", "clm_x")], MINE, "agent.wrong-token"),
    "and another agent's token": ([basic("other-bot", "clm_other-bot")], MINE, "agent.two-identities"),
    "and another agent's token in its name": ([basic("deploy-bot", "clm_other-bot")], MINE, "agent.two-identities"),
    "and another agent's workload token": ([f"Bearer {TOKEN}"], THEIRS, "agent.two-identities"),
    "a certificate of nobody and a right token": ([basic("deploy-bot", "clm_deploy-bot")], NOBODYS, None),
    "a certificate of nobody and a wrong token": ([basic("deploy-bot", "clm_x")], NOBODYS, "agent.wrong-token"),
}


@pytest.mark.parametrize(("values", "certificate", "code"), JUDGED.values(), ids=JUDGED)
def test_whatever_is_presented_must_all_be_right(
    issuers: Issuers, values: list[str], certificate: ClientCertificate | None, code: str | None
) -> None:
    """One proof that is right makes up for none that is wrong, nor for one that is another agent's."""
    who = read(values, certificate, issuers, POLICIES, AT)
    assert isinstance(who, Credential)
    denied = POLICIES.identify(who, AT)
    assert (denied and denied.code) == code


@pytest.mark.parametrize(
    ("values", "certificate", "ends"),
    [([f"Bearer {TOKEN}"], None, EXPIRES), ([], MINE, MINE.expires), ([f"Bearer {TOKEN}"], MINE, EXPIRES)],
    ids=["a workload token", "a certificate", "both: the one that ends first"],
)
def test_what_was_proven_ends(
    issuers: Issuers, values: list[str], certificate: ClientCertificate | None, ends: datetime
) -> None:
    """At the moment that the proof itself names, on a connection that is open too."""
    who = read(values, certificate, issuers, POLICIES, AT)
    assert isinstance(who, Credential)
    assert POLICIES.identify(who, ends - timedelta(microseconds=1)) is None
    denied = POLICIES.identify(who, ends)
    assert denied is not None
    assert (denied.code, denied.reason) == ("agent.credential-expired", "agent:deploy-bot -- credential expired")


def without(identity: str) -> Policies:
    agents = [
        {**agent, "identities": [one for one in agent["identities"] if one != identity]} for agent in AGENTS["agents"]
    ]
    return compile_policies(read_document(json.dumps({**AGENTS, "agents": agents}), "agents.yaml"), [])


def test_taking_an_identity_out_of_the_registry_ends_it(issuers: Issuers) -> None:
    """For what was proven before, too: there is no other list of what is revoked."""
    certified = read([], MINE, issuers, POLICIES, AT)
    assert isinstance(certified, Credential)
    denied = without(SPIFFE_ID).identify(certified, AT)
    assert denied is not None
    assert denied.code == "agent.wrong-token"
    assert isinstance(read([], MINE, issuers, without(SPIFFE_ID), AT), Unproven)
    assert isinstance(read([f"Bearer {TOKEN}"], None, issuers, without(JWT_IDENTITY), AT), Unproven)


# --- certificates --------------------------------------------------------------------------------------

OWN = CertificateIssuer()


def test_a_certificate_proves_its_fingerprint_and_its_spiffe_id(tmp_path: Path) -> None:
    """And ends when it says."""
    issued = OWN.issue(tmp_path, "deploy", uris=(SPIFFE_ID,), hosts=("deploy.acme.test",))
    read = client_certificate(issued.certificate, None)
    assert read == ClientCertificate((issued.identity, SPIFFE_ID), issued.certificate.not_valid_after_utc)


def test_only_an_svid_proves_a_spiffe_id(tmp_path: Path) -> None:
    """Not a certificate with two URIs, and not an authority's."""
    two = OWN.issue(tmp_path, "two", uris=(SPIFFE_ID, "spiffe://acme.test/admin"))
    authority = OWN.issue(tmp_path, "authority", uris=(SPIFFE_ID,), ca=True)
    web = OWN.issue(tmp_path, "web", uris=("https://acme.test/deploy",))
    for issued in (two, authority, web):
        assert client_certificate(issued.certificate, None).identities == (issued.identity,)


@pytest.mark.parametrize(
    ("error", "fault"), [(10, "expired"), (18, "self-signed"), (-1, "not verified"), (99, "not verified")]
)
def test_a_certificate_with_a_fault_proves_nothing(tmp_path: Path, error: int, fault: str) -> None:
    """Whatever stands in it; one that OpenSSL has not looked at is one of them."""
    issued = OWN.issue(tmp_path, "deploy", uris=(SPIFFE_ID,))
    read = client_certificate(issued.certificate, error)
    assert (read.identities, read.fault) == ((), fault)
