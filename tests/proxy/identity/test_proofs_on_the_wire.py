"""Client certificates and workload tokens over real sockets, with curl, httpx and bytes by hand."""

import base64
import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mappings import DocumentError
from support.gate import OTHER_TOKEN, TOKEN, LiveGate
from support.identity import JWT_IDENTITY, SPIFFE_ID, CertificateIssuer, TokenIssuer
from support.raw import TIMEOUT_S, authorization, read_all, read_head, status
from support.secured import Curl, Site, certified
from support.targets import H2Origin, Origin


def now() -> datetime:
    return datetime.now(UTC)


def codes(gate: LiveGate) -> list[tuple[str, str, str]]:
    """Outcome, agent and code of every decision, oldest first."""
    return [(record["outcome"], record["agent"], record["code"]) for record in gate.records()]


# --- who is let in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize(("http", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_a_certificate_alone_is_the_agent(
    secured: LiveGate, origin: Origin, curl: Curl, site: Site, tls: str, http: str, version: str
) -> None:
    """TLS in TLS, in either version, with HTTP/1.1 or HTTP/2 inside; the record names what was proven."""
    ran = curl(http, "--tls-max", tls, *certified(site.deploy), url=f"{origin.url}/echo")
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, f"200 200 {version}"), ran
    (record,) = secured.records()
    assert (record["outcome"], record["agent"], record["code"]) == ("ALLOW", "deploy-bot", "skill.allowed")
    assert record["identities"] == f"{site.deploy.identity} {SPIFFE_ID}"
    assert secured.outcome_of(record)["status"] == 200


def test_http2_to_an_http2_target_goes_through(secured: LiveGate, h2_origin: H2Origin, curl: Curl, site: Site) -> None:
    """Both inner sides speak it, whatever the listener chose for the outer one; rules decide as ever."""
    ran = curl("--http2", *certified(site.deploy), url=f"{h2_origin.url}/echo")
    assert ran.stdout.splitlines()[-1] == "200 403 2", ran
    assert codes(secured) == [("DENY", "deploy-bot", "mapping.unmapped")]


def test_a_plain_request_goes_through_too(secured: LiveGate, plain_origin: Origin, curl: Curl, site: Site) -> None:
    """http:// targets are asked for inside the listener's TLS, in absolute form."""
    ran = curl(*certified(site.deploy), url=f"{plain_origin.url}/echo")
    assert ran.stdout.splitlines()[-1].split()[1] == "200", ran
    assert codes(secured) == [("ALLOW", "deploy-bot", "skill.allowed")]
    assert "proxy-authorization" not in ran.stdout.lower()


def test_a_fingerprint_is_an_identity(secured: LiveGate, origin: Origin, curl: Curl, site: Site) -> None:
    """Of a certificate without a SPIFFE ID."""
    ran = curl(*certified(site.other), url=f"{origin.url}/echo")
    assert ran.returncode == 0, ran
    assert codes(secured) == [("ALLOW", "other-bot", "skill.allowed")]


@pytest.mark.parametrize("way", ["password", "bearer"])
def test_a_workload_token_is_the_agent(secured: LiveGate, origin: Origin, curl: Curl, site: Site, way: str) -> None:
    """As the password of a proxy URL, or as a bearer token; neither it nor its parts are recorded or sent on."""
    token = site.issuer.token(now())
    arguments = ["--proxy-header", f"Proxy-Authorization: Bearer {token}"] if way == "bearer" else []
    ran = curl(*arguments, url=f"{origin.url}/echo", who="" if way == "bearer" else f"deploy-bot:{token}@")
    assert ran.returncode == 0, ran
    (record,) = secured.records()
    assert (record["outcome"], record["agent"], record["identities"]) == ("ALLOW", "deploy-bot", JWT_IDENTITY)
    assert_not_kept(secured, token)
    assert token.rpartition(".")[2] not in ran.stdout


