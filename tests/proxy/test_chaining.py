"""Through a proxy of the company's: everything that may go on, by its checked address, and nothing of the agent's."""

import base64
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.config import Address, ConfigError
from proxy.destinations import DestinationUnknown
from support.clients import client_of
from support.gate import SKILLS, LiveGate, running
from support.raw import authorization, dial, read_head, status
from support.rules import ORIGIN_MAPPINGS
from support.squid import Squid
from support.targets import Origin
from support.targets.stub_proxy import StubProxy

CREDENTIALS = "gate:s3cr-t/%"
KNOWN_AS = "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()


class Mitmdump:
    """mitmproxy as somebody else's proxy: it wants credentials, and passes TLS on unread."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "mitmproxy-ca-cert.pem"
        options = [
            f"confdir={folder}",
            "connection_strategy=lazy",
            f"proxyauth={CREDENTIALS}",
            "flow_detail=0",
        ]
        settings = [word for option in options for word in ("--set", option)]
        command = [str(Path(sys.executable).parent / "mitmdump"), "--listen-host", "127.0.0.1", "--listen-port", "0"]
        self._process = subprocess.Popen(
            [*command, "--ignore-hosts", ".*", *settings],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if "listening at" in line:
                self.port = int(line.strip().rstrip(".").rsplit(":", 1)[1])
                return
        raise AssertionError(f"mitmdump did not start: {self.lines}")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        assert self._process.stdout is not None
        self.lines += self._process.stdout.readlines()
        self._process.stdout.close()
        self._process.wait(timeout=30)


type Parent = Mitmdump | Squid


@pytest.fixture(scope="module", params=["mitmdump", "squid"])
def parent(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Parent]:
    """Somebody else's proxies; squid where it is installed."""
    if request.param == "squid":
        started: Parent = Squid(CREDENTIALS, "origin.test", "plain.test")
    else:
        started = Mitmdump(tmp_path_factory.mktemp("mitmdump"))
    yield started
    started.stop()


async def look_up(host: str) -> tuple[str, ...]:
    """DNS of a network where every name is this machine, and one is where credentials are given out."""
    return ("169.254.169.254",) if host == "metadata.test" else ("127.0.0.1",)


def gate_of(folder: Path, *targets: Origin, ca: Path, ports: tuple[int, ...] = (), **upstream: Any) -> LiveGate:
    """A gate that goes through a proxy; not running yet. Nothing is in its table, so that nothing goes around it."""
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text(CREDENTIALS + "\n")
    allowed = [443, 80, *(target.port for target in targets), *ports]
    given = {"ca_bundle": str(ca), "allow_private": ["127.0.0.0/8"], "no_proxy": [], **upstream}
    skills = {**SKILLS, "deploy-v2": {**SKILLS["deploy-v2"], "allow": ["data:**", "tunnel:open"]}}
    tunnels = [{"id": "origin", "host": "tunnel.test", "ports": [target.port for target in targets] or [443]}]
    live = LiveGate(
        folder,
        config={"proxy": {"allowed_ports": allowed}, "upstream": given},
        mappings={**ORIGIN_MAPPINGS, "tunnels": tunnels},
        skills=skills,
    )
    live.service_options = {"lookup": look_up}
    return live


def at(parent: Parent, scheme: str = "http", **more: Any) -> dict[str, Any]:
    """The configuration of it."""
    return {"url": f"{scheme}://proxy.test:{parent.port}", "credentials_file": "secret", **more}


# --- through a real one ----------------------------------------------------------------------------------


