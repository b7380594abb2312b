"""The environment that routes unmodified tools through the gate, as a pure function.

    http_proxy=http://AGENT:TOKEN@127.0.0.1:8080   curl, git, Python, Go (kubectl, terraform), Node, Deno
    SSL_CERT_FILE=.../bundle.pem    one variable per tool that has its own; most of them replace the
                                    system's roots, so the bundle holds those plus ours
    NODE_EXTRA_CA_CERTS=.../ca.pem  adds to Node's own roots: ours alone (all the system's roots here
                                    cost 60 ms in every start of node 20)

What the environment cannot do, and what does:

- Java takes no proxy credentials from its environment: the JVM prints JAVA_TOOL_OPTIONS on stderr, so a token
  must not stand there, and java.net wants an Authenticator anyway. Give the tool its own settings
  (Maven: settings.xml `<proxy>`; Gradle: systemProp.https.proxyUser in gradle.properties); where to
  connect and what to trust is set.
- wget built with GnuTLS reads neither SSL_CERT_FILE nor another variable: --ca-certificate=$SSL_CERT_FILE.
- A proxy written in ~/.curlrc, git's http.proxy or a Docker daemon's settings wins over the environment.
- Go programs never proxy loopback names and addresses (golang.org/x/net/http/httpproxy, Config.useProxy):
  reach a local target by a name of its own, with an entry under `resolve:`.
- A gate that is itself reached by https:// is for tools that can: docs/identity-proofs.md lists them.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from proxy.wiring.stores import JAVA_STORE_PASSWORD

_PROXY = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "WS_PROXY",  # aiohttp goes by the scheme of the URL, and takes no other variable for a WebSocket
    "WSS_PROXY",
)
"""Set in both cases: curl reads http_proxy in lower case only, other tools in upper case only."""

_PROXY_OF_ITS_OWN = (
    "PIP_PROXY",  # pip: --proxy
    "CARGO_HTTP_PROXY",  # Cargo Book, http.proxy
    "npm_config_proxy",  # docs.npmjs.com, config: proxy, https-proxy
    "npm_config_https_proxy",
)
"""These win over the tool's configuration file, which would win over the common variables."""

_BUNDLE = (
    "SSL_CERT_FILE",  # OpenSSL (SSL_CTX_set_default_verify_paths), Go crypto/x509, httpx, uv, Ruby
    "REQUESTS_CA_BUNDLE",  # Python requests: "SSL Cert Verification"
    "CURL_CA_BUNDLE",  # curl(1), also the second choice of requests
    "GIT_SSL_CAINFO",  # git-config(1), http.sslCAInfo
    "AWS_CA_BUNDLE",  # AWS CLI and SDKs: "Environment variables"
    "PIP_CERT",  # pip: --cert
    "CARGO_HTTP_CAINFO",  # Cargo Book, http.cainfo
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",  # gcloud topic configurations, core/custom_ca_certs_file
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",  # gRPC core, doc/environment_variables.md
    "HTTPLIB2_CA_CERTS",  # httplib2.certs
    "NIX_SSL_CERT_FILE",  # Nix manual, ssl-cert-file
    "npm_config_cafile",  # docs.npmjs.com, config: cafile; one in an npmrc makes npm ignore NODE_EXTRA_CA_CERTS
)

_ADDED = (
    "NODE_EXTRA_CA_CERTS",  # nodejs.org/api/cli.html
    "DENO_CERT",  # Deno manual, "Environment variables"
)
"""Variables whose file is added to the tool's own roots."""

_NPM = ("PROXY", "HTTPS_PROXY", "NOPROXY", "CA", "CAFILE")

UNSET: tuple[str, ...] = (
    # A second place for roots: Go and OpenSSL read it beside SSL_CERT_FILE, git instead of its bundle.
    "SSL_CERT_DIR",
    "GIT_SSL_CAPATH",
    # Verification switched off would hide a gate that is not ours.
    "GIT_SSL_NO_VERIFY",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PYTHONHTTPSVERIFY",
    # A proxy of the tool's own, which wins over the common variables.
    "grpc_proxy",
    "no_grpc_proxy",
    "GIT_PROXY_SSL_CAINFO",
    *("SOCKS_PROXY", "socks_proxy"),
    # npm reads its settings in any case; the ones set below are in lower case.
    *(f"NPM_CONFIG_{name}" for name in _NPM),
    *("npm_config_noproxy", "npm_config_ca"),
)
"""What must be removed from an inherited environment, because it would override what is set here."""


