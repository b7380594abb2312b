"""Unmodified tools go through the proxy and trust its CA with nothing but their environment set."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from proxy.wiring import (
    JAVA_STORE_PASSWORD,
    UNSET,
    Files,
    environment,
    shell_lines,
    system_roots,
    write_bundle,
    write_files,
    write_java_store,
)
from support.fixtures import *  # noqa: F403
from support.needed import needed
from support.targets import Origin
from support.targets.stub_proxy import Asked, StubProxy

FILES = Files.of(Path("/s"))


def wired(proxy_url: str = "http://deploy-bot:t0ken@127.0.0.1:8080", **more: object) -> dict[str, str]:
    given = {"agent": "deploy-bot", "api_url": "http://127.0.0.1:8181", "run_id": "run_1"} | more
    return environment(
        proxy_url,
        FILES,
        **given,
    )


# The variables, as values.


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_proxy_variables_are_set_in_both_cases(name: str) -> None:
    """Tools that read one case only are routed too."""
    assert wired()[name] == wired()[name.lower()] == "http://deploy-bot:t0ken@127.0.0.1:8080"


@pytest.mark.parametrize(
    "name",
    [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "AWS_CA_BUNDLE",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "HTTPLIB2_CA_CERTS",
        "npm_config_cafile",
    ],
)
def test_tools_that_replace_their_roots_get_the_bundle(name: str) -> None:
    """A variable that replaces the roots points to the system's roots plus ours."""
    assert wired()[name] == "/s/bundle.pem"


@pytest.mark.parametrize("name", ["NODE_EXTRA_CA_CERTS", "DENO_CERT"])
def test_tools_that_add_to_their_roots_get_ours_alone(name: str) -> None:
    """A variable that adds is not made to load the system's roots a second time."""
    assert wired()[name] == "/s/ca.pem"


def test_an_inherited_exception_does_not_lead_around_the_gate() -> None:
    """NO_PROXY is set, and empty, unless the caller says otherwise; Java's loopback exception goes too."""
    assert wired()["NO_PROXY"] == wired()["no_proxy"] == ""
    assert "-Dhttp.nonProxyHosts= " in wired()["JAVA_TOOL_OPTIONS"]
    excepted = wired(no_proxy="a.test,.b.test,c.test:8443,*")
    assert excepted["no_proxy"] == "a.test,.b.test,c.test:8443,*"
    assert "'-Dhttp.nonProxyHosts=a.test|*.a.test|*.b.test|*'" in excepted["JAVA_TOOL_OPTIONS"]


def test_no_file_has_the_token(tmp_path: Path, target_ca: trustme.CA) -> None:
    """The files are readable for all: of the proxy they have host and port."""
    write_files(tmp_path, target_ca.cert_pem.bytes(), "http://deploy-bot:t0ken@127.0.0.1:8080")
    assert b"<port>8080</port>" in (tmp_path / "maven.xml").read_bytes()
    assert not [path for path in tmp_path.iterdir() if b"t0ken" in path.read_bytes()]


def test_the_token_is_not_in_what_the_jvm_prints() -> None:
    """JAVA_TOOL_OPTIONS, which every JVM prints on stderr, holds no credential."""
    assert "t0ken" not in wired()["JAVA_TOOL_OPTIONS"]


def test_gcloud_gets_the_proxy_in_parts() -> None:
    """gcloud's own properties name the host, the port and the decoded credentials."""
    gcloud = wired("http://deploy-bot:a%2Fb%25@10.0.0.1:9000")
    assert {name: value for name, value in gcloud.items() if name.startswith("CLOUDSDK_PROXY_")} == {
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "10.0.0.1",
        "CLOUDSDK_PROXY_PORT": "9000",
        "CLOUDSDK_PROXY_USERNAME": "deploy-bot",
        "CLOUDSDK_PROXY_PASSWORD": "a/b%",
    }