def test_python_goes_through(secured: LiveGate, origin: Origin, site: Site) -> None:
    """httpx with a certificate of its own towards the proxy."""
    towards_gate = ssl.create_default_context(cafile=str(site.authority_pem))
    towards_gate.load_cert_chain(site.deploy.path, site.deploy.key)
    proxy = httpx.Proxy(f"https://{secured.service.proxy_address}", ssl_context=towards_gate)
    trusted = ssl.create_default_context(cafile=str(secured.ca))
    with httpx.Client(proxy=proxy, verify=trusted, trust_env=False, timeout=30) as client:
        answers = [client.get(f"{origin.url}/echo").status_code, client.delete(f"{origin.url}/x").status_code]
    assert answers == [200, 403]
    assert [outcome for outcome, _, _ in codes(secured)] == ["ALLOW", "DENY"]


# --- who is not ----------------------------------------------------------------------------------------

type Made = Callable[[Site, Path], tuple[list[str], str]]
"""curl's options, and the user part of the proxy URL."""


def foreign(_: Site, folder: Path) -> tuple[list[str], str]:
    return certified(CertificateIssuer("agents").issue(folder, "foreign", uris=(SPIFFE_ID,))), ""


def own(_: Site, folder: Path) -> tuple[list[str], str]:
    return certified(CertificateIssuer("deploy").own(folder, "self")), ""


def expired(site: Site, folder: Path) -> tuple[list[str], str]:
    days = timedelta(days=1)
    return certified(site.authority.issue(folder, "old", uris=(SPIFFE_ID,), starts=-9 * days, ends=-days)), ""


def early(site: Site, folder: Path) -> tuple[list[str], str]:
    days = timedelta(days=1)
    return certified(site.authority.issue(folder, "early", uris=(SPIFFE_ID,), starts=days, ends=9 * days)), ""


def for_servers(site: Site, folder: Path) -> tuple[list[str], str]:
    return certified(site.authority.issue(folder, "web", uris=(SPIFFE_ID,), client=False, server=True)), ""


def of_nobody(site: Site, folder: Path) -> tuple[list[str], str]:
    return certified(site.authority.issue(folder, "nobody", uris=("spiffe://acme.test/nobody",))), ""


def with_token(made: Made, who: str) -> Made:
    return lambda site, folder: (made(site, folder)[0], who)


def mine(site: Site, _: Path) -> tuple[list[str], str]:
    return certified(site.deploy), ""


def jwt(who: str = "deploy-bot", **claims: Any) -> Made:
    def made(site: Site, _: Path) -> tuple[list[str], str]:
        return [], f"{who}:{site.issuer.token(now(), **claims)}@"

    return made


def forged(site: Site, _: Path) -> tuple[list[str], str]:
    return [], f"deploy-bot:{TokenIssuer().token(now())}@"


def unsigned(site: Site, _: Path) -> tuple[list[str], str]:
    parts = ({"alg": "none", "kid": "k1"}, site.issuer.claims(now()))
    encoded = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts]
    return [], f"deploy-bot:{'.'.join(encoded)}.@"


def other_kid(site: Site, _: Path) -> tuple[list[str], str]:
    token = site.issuer.sign(site.issuer.claims(now()), kid="../../../dev/null", key=site.issuer.keys["k1"])
    return [], f"deploy-bot:{token}@"


def two_fields(site: Site, _: Path) -> tuple[list[str], str]:
    fields = [authorization("deploy-bot", TOKEN), authorization("other-bot", OTHER_TOKEN)]
    return [part for field in fields for part in ("--proxy-header", field.decode().strip())], ""


def spoofed(_: Site, __: Path) -> tuple[list[str], str]:
    names = ("X-Claiim-Agent", "X-Agent", "X-Forwarded-User", "X-Forwarded-Client-Cert", "X-SSL-Client-S-DN")
    return [
        part for name in names for part in ("--proxy-header", f"{name}: deploy-bot", "-H", f"{name}: deploy-bot")
    ], ""


