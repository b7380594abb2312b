"""What changes in the environment for a tool that comes by another listener than the proxy's own.

    socks5    ALL_PROXY is the listener; HTTPS_PROXY and the others stay as they are
    reverse   the base URL of the API behind it, for the clients that take one by a variable

A `proxy` listener changes nothing but the proxy's URL, and a `transparent` one leaves it empty: neither is here.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from proxy.wiring.given import BASE_URLS


def by_socks(wired: Mapping[str, str], url: str) -> dict[str, str]:
    """The environment with `url`, socks5h://..., for what knows SOCKS alone."""
    return {**wired, "ALL_PROXY": url, "all_proxy": url}


def in_front(wired: Mapping[str, str], url: str, host: str) -> dict[str, str]:
    """The environment with `url` as the base URL of the API at `host`; no variable when none is known for it.

    No listener of the gate can be reached through the gate, so its host is an exception to the proxy.
    """
    bases = {base.variable: f"{url}{base.path}" for base in BASE_URLS if base.host == host}
    exceptions = ",".join(filter(None, (wired["NO_PROXY"], urlsplit(url).hostname)))
    # pip makes no exception to a proxy of its own; it reads the common ones as well.
    kept = {name: value for name, value in wired.items() if name != "PIP_PROXY"}
    return {**kept, **dict.fromkeys(("NO_PROXY", "no_proxy", "npm_config_noproxy"), exceptions), **bases}