def test_options_of_the_user_are_continued() -> None:
    """NODE_OPTIONS and JAVA_TOOL_OPTIONS keep what they held, and gain nothing twice."""
    mine = {"NODE_OPTIONS": "--max-old-space-size=512", "JAVA_TOOL_OPTIONS": "-Xmx1g"}
    once = wired(inherited=mine)
    assert once["NODE_OPTIONS"] == "--max-old-space-size=512 --require=/s/preload.cjs"
    assert once["JAVA_TOOL_OPTIONS"].startswith("-Xmx1g -D")
    assert " -Dhttps.proxyHost=127.0.0.1 " in once["JAVA_TOOL_OPTIONS"]
    assert wired(inherited=once) == once


@pytest.mark.parametrize("name", ["JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"])
def test_what_java_reads_after_ours_has_ours_at_its_end(name: str) -> None:
    """The last of a property counts; a company's proxy in one of these led around the gate."""
    assert name not in wired()
    once = wired(inherited={name: "-Xmx1g -Dhttps.proxyHost=corp.test"})
    assert once[name].startswith("-Xmx1g -Dhttps.proxyHost=corp.test -D")
    assert " -Dhttps.proxyHost=127.0.0.1 " in once[name]
    assert "-javaagent" not in once[name]
    assert wired(inherited=once) == once


def test_what_git_hands_on_has_ours_at_its_end() -> None:
    """`git -c http.proxy= alias` hands that to what the alias starts, and it wins over what comes by the count."""
    assert "GIT_CONFIG_PARAMETERS" not in wired()
    once = wired("http://a:t@127.0.0.1:1", inherited={"GIT_CONFIG_PARAMETERS": "'http.proxy='"})
    assert once["GIT_CONFIG_PARAMETERS"] == "'http.proxy=' 'http.proxy=http://a:t@127.0.0.1:1'"
    assert wired("http://a:t@127.0.0.1:1", inherited=once)["GIT_CONFIG_PARAMETERS"] == once["GIT_CONFIG_PARAMETERS"]


def test_git_s_own_settings_go_on() -> None:
    """What the user gave git by variables stays, ours comes after it, and not a second time in a shell within."""
    mine = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Ann"}
    once = wired(inherited=mine)
    assert (once["GIT_CONFIG_COUNT"], once["GIT_CONFIG_KEY_1"]) == ("2", "http.proxy")
    assert "GIT_CONFIG_KEY_0" not in once
    assert wired(inherited=mine | once)["GIT_CONFIG_COUNT"] == "2"
    assert wired(inherited={"GIT_CONFIG_COUNT": "x"})["GIT_CONFIG_COUNT"] == "1"


def test_the_agent_is_named() -> None:
    """The SDK finds the gate and its agent; without a run there is no run id; the token is not given here."""
    claiim = {name: value for name, value in wired().items() if name.startswith("CLAIIM_")}
    assert claiim == {
        "CLAIIM_URL": "http://127.0.0.1:8181",
        "CLAIIM_AGENT": "deploy-bot",
        "CLAIIM_RUN_ID": "run_1",
    }
    assert "CLAIIM_RUN_ID" not in wired(run_id="")


def test_nothing_is_both_set_and_removed() -> None:
    """What is unset is never something that was just set."""
    assert not set(UNSET) & set(wired())
    assert {"SSL_CERT_DIR", "NODE_TLS_REJECT_UNAUTHORIZED"} <= set(UNSET)


def test_a_shell_reads_back_what_was_written(tmp_path: Path) -> None:
    """Values with quotes, blanks and dollars survive; inherited overrides are gone."""
    awkward = {"A": 'it\'s $HOME `x` \\ "q"', "B": "", "C": "two\nlines"}
    script = shell_lines(awkward, ["SSL_CERT_DIR", "A"])
    script += 'printf "%s|%s|%s|%s" "$A" "$B" "$C" "${SSL_CERT_DIR-gone}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"SSL_CERT_DIR": "/x"})
    assert done.stdout == 'it\'s $HOME `x` \\ "q"||two\nlines|gone'


@pytest.mark.parametrize("name", ["a;echo hit;_PROXY", "a b_PROXY", "my.app_proxy", "1_PROXY", "$(echo hit)_PROXY"])
def test_the_name_of_a_variable_is_no_command(name: str) -> None:
    """Names come from an environment that anybody may have filled; what no shell could unset is not printed."""
    script = shell_lines({"A": "1"}, {name, "B"})
    assert script == "unset B\nexport A=1\n"


# The trust stores.