TOKENS = f"deploy-bot:{TOKEN}@"
REFUSED: dict[str, tuple[Made, str, str, str]] = {
    "nothing": (lambda *_: ([], ""), "", "agent.no-credentials", "agent -- no credentials"),
    "headers that name an agent": (spoofed, "", "agent.no-credentials", "agent -- no credentials"),
    "two fields": (two_fields, "", "agent.no-credentials", "agent -- more than one Proxy-Authorization field"),
    "another authority": (
        foreign,
        "",
        "agent.certificate-refused",
        "agent -- client certificate of an unknown authority",
    ),
    "another authority, right token": (
        with_token(foreign, TOKENS),
        "",
        "agent.certificate-refused",
        "agent -- client certificate of an unknown authority",
    ),
    "self-signed": (own, "", "agent.certificate-refused", "agent -- client certificate self-signed"),
    "expired": (expired, "", "agent.certificate-refused", "agent -- client certificate expired"),
    "not begun": (early, "", "agent.certificate-refused", "agent -- client certificate not valid yet"),
    "made for servers": (
        for_servers,
        "",
        "agent.certificate-refused",
        "agent -- client certificate not made for clients",
    ),
    "of nobody": (of_nobody, "", "agent.unknown", "agent -- no agent has this client certificate"),
    "of A, token of B": (
        with_token(mine, f"other-bot:{OTHER_TOKEN}@"),
        "other-bot",
        "agent.two-identities",
        "agent:other-bot -- credentials of two agents",
    ),
    "of A, name of B": (
        with_token(mine, "other-bot:@"),
        "other-bot",
        "agent.two-identities",
        "agent:other-bot -- credentials of two agents",
    ),
    "of A, wrong token": (
        with_token(mine, "deploy-bot:clm_x@"),
        "deploy-bot",
        "agent.wrong-token",
        "agent:deploy-bot -- wrong token",
    ),
    "workload token, name of B": (
        jwt("other-bot"),
        "other-bot",
        "agent.two-identities",
        "agent:other-bot -- credentials of two agents",
    ),
    "workload token, nobody's name": (jwt("ghost"), "ghost", "agent.unknown", "agent:ghost -- unknown"),
    "workload token of nobody": (
        jwt(sub="repo:evil/api"),
        "deploy-bot",
        "agent.unknown",
        "agent:deploy-bot -- no agent has this workload token",
    ),
    "expired workload token": (
        jwt(exp=1_700_000_000, iat=1_699_999_000, nbf=None),
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token expired",
    ),
    "workload token not begun": (
        jwt(nbf=4_000_000_000),
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token not valid yet",
    ),
    "another audience": (
        jwt(aud="vault"),
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token for another audience",
    ),
    "another issuer": (
        jwt(iss="https://evil.test"),
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token of an unknown issuer",
    ),
    "another key": (
        forged,
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token not signed by its issuer",
    ),
    "nobody's signature": (
        unsigned,
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token with an algorithm that is not allowed",
    ),
    "a kid that is a path": (
        other_kid,
        "deploy-bot",
        "agent.token-invalid",
        "agent:deploy-bot -- workload token of an unknown key",
    ),
}


