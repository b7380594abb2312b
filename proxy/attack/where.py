"""Section B: where is it going? Everything that names the destination names one, and it is the one that is checked."""

from collections.abc import Iterable

from proxy.attack.attacks import (
    DESTROY,
    HOST,
    IN_PLAIN,
    LOOKED_UP,
    NOTHING,
    NOWHERE,
    PLAIN_HOST,
    PLAIN_READ,
    READ,
    UNBOUND,
    Attack,
    Plain,
    Way,
    lines,
    request,
    table,
)

SOURCES = {
    "B01": "RFC 9110, 9.3.6 and RFC 6066, 3; mitmproxy docs, options: connection_strategy",
    "B02": "MITRE ATT&CK T1090.004, domain fronting; RFC 9110, 7.4",
    "B03": "github.com/coder/httpjail/issues/57; RFC 9112, 3.2.2",
    "B04": "RFC 6066, 3; RFC 9849 (Encrypted Client Hello)",
    "B05": "UTS 46, 4.5; CVE-2019-9636; CVE-2022-27780 (curl, %2F and %2e in hosts)",
    "B06": "GHSA-qwrf-gfpj-qvj6; RFC 3986, 3.2.2",
    "B07": "CVE-2018-3774; Orange Tsai, A New Era of SSRF (Black Hat USA 2017)",
    "B08": "CVE-2020-7066 (PHP, NUL in a URL); RFC 9110, 5.5",
    "B09": "CWE-1289; RFC 1034, 3.1: a name ends at a label",
    "B10": "CVE-2021-28918 (netmask, octal); CVE-2024-24790 (mapped IPv6); RFC 6052, 2.1",
    "B11": "github.com/stripe/smokescreen, README; CWE-350",
    "B12": "sslip.io and nip.io: names that encode an address",
    "B13": "AWS, Azure and Alibaba documentation: instance metadata",
    "B14": "CERT VU#150227: proxies that connect to any port",
    "B15": "AWS, service endpoints: regional, global and dual-stack names of one API",
    "B16": "CVE-2025-23217 (mitmweb's API through the proxy)",
    "B17": "CVE-2018-1000007 (curl, Authorization across hosts)",
}

_OTHER = Way(connect=f"{HOST}:443", sni=UNBOUND)
_REFUSED_CONNECT = NOTHING


def _connects(attack_id: str, authorities: dict[str, str], *, own_gate: bool = False) -> Iterable[Attack]:
    """Rows that are refused at CONNECT, or carry a request for a host that is none."""
    for name, authority in authorities.items():
        shown = authority.rpartition(":")[0]
        way = Way(connect=authority, sni=None)
        yield Attack(attack_id, name, NOTHING, request("GET", "/open/thing", host=shown), way, own_gate=own_gate)


def _looked_up(attack_id: str, names: dict[str, str]) -> Iterable[Attack]:
    """Rows for names that a resolver of our own answers; anything that arrives is a miss."""
    for name, host in names.items():
        plain = Plain("GET", "/open/thing", host=f"{host}:{{port}}", allowed=False)
        way = Way(connect=f"{host}:{{port}}", sni=None)
        yield Attack(attack_id, name, NOTHING, plain.sends, way, own_gate=True)


def _absolute(target: str, *more: str, host: str = PLAIN_HOST, method: str = "GET") -> bytes:
    """A request as a proxy gets it, with credentials."""
    return lines(f"{method} {target} HTTP/1.1", f"Host: {host}", *more).replace(b"\r\n", b"\r\n{auth}", 1)