# Debian's squid has no certificate to show, so it is spoken to in the clear alone.
@pytest.mark.parametrize(
    ("parent", "scheme"), [("mitmdump", "http"), ("mitmdump", "https"), ("squid", "http")], indirect=["parent"]
)
def test_requests_go_through_it_and_it_sees_no_agent(
    tmp_path: Path, parent: Parent, origin: Origin, plain_origin: Origin, target_ca_pem: Path, scheme: str
) -> None:
    """TLS, plain HTTP, the second request of a connection: what is denied does not arrive."""
    ca = {"ca": str(parent.ca)} if isinstance(parent, Mitmdump) and scheme == "https" else {}
    proxy = at(parent, scheme, **ca)
    live = gate_of(tmp_path / "gate", origin, plain_origin, ca=target_ca_pem, proxy=proxy)
    with running(live):
        with client_of(live) as client:
            for target in (origin, plain_origin):
                url = f"{target.scheme}://{target.name}:{target.port}/echo"
                assert client.get(url).status_code == 200
                assert client.post(url, content=b"x" * 10).status_code == 200
                assert client.delete(url).status_code == 403
        records = live.records()
    for target in (origin, plain_origin):
        assert [seen.method for seen in target.seen] == ["GET", "POST"]
        assert [name for seen in target.seen for name, _ in seen.headers if name.lower().startswith("proxy-")] == []
    allowed = [each for each in records if each["outcome"] == "ALLOW"]
    assert [(each["address"], each["via"]) for each in allowed] == [
        (f"127.0.0.1 {target.port}", f"proxy.test {parent.port}")
        for target in (origin, origin, plain_origin, plain_origin)
    ]
    assert {live.outcome_of(each)["result"] for each in allowed} == {"sent"}


def test_a_tunnel_goes_through_it(tmp_path: Path, parent: Parent, target_ca: trustme.CA, target_ca_pem: Path) -> None:
    """What passes unread does so by the same address and the same proxy."""
    with Origin(target_ca, "tunnel.test") as target:
        live = gate_of(tmp_path / "gate", target, ca=target_ca_pem, proxy=at(parent))
        with running(live):
            with client_of(live, trusted=target_ca_pem) as client:
                assert client.get(f"https://tunnel.test:{target.port}/echo").status_code == 200
            (decision,) = live.records()
            assert (decision["action"], decision["via"]) == ("tunnel:open", f"proxy.test {parent.port}")
            assert live.outcome_of(decision)["result"] == "sent"


@pytest.mark.parametrize("way", ["https", "http", "tunnel"])
def test_wrong_credentials_are_our_502_and_not_the_agents_407(
    tmp_path: Path, parent: Parent, origin: Origin, plain_origin: Origin, target_ca_pem: Path, way: str
) -> None:
    """An agent that was told 407 would send its own secret again; the record says who wants what."""
    proxy = {"url": f"http://proxy.test:{parent.port}"}
    live = gate_of(tmp_path / "gate", origin, plain_origin, ca=target_ca_pem, proxy=proxy)
    with running(live):
        if way == "tunnel":
            with dial(live) as raw:
                raw.sendall(b"CONNECT tunnel.test:%d HTTP/1.1\r\n" % origin.port + authorization() + b"\r\n")
                head = read_head(raw)
                assert status(head) == 502
                assert b"proxy-authenticate" not in head.lower()
        else:
            target = origin if way == "https" else plain_origin
            with client_of(live) as client:
                answered = client.get(f"{way}://{target.name}:{target.port}/echo")
            assert (answered.status_code, answered.json()["code"]) == (502, "upstream.proxy")
            assert "proxy-authenticate" not in answered.headers
        (allowed,) = live.records()
        outcome = live.outcome_of(allowed)
    assert outcome["result"] == "failed"
    assert outcome["error"].startswith("the proxy that the gate goes through answered 407")
    assert origin.seen == plain_origin.seen == []


def test_what_the_proxy_cannot_reach_is_a_502(tmp_path: Path, parent: Parent, target_ca_pem: Path) -> None:
    """A refusal of its own, and a proxy that is not there."""
    for port in (parent.port, 1):
        proxy = {**at(parent), "url": f"http://proxy.test:{port}"}
        live = gate_of(tmp_path / f"gate-{port}", ca=target_ca_pem, ports=(2,), proxy=proxy)
        with running(live):
            with client_of(live) as client:
                assert client.get("https://origin.test:2/echo").status_code == 502
            (allowed,) = live.records()
            assert live.outcome_of(allowed)["result"] == "failed"


