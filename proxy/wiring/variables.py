"""The environment that routes unmodified tools through the gate, as a pure function of the table in `given`.

    http_proxy=http://AGENT:TOKEN@127.0.0.1:8080   curl, git, Python, Go (kubectl, terraform), Node, Deno
    SSL_CERT_FILE=.../bundle.pem    one variable per tool that has its own

What no environment can do, tool by tool, is in `proxy.wiring.tools`.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from proxy.wiring.given import REMOVED, VARIABLES, Value
from proxy.wiring.stores import JAVA_STORE_PASSWORD, Files

UNSET: tuple[str, ...] = tuple(REMOVED)

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # POSIX, Base Definitions, 3.216 "Name"
_NOWHERE = "none.invalid"  # RFC 6761, section 6.4: it exists nowhere


def environment(
    proxy_url: str,
    files: Files,
    *,
    no_proxy: str = "",
    agent: str,
    api_url: str,
    run_id: str,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Every variable to set; `UNSET` is what to remove.

    `proxy_url` is `http://AGENT:TOKEN@HOST:PORT`, or https:// where the listener speaks TLS; without a user where
    reaching the listener is proof enough; empty where connections are led to the gate and trust alone is needed.
    `inherited` is read for NODE_OPTIONS, GIT_CONFIG_COUNT, and JAVA_TOOL_OPTIONS
    and those like it, which go on. An empty `run_id` leaves CLAIIM_RUN_ID out. CLAIIM_TOKEN is the caller's to give.
    """
    inherited = inherited or {}
    shared = {
        Value.PROXY: proxy_url,
        Value.EXCEPTIONS: no_proxy,
        Value.BUNDLE: str(files.bundle),
        Value.ADDED: str(files.added),
        Value.FOLDER: str(files.bundle.parent),
    }
    routes = (Value.PROXY, Value.EXCEPTIONS) if not proxy_url else ()
    wired = {
        variable.name: shared[variable.value]
        for variable in VARIABLES
        if variable.value is not Value.OWN and variable.value not in routes
    }
    wired["WGETRC"] = str(files.wgetrc)
    if proxy_url:
        wired |= _node(inherited.get("NODE_OPTIONS", ""), files)
        wired |= _git(inherited, proxy_url, files)
        wired |= _gcloud(proxy_url)
        wired["npm_config_noproxy"] = no_proxy or _NOWHERE
    wired |= _java(inherited, proxy_url, files, no_proxy)
    wired |= {"CLAIIM_URL": api_url, "CLAIIM_AGENT": agent}
    return wired | ({"CLAIIM_RUN_ID": run_id} if run_id else {})


def _node(inherited: str, files: Files) -> dict[str, str]:
    # Separated by blanks; an option with a blank stands in double quotes (nodejs.org/api/cli.html).
    option = f"--require={files.node_preload}"
    if " " in option:
        option = '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'
    options = inherited if option in inherited else f"{inherited} {option}".strip()
    return {"NODE_USE_ENV_PROXY": "1", "NODE_OPTIONS": options}


def _git(inherited: Mapping[str, str], proxy_url: str, files: Files) -> dict[str, str]:
    """http.proxy as from the command line, which wins over configuration files; after what the user gave that way."""
    count = inherited.get("GIT_CONFIG_COUNT", "")
    at = int(count) if count.isascii() and count.isdigit() else 0
    if at and inherited.get(f"GIT_CONFIG_KEY_{at - 1}") == "http.proxy":
        at -= 1  # ours, of the shell that this one is inside of
    wired = {
        "GIT_HTTP_PROXY_AUTHMETHOD": "basic",
        "GIT_CONFIG_COUNT": str(at + 1),
        f"GIT_CONFIG_KEY_{at}": "http.proxy",
        f"GIT_CONFIG_VALUE_{at}": proxy_url,
    }
    if own := inherited.get("GIT_CONFIG_PARAMETERS", "").strip():
        wired["GIT_CONFIG_PARAMETERS"] = _with(own, f"'http.proxy={proxy_url}'")  # what `git -c` hands on wins
    return wired | ({"GIT_PROXY_SSL_CAINFO": str(files.bundle)} if proxy_url.startswith("https:") else {})


def _gcloud(proxy_url: str) -> dict[str, str]:
    """gcloud's proxy properties, which win over the common variables (gcloud topic configurations)."""
    url = urlsplit(proxy_url)
    properties = {"TYPE": "http", "ADDRESS": url.hostname or "", "PORT": str(url.port or 80)}
    if url.username:
        properties |= {"USERNAME": unquote(url.username), "PASSWORD": unquote(url.password or "")}
    return {f"CLOUDSDK_PROXY_{name}": value for name, value in properties.items()}


def _with(own: str, ours: str) -> str:
    """Ours at the end, once: `own` may be of a shell that this one is inside of."""
    return own if own.endswith(ours) else f"{own} {ours}".strip()


def _java(inherited: Mapping[str, str], proxy_url: str, files: Files, no_proxy: str) -> dict[str, str]:
    """Ours behind what is there already, as the last of a property counts.

    JDK_JAVA_OPTIONS and _JAVA_OPTIONS are read after JAVA_TOOL_OPTIONS: where there is one, ours stand in it, too.
    """
    properties, agents = _java_options(proxy_url, files, no_proxy)
    ours = " ".join((*properties, *agents))
    wired = {"JAVA_TOOL_OPTIONS": _with(inherited.get("JAVA_TOOL_OPTIONS", ""), ours)}
    for name in ("JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        if own := inherited.get(name, "").strip():
            wired[name] = _with(own, " ".join(properties))
    return wired


def _java_options(proxy_url: str, files: Files, no_proxy: str) -> tuple[list[str], list[str]]:
    """System properties of docs.oracle.com "Java Networking and Proxies" and the JSSE reference guide; and an agent.

    No token is among them, because every JVM prints JAVA_TOOL_OPTIONS on stderr: the agent in credentials.jar reads
    it from HTTPS_PROXY.
    """
    properties = [
        ("javax.net.ssl.trustStore", str(files.java_store)),
        ("javax.net.ssl.trustStoreType", "PKCS12"),
        ("javax.net.ssl.trustStorePassword", JAVA_STORE_PASSWORD),
    ]
    agents = []
    if proxy_url:
        url = urlsplit(proxy_url)
        for scheme in ("http", "https"):
            properties += [(f"{scheme}.proxyHost", url.hostname or ""), (f"{scheme}.proxyPort", str(url.port or 80))]
        # Its default excepts loopback, so that a local target would be reached around the gate.
        properties.append(("http.nonProxyHosts", _java_exceptions(no_proxy)))
        # Basic is off for tunnels since 8u111, and a program that does bring credentials would be refused.
        properties.append(("jdk.http.auth.tunneling.disabledSchemes", ""))
        agents.append(f"-javaagent:{files.java_agent}")
    return [_java_quoted(f"-D{name}={value}") for name, value in properties], [_java_quoted(each) for each in agents]


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
    """Lines for a POSIX shell to evaluate: one `unset`, then an `export` per variable, sorted.

    What the environment has under a name that is none to a shell (`my.app_PROXY`) is left: unquoted, such a name could
    be a command, and no shell can unset it.
    """
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(wired.items())]
    names = " ".join(sorted(name for name in set(unset) - set(wired) if _SHELL_NAME.fullmatch(name)))
    return (f"unset {names}\n" if names else "") + "".join(exports)
