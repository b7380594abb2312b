"""The table of variables: what each one is given, and where its tool says that it reads it.

`proxy.wiring.variables` makes the environment from it, `proxy.wiring.tools` says which tool goes by which, and the
page docs/wiring.md is made from both. A variable that is not in here is not set.

    HTTPS_PROXY      PROXY    http://AGENT:TOKEN@127.0.0.1:8080
    SSL_CERT_FILE    BUNDLE   most tools replace the system's roots, so the bundle holds those plus ours
    NODE_OPTIONS     OWN      has a value of its own, made in variables.py

Removed is what an inherited environment might have and what would win over these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Value(Enum):
    """What a variable is given, in the words of the page."""

    PROXY = "the proxy, with agent and token"
    EXCEPTIONS = "empty, or what `--no-proxy` says"
    BUNDLE = "`bundle.pem`: the system's roots and the gate's CA"
    ADDED = "`ca.pem`: the gate's CA alone, for tools that add to their own roots"
    FOLDER = "the folder that these files are in"
    OWN = "a value of its own"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment."""

    name: str
    value: Value
    source: str
    """Where it is written that the tool reads it."""
    words: str = ""
    """What stands in it, where that is a value of its own."""


_IN_BOTH_CASES = (
    ("HTTP_PROXY", "curl(1), ENVIRONMENT; lower case alone there, upper case alone elsewhere"),
    ("HTTPS_PROXY", "curl(1), ENVIRONMENT"),
    ("ALL_PROXY", "curl(1), ENVIRONMENT"),
    ("WS_PROXY", "aiohttp, Advanced Client Usage, Proxy support: it goes by the scheme of the URL"),
    ("WSS_PROXY", "aiohttp, Advanced Client Usage, Proxy support"),
)

VARIABLES: tuple[Variable, ...] = (
    *(
        Variable(name, Value.PROXY, source)
        for upper, source in _IN_BOTH_CASES
        for name in (upper, upper.lower())
    ),
    # Set even when empty: an inherited exception would lead around the gate.
    Variable("NO_PROXY", Value.EXCEPTIONS, "curl(1), ENVIRONMENT"),
    Variable("no_proxy", Value.EXCEPTIONS, "curl(1), ENVIRONMENT"),
    # A tool's own proxy wins over its configuration file, which would win over the common variables.
    Variable("PIP_PROXY", Value.PROXY, "pip, --proxy"),
    Variable("CARGO_HTTP_PROXY", Value.PROXY, "Cargo Book, http.proxy"),
    Variable("npm_config_proxy", Value.PROXY, "docs.npmjs.com, config: proxy"),
    Variable("npm_config_https_proxy", Value.PROXY, "docs.npmjs.com, config: https-proxy"),
    Variable(
        "npm_config_noproxy", Value.OWN, "docs.npmjs.com, config: noproxy",
        "a host that does not exist, or what `--no-proxy` says: npm takes an empty one for none, and reads its file",
    ),
    Variable("SSL_CERT_FILE", Value.BUNDLE, "OpenSSL, SSL_CTX_set_default_verify_paths; Go, crypto/x509"),
    Variable("REQUESTS_CA_BUNDLE", Value.BUNDLE, "Python requests, SSL Cert Verification"),
    Variable("CURL_CA_BUNDLE", Value.BUNDLE, "curl(1), --cacert"),
    Variable("GIT_SSL_CAINFO", Value.BUNDLE, "git-config(1), http.sslCAInfo"),
    Variable("AWS_CA_BUNDLE", Value.BUNDLE, "AWS CLI, Environment variables"),
    Variable("PIP_CERT", Value.BUNDLE, "pip, --cert"),
    Variable("CARGO_HTTP_CAINFO", Value.BUNDLE, "Cargo Book, http.cainfo"),
    Variable("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", Value.BUNDLE, "gcloud topic configurations"),
    Variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Value.BUNDLE, "gRPC core, doc/environment_variables.md"),
    Variable("HTTPLIB2_CA_CERTS", Value.BUNDLE, "httplib2.certs"),
    # One in an npmrc would make npm ignore NODE_EXTRA_CA_CERTS.
    Variable("npm_config_cafile", Value.BUNDLE, "docs.npmjs.com, config: cafile"),
    # All the system's roots here would cost 60 ms in every start of node 20.
    Variable("NODE_EXTRA_CA_CERTS", Value.ADDED, "nodejs.org/api/cli.html"),
    Variable("DENO_CERT", Value.ADDED, "Deno manual, Environment variables"),
    # The proxy of a ~/.curlrc or ~/.wgetrc would win: these are read instead. wget of GnuTLS knows no variable for roots.
    Variable("CURL_HOME", Value.FOLDER, "curl(1), --config; an empty `.curlrc` in it is read instead of yours"),
    Variable("WGETRC", Value.OWN, "wget(1), Wgetrc Location", "`wgetrc`, read instead of yours: it names the bundle"),
    Variable("DOCKER_CERT_PATH", Value.FOLDER, "docker(1), Environment variables: `ca.pem` in it vouches for a daemon by tcp://"),
    Variable("NODE_USE_ENV_PROXY", Value.OWN, "nodejs.org/api/cli.html", "`1`: Node 22.21, 24 and newer read the common ones"),
    Variable("NODE_OPTIONS", Value.OWN, "nodejs.org/api/cli.html", "yours, and `preload.cjs` for a Node that does not"),
    Variable("JAVA_TOOL_OPTIONS", Value.OWN, "JVM Tool Interface", "yours, proxy, `trust.p12`, and `credentials.jar`"),
    *(
        Variable(name, Value.OWN, source, "only where you have one: yours, proxy and `trust.p12`, as it is read after the other")
        for name, source in (("JDK_JAVA_OPTIONS", "java(1), JDK_JAVA_OPTIONS"), ("_JAVA_OPTIONS", "HotSpot, arguments.cpp"))
    ),
    # git tries without credentials first and would be refused (and recorded) once per connection.
    Variable("GIT_HTTP_PROXY_AUTHMETHOD", Value.OWN, "git-config(1), http.proxyAuthMethod", "`basic`"),
    Variable("GIT_CONFIG_COUNT", Value.OWN, "git(1), GIT_CONFIG_COUNT", "yours and one more"),
    Variable("GIT_CONFIG_KEY_n", Value.OWN, "git(1), GIT_CONFIG_COUNT", "`http.proxy`, which a ~/.gitconfig would win with"),
    Variable("GIT_CONFIG_VALUE_n", Value.OWN, "git(1), GIT_CONFIG_COUNT", "the proxy"),
    Variable(
        "GIT_CONFIG_PARAMETERS", Value.OWN, "git, config.c",
        "only where you have one, as under `git -c`: yours and `http.proxy`, as it wins over the three above",
    ),
    Variable(
        "GIT_PROXY_SSL_CAINFO", Value.OWN, "git-config(1), http.proxySSLCAInfo", "the bundle, where the gate speaks TLS"
    ),
    *(
        Variable(f"CLOUDSDK_PROXY_{part}", Value.OWN, "gcloud topic configurations, proxy", f"{words} of the proxy")
        for part, words in (
            ("TYPE", "the kind"),
            ("ADDRESS", "the host"),
            ("PORT", "the port"),
            ("USERNAME", "the agent, as user"),
            ("PASSWORD", "the token, as password"),
        )
    ),
)  # fmt: skip