def test_the_bundle_holds_the_system_roots_and_ours_once(
    tmp_path: Path, target_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System roots plus our CA, readable by all, whole files only."""
    pem = target_ca.cert_pem.bytes()
    write_bundle(tmp_path / "bundle.pem", pem)
    content = (tmp_path / "bundle.pem").read_bytes()
    assert pem.strip() in content
    assert content.count(b"BEGIN CERTIFICATE") == len(set(system_roots())) + 1
    assert stat.S_IMODE((tmp_path / "bundle.pem").stat().st_mode) == 0o644
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    write_bundle(tmp_path / "nested.pem", pem)
    assert (tmp_path / "nested.pem").read_bytes().count(pem.strip()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "nested.pem"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, target_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ever reads half a bundle."""
    path = tmp_path / "bundle.pem"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="no space left"):
        write_bundle(path, target_ca.cert_pem.bytes())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("bundle.pem", "old")]


@pytest.mark.needs("keytool")
def test_java_reads_the_store(tmp_path: Path, target_ca: trustme.CA) -> None:
    """The JDK's own tool lists every root as a trusted certificate."""
    write_java_store(tmp_path / "trust.p12", target_ca.cert_pem.bytes())
    command = [
        "keytool",
        "-list",
        "-keystore",
        str(tmp_path / "trust.p12"),
        "-storepass",
        JAVA_STORE_PASSWORD,
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert listed.stdout.count("trustedCertEntry") >= len(set(system_roots()))


# Real tools through a real proxy.


@dataclass(frozen=True, slots=True)
class Wired:
    """A proxy, a target behind it, and the environment that leads there."""

    proxy: StubProxy
    environment: dict[str, str]
    folder: Path

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120,
            env=self.environment | more, cwd=self.folder,
        )  # fmt: skip

    def tunnels(self) -> set[Asked]:
        return set(self.proxy.asked)


@pytest.fixture
def through(target_ca: trustme.CA, tmp_path: Path, origin: Origin, plain_origin: Origin) -> Iterator[Wired]:
    """The environment of an agent whose proxy knows origin.test and plain.test."""
    state = tmp_path / "with blank"
    state.mkdir()
    with StubProxy(target_ca, {"origin.test": origin.address, "plain.test": plain_origin.address}) as proxy:
        url = f"http://{proxy.agent}:{quote(proxy.token, safe='')}@{proxy.address}"
        files = write_files(state, target_ca.cert_pem.bytes(), url)
        own = environment(
            url,
            files,
            agent=proxy.agent,
            api_url="http://127.0.0.1:1",
            run_id="run_1",
        )
        yield Wired(proxy, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | own, tmp_path)


NODE_FETCH = "fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t))"
NODE_REQUEST = """
const url = new URL(process.argv[1]);
const lib = require(url.protocol.slice(0, -1));
lib.get(url, OPTIONS, r => {
  let text = '';
  r.setEncoding('utf8').on('data', c => text += c).on('end', () => console.log(text));
});
"""
REQUESTS = "import requests, sys; print(requests.get(sys.argv[1], timeout=30).text)"
HTTPX = "import httpx, sys; print(httpx.get(sys.argv[1]).text)"
URLLIB = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


def node_request(options: str = "{}") -> list[str]:
    return ["node", "-e", NODE_REQUEST.replace("OPTIONS", options)]


AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(sys.argv[1]) as answer:
        print(await answer.text())
asyncio.run(main())
"""
CLIENTS = {
    "curl": ["curl", "-sS", "--fail"],
    "python requests": [sys.executable, "-c", REQUESTS],
    "python httpx": [sys.executable, "-c", HTTPX],
    "python urllib": [sys.executable, "-c", URLLIB],
    "python aiohttp": [sys.executable, "-c", AIOHTTP],
    "node fetch": ["node", "-e", NODE_FETCH],
    "node http.get": node_request(),
    "node agent of its own": node_request("{agent: new lib.Agent({keepAlive: true, timeout: 500})}"),
    "node no agent": node_request("{agent: false}"),
    "node headers as a list": node_request("{headers: ['Host', url.host, 'X-One', '1']}"),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://origin.test/echo?x=1", Asked("CONNECT", "origin.test:443", True)),
        ("http://plain.test/echo?x=1", Asked("GET", "http://plain.test/echo?x=1", True)),
    ],
    ids=["https", "http"],
)
def test_an_http_client_goes_through(
    through: Wired, origin: Origin, plain_origin: Origin, client: str, url: str, asked: Asked
) -> None:
    """Credentials go to the proxy and no further, and the target's certificate is trusted."""
    command = CLIENTS[client]
    needed(command[0])
    done = through.run(*command, url)
    assert done.returncode == 0, done.stderr
    assert '"path": "/echo?x=1"' in done.stdout
    assert through.proxy.asked == [asked]
    (seen,) = [*origin.seen, *plain_origin.seen]
    assert seen.header("host") in ("origin.test", "plain.test")
    assert seen.header("proxy-authorization") is None


