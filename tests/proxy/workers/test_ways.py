"""The ways into a gate with workers, and what judges beside its rules: one gate for all of this file."""

import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.configloading import ENGINE
from sdk.loopback_gate import LoopbackGate, json_reply, loopback
from support.gate import TOKEN
from support.identity import JWT_IDENTITY, SPIFFE_ID, CertificateIssuer, TokenIssuer
from support.raw import read_all
from support.rules import ORIGIN_MAPPINGS
from support.secured import Site
from support.serving import DEADLINE_S
from support.talks import Talk, talk_at
from support.targets import Origin
from support.until import until
from support.workers import Workers, workers_site

pytestmark = pytest.mark.engines("fast")

URL = "https://origin.test/things"
MOST = 3
MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [{"host": "api.origin.test", "pack": "mcp"}],
    "rules": [
        *ORIGIN_MAPPINGS["rules"],
        {
            "id": "open-mcp",
            "match": {"host": "api.origin.test", "method": "GET", "path": "/mcp"},
            "action": "health:check",
            "target": "api.origin.test",
        },
    ],
}
SKILLS: dict[str, Any] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["data:**", "health:check", "mcp:tools/list", "mcp:initialize"],
        "limits": [{"action": "mcp:initialize", "most": MOST, "per": "day"}],
        "deny": ["infra:destroy"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}