def test_a_target_that_never_answers_is_a_504_there_too(
    tmp_path: Path, parent: Parent, origin: Origin, target_ca_pem: Path
) -> None:
    """What is ended is the connection beneath, which is the proxy's."""
    live = gate_of(tmp_path / "gate", origin, ca=target_ca_pem, proxy=at(parent), response_timeout_s=1)
    with running(live):
        with client_of(live) as client:
            answered = client.get(f"https://origin.test:{origin.port}/slow")
            assert (answered.status_code, answered.json()["code"]) == (504, "upstream.timeout")
        (allowed,) = live.records()
        assert live.outcome_of(allowed)["result"] == "failed"


def test_the_secret_stands_in_no_record_and_no_message(
    tmp_path: Path, parent: Parent, origin: Origin, target_ca_pem: Path
) -> None:
    """Neither as it is nor as it is sent."""
    live = gate_of(tmp_path / "gate", origin, ca=target_ca_pem, proxy=at(parent))
    with running(live), client_of(live) as client:
        assert client.get(f"{origin.scheme}://{origin.name}:{origin.port}/echo").status_code == 200
    written = live.config.chron
    assert isinstance(written, Path)
    kept = b"".join(path.read_bytes() for path in written.parent.iterdir() if path.is_file())
    assert CREDENTIALS.encode() not in kept
    assert KNOWN_AS.partition(" ")[2].encode() not in kept
    assert CREDENTIALS not in repr(live.config)
    assert CREDENTIALS not in repr(live.service.gate.destinations._chaining)


# --- the destination guard -------------------------------------------------------------------------------


