"""`claiim.yaml` into one value: where it is found, what overrides it, and how its faults are told."""

import ipaddress
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import read_document
from proxy.config import SIGNATURE_ALGORITHMS, Address, Config, ConfigError, JwtIssuer, TlsConfig, parse_address
from proxy.configloading import compile_config, find_config, load_config
from proxy.engines import serving

TEMPLATE = Path(__file__).parents[2] / "proxy" / "cli" / "templates" / "claiim.yaml"
HERE = Path("/etc/gate")


def compiled(text: str, **environ: str) -> Config:
    return compile_config(f"version: 1\n{text}", "claiim.yaml", HERE, HERE / "claiim.yaml", environ)


def test_an_empty_configuration_is_a_working_one() -> None:
    """Only the version is required; everything else has the default that the documentation names."""
    config = compiled("")
    assert (str(config.proxy.listen), str(config.api.listen)) == ("127.0.0.1:8080", "127.0.0.1:8181")
    assert config.proxy.allowed_ports == {443, 80}
    assert (config.proxy.max_body_bytes, config.proxy.drain_timeout_s) == (2**20, 25)
    assert (config.state, config.chron) == (HERE / "state", HERE / "state/chron.db")
    assert (config.agents, config.policies, config.mappings) == (
        HERE / "agents.yaml",
        (HERE / "policies",),
        (HERE / "mappings",),
    )
    assert (config.ca_certificate, config.ca_key) == (HERE / "state/ca.pem", HERE / "state/ca-key.pem")
    assert not config.ca_supplied
    assert config.operator_token == HERE / "state/operator.token"
    assert not config.upstream.unverified_hosts
    assert not config.upstream.allow_private


def test_the_template_shows_the_defaults() -> None:
    """What `claiim init` writes means the same as an empty file."""
    written = compile_config(TEMPLATE.read_text(), "claiim.yaml", HERE, HERE / "claiim.yaml", {})
    assert written == compiled("")