def attacks() -> Iterable[Attack]:
    """Every row of this section."""
    yield from table("B01", READ, {"SNI of another host": READ.sends}, way=_OTHER)
    yield from table("B01", NOWHERE, {"SNI and Host of another host": NOWHERE.sends}, way=_OTHER)
    yield from table("B01", READ, {"SNI below the host": READ.sends}, way=Way(sni=f"a.{HOST}"))

    yield from table(
        "B02",
        NOWHERE,
        {
            "Host of another host": NOWHERE.sends,
            "Host of another host, in an odd case": request("GET", "/open/thing", host="UnBound.test."),
            "two Hosts, ours first": request("GET", "/open/thing", f"Host: {UNBOUND}"),
            "two Hosts, ours last": request("GET", "/open/thing", f"Host: {HOST}", host=UNBOUND),
            "two hosts in one Host": request("GET", "/open/thing", host=f"{HOST}, {UNBOUND}"),
        },
        way=Way(),
    )
    h2 = Way(http2=True)
    pseudo = ((":method", "GET"), (":scheme", "https"), (":path", "/open/thing"))
    fronted = {
        ":authority of another host": ((":authority", UNBOUND),),
        "host beside :authority": ((":authority", HOST), ("host", UNBOUND)),
        "host alone, of another host": (("host", UNBOUND),),
        "two :authority": ((":authority", HOST), (":authority", UNBOUND)),
    }
    for name, named in fronted.items():
        yield Attack("B02", f"h2, {name}", NOWHERE, way=h2, fields=(*pseudo, *named))

    yield from table(
        "B03",
        NOWHERE,
        {
            "absolute URI of another host in a tunnel": request("GET", f"https://{UNBOUND}/open/thing"),
            "absolute URI and Host of another host": request("GET", f"https://{UNBOUND}/open/thing", host=UNBOUND),
            "absolute URI of ours, Host of another": request("GET", f"https://{HOST}/open/thing", host=UNBOUND),
            "http URI in a TLS tunnel": request("GET", f"http://{UNBOUND}/open/thing"),
            "CONNECT in a tunnel": request("CONNECT", f"{UNBOUND}:443", host=UNBOUND),
        },
        way=Way(),
    )
    yield from table(
        "B03",
        PLAIN_READ,
        {
            "proxied URI of ours, Host of another": _absolute(f"http://{PLAIN_HOST}/open/thing", host=UNBOUND),
            "proxied URI of another, Host of ours": _absolute(f"http://{UNBOUND}/open/thing"),
            "proxied URI, port in Host differs": _absolute(f"http://{PLAIN_HOST}/open/thing", host=f"{PLAIN_HOST}:81"),
        },
        way=IN_PLAIN,
    )

    yield from table("B04", READ, {"no SNI": READ.sends}, way=Way(sni=None))
    yield from table("B04", DESTROY, {"no SNI, denied": DESTROY.sends}, way=Way(sni=None))
    yield from table("B04", NOWHERE, {"no SNI, Host of another": NOWHERE.sends}, way=Way(sni=None))
    yield from table("B04", READ, {"SNI is an address": READ.sends}, way=Way(sni="127.0.0.1"))

    spelled = {
        "trailing dot": f"{HOST}.",
        "upper case": HOST.upper(),
        "port spelled out": f"{HOST}:443",
    }
    for name, host in spelled.items():
        for plain in (READ, DESTROY):
            sends = request(plain.method, plain.target, host=host)
            yield Attack("B05", f"{name}, {plain.method}", plain, sends)
    yield Attack("B05", "trailing dot in CONNECT", DESTROY, DESTROY.sends, Way(connect=f"{HOST}.:443"))
    broken = {
        "full-width dot": "attack\xef\xbc\x8etest",
        "ideographic dot": "attack\xe3\x80\x82test",
        "escaped dot": "attack%2etest",
        "two trailing dots": f"{HOST}..",
        "punycode that is none": "xn--a-.test",
        "soft hyphen": "att\xc2\xadack.test",
        "empty": "",
    }
    yield from table("B05", READ, {name: request("GET", "/open/thing", host=host) for name, host in broken.items()})
    yield from _connects("B05", {f"{name}, in CONNECT": f"{host}:443" for name, host in broken.items()})

    brackets = {
        "name in brackets": f"[{HOST}]",
        "two brackets": f"[[{HOST}]]",
        "one bracket": f"[{HOST}",
        "mixed": "[::1]x",
    }
    yield from table("B06", READ, {name: request("GET", "/open/thing", host=host) for name, host in brackets.items()})
    yield from _connects("B06", {f"{name}, in CONNECT": f"{host}:443" for name, host in brackets.items()})

    users = {
        "userinfo": f"{HOST}@{UNBOUND}",
        "userinfo before ours": f"{UNBOUND}@{HOST}",
        "fragment": f"{HOST}#@{UNBOUND}",
        "backslash": f"{HOST}\\@{UNBOUND}",
        "slash": f"{HOST}/{UNBOUND}",
        "question mark": f"{HOST}?{UNBOUND}",
        "blank": f"{HOST} {UNBOUND}",
    }
    yield from table("B07", READ, {name: request("GET", "/open/thing", host=host) for name, host in users.items()})
    yield from _connects("B07", {f"{name}, in CONNECT": f"{host}:443" for name, host in users.items()})
    yield from table(
        "B07",
        PLAIN_READ,
        {
            "userinfo in the URI": _absolute(f"http://{UNBOUND}@{PLAIN_HOST}/open/thing"),
            "backslash in the URI": _absolute(f"http://{PLAIN_HOST}\\@{UNBOUND}/open/thing"),
            "fragment in the URI": _absolute(f"http://{PLAIN_HOST}#@{UNBOUND}/open/thing"),
        },
        way=IN_PLAIN,
    )

    yield from table(
        "B08",
        READ,
        {
            "NUL in Host": request("GET", "/open/thing", host=f"{HOST}\0.{UNBOUND}"),
            "escaped NUL in Host": request("GET", "/open/thing", host=f"{HOST}%00.{UNBOUND}"),
            "line feed in Host": request("GET", "/open/thing", host=f"{HOST}\n{UNBOUND}"),
        },
    )
    yield from _connects("B08", {"NUL in CONNECT": f"{HOST}\0.{UNBOUND}:443", "tab in CONNECT": f"{HOST}\t:443"})

    suffixes = {"before ours": f"evil{HOST}", "behind ours": f"{HOST}.evil.test", "hyphen": f"evil-{HOST}"}
    yield from _connects("B09", suffixes_with_ports(suffixes))
    yield from table(
        "B09",
        NOTHING,
        {f"{name}, in Host": request("GET", "/open/thing", host=host) for name, host in suffixes.items()},
        way=Way(),
    )

    spellings = {
        "decimal": "2130706433",
        "octal": "0177.0.0.1",
        "hexadecimal": "0x7f.0.0.1",
        "short": "127.1",
        "mapped": "[::ffff:127.0.0.1]",
        "mapped in hexadecimal": "[::ffff:7f00:1]",
        "compatible": "[::127.0.0.1]",
        "NAT64": "[64:ff9b::127.0.0.1]",
        "6to4": "[2002:7f00:1::]",
        "zone id": "[fe80::1%25lo]",
        "unspecified": "0.0.0.0",  # noqa: S104 -- asked for, never listened on
        "unspecified, IPv6": "[::]",
        "loopback": "127.0.0.1",
        "loopback, IPv6": "[::1]",
    }
    yield from _looked_up("B10", spellings)
    yield from _looked_up(
        "B11",
        {
            "at loopback": f"private.{LOOKED_UP}",
            "asked twice": f"private.{LOOKED_UP}",
            "several addresses, one private": f"mixed.{LOOKED_UP}",
            "mapped": f"mapped.{LOOKED_UP}",
            "IPv6 loopback": f"six.{LOOKED_UP}",
        },
    )
    yield from _looked_up(
        "B12",
        {
            "with dots": f"127.0.0.1.{LOOKED_UP}",
            "with hyphens": f"127-0-0-1.{LOOKED_UP}",
            "in hexadecimal": f"7f000001.{LOOKED_UP}",
        },
    )
    yield from _looked_up(
        "B13",
        {
            "AWS": "169.254.169.254",
            "AWS, IPv6": "[fd00:ec2::254]",
            "AWS, mapped": "[::ffff:169.254.169.254]",
            "AWS, decimal": "2852039166",
            "Alibaba": "100.100.100.200",
            "by name": f"metadata.{LOOKED_UP}",
            "by name, IPv6": f"metadata-six.{LOOKED_UP}",
        },
    )

    yield from _connects("B14", {"ssh": f"{HOST}:22", "smtp": f"{HOST}:25", "redis": "10.0.0.7:6379"})
    yield from _connects("B14", {"port 0": f"{HOST}:0", "port 65979, which is 443 in sixteen bits": f"{HOST}:65979"})
    yield from table(
        "B14",
        READ,
        {
            "port in Host differs": request("GET", "/open/thing", host=f"{HOST}:8443"),
            "port in Host is no number": request("GET", "/open/thing", host=f"{HOST}:443x"),
            "port in Host is empty": request("GET", "/open/thing", host=f"{HOST}:"),
            "port in the URI differs": request("GET", f"https://{HOST}:8443/open/thing"),
        },
    )

    mirrors = {"apex": "test", "regional name": f"eu.{HOST}", "www": f"www.{HOST}", "dual-stack": f"{HOST}.api.test"}
    yield from _connects("B15", suffixes_with_ports(mirrors))

    own = {
        "control API": "127.0.0.1:{api}",
        "proxy": "127.0.0.1:{proxy}",
        "by name": "localhost:{api}",
        "unspecified": "0.0.0.0:{api}",
    }
    yield from _connects("B16", own)
    yield from table(
        "B16",
        NOTHING,
        {
            "control API by URI": _absolute("http://127.0.0.1:{api}/health", host="127.0.0.1:{api}"),
            "the proxy as a server": lines("GET /health HTTP/1.1", "Host: 127.0.0.1:{proxy}"),
        },
        way=IN_PLAIN,
    )

    credential = "Authorization: Bearer of-another"
    yield from table(
        "B17",
        NOWHERE,
        {
            "credential for ours to another": request("GET", "/open/thing", credential, host=UNBOUND),
            "by URI": request("GET", f"https://{UNBOUND}/open/thing", credential),
        },
        way=Way(),
    )


def suffixes_with_ports(names: dict[str, str]) -> dict[str, str]:
    """Authorities of the names at the usual port."""
    return {name: f"{host}:443" for name, host in names.items()}