@pytest.mark.needs("node")
@pytest.mark.parametrize("client", ["node fetch", "node http.get"])
def test_node_shows_why_a_tunnel_was_refused(through: Wired, client: str) -> None:
    """The proxy's reason reaches the program's error; the token does not."""
    done = through.run(*CLIENTS[client], "https://prod.test/")
    assert done.returncode != 0
    assert "403 policy:no-prod-v1 -- action not in allow list" in done.stderr
    assert "ERR_PROXY_TUNNEL" in done.stderr
    assert through.proxy.token not in done.stderr


@pytest.mark.needs("node")
def test_node_keeps_many_exchanges_apart(through: Wired, origin: Origin, plain_origin: Origin) -> None:
    """Bodies, many at a time and connections used again behave as without a proxy."""
    script = """
    const urls = ['https://origin.test/upload', 'http://plain.test/upload'];
    const post = (i) => fetch(urls[i % 2], {method: 'POST', body: 'x'.repeat(i)}).then(r => r.json());
    (async () => {
      const first = await Promise.all([...Array(20).keys()].map(post));
      const second = [await post(100), await post(100), await post(100)];
      console.log([...first, ...second].map(a => a.bytes).join(' '));
    })();
    """
    done = through.run("node", "-e", script)
    assert done.stdout.split() == [str(size) for size in [*range(20), 100, 100, 100]], done.stderr
    assert origin.connections + plain_origin.connections <= 20 + 3


@pytest.mark.needs("node")
def test_node_honours_exceptions(through: Wired, origin: Origin) -> None:
    """A host in NO_PROXY is reached directly, by fetch and by https.request; another port is not."""
    for value, direct in ((f"127.0.0.1:{origin.port}", True), ("127.0.0.1", True), ("127.0.0.1:1", False)):
        for client in ("node fetch", "node http.get"):
            through.proxy.asked.clear()
            through.run(*CLIENTS[client], f"{origin.direct_url}/echo", no_proxy=value)
            assert (through.proxy.asked == []) == direct, (value, client)


NO_PROXIES = {f"{way}_proxy": "" for way in ("http", "https", "all")} | {
    f"{way}_PROXY": "" for way in ("HTTP", "HTTPS", "ALL")
}


@pytest.mark.needs("node")
def test_node_without_a_proxy_is_left_alone(through: Wired, origin: Origin) -> None:
    """The preload changes nothing when no proxy is named."""
    done = through.run(*CLIENTS["node fetch"], f"{origin.direct_url}/echo", **NO_PROXIES)
    assert (done.returncode, through.proxy.asked) == (0, []), done.stderr


@pytest.mark.needs("node")
@pytest.mark.parametrize("client", ["node fetch", "node http.get"])
@pytest.mark.parametrize("value", ["socks5://s3cret@x", "http://s3cret@[x", "http://s3cret%zz@x"])
def test_node_sends_nothing_by_a_proxy_that_cannot_be_read(
    through: Wired, origin: Origin, plain_origin: Origin, client: str, value: str
) -> None:
    """Neither around it nor anywhere: an error that says why, without the text, which may hold a token."""
    for target in (origin, plain_origin):
        odd = through.run(*CLIENTS[client], f"{target.direct_url}/echo", **NO_PROXIES | {"all_proxy": value})
        assert odd.returncode != 0
        assert "the proxy variable is not an http:// URL" in odd.stderr
        assert "s3cret" not in odd.stderr + odd.stdout
        assert target.seen == []