def test_everything_can_be_said() -> None:
    """Each key ends where it belongs; paths are relative to the file, names are canonical."""
    config = compiled(
        """\
proxy: {listen: "[::]:3128", allowed_ports: [443, 6443], max_body_bytes: 0, drain_timeout_s: 1}
api: {listen: "localhost:0"}
state: /var/lib/claiim
chron: log/chron.db
agents: a.yaml
policies: [p, /etc/q.yaml]
mappings: []
ca: {certificate: ca.pem, key: /run/secrets/ca.key}
upstream:
  ca_bundle: roots.pem
  connect_timeout_s: 2
  response_timeout_s: 3
  allow_private: [10.20.0.0/16, "fd00::/8"]
  unverified_hosts: [Legacy.Example.COM]
resolve:
  API.k8s.test.: {address: "[::1]:6443", ca: k8s.pem}
  other.test: {address: "inner.test:443"}
"""
    )
    assert (config.proxy.listen, config.api.listen) == (Address("::", 3128), Address("localhost", 0))
    assert config.chron == HERE / "log/chron.db"
    assert config.policies == (HERE / "p", Path("/etc/q.yaml"))
    assert config.mappings == ()
    assert (config.ca_certificate, config.ca_key, config.ca_supplied) == (
        HERE / "ca.pem",
        Path("/run/secrets/ca.key"),
        True,
    )
    upstream = config.upstream
    assert (upstream.ca_bundle, upstream.connect_timeout_s, upstream.response_timeout_s) == (HERE / "roots.pem", 2, 3)
    assert upstream.allow_private == (ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00::/8"))
    assert upstream.unverified_hosts == {"legacy.example.com"}
    assert list(config.resolve) == ["api.k8s.test", "other.test"]
    assert config.resolve["api.k8s.test"].address == Address("::1", 6443)
    assert config.resolve["api.k8s.test"].ca == HERE / "k8s.pem"


_LISTENERS = """\
listeners:
  more: {mode: proxy, listen: "127.0.0.1:1"}
  github: {mode: reverse, listen: "127.0.0.1:2", target: "https://api.github.com"}
  own: {mode: reverse, listen: "127.0.0.1:3", target: "https://api.github.com", engine: OTHER}
  socks: {mode: socks5, listen: "127.0.0.1:4"}
  netns: {mode: transparent, listen: "127.0.0.1:5"}
"""


@pytest.mark.parametrize("asked", [{}, {"CLAIIM_PROXY_ENGINE": "fast"}, {"CLAIIM_PROXY_ENGINE": "mitmproxy"}])
@pytest.mark.parametrize("said", ["", "proxy: {engine: fast}\n", "proxy: {engine: mitmproxy}\n"])
def test_each_way_in_has_the_engine_that_was_said(said: str, asked: dict[str, str]) -> None:
    """Unsaid it is the fast one, where that can; what that cannot is mitmproxy's, and so is all that was left to it."""
    engine = asked.get("CLAIIM_PROXY_ENGINE") or ("mitmproxy" if "mitmproxy" in said else "fast")
    other = "fast" if engine == "mitmproxy" else "mitmproxy"
    config = compiled(said + _LISTENERS.replace("OTHER", other), **asked)
    found = {each.name: serving(each, config.proxy.engine) for each in config.listeners}
    assert (config.proxy.engine, found) == (
        engine,
        {"more": engine, "github": engine, "own": other, "socks": "mitmproxy", "netns": "mitmproxy"},
    )


# --- faults --------------------------------------------------------------------------------------------

FAULTS = {
    "no version": ("", "1:1: the file is empty"),
    "another version": ("version: 2\n", "1:10: input should be less than or equal to 1, found 2"),
    "unknown key": ("version: 1\nproxi: {}\n", '2:1: unknown key "proxi"; did you mean "proxy"'),
    "unknown key inside": (
        'version: 1\nproxy: {listn: "x"}\n',
        '2:9: unknown key "listn"; did you mean "listen"',
    ),
    "a key twice": ("version: 1\nstate: a\nstate: b\n", '3:1: key "state" stands twice (first on line 2); keep one'),
    "a window that is no number of days": (
        "version: 1\nactivation: {window: month}\n",
        '2:22: "month" is not a number of days; write for example "30d"',
    ),
    "something else that an activation needs": (
        "version: 1\nactivation: {require: [luck]}\n",
        '2:24: "luck" is not one of "simulation" or "second-approver"',
    ),
    "signed bundles and no key": (
        "version: 1\nbundles: {require: true}\n",
        '2:10: "require" needs "keys": without one no bundle can be verified',
    ),
    "a reverse listener that leads nowhere": (
        'version: 1\nlisteners: {a: {mode: reverse, listen: "127.0.0.1:1"}}\n',
        '2:16: mode "reverse" needs "target": the one API that is behind it',
    ),
    "a reverse listener to a path": (
        'version: 1\nlisteners: {a: {mode: reverse, listen: "127.0.0.1:1", target: "https://a.test/v3"}}\n',
        '2:63: "https://a.test/v3" is not a target; write scheme and host alone, for example "https://api.github.com"',
    ),
    "a listener that cannot be named": (
        'version: 1\nlisteners: {A B: {mode: socks5, listen: "127.0.0.1:1"}}\n',
        '2:13: "A B" is not a name; use up to 64 of a-z, 0-9 and ._- and begin with a letter or digit',
    ),
    "a target where agents name theirs": (
        'version: 1\nlisteners: {a: {mode: socks5, listen: "127.0.0.1:1", target: "https://a.test"}}\n',
        '2:16: mode "socks5" has no "target"; agents name theirs',
    ),
    "TLS where somebody else is meant": (
        'version: 1\nlisteners: {a: {mode: transparent, listen: "127.0.0.1:1", tls: true}}\n',
        '2:16: mode "transparent" has no "tls"; what is redirected there is meant for somebody else',
    ),
    "an engine that does not speak that": (
        'version: 1\nlisteners: {a: {mode: socks5, listen: "127.0.0.1:1", engine: fast}}\n',
        '2:16: mode "socks5" is served by the mitmproxy engine alone; leave "engine" out',
    ),
    "an engine that is not led connections": (
        'version: 1\nlisteners: {a: {mode: transparent, listen: "127.0.0.1:1", engine: fast}}\n',
        '2:16: mode "transparent" is served by the mitmproxy engine alone; leave "engine" out',
    ),
    "an engine that there is not": (
        "version: 1\nproxy: {engine: quick}\n",
        '2:17: "quick" is not one of "fast" or "mitmproxy"',
    ),
    "a listener with TLS and no certificate": (
        'version: 1\nlisteners: {a: {mode: socks5, listen: "127.0.0.1:1", tls: true}}\n',
        '1:1: listener "a" has "tls" and there is no "proxy.tls"; its certificate is shown',
    ),
    "broken YAML": ("version: 1\nproxy: {\n", "3:1: did not find expected node content"),
    "no address": (
        'version: 1\napi: {listen: "8181"}\n',
        '2:15: "8181" is not an address; write "host:port", e.g. "127.0.0.1:8181"',
    ),
    "a number for text": ("version: 1\nstate: 5\n", "2:8: expected text, found 5; quote it"),
    "text for a number": (
        'version: 1\nproxy: {max_body_bytes: "1"}\n',
        '2:25: expected a whole number, found "1"',
    ),
    "a port that is none": (
        "version: 1\nproxy: {allowed_ports: [443, 70000]}\n",
        "2:30: input should be less than or equal to 65535, found 70000",
    ),
    "no network": (
        "version: 1\nupstream: {allow_private: [10.0.0.1/8]}\n",
        '2:28: "10.0.0.1/8" is not a network (10.0.0.1/8 has host bits set); write e.g. "10.20.0.0/16"',
    ),
    "no host": (
        "version: 1\nupstream: {unverified_hosts: ['*']}\n",
        '2:31: host "*" is not a host name; write letters, digits, "-", "."',
    ),
    "one host twice": (
        'version: 1\nresolve:\n  a.test: {address: "127.0.0.1:1"}\n  A.test.: {address: "127.0.0.1:2"}\n',
        '3:3: "a.test" and "A.test." are the same host; keep one',
    ),
    "nowhere to connect": (
        'version: 1\nresolve: {a.test: {address: "127.0.0.1:0"}}\n',
        '2:29: "127.0.0.1:0" has no port to connect to; write the one the target listens on',
    ),
    "half a CA": ("version: 1\nca: {certificate: ca.pem}\n", '2:5: key "key" is missing'),
    "a password in the URL of a proxy": (
        'version: 1\nupstream: {proxy: {url: "http://me:hunter2@proxy.test:3128"}}\n',
        '2:25: not a proxy; write scheme, host and port, for example "http://proxy.acme.test:3128"; '
        'a user and password go into "credentials_file"',
    ),
    "a proxy without a port": (
        "version: 1\nupstream: {proxy: {url: http://proxy.test}}\n",
        '2:25: not a proxy; write scheme, host and port, for example "http://proxy.acme.test:3128"; '
        'a user and password go into "credentials_file"',
    ),
    "two places for one secret": (
        "version: 1\nupstream: {proxy: {url: 'http://p.test:1', credentials_file: a, credentials_env: B}}\n",
        '2:19: "credentials_file" and "credentials_env" are two places for one secret; keep one',
    ),
    "an exception that begins with a dot": (
        "version: 1\nupstream: {no_proxy: [.a.test]}\n",
        '2:23: ".a.test" is no host; write "*.a.test", and "a.test" too if that is meant',
    ),
    "verification off for all": (
        "version: 1\nupstream: {verify: false}\n",
        '2:12: unknown key "verify"; known here: ca_bundle, connect_timeout_s, response_timeout_s, '
        "allow_private, unverified_hosts, proxy, no_proxy",
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_place(tmp_path: Path, text: str, fault: str) -> None:
    """file:line:col, what is wrong, what to write; one line."""
    path = tmp_path / "claiim.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ={})
    assert str(refused.value) == f"{path}:{fault}"


def test_all_faults_come_at_once() -> None:
    """Whoever repairs a file sees everything that is wrong with it."""
    text = 'version: 1\nproxi: {}\napi: {listen: "x"}\nstate: 5\n'
    with pytest.raises(ConfigError) as refused:
        compile_config(text, "claiim.yaml", HERE, None, {})
    assert [fault.place.line for fault in refused.value.faults] == [2, 3, 4]


UNREADABLE = {
    "missing": (lambda path: None, "cannot read: no such file or directory; give --config PATH"),
    "a folder": (lambda path: path.mkdir(), "cannot read: is a directory; give --config PATH"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff"), "not UTF-8 text; save it as UTF-8"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """The path and the remedy, no trace."""
    prepare, message = UNREADABLE[name]
    path = tmp_path / "claiim.yaml"
    prepare(path)
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ={})
    assert str(refused.value) == f"{path}: {message}"


# --- where it comes from -------------------------------------------------------------------------------


def test_the_first_place_that_has_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag, variable, here, XDG, home; then the machine's."""
    for name in ("here", "xdg/claiim", "home/.config/claiim"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "claiim.yaml").write_text("version: 1\n")
    monkeypatch.chdir(tmp_path / "here")
    home, xdg = {"HOME": str(tmp_path / "home")}, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find_config(Path("f.yaml"), {"CLAIIM_CONFIG": "v.yaml"}) == Path("f.yaml")
    assert find_config(None, {"CLAIIM_CONFIG": "v.yaml", **xdg}) == Path("v.yaml")
    assert find_config(None, {**xdg, **home}) == Path("claiim.yaml")
    (tmp_path / "here/claiim.yaml").unlink()
    assert find_config(None, {**xdg, **home}) == tmp_path / "xdg/claiim/claiim.yaml"
    assert find_config(None, home) == tmp_path / "home/.config/claiim/claiim.yaml"


def test_without_a_home_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have no home at all; the remedy is said, not a trace."""
    monkeypatch.chdir(tmp_path)
    if Path("/etc/claiim/claiim.yaml").exists():  # it would be found, rightly, and a test must not move it
        pytest.skip("this machine has a configuration of its own")
    assert find_config(None, {}) is None
    with pytest.raises(ConfigError, match=r'no claiim\.yaml found; run "claiim init" here, or give --config PATH'):
        load_config(environ={})
    assert load_config(environ={}, required=False).policies == ()


def test_a_variable_comes_before_the_file() -> None:
    """Some settings can be set by the environment; relative paths are relative to the file all the same."""
    config = compiled(
        'proxy: {listen: "127.0.0.1:1"}\nstate: a\nchron: b/c.db\n',
        CLAIIM_PROXY_LISTEN="[::1]:0",
        CLAIIM_PROXY_ENGINE="fast",
        CLAIIM_API_LISTEN="0.0.0.0:81",
        CLAIIM_STATE="/var/s",
        CLAIIM_CHRON="log.db",
    )
    assert (str(config.proxy.listen), str(config.api.listen)) == ("[::1]:0", "0.0.0.0:81")
    assert config.proxy.engine == "fast"
    assert (config.state, config.chron) == (Path("/var/s"), HERE / "log.db")


def test_an_empty_variable_is_no_setting() -> None:
    """Compose files pass empty variables on; an empty state would put the CA beside the configuration."""
    names = ("CLAIIM_PROXY_LISTEN", "CLAIIM_PROXY_ENGINE", "CLAIIM_API_LISTEN", "CLAIIM_STATE", "CLAIIM_CHRON")
    assert compiled("chron: b.db\n", **dict.fromkeys(names, "")) == compiled("chron: b.db\n")


def test_a_bad_variable_is_named() -> None:
    """The fault is the variable's, not the file's."""
    with pytest.raises(ConfigError, match=r'^CLAIIM_API_LISTEN: "8181" is not an address; write "host:port"'):
        compiled("", CLAIIM_API_LISTEN="8181")
    with pytest.raises(ConfigError, match=r'^CLAIIM_PROXY_ENGINE: "quick" is not an engine; write "fast" or'):
        compiled("", CLAIIM_PROXY_ENGINE="quick")


# --- addresses -----------------------------------------------------------------------------------------

ADDRESSES = {
    "127.0.0.1:8080": Address("127.0.0.1", 8080),
    "localhost:0": Address("localhost", 0),
    "gate_1.test:65535": Address("gate_1.test", 65535),
    "[::1]:80": Address("::1", 80),
    "[::]:80": Address("::", 80),
    "8080": None,
    ":8080": None,
    "a:": None,
    "a:-1": None,
    "a:65536": None,
    "a:8080 ": None,
    "a b:80": None,
    "a:٨": None,
    "::1:80": None,
    "[127.0.0.1]:80": None,
    "[::1%lo]:80": None,
    "[::1:80": None,
    "http://a:80": None,
    "": None,
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_host_and_port(text: str) -> None:
    """IPv6 stands in brackets, the port is there, and nothing else is taken for an address."""
    expected = ADDRESSES[text]
    if expected is None:
        with pytest.raises(ValueError, match='is not an address; write "host:port"'):
            parse_address(text)
    else:
        assert parse_address(text) == expected
        assert str(parse_address(text)) == text


def test_any_address_is_reached_over_loopback() -> None:
    """A listener on every address of a family is asked at its loopback address."""
    assert Address("0.0.0.0", 1).reachable == Address("127.0.0.1", 1)
    assert Address("::", 1).reachable == Address("::1", 1)
    assert Address("10.0.0.1", 1).reachable == Address("10.0.0.1", 1)


_KEYS = [field.name for field in fields(Config)] + ["version", "ca", "listen", "address", "certificate", "a.test"]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | st.sampled_from(["127.0.0.1:80", "a", "10.0.0.0/8", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=6))
def test_any_document_is_a_configuration_or_faults(value: dict[str, object]) -> None:
    """Whatever a file says: a configuration, or faults of one line each with their places."""
    text = json.dumps({"version": 1, **value})
    read_document(text, "x")
    faults = _faults(text)
    assert faults is None or (faults and all("\n" not in fault for fault in faults))


def _faults(text: str) -> list[str] | None:
    try:
        compile_config(text, "x", HERE, None, {})
    except ConfigError as refused:
        return [str(fault) for fault in refused.faults]
    return None


def test_who_acts_can_be_proven_by_certificates_and_workload_tokens() -> None:
    """Each file is relative to the configuration; what an issuer signs with has a default without shared keys."""
    config = compiled(
        """\
proxy: {tls: {certificate: gate.pem, key: gate-key.pem, client_ca: agents.pem, ca: /etc/ca.pem}}
identity: {jwt: [{issuer: "https://ci.acme.test", audience: claiim, jwks: ci.json}]}
"""
    )
    files = (HERE / "gate.pem", HERE / "gate-key.pem", HERE / "agents.pem", Path("/etc/ca.pem"))
    assert config.proxy.tls == TlsConfig(*files)
    assert config.proxy.scheme == "https"
    assert config.issuers == (JwtIssuer("https://ci.acme.test", "claiim", HERE / "ci.json", SIGNATURE_ALGORITHMS),)
    assert (compiled("").proxy.scheme, compiled("").issuers) == ("http", ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("proxy: {tls: {certificate: gate.pem}}", '"key" is missing'),
        ("identity: {jwt: [{issuer: a b, audience: x, jwks: j}]}", '"a b" is not an issuer; write what stands'),
        ("identity: {jwt: [{issuer: 'a#b', audience: x, jwks: j}]}", '"a#b" is not an issuer; write what stands'),
        ("identity: {jwt: [{issuer: a, audience: '', jwks: j}]}", "at least 1 character"),
        ("identity: {jwt: [{issuer: a, audience: x, jwks: j, algorithms: [HS256]}]}", '"RS256"'),
        ("identity: {jwt: [{issuer: a, audience: x, jwks: j, algorithms: [none]}]}", '"RS256"'),
        (
            "identity: {jwt: [{issuer: a, audience: x, jwks: j}, {issuer: a, audience: y, jwks: j}]}",
            'issuer "a" stands here twice; keep one',
        ),
    ],
)
def test_what_would_prove_too_much_is_refused(text: str, fault: str) -> None:
    """With its place: no algorithm of shared keys, no issuer that could be taken for another."""
    with pytest.raises(ConfigError) as raised:
        compiled(text)
    assert str(raised.value).startswith("claiim.yaml:2:")
    assert fault in str(raised.value)


def test_listeners_have_a_name_and_a_fixed_target() -> None:
    """Each further way in ends as it was written; hosts are canonical and ports have their default."""
    config = compiled(
        """\
listeners:
  github: {mode: reverse, listen: "127.0.0.1:8301", target: "https://API.GitHub.com"}
  k8s: {mode: reverse, listen: "10.77.0.1:8302", target: "https://k8s.test:6443/", proves: address}
"""
    )
    github, kubernetes = config.listeners
    assert (github.name, github.mode, github.listen) == ("github", "reverse", Address("127.0.0.1", 8301))
    assert (github.target, github.proves, github.tls) == (("https", "api.github.com", 443), "nothing", False)
    assert (kubernetes.target, kubernetes.proves) == (("https", "k8s.test", 6443), "address")
    assert kubernetes.identities("10.77.0.2") == ("address:10.77.0.2",)
    assert github.identities("10.77.0.2") == ()