_NPM = ("PROXY", "HTTPS_PROXY", "NOPROXY", "CA", "CAFILE")

REMOVED: dict[str, str] = {
    "SSL_CERT_DIR": "a second place for roots: Go and OpenSSL read it beside SSL_CERT_FILE",
    "GIT_SSL_CAPATH": "git reads it instead of its bundle",
    **dict.fromkeys(
        ("GIT_SSL_NO_VERIFY", "NODE_TLS_REJECT_UNAUTHORIZED", "PYTHONHTTPSVERIFY"),
        "verification switched off would hide a gate that is not ours",
    ),
    **dict.fromkeys(
        ("grpc_proxy", "no_grpc_proxy", "SOCKS_PROXY", "socks_proxy", "FTP_PROXY", "ftp_proxy", "RSYNC_PROXY"),
        "a proxy of one tool's own, which wins over the common ones",
    ),
    **dict.fromkeys((f"NPM_CONFIG_{name}" for name in _NPM), "npm reads its settings in any case"),
    "npm_config_ca": "npm reads it instead of the file",
}
"""What must be removed from an inherited environment, and why."""


ROUTING: frozenset[str] = frozenset(
    variable.name
    for variable in VARIABLES
    if variable.value in (Value.PROXY, Value.EXCEPTIONS)
    or variable.name.startswith(("CLOUDSDK_PROXY_", "GIT_PROXY_", "npm_config_noproxy"))
)
"""Those that say where to go; where they are not set they are removed, too."""


def overriding(names: Iterable[str]) -> set[str]:
    """Which inherited names are to be removed besides: `X_PROXY` in any case belongs to the wiring alone.

    Programs read these by their ending (Python: urllib.request.getproxies_environment), so that one which nobody
    thought of would lead around the gate.
    """
    return {name for name in names if name in REMOVED or name in ROUTING or name.lower().endswith("_proxy")}


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A variable that gives a client the base URL of one API."""

    host: str
    variable: str
    path: str
    """What the client expects at the end of it."""


BASE_URLS: tuple[BaseUrl, ...] = (
    BaseUrl("pypi.org", "PIP_INDEX_URL", "/simple"),  # pip, --index-url
    BaseUrl("registry.npmjs.org", "npm_config_registry", "/"),  # docs.npmjs.com, config: registry
    BaseUrl("api.openai.com", "OPENAI_BASE_URL", "/v1"),  # openai-python, README
    BaseUrl("api.anthropic.com", "ANTHROPIC_BASE_URL", ""),  # anthropic-sdk-python, _client.py
)
"""For a listener of mode `reverse`."""
