"""`claiim doctor`: from inside an agent's environment, whether its calls pass the gate and nothing gets out beside it.

    claiim run -- claiim doctor            what variables alone achieve
    ip netns exec agent claiim doctor      what an enclosure achieves

It reads the environment that `claiim run` and `claiim env` make, not the gate's configuration, which is none of an
agent's business. Exit 0 when all is as it should be, 1 when something is not, 69 when the gate does not answer.

    no proxy is set here; evaluate what "claiim env" prints, or use "claiim run"
"""

import http.client
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import click

from proxy.cli.asking import answer_of
from proxy.cli.options import (
    EXIT_AUTHENTICATION,
    EXIT_DENY,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    fail,
    json_option,
    print_json,
)
from proxy.doctor import Canary, Finding, GateAway, Place, probe_datagrams, probe_names, probe_streams
from proxy.doctor.egress import PUBLIC_QUIC, PUBLIC_STREAMS
from proxy.doctor.names import PUBLIC_RESOLVERS, configured_resolvers

_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")


class PlaceParameter(click.ParamType[Place]):
    """`192.0.2.7:443` or `[2001:db8::7]:443`; an address, since names are not resolved where nothing gets out."""

    name = "address:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The place that a text names."""
        host, _, port = str(value).rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            if not 0 < int(port) <= 65_535:
                raise ValueError
        except ValueError:
            self.fail(f'"{value}" is no address with a port; write for example "192.0.2.7:443"', param, ctx)
        return Place(str(address), int(port))


@click.command()
@click.option("--to", type=PlaceParameter(), multiple=True, help="Try to reach this place, not the public ones.")
@click.option("--dns", type=PlaceParameter(), multiple=True, help="Ask this resolver, not those of this environment.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 30), default=3, show_default=True,
              help="How many seconds a place outside has to answer.")  # fmt: skip
@json_option
def doctor(to: Sequence[Place], dns: Sequence[Place], timeout_s: float, as_json: bool) -> None:
    """Prove from an agent's environment that its calls pass the gate, and that nothing else gets out.

    A canary that must be denied is called and looked for in the Chron; connections, datagrams and names are tried
    around the gate. Run it as the agent runs: same user, same network, same variables.
    """
    proxy = _proxy(os.environ)
    canary = Canary(proxy or SplitResult("http", "", "", "", ""), _look(_token(os.environ, proxy)))
    found: list[Finding] = []
    away = ""
    try:
        if proxy is not None:
            found += [canary.sing(), canary.sing_secured()]
    except (GateAway, OSError, http.client.HTTPException) as error:
        away = str(error) or type(error).__name__
        found.append(Finding("canary", False, f"the gate does not answer: {away}"))
    found += _egress(canary, to, dns, timeout_s)
    if proxy is None:
        # No variables: then it has to be a redirect that leads to the gate.
        led = next((each.chron_id for each in found if each.check == "tcp"), "")
        said = "no proxy is set here, and connections are led to the gate" if led else _NO_PROXY
        found.insert(0, Finding("canary", bool(led), said, led))
    _tell(found, as_json)
    if holes := [each for each in found if not each.ok]:
        raise SystemExit(EXIT_UNREACHABLE if away and len(holes) == 1 else EXIT_DENY)


_NO_PROXY = 'no proxy is set here; evaluate what "claiim env" prints, or use "claiim run"'


def _egress(canary: Canary, to: Sequence[Place], dns: Sequence[Place], timeout_s: float) -> list[Finding]:
    def recognise(raw: Any, tls: bool) -> str:
        try:
            return canary.recognise(raw, tls)
        except GateAway:
            return ""

    resolvers = dns or tuple(dict.fromkeys((*configured_resolvers(), *PUBLIC_RESOLVERS)))
    return [
        probe_streams(to or PUBLIC_STREAMS, recognise, timeout_s),
        probe_datagrams(to or PUBLIC_QUIC, timeout_s),
        probe_names(resolvers, timeout_s, system=not dns),
    ]


def _proxy(environ: Mapping[str, str]) -> SplitResult | None:
    text = next((environ[name] for name in _PROXIES if environ.get(name)), "")
    if not text:
        return None
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        fail('the proxy of this environment is not "http://AGENT:TOKEN@HOST:PORT"; see "claiim env"', EXIT_USAGE)
    return url


def _token(environ: Mapping[str, str], proxy: SplitResult | None) -> str:
    """The agent's own token: what it may see of the Chron is its own calls."""
    if token := environ.get("CLAIIM_TOKEN"):
        return token
    if named := environ.get("CLAIIM_TOKEN_FILE"):
        try:
            return Path(named).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            fail(f"{named}: cannot read; it is what CLAIIM_TOKEN_FILE names", EXIT_AUTHENTICATION)
    if proxy is not None and proxy.password:
        return unquote(proxy.password)
    return fail("no token of an agent here; set CLAIIM_TOKEN or CLAIIM_TOKEN_FILE", EXIT_AUTHENTICATION)


def _look(token: str) -> Any:
    url = os.environ.get("CLAIIM_URL") or "http://127.0.0.1:8181"

    def look(chron_id: str) -> Mapping[str, Any] | None:
        if not chron_id.removeprefix("chr_").isalnum():
            return None
        answered = answer_of(url, "GET", f"/v1/chron/{chron_id}", {"Authorization": f"Bearer {token}"})
        if answered is None:
            raise GateAway(f"no control API at {url}; CLAIIM_URL says where it is")
        status, record = answered
        return record if status == 200 else None

    return look


def _tell(found: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        checks = [
            {"check": each.check, "ok": each.ok, "said": each.said, "chron_id": each.chron_id or None} for each in found
        ]
        print_json({"proven": all(each.ok for each in found), "checks": checks})
        return
    for each in found:
        shown = f" ({each.chron_id})" if each.chron_id else ""
        click.echo(f"{'ok  ' if each.ok else 'HOLE'}  {each.check:<7} {each.said}{shown}")