LISTENERS: dict[str, Any] = {
    "socks": {"mode": "socks5", "listen": "127.0.0.1:0"},
    "netns": {"mode": "transparent", "listen": "127.0.0.1:0", "proves": "address"},
    "api": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://origin.test", "proves": "listener"},
    "secure": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://origin.test", "tls": True},
}
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
CALL = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "drop_table"}})
INIT = json.dumps({"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}})


class Ways(Workers):
    """A gate whose proxy is reached by TLS."""

    site: Site
    pdp: LoopbackGate
    origin: Origin

    def trusted(self, certificate: bool) -> ssl.SSLContext:
        """What a client knows of the listener, and what it shows there."""
        context = ssl.create_default_context(cafile=str(self.site.authority_pem))
        if certificate:
            context.load_cert_chain(self.site.deploy.path, self.site.deploy.key)
        return context

    @property
    def ca(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "state" / "ca.pem"))

    def client(self, *, agent: str = "", token: str = "") -> httpx.Client:
        """A client that shows a certificate, or brings a token."""
        headers = {"Proxy-Authorization": f"Bearer {token}"} if token else {}
        trusted = self.trusted(certificate=not token)
        proxy = httpx.Proxy(f"https://{self.proxy_address}", ssl_context=trusted, headers=headers)
        return httpx.Client(proxy=proxy, verify=self.ca, trust_env=False, timeout=DEADLINE_S)

    def record_of(self, answer: httpx.Response) -> dict[str, Any]:
        """What was decided on an answered request."""
        (record,) = self.records(id=answer.headers["x-chron-id"])
        return record

    @contextlib.contextmanager
    def said(self, answer: dict[str, Any]) -> Iterator[None]:
        """Let the PDP say this for a while."""
        before, self.pdp.reply = self.pdp.reply, json_reply(200, answer)
        yield
        self.pdp.reply = before


@pytest.fixture(scope="module")
def gate(target_ca: trustme.CA, target_ca_pem: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("ways")
    authority = CertificateIssuer()
    site = Site(
        folder / "identity",
        TokenIssuer(),
        authority,
        authority.write(folder, "ca"),
        authority.issue(folder, "deploy", uris=(SPIFFE_ID,)),
        authority.issue(folder, "other"),
    )
    with pytest.MonkeyPatch.context() as patched, Origin(target_ca) as origin, loopback() as pdp:
        patched.setenv(ENGINE, "fast")
        pdp.reply = json_reply(200, {"decision": True})
        agents = site.agents()
        agents["agents"][1]["identities"] += ["listener:api", "address:127.0.0.1"]
        made = workers_site(
            folder / "gate", origin, ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS, agents=agents,
            config={**site.config(), "pdp": {"url": pdp.url, "timeout_s": 5}, "listeners": LISTENERS},
        )  # fmt: skip
        with Ways(made) as serving:
            serving.site, serving.pdp, serving.origin = site, pdp, origin
            yield serving


def test_agents_are_known_by_certificate_at_each_worker(gate: Ways) -> None:
    """Each worker shows the listener's certificate and knows the agent by its own; without one or a token: 407."""
    proven = f"{gate.site.deploy.identity} {SPIFFE_ID}"
    with gate.one_client_each(URL) as clients:
        for client in clients:
            record = gate.record_of(client.get(URL))
            assert (record["outcome"], record["agent"], record["identities"]) == ("ALLOW", "deploy-bot", proven)
            refused = client.delete(URL)
            assert (refused.status_code, gate.record_of(refused)["agent"]) == (403, "deploy-bot")
    with gate.client(token="wrong") as stranger, pytest.raises(httpx.ProxyError, match="407"):
        stranger.get(URL)


@contextlib.contextmanager
def talking(gate: Ways) -> Iterator[list[Talk]]:
    """A WebSocket at each worker, opened by an agent that its certificate names."""
    listener, target = gate.trusted(True), gate.ca
    url, proxy = "wss://api.origin.test/mcp", f"https://{gate.proxy_address}"
    with ExitStack() as stack:
        found: dict[str, Talk] = {}
        while len(found) < 2:
            one = stack.enter_context(talk_at(url, proxy=proxy, proxy_ssl=listener, ssl=target))
            if found.setdefault(gate.records(path="/mcp")[-1]["session"], one) is not one:
                one.close()
        yield list(found.values())


def say(talk: Talk, message: str) -> Any:
    talk.send(message)
    return json.loads(talk.hear())


def test_messages_are_judged_one_by_one_and_counted_over_workers(gate: Ways) -> None:
    """Allowed and denied at each worker; three uses a day are three, whichever worker hears them."""
    gate.origin.heard.clear()
    with talking(gate) as both:
        for talk in both:
            assert say(talk, LIST) == json.loads(LIST)
            denied = say(talk, CALL)["error"]["data"]
            (record,) = gate.records(id=denied["chron_id"])
            assert (record["outcome"], record["action"]) == ("DENY", "mcp:tools/call")
        answers = [say(talk, INIT) for _ in range(MOST) for talk in both]
    used = ["error" not in each for each in answers]
    assert used == [True] * MOST + [False] * MOST
    assert gate.origin.heard == [LIST, LIST] + [INIT] * MOST
    codes = {each["code"] for each in gate.records(action="mcp:initialize", outcome="DENY")}
    assert codes == {"skill.limit"}


def test_an_external_pdp_is_asked_by_each_worker(gate: Ways) -> None:
    """Its yes is in the record, its no refuses, and so does what is neither: at each worker."""
    with gate.one_client_each(URL) as clients:
        for client in clients:
            assert gate.record_of(client.get(URL))["pdp"] == "allow"
        with gate.said({"decision": False, "context": {"reason_user": {"en": "four eyes"}}}):
            for client in clients:
                refused = client.get(URL)
                assert (refused.status_code, refused.json()["reason"]) == (403, "pdp -- four eyes")
        with gate.said({"decision": "true"}):
            for client in clients:
                assert (client.get(URL).status_code, gate.record_of(client.get(URL))["pdp"]) == (403, "unavailable")


def test_an_issuers_keys_and_the_listeners_certificate_are_changed_everywhere(gate: Ways) -> None:
    """A workload token counts at each worker until its key is no longer published; when the reload is answered each
    shows the other certificate."""
    token = gate.site.issuer.token(datetime.now(UTC))
    with ExitStack() as stack:
        clients = stack.enter_context(gate.one_client_each(URL, token=token))
        assert {gate.record_of(client.get(URL))["identities"] for client in clients} == {JWT_IDENTITY}
        TokenIssuer(k2=gate.site.issuer.keys["k1"]).write(gate.site.folder / "jwks.json")
        stack.callback(gate.site.issuer.write, gate.site.folder / "jwks.json")
        options: dict[str, Any] = {"hosts": ("127.0.0.1",), "client": False, "server": True}
        renewed = gate.site.authority.issue(gate.site.folder, "listener", **options)
        said = gate.api("/v1/reload", method="POST", headers=gate.operator)
        assert said.status_code == 200, said.text
        for client in clients:
            assert (client.get(URL).status_code, client.get(URL).json()["code"]) == (407, "agent.token-invalid")
    host, port = gate.proxy_address.split(":")
    for _ in range(20):
        with (
            socket.create_connection((host, int(port))) as raw,
            gate.trusted(True).wrap_socket(raw, server_hostname=host) as secured,
        ):
            assert secured.getpeercert(binary_form=True) == renewed.certificate.public_bytes(Encoding.DER)


@pytest.mark.needs("curl")
def test_socks_and_transparent_listeners_are_served_beside_the_workers(gate: Ways) -> None:
    """By mitmproxy's engine, in a process of its own: the same decisions, in the same log."""
    place, trusted = gate.place("socks"), str(gate.folder / "state" / "ca.pem")
    curl = ["curl", "-sS", "-m", "30", "--cacert", trusted, "-x", f"socks5h://deploy-bot:{TOKEN}@{place}"]
    for method in ("GET", "DELETE"):
        subprocess.run([*curl, "-X", method, URL], capture_output=True, check=True)
    records = gate.records(listener="socks")
    found = [[record[name] for name in ("outcome", "engine", "agent")] for record in records]
    assert found == [["ALLOW", "mitmproxy", "deploy-bot"], ["DENY", "mitmproxy", "deploy-bot"]]
    host, _, port = gate.place("netns").partition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as raw:
        raw.sendall(b"GET /things HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert read_all(raw) == b""
    (refused,) = until(lambda: gate.records(listener="netns"))
    assert (refused["code"], refused["session"]) == ("wire.redirect", records[0]["session"])


def test_reverse_listeners_are_served_by_every_worker(gate: Ways) -> None:
    """With TLS and certificates, and for whoever the listener is for."""
    secure, plain = (gate.place(name) for name in ("secure", "api"))
    ways = {
        f"https://{secure}/things": (gate.trusted(True), "deploy-bot"),
        f"http://{plain}/things": (False, "other-bot"),
    }
    for url, (trusted, agent) in ways.items():
        reached: set[str] = set()
        while len(reached) < 2:
            answer = httpx.get(url, verify=trusted, trust_env=False, timeout=DEADLINE_S)
            record = gate.record_of(answer)
            assert (record["outcome"], record["agent"], "engine" in record) == ("ALLOW", agent, False)
            reached.add(record["session"])
