"""The table of tools: what each goes by, whether that is enough, and what has to be done by hand where it is not.

docs/wiring.md and `claiim help wiring` are this table. A tool that works, and what works by hand, is driven for real
through a gate (tests/clients/wiring), with its owner's settings against it; the names of those drives stand in
`drives`. Nothing here is read when the environment is made: that is `given`.

    curl          UNATTENDED
    aiohttp       BY_HAND      ClientSession(trust_env=True); without it, it goes around the gate
    psql          CANNOT       no HTTP
"""

from dataclasses import dataclass
from enum import Enum


class Works(Enum):
    """Whether the variables are enough."""

    CANNOT = "cannot"
    BY_HAND = "by hand"
    UNATTENDED = "yes"


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool and what is known of it."""

    name: str
    works: Works
    tried: str
    """The version that it is known of."""
    reads: tuple[str, ...]
    """Of the variables; `*_PROXY` stands for the common ones."""
    drives: tuple[str, ...] = ()
    """By which tests it is known: names of tests/clients/wiring/drives.py."""
    hand: str = ""
    """What has to be done by hand, and what happens when it is not."""
    note: str = ""
    """What else is to be known."""


TOOLS: tuple[Tool, ...] = (
    Tool(
        "curl", Works.UNATTENDED, "7.88", ("*_PROXY", "CURL_CA_BUNDLE", "CURL_HOME"), ("curl",),
        note="Your `.curlrc` is not read. `--proxy`, `--noproxy` and `--cacert` on its command line win.",
    ),
    Tool(
        "wget", Works.UNATTENDED, "1.21, GnuTLS", ("*_PROXY", "WGETRC"), ("wget",),
        note="Your `.wgetrc` is not read; `/etc/wgetrc` is.",
    ),
    Tool(
        "git over https", Works.UNATTENDED, "2.39",
        ("GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS", "GIT_SSL_CAINFO", "GIT_HTTP_PROXY_AUTHMETHOD", "GIT_PROXY_SSL_CAINFO"), ("git",),
        note="`http.proxy` of your configuration does not win; `http.URL.proxy` and `remote.NAME.proxy` do. `git://` is no HTTP and "
        "goes around the gate.",
    ),
    Tool(
        "git over ssh", Works.CANNOT, "2.39, 9.2", (), ("ssh.test",),
        hand='`git config --global url."https://github.com/".insteadOf git@github.com:` makes it https. ssh is no HTTP and '
        "goes around the gate.",
    ),
    Tool("Python: requests, urllib", Works.UNATTENDED, "2.34, 3.13", ("*_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), ("requests", "urllib")),
    Tool("Python: httpx", Works.UNATTENDED, "0.28", ("*_PROXY", "SSL_CERT_FILE"), ("httpx",)),
    Tool(
        "Python: aiohttp", Works.BY_HAND, "3.14", ("*_PROXY", "SSL_CERT_FILE"), ("aiohttp", "aiohttp-ws", "aiohttp.test"),
        hand="`ClientSession(trust_env=True)`. Without it, it goes around the gate.",
        note="WebSockets go by `WSS_PROXY`.",
    ),
    Tool(
        "Python: urllib3 by itself", Works.BY_HAND, "2.8", ("SSL_CERT_FILE",), ("urllib3", "urllib3.test"),
        hand="`ProxyManager(...)` with `make_headers(proxy_basic_auth=...)`. A `PoolManager` goes around the gate.",
    ),
    Tool("Python: boto3", Works.UNATTENDED, "1.44", ("*_PROXY", "AWS_CA_BUNDLE"), ("boto3",)),
    Tool(
        "Python: gRPC", Works.UNATTENDED, "1.85", ("*_PROXY", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), ("gRPC",),
        note="`ssl_channel_credentials(root_certificates=...)` in a program wins, and fails.",
    ),
    Tool(
        "Python: httplib2", Works.BY_HAND, "0.32", ("*_PROXY", "HTTPLIB2_CA_CERTS"), ("httplib2", "httplib2.test"),
        hand="Install PySocks. Without it, it goes around the gate.",
    ),
    Tool("Python: the SDKs of OpenAI and Anthropic", Works.UNATTENDED, "3.54, 2.12", ("*_PROXY", "SSL_CERT_FILE"), ("openai", "anthropic")),
    Tool(
        "pip", Works.UNATTENDED, "26.3", ("PIP_PROXY", "PIP_CERT"), ("pip",),
        note="uv (0.13) goes by `*_PROXY`; `http-proxy` and `https-proxy` of a `uv.toml` or `pyproject.toml` win: `UV_NO_CONFIG=1`.",
    ),
    Tool(
        "Node: fetch, http, https", Works.UNATTENDED, "20.20, 24.21",
        ("*_PROXY", "NODE_EXTRA_CA_CERTS", "NODE_USE_ENV_PROXY", "NODE_OPTIONS"),
        ("node fetch", "node https", "node24 fetch", "node24 https"),
        note="`http2`, `net` and `tls` by themselves go around the gate.",
    ),
    Tool("Node: undici", Works.UNATTENDED, "7.30 with Node 20.20", ("*_PROXY", "NODE_OPTIONS"), ("node undici",), note="With the dispatcher that all share; one of a program's own goes around."),
    Tool(
        "npm", Works.UNATTENDED, "11.19",
        ("npm_config_proxy", "npm_config_https_proxy", "npm_config_noproxy", "npm_config_cafile"), ("npm",),
    ),
    Tool("Deno", Works.UNATTENDED, "2.9", ("*_PROXY", "DENO_CERT"), ("deno",)),
    Tool("cargo", Works.UNATTENDED, "1.95", ("CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"), ("cargo",)),
    Tool(
        "go", Works.UNATTENDED, "1.19", ("*_PROXY", "SSL_CERT_FILE"), ("go",),
        note="Go programs never proxy `localhost` and addresses of loopback. That is so of all of them: gh, terraform, docker.",
    ),
    Tool(
        "gh", Works.UNATTENDED, "2.23", ("*_PROXY", "SSL_CERT_FILE"), ("gh",),
        note="`http_unix_socket` of its `config.yml` wins, and goes around the gate.",
    ),
    Tool(
        "kubectl", Works.BY_HAND, "1.32", ("*_PROXY", "SSL_CERT_FILE"), ("kubectl", "kubectl by hand"),
        hand="Behind `claiim run` nothing: a kubeconfig that it writes goes before yours, with the same clusters, the gate as "
        'their proxy and its CA. With `claiim env`: `--certificate-authority="$SSL_CERT_FILE"` where the kubeconfig names a CA '
        "(else it refuses the gate's certificate), and no `proxy-url` in it.",
        note="A client certificate ends at the gate. A cluster added during a run is gone after it. "
        "`--kubeconfig FILE` reads that one alone, with the `proxy-url` and the CA that it names.",
    ),
    Tool(
        "terraform", Works.UNATTENDED, "1.11, HTTP backend", ("*_PROXY", "SSL_CERT_FILE"), ("terraform",),
        note="Providers are Go programs and get the same environment; none was at hand to be tried.",
    ),
    Tool(
        "docker, to a daemon by tcp://", Works.UNATTENDED, "28.2, the command alone", ("*_PROXY", "DOCKER_CERT_PATH"), ("docker",),
        note="A daemon by its socket is not gated, and what the daemon pulls goes by the daemon's own settings. `exec` and "
        "`attach` dial by themselves, past every proxy: give them a reverse listener as their `-H`.",
    ),
    Tool(
        "aws", Works.UNATTENDED, "1.45", ("*_PROXY", "AWS_CA_BUNDLE"), ("aws",),
        note="What `AWS_CONTAINER_CREDENTIALS_FULL_URI` or `_RELATIVE_URI` names is asked for credentials around the gate, by boto3, too.",
    ),
    Tool(
        "gcloud", Works.UNATTENDED, "528",
        (
            "CLOUDSDK_PROXY_TYPE", "CLOUDSDK_PROXY_ADDRESS", "CLOUDSDK_PROXY_PORT", "CLOUDSDK_PROXY_USERNAME",
            "CLOUDSDK_PROXY_PASSWORD", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        ),
        ("gcloud",),
    ),
    Tool(
        "Java: java.net.URL and what is built on it", Works.UNATTENDED, "17", ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "HTTPS_PROXY"), ("java",),
        note="`credentials.jar` gives the token as the default Authenticator and as `https.proxyUser`. It needs a Java with "
        "`java.instrument`: one that was built without (jlink) does not start, so unset JAVA_TOOL_OPTIONS there. A proxy on its "
        "command line wins, so also one in MAVEN_OPTS or gradle.properties.",
    ),
    Tool(
        "Java: java.net.http.HttpClient", Works.BY_HAND, "17", ("JAVA_TOOL_OPTIONS",), ("java HttpClient",),
        hand="`.authenticator(Authenticator.getDefault())`. Without it: 407.",
    ),
    Tool(
        "Maven", Works.BY_HAND, "3.8", ("JAVA_TOOL_OPTIONS", "CLAIIM_AGENT", "CLAIIM_TOKEN"), ("maven",),
        hand='`mvn -gs "$(dirname "$SSL_CERT_FILE")/maven.xml"`; a proxy in your own settings.xml wins. Without it: 407.',
    ),
    Tool(
        "Ruby: net/http", Works.UNATTENDED, "3.1", ("*_PROXY", "SSL_CERT_FILE"), ("ruby",),
        note="It never proxies a name that resolves to loopback.",
    ),
    Tool("psql", Works.CANNOT, "15", (), ("psql.test",), hand="It speaks no HTTP, as other databases do not, and goes around the gate."),
)  # fmt: skip