@pytest.mark.parametrize(("made", "agent", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_proves_nobody_is_a_recorded_407(
    secured: LiveGate,
    origin: Origin,
    curl: Curl,
    site: Site,
    tmp_path: Path,
    made: Made,
    agent: str,
    code: str,
    reason: str,
) -> None:
    """The agent is told why, the record says the same, nothing is sent on, and no secret is kept."""
    arguments, who = made(site, tmp_path / "made")
    ran = curl("-i", *arguments, url=f"{origin.url}/echo", who=who)
    assert ran.stdout.splitlines()[-1].split()[0] == "407", ran
    (record,) = secured.records()
    assert (record["outcome"], record["agent"], record["code"]) == ("DENY", agent, code)
    assert record["reason"] == reason
    assert secured.outcome_of(record)["status"] == 407
    assert origin.seen == []
    secret = who.rpartition("@")[0].partition(":")[2]
    if len(secret) > 10:
        assert_not_kept(secured, secret)


def assert_not_kept(gate: LiveGate, secret: str) -> None:
    """Neither the secret nor a long part of it is in any file of the gate's state."""
    pieces = [secret, *(part for part in secret.split(".") if len(part) > 20)]
    for path in gate.config.state.iterdir():
        content = path.read_bytes()
        assert not any(piece.encode() in content for piece in pieces), path


def test_a_token_in_the_url_is_not_kept(secured: LiveGate, origin: Origin, curl: Curl, site: Site) -> None:
    """Neither in the query nor as user:password of the target; and it proves nothing there."""
    token = site.issuer.token(now())
    host = origin.url.removeprefix("https://")
    for url in (f"https://{host}/echo?access_token={token}", f"https://deploy-bot:{token}@{host}/echo"):
        curl(url=url)
        curl(*certified(site.deploy), url=url)
    assert [code for _, _, code in codes(secured)][::2] == ["agent.no-credentials", "agent.no-credentials"]
    assert_not_kept(secured, token)


# --- the listener --------------------------------------------------------------------------------------


def dial(gate: LiveGate) -> socket.socket:
    address = gate.service.proxy_address
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)


def test_plain_http_is_told_so(secured: LiveGate, origin: Origin) -> None:
    """Whoever forgot the "s" gets an answer it can read; it is recorded, and its token is not looked at."""
    with dial(secured) as raw:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
        assert status(read_head(raw)) == 400
    (record,) = secured.records()
    assert (record["outcome"], record["code"]) == ("DENY", "wire.tls")
    assert record["reason"] == "wire -- no TLS with the gate: it begins with no handshake"
    assert (record["agent"], secured.outcome_of(record)["status"]) == ("", 400)
    assert origin.connections == 0


def test_an_agent_that_does_not_trust_the_listener_is_recorded(secured: LiveGate) -> None:
    """The operator sees why an agent never arrives."""
    with dial(secured) as raw, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")
    (record,) = secured.records()
    assert (record["outcome"], record["code"]) == ("DENY", "wire.tls")
    assert record["reason"].startswith("wire -- no TLS with the gate: ")


def test_a_connection_that_says_nothing_is_no_event(secured: LiveGate) -> None:
    """A port check is neither a request nor a refusal; the gate serves on."""
    dial(secured).close()
    with dial(secured) as raw:
        raw.sendall(b"\x16\x03\x01")
    assert secured.records() == []


def tunnel(gate: LiveGate, target: Origin, site: Site, head: bytes, *, certificate: bool = True) -> ssl.SSLSocket:
    """TLS to the listener with a CONNECT that was accepted; what follows goes into the tunnel."""
    context = ssl.create_default_context(cafile=str(site.authority_pem))
    if certificate:
        context.load_cert_chain(site.deploy.path, site.deploy.key)
    outer = context.wrap_socket(dial(gate), server_hostname="127.0.0.1")
    outer.sendall(f"CONNECT plain.test:{target.port} HTTP/1.1\r\n".encode() + head + b"\r\n")
    assert status(read_head(outer)) == 200
    return outer


def ask(outer: ssl.SSLSocket, target: Origin) -> int:
    """One request in a tunnel; the status of its answer, which is read to its end."""
    outer.sendall(f"GET /echo HTTP/1.1\r\nHost: plain.test:{target.port}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(outer)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.parametrize("by", ["certificate", "workload token"])
def test_a_proof_ends_inside_an_open_tunnel(secured: LiveGate, plain_origin: Origin, site: Site, by: str) -> None:
    """At its own time, for the next request: what a CONNECT was opened with is looked at again."""
    token = site.issuer.token(now())
    head = b"" if by == "certificate" else f"Proxy-Authorization: Bearer {token}\r\n".encode()
    with tunnel(secured, plain_origin, site, head, certificate=by == "certificate") as outer:
        first = ask(outer, plain_origin)
        later = now() + timedelta(days=31)
        secured.service.gate.now = lambda: later
        answers = [first, ask(outer, plain_origin)]
    assert answers == [200, 407]
    code = "agent.credential-expired" if by == "certificate" else "agent.token-invalid"
    assert codes(secured)[-1] == ("DENY", "deploy-bot" if by == "certificate" else "", code)
    assert len(plain_origin.seen) == 1


def test_an_open_stream_ends_when_its_agent_is_suspended(secured: LiveGate, plain_origin: Origin, site: Site) -> None:
    """A connection by TLS is broken off like any other."""
    with tunnel(secured, plain_origin, site, b"") as outer:
        outer.sendall(f"GET /sse HTTP/1.1\r\nHost: plain.test:{plain_origin.port}\r\n\r\n".encode())
        assert status(read_head(outer)) == 200
        agents = site.agents()
        agents["agents"][0]["state"] = "suspended"
        secured.write("agents.yaml", agents)
        secured.call(secured.service.reload())
        read_all(outer)
    (record,) = secured.records(channel="wire")
    ended = secured.outcome_of(record)
    assert (ended["result"], ended["error"]) == ("failed", "agent:deploy-bot -- suspended")
    (stopped,) = [one for one in secured.records("agent") if one.get("exchanges")]
    assert (stopped["agent"], stopped["code"]) == ("deploy-bot", "agent.suspended")


def test_keys_that_are_taken_back_end_what_they_signed(secured: LiveGate, plain_origin: Origin, site: Site) -> None:
    """From the next request after a reload, in open tunnels too."""
    head = f"Proxy-Authorization: Bearer {site.issuer.token(now())}\r\n".encode()
    with tunnel(secured, plain_origin, site, head, certificate=False) as outer:
        first = ask(outer, plain_origin)
        TokenIssuer().write(site.folder / "jwks.json")
        secured.call(secured.service.reload())
        answers = [first, ask(outer, plain_origin)]
    assert answers == [200, 407]
    assert secured.records()[-1]["reason"] == "agent -- workload token not signed by its issuer"


def test_keys_that_are_taken_back_cut_what_they_opened(secured: LiveGate, plain_origin: Origin, site: Site) -> None:
    """A stream does not go on by a proof that counts no more."""
    head = f"Proxy-Authorization: Bearer {site.issuer.token(now())}\r\n".encode()
    with tunnel(secured, plain_origin, site, head, certificate=False) as outer:
        outer.sendall(f"GET /sse HTTP/1.1\r\nHost: plain.test:{plain_origin.port}\r\n\r\n".encode())
        assert status(read_head(outer)) == 200
        TokenIssuer().write(site.folder / "jwks.json")
        secured.call(secured.service.reload())
        read_all(outer)
    (record,) = secured.records(channel="wire")
    ended = secured.outcome_of(record)
    reason = "agent -- workload token not signed by its issuer"
    assert (record["outcome"], ended["result"], ended["error"]) == ("ALLOW", "failed", reason)
    (stopped,) = secured.records("agent", event="cut")
    assert (stopped["agent"], stopped["reason"], stopped["code"]) == ("deploy-bot", reason, "agent.token-invalid")


def test_a_stream_ends_with_the_token_that_opened_it(secured: LiveGate, plain_origin: Origin, site: Site) -> None:
    """By the gate's clock, without a request and after a reload in between, which forgets no end."""
    start = datetime.fromtimestamp(int(now().timestamp()), UTC)
    clock = [start + timedelta(milliseconds=980)]
    secured.service.gate.now = lambda: clock[0]
    token = site.issuer.token(start, exp=int(start.timestamp()) + 1)
    head = f"Proxy-Authorization: Bearer {token}\r\n".encode()
    with tunnel(secured, plain_origin, site, head, certificate=False) as outer:
        outer.sendall(f"GET /sse HTTP/1.1\r\nHost: plain.test:{plain_origin.port}\r\n\r\n".encode())
        assert status(read_head(outer)) == 200
        secured.call(secured.service.reload())
        clock[0] = start + timedelta(seconds=1)
        read_all(outer)
    (record,) = secured.records(channel="wire")
    ended = secured.outcome_of(record)
    assert (record["outcome"], ended["result"]) == ("ALLOW", "failed")
    assert ended["error"] == "agent -- workload token expired"


def test_a_reload_with_keys_that_cannot_be_used_changes_nothing(
    secured: LiveGate, origin: Origin, curl: Curl, site: Site
) -> None:
    """The last good keys and the last good certificate stay, and the refusal is on record."""
    private = {**site.issuer.keys["k1"].as_dict(private=True), "kid": "k1"}
    (site.folder / "jwks.json").write_text(json.dumps({"keys": [private]}))
    with pytest.raises(DocumentError, match='key "k1" is private; keep only its public part'):
        secured.call(secured.service.reload())
    site.issuer.write(site.folder / "jwks.json")
    (site.folder / "listener-key.pem").chmod(0o644)
    with pytest.raises(DocumentError, match="others can read this key"):
        secured.call(secured.service.reload())
    token = site.issuer.token(now())
    assert curl(url=f"{origin.url}/echo", who=f"deploy-bot:{token}@").returncode == 0
    refused = secured.records("policy", event="refused")
    assert [private["d"] in json.dumps(record) for record in refused] == [False, False]
    assert len(refused) == 2


def test_a_renewed_listener_certificate_counts_from_the_next_connection(
    secured: LiveGate, plain_origin: Origin, site: Site
) -> None:
    """After a reload; what is connected goes on."""
    head = authorization()
    with tunnel(secured, plain_origin, site, head) as before:
        shown = [before.getpeercert(binary_form=True)]
        site.authority.issue(site.folder, "listener", hosts=("127.0.0.1",), client=False, server=True)
        secured.call(secured.service.reload())
        with tunnel(secured, plain_origin, site, head) as after:
            shown.append(after.getpeercert(binary_form=True))
            assert (ask(before, plain_origin), ask(after, plain_origin)) == (200, 200)
    assert shown[0] != shown[1]


def test_large_bodies_pass_in_both_directions(secured: LiveGate, origin: Origin, curl: Curl, tmp_path: Path) -> None:
    """Larger than any buffer on the way, byte for byte."""
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 12_000)
    up = curl("-X", "POST", "-H", "Expect:", "-T", str(sent), url=f"{origin.url}/upload", who=TOKENS)
    assert json.loads(up.stdout.splitlines()[0])["sha256"] == hashlib.sha256(sent.read_bytes()).hexdigest()
    down = curl("-o", str(tmp_path / "got"), url=f"{origin.url}/download?mb=8", who=TOKENS)
    assert (down.returncode, (tmp_path / "got").stat().st_size) == (0, 8 * 2**20)
    assert [secured.outcome_of(one)["result"] for one in secured.records()] == ["sent", "sent"]


def test_no_session_is_resumed(secured: LiveGate, site: Site) -> None:
    """Each connection shows its certificate anew: what was once verified is not taken over."""
    context = ssl.create_default_context(cafile=str(site.authority_pem))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(site.deploy.path, site.deploy.key)
    with context.wrap_socket(dial(secured), server_hostname="127.0.0.1") as first:
        session = first.session
    with context.wrap_socket(dial(secured), server_hostname="127.0.0.1", session=session) as second:
        assert not second.session_reused


def test_a_gate_stops_while_somebody_dawdles_in_a_handshake(secured: LiveGate) -> None:
    """Half a hello holds nothing up."""
    with dial(secured) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00")
        secured.stop()
        assert raw.recv(1) == b""


# --- the control API -----------------------------------------------------------------------------------


def checked(gate: LiveGate, token: str) -> httpx.Response:
    body = {"action": "deploy:staging", "target": "api"}
    return httpx.post(f"{gate.api}/v1/check", json=body, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def test_an_agent_may_ask_with_its_workload_token(secured: LiveGate, site: Site) -> None:
    """The control API takes the token that the proxy takes."""
    answer = checked(secured, site.issuer.token(now()))
    assert (answer.status_code, answer.json()["outcome"], answer.json()["agent"]) == (200, "ALLOW", "deploy-bot")
    (record,) = secured.records()
    assert (record["channel"], record["identities"], record["code"]) == ("api", JWT_IDENTITY, "skill.allowed")


ASKED: dict[str, tuple[Callable[[Site], str], str, str]] = {
    "expired": (
        lambda site: site.issuer.token(now(), exp=10, iat=5, nbf=5),
        "agent.token-invalid",
        "agent -- workload token expired",
    ),
    "forged": (
        lambda _: TokenIssuer().token(now()),
        "agent.token-invalid",
        "agent -- workload token not signed by its issuer",
    ),
    "of nobody": (
        lambda site: site.issuer.token(now(), sub="repo:evil/api"),
        "agent.unknown",
        "agent -- no agent has this workload token",
    ),
    "no token of ours": (lambda _: "clm_x", "agent.unknown", "agent -- no agent has this token"),
}


@pytest.mark.parametrize(("made", "code", "reason"), ASKED.values(), ids=ASKED)
def test_asking_with_what_proves_nobody_is_a_401(
    secured: LiveGate, site: Site, made: Callable[[Site], str], code: str, reason: str
) -> None:
    """And no answer about anybody."""
    answer = checked(secured, made(site))
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (401, code, reason)
    assert secured.records() == []