def environment(
    proxy_url: str,
    *,
    bundle: Path,
    java_store: Path | None,
    node_preload: Path,
    no_proxy: str = "",
    agent: str,
    api_url: str,
    run_id: str,
    added: Path | None = None,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Every variable to set; `UNSET` is what to remove.

    `proxy_url` is `http://AGENT:TOKEN@HOST:PORT`, or https:// where the listener speaks TLS. `added` is our CA
    alone, for tools that add to their own roots (default: the bundle). `inherited` is read for NODE_OPTIONS and
    JAVA_TOOL_OPTIONS, which go on.
    An empty `run_id` leaves CLAIIM_RUN_ID out. CLAIIM_TOKEN is the caller's to give.
    """
    inherited = inherited or {}
    wired = dict.fromkeys(_BUNDLE, str(bundle)) | dict.fromkeys(_ADDED, str(added or bundle))
    for name in _PROXY:
        wired[name] = wired[name.lower()] = proxy_url
    wired |= dict.fromkeys(_PROXY_OF_ITS_OWN, proxy_url)
    # Set even when empty: an inherited exception would lead around the gate.
    wired["NO_PROXY"] = wired["no_proxy"] = no_proxy
    wired["NODE_USE_ENV_PROXY"] = "1"
    wired["NODE_OPTIONS"] = _node_options(inherited.get("NODE_OPTIONS", ""), node_preload)
    # git tries without credentials first and would be refused (and recorded) once per connection.
    wired["GIT_HTTP_PROXY_AUTHMETHOD"] = "basic"  # git-config(1), http.proxyAuthMethod
    if proxy_url.startswith("https:"):
        wired["GIT_PROXY_SSL_CAINFO"] = str(bundle)  # git-config(1), http.proxySSLCAInfo
    wired |= _gcloud(proxy_url)
    options = _java_options(proxy_url, java_store, no_proxy)
    wired["JAVA_TOOL_OPTIONS"] = " ".join(filter(None, [inherited.get("JAVA_TOOL_OPTIONS", ""), *options]))
    wired |= {"CLAIIM_URL": api_url, "CLAIIM_AGENT": agent}
    return wired | ({"CLAIIM_RUN_ID": run_id} if run_id else {})


def _node_options(inherited: str, preload: Path) -> str:
    # Separated by blanks; an option with a blank stands in double quotes (nodejs.org/api/cli.html).
    option = f"--require={preload}"
    if " " in option:
        option = '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if option in inherited:
        return inherited
    return f"{inherited} {option}".strip()


def _gcloud(proxy_url: str) -> dict[str, str]:
    """gcloud's proxy properties, which win over the common variables (gcloud topic configurations)."""
    url = urlsplit(proxy_url)
    properties = {"TYPE": "http", "ADDRESS": url.hostname or "", "PORT": str(url.port or 80)}
    if url.username:
        properties |= {"USERNAME": unquote(url.username), "PASSWORD": unquote(url.password or "")}
    return {f"CLOUDSDK_PROXY_{name}": value for name, value in properties.items()}


def _java_options(proxy_url: str, store: Path | None, no_proxy: str) -> list[str]:
    """System properties of docs.oracle.com "Java Networking and Proxies" and the JSSE reference guide."""
    url = urlsplit(proxy_url)
    properties = [
        (f"{scheme}.{name}", value)
        for scheme in ("http", "https")
        for name, value in (("proxyHost", url.hostname or ""), ("proxyPort", str(url.port or 80)))
    ]
    # Its default excepts loopback, so that a local target would be reached around the gate.
    properties.append(("http.nonProxyHosts", _java_exceptions(no_proxy)))
    # Basic is off for tunnels since 8u111, and a program that does bring credentials would be refused.
    properties.append(("jdk.http.auth.tunneling.disabledSchemes", ""))
    if store is not None:
        properties += [
            ("javax.net.ssl.trustStore", str(store)),
            ("javax.net.ssl.trustStoreType", "PKCS12"),
            ("javax.net.ssl.trustStorePassword", JAVA_STORE_PASSWORD),
        ]
    return [_java_quoted(f"-D{name}={value}") for name, value in properties]


def _java_exceptions(no_proxy: str) -> str:
    """`a.test,.b.test` as Java writes it: `a.test|*.a.test|*.b.test`.

    Java cannot except a single port; such an entry is left out rather than widened to the whole host.
    """
    entries = [entry.strip() for entry in no_proxy.split(",")]
    patterns: list[str] = []
    for entry in entries:
        if entry.startswith((".", "*")):
            patterns.append(f"*{entry.lstrip('*')}")
        elif entry and entry.count(":") != 1:
            patterns += [entry, f"*.{entry}"]
    return "|".join(patterns)


def _java_quoted(option: str) -> str:
    # "JVM Tool Interface", JAVA_TOOL_OPTIONS: split at blanks, except within quotes; there is no escape.
    if not any(character in option for character in " \t|*"):
        return option
    return f"'{option}'" if "'" not in option else f'"{option}"'


def shell_lines(wired: Mapping[str, str], unset: Iterable[str] = UNSET) -> str:
    """Lines for a POSIX shell to evaluate: one `unset`, then an `export` per variable, sorted."""
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(wired.items())]
    names = " ".join(sorted(set(unset) - set(wired)))
    return (f"unset {names}\n" if names else "") + "".join(exports)