def test_the_guard_is_not_the_proxys_to_loosen(tmp_path: Path, parent: Parent, target_ca_pem: Path) -> None:
    """Every address is checked here first: what may not be reached directly may not be reached through it."""
    mappings = {"version": 1, "tunnels": [{"id": "meta", "host": "metadata.test"}]}
    live = gate_of(tmp_path / "gate", ca=target_ca_pem, proxy=at(parent))
    live.write("mappings/site.yaml", mappings)
    with running(live):
        with dial(live) as raw:
            raw.sendall(b"CONNECT metadata.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
            assert status(read_head(raw)) == 403
        (denied,) = live.records()
        assert denied["code"] == "destination.metadata"


@pytest.mark.parametrize("around", ["origin.test", "*.test", "127.0.0.0/8"])
def test_what_goes_around_it_goes_directly(tmp_path: Path, origin: Origin, target_ca_pem: Path, around: str) -> None:
    """By name, by the end of a name, by address; the proxy that is named is nowhere."""
    live = gate_of(tmp_path / "gate", origin, ca=target_ca_pem, proxy={"url": "http://proxy.test:1"}, no_proxy=[around])
    with running(live):
        with client_of(live) as client:
            assert client.get(f"https://origin.test:{origin.port}/echo").status_code == 200
        (allowed,) = live.records()
        assert "via" not in allowed


def test_a_proxy_that_is_the_gate_itself_is_refused(tmp_path: Path, target_ca_pem: Path) -> None:
    """At the start: a request would come back for ever."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    live = gate_of(tmp_path / "gate", ca=target_ca_pem, proxy={"url": f"http://proxy.test:{port}"})
    live.config = replace(live.config, proxy=replace(live.config.proxy, listen=Address("127.0.0.1", port)))
    with pytest.raises(ConfigError, match=r"upstream\.proxy: the gate does not forward to itself"), live:
        pass


# --- a proxy that resolves -------------------------------------------------------------------------------


@pytest.fixture
def stub(target_ca: trustme.CA, origin: Origin, plain_origin: Origin) -> Iterator[StubProxy]:
    user, _, password = CREDENTIALS.partition(":")
    table = {"origin.test": origin.address, "plain.test": plain_origin.address}
    with StubProxy(target_ca, table, agent=user, token=password) as running_stub:
        yield running_stub


def test_a_proxy_that_resolves_is_asked_for_names(
    tmp_path: Path, stub: StubProxy, origin: Origin, plain_origin: Origin, target_ca_pem: Path
) -> None:
    """By CONNECT, and for plain HTTP by the whole URI; the host's certificate is verified by name all the same."""
    proxy = {"url": f"http://proxy.test:{stub.port}", "credentials_env": "CLAIIM_TEST_PARENT", "resolves": "proxy"}
    live = gate_of(tmp_path / "gate", ca=target_ca_pem, proxy=proxy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAIIM_TEST_PARENT", CREDENTIALS)
        with running(live):
            with client_of(live) as client:
                assert client.get("https://origin.test/echo").status_code == 200
                assert client.get("http://plain.test/echo").status_code == 200
                assert client.post("http://plain.test/echo", content=b"hello").status_code == 200
            assert [each["via"] for each in live.records()] == [f"proxy.test {stub.port}"] * 3
    assert [(each.method, each.target, each.authorized) for each in stub.asked] == [
        ("CONNECT", "origin.test:443", True),
        ("GET", "http://plain.test/echo", True),
        ("POST", "http://plain.test/echo", True),
    ]
    assert len(origin.seen) == 1
    assert [seen.header("host") for seen in plain_origin.seen] == ["plain.test"] * 2


def test_squid_that_resolves_is_asked_for_names(
    tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path
) -> None:
    """The same with the real one, by names that the gate cannot look up: what it is proven with goes no further."""
    squid = Squid(CREDENTIALS, "origin.test", "plain.test")
    try:
        live = gate_of(tmp_path / "gate", origin, plain_origin, ca=target_ca_pem, proxy=at(squid, resolves="proxy"))
        live.service_options = {"lookup": knows_the_proxy_alone}
        with running(live):
            with client_of(live) as client:
                for target in (origin, plain_origin):
                    url = f"{target.scheme}://{target.name}:{target.port}/echo"
                    assert client.get(url).status_code == 200
                    assert client.post(url, content=b"hello").status_code == 200
                    assert client.delete(url).status_code == 403
                assert client.get("https://nowhere.test/echo").status_code == 403
            allowed = live.records(outcome="ALLOW")
            assert [each["via"] for each in allowed] == [f"proxy.test {squid.port}"] * 4
            assert {live.outcome_of(each)["result"] for each in allowed} == {"sent"}
    finally:
        squid.stop()
    for target in (origin, plain_origin):
        assert [seen.method for seen in target.seen] == ["GET", "POST"]
        assert [seen.header("proxy-authorization") for seen in target.seen] == [None, None]


async def knows_the_proxy_alone(host: str) -> tuple[str, ...]:
    """DNS of a company that tells its machines nothing but the way to its proxy."""
    if host != "proxy.test":
        raise DestinationUnknown(f'"{host}" cannot be resolved')
    return ("127.0.0.1",)


def test_its_407_to_a_plain_request_does_not_reach_the_agent(
    tmp_path: Path, stub: StubProxy, plain_origin: Origin, target_ca_pem: Path
) -> None:
    """It is an answer to the gate."""
    proxy = {"url": f"http://proxy.test:{stub.port}", "resolves": "proxy"}
    live = gate_of(tmp_path / "gate", ca=target_ca_pem, proxy=proxy)
    with running(live):
        with client_of(live) as client:
            answered = client.get("http://plain.test/echo")
        assert (answered.status_code, answered.json()["code"]) == (502, "upstream.proxy")
        (allowed,) = live.records()
        assert live.outcome_of(allowed)["result"] == "failed"
    assert plain_origin.seen == []


def test_another_gate_can_be_the_proxy(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Two gates, each with its own agents and its own word: what either denies does not arrive."""
    outer = LiveGate(tmp_path / "outer", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with running(outer):
        user, _, token = outer.proxy().removeprefix("http://").partition("@")[0].partition(":")
        port = outer.service.proxy_address.port
        proxy = {"url": f"http://proxy.test:{port}", "credentials_file": "secret", "resolves": "proxy"}
        inner = gate_of(tmp_path / "inner", ca=outer.ca, proxy=proxy)
        (inner.folder / "secret").write_text(f"{user}:{token}\n")
        with running(inner):
            with client_of(inner) as client:
                assert client.get("https://origin.test/echo").status_code == 200
                assert client.delete("https://origin.test/echo").status_code == 403
            assert [each["outcome"] for each in inner.records()] == ["ALLOW", "DENY"]
        assert [(each["outcome"], each["agent"]) for each in outer.records()] == [("ALLOW", "deploy-bot")]
    assert len(origin.seen) == 1
    assert [name for name, _ in origin.seen[0].headers if name.lower().startswith("proxy-")] == []
