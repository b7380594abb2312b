"""Where a request may go: every address is checked, one is pinned, and the gate never forwards to itself."""

import ipaddress
import socket
from pathlib import Path

import pytest

from proxy.chaining import Chaining
from proxy.config import Address, ResolveEntry, UpstreamConfig
from proxy.destinations import DestinationRefused, Destinations, DestinationUnknown, Route, look_up

PORTS = frozenset({443, 80, 6443, 8181})


def upstream(*private: str, unverified: frozenset[str] = frozenset()) -> UpstreamConfig:
    return UpstreamConfig(None, 10, 600, tuple(map(ipaddress.ip_network, private)), unverified)


class Names:
    """A resolver whose answers and questions are known."""

    def __init__(self, **addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        name = host.partition(".")[0]
        if name not in self.addresses:
            raise DestinationUnknown(f'"{host}" cannot be resolved')
        return self.addresses[name]


NOT_PUBLIC = {
    "private": "10.0.0.7",
    "private class B": "172.16.1.1",
    "private class C": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "loopback": "127.0.0.1",
    "this host": "0.0.0.0",
    "link local": "169.254.1.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "documentation": "192.0.2.1",
    "benchmarking": "198.18.0.1",
    "future use": "240.0.0.1",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 link local": "fe80::1",
    "IPv6 link local with a zone": "fe80::1%lo",
    "IPv6 unique local": "fd00::1",
    "IPv6 site local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "mapped": "::ffff:10.0.0.7",
    "compatible": "::10.0.0.7",
    "6to4": "2002:a00:7::1",
    "NAT64": "64:ff9b::a00:7",
    "local NAT64": "64:ff9b:1::a00:7",
    "Teredo": "2001:0:a00:7::1",
}


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Whatever form it takes, as the only address or beside a public one, and written as the host itself."""
    destinations = Destinations({}, upstream(), PORTS, lookup=Names(one=(address,), several=("93.184.215.14", address)))
    hosts = ["one.test", "several.test", *([] if "%" in address else [address])]
    for host in hosts:
        with pytest.raises(DestinationRefused, match='the operator can name it under "resolve:"') as refused:
            await destinations.route(host, 443)
        assert refused.value.code == "destination.private"
        assert "93.184" not in refused.value.message


METADATA = {
    "AWS, Azure, Google, Oracle": "169.254.169.254",
    "mapped": "::ffff:169.254.169.254",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "6to4": "2002:a9fe:a9fe::1",
    "AWS by IPv6": "fd00:ec2::254",
    "Google by IPv6": "fd20:ce::254",
    "a task of ECS": "169.254.170.2",
    "a pod of EKS": "169.254.170.23",
    "a pod of EKS by IPv6": "fd00:ec2::23",
    "Alibaba": "100.100.100.200",
    "Azure's platform, a public number": "168.63.129.16",
}


@pytest.mark.parametrize("address", METADATA.values(), ids=METADATA)
@pytest.mark.parametrize("ranges", [(), ("0.0.0.0/0", "::/0"), ("169.254.0.0/16", "fd00::/8")], ids=str)
async def test_where_clouds_give_out_credentials_is_refused(address: str, ranges: tuple[str, ...]) -> None:
    """By name, beside a public address and written as the host, also when the operator opened a range around it."""
    names = Names(one=(address,), several=("93.184.215.14", address))
    destinations = Destinations({}, upstream(*ranges), PORTS, lookup=names)
    for host in ("one.test", "several.test", address):
        with pytest.raises(DestinationRefused, match='the operator can name it under "resolve:"') as refused:
            await destinations.route(host, 80)
        assert refused.value.code == "destination.metadata"


async def test_an_operator_can_open_it_by_naming_it() -> None:
    """One address exactly, or an entry of its own."""
    names = Names(a=("169.254.169.254",))
    exactly = Destinations({}, upstream("169.254.169.254/32"), PORTS, lookup=names)
    assert (await exactly.route("a.test", 80)).address == ("169.254.169.254", 80)
    entries = {"metadata.test": ResolveEntry(Address("169.254.169.254", 80), None)}
    assert (await Destinations(entries, upstream(), PORTS).route("metadata.test", 80)).address[0] == "169.254.169.254"


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "64:ff9b::5db8:d70e"])
async def test_a_public_address_is_pinned(address: str) -> None:
    """The route holds the address that was checked, not the name."""
    destinations = Destinations({}, upstream(), PORTS, lookup=Names(a=(address,)))
    assert await destinations.route("a.test", 443) == Route("a.test", (address, 443), None, True)


ALLOWED = {
    "inside": (("10.0.0.0/8",), "10.1.2.3", True),
    "outside": (("10.0.0.0/8",), "192.168.0.1", False),
    "IPv6": (("fd00::/8",), "fd00::1", True),
    "an IPv4 range allows a mapped address": (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
    "an IPv6 range allows no IPv4": (("::/0",), "10.1.2.3", False),
}


@pytest.mark.parametrize(("ranges", "address", "reachable"), ALLOWED.values(), ids=ALLOWED)
async def test_a_range_that_the_operator_allows(ranges: tuple[str, ...], address: str, reachable: bool) -> None:
    """Private ranges are reachable where the configuration says so, and only those."""
    destinations = Destinations({}, upstream(*ranges), PORTS, lookup=Names(a=(address,)))
    if reachable:
        assert (await destinations.route("a.test", 443)).address == (address, 443)
    else:
        with pytest.raises(DestinationRefused):
            await destinations.route("a.test", 443)


async def test_an_entry_of_the_operator_wins() -> None:
    """`resolve:` gives address, port and CA; it may be private, and no name is looked up."""
    names = Names()
    entries = {"api.k8s.test": ResolveEntry(Address("127.0.0.1", 16443), Path("k8s.pem"))}
    destinations = Destinations(entries, upstream(), PORTS, lookup=names)
    expected = Route("api.k8s.test", ("127.0.0.1", 16443), Path("k8s.pem"), True)
    assert await destinations.route("api.k8s.test", 6443) == expected
    assert names.asked == []


async def test_an_entry_may_name_a_host() -> None:
    """An entry's own name is resolved, once."""
    names = Names(inner=("10.0.0.9",))
    entries = {"a.test": ResolveEntry(Address("inner.test", 8443), None)}
    destinations = Destinations(entries, upstream(), PORTS, lookup=names)
    assert (await destinations.route("a.test", 443)).address == ("10.0.0.9", 8443)
    assert names.asked == ["inner.test"]


async def test_verification_is_off_for_named_hosts_only() -> None:
    """One host can be exempted; its neighbours are verified."""
    names = Names(legacy=("93.184.215.14",), other=("93.184.215.14",))
    destinations = Destinations({}, upstream(unverified=frozenset({"legacy.test"})), PORTS, lookup=names)
    assert not (await destinations.route("legacy.test", 443)).verify
    assert (await destinations.route("other.test", 443)).verify


OURS = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", OURS)
async def test_the_gate_does_not_forward_to_itself(address: str) -> None:
    """Its own listeners are refused by every local address, even where all ranges are allowed or an entry says so."""
    entries = {"entry.test": ResolveEntry(Address(address, 8181), None)}
    destinations = Destinations(entries, upstream("0.0.0.0/0", "::/0"), PORTS, lookup=Names(a=(address,)))
    destinations.guard_own_ports(frozenset({8181}))
    for host, port in (("a.test", 8181), ("entry.test", 443)):
        with pytest.raises(DestinationRefused, match="the gate does not forward to itself") as refused:
            await destinations.route(host, port)
        assert refused.value.code == "destination.own-listener"
    assert (await destinations.route("a.test", 443)).address == (address, 443)


def own_address(version: int) -> str:
    """An address of a network card of this machine; "" where it has none but loopback."""
    if version == 6:
        # Linux: address, number, length of the prefix, scope, where 00 is global (proc_net(5)).
        cards = Path("/proc/net/if_inet6")
        lines = [line.split() for line in cards.read_text().splitlines()] if cards.exists() else []
        return next((str(ipaddress.IPv6Address(int(line[0], 16))) for line in lines if line[3] == "00"), "")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("version", [4, 6])
async def test_an_address_of_this_machine_counts_as_ours(version: int) -> None:
    """Not only loopback: the address of a network card leads back as well; that of another machine does not."""
    own, other = own_address(version), {4: "192.0.2.1", 6: "2001:db8::1"}[version]
    if not own:
        # What is its own the kernel alone knows: it takes a card to try, and some machines have none, or no IPv6.
        pytest.skip("this machine has no such address but loopback, which the test above covers")
    names = Names(a=(own,), b=(other,))
    destinations = Destinations({}, upstream("0.0.0.0/0", "::/0"), PORTS, lookup=names)
    destinations.guard_own_ports(frozenset({8181}))
    with pytest.raises(DestinationRefused, match="to itself"):
        await destinations.route("a.test", 8181)
    assert (await destinations.route("b.test", 8181)).address == (other, 8181)


async def test_a_port_that_is_not_allowed_is_refused_before_any_look_up() -> None:
    """Nothing is asked about a destination whose port is out of the question."""
    names = Names(a=("93.184.215.14",))
    with pytest.raises(DestinationRefused, match=r"port 22 is not in proxy\.allowed_ports") as refused:
        await Destinations({}, upstream(), PORTS, lookup=names).route("a.test", 22)
    assert refused.value.code == "destination.port"
    assert names.asked == []


async def test_an_answer_is_remembered_for_a_while() -> None:
    """One look-up serves half a minute; after that the name is asked again, and a failure is not remembered."""
    now_s = 0.0
    names = Names(a=("93.184.215.14",))
    destinations = Destinations({}, upstream(), PORTS, lookup=names, monotonic_s=lambda: now_s)
    await destinations.route("a.test", 443)
    now_s = 29.0
    await destinations.route("a.test", 443)
    assert names.asked == ["a.test"]
    now_s = 31.0
    names.addresses["a"] = ("10.0.0.7",)
    with pytest.raises(DestinationRefused):
        await destinations.route("a.test", 443)
    assert names.asked == ["a.test"] * 2
    now_s = 62.0
    names.addresses["a"] = ("93.184.215.15",)
    assert (await destinations.route("a.test", 443)).address == ("93.184.215.15", 443)
    names.asked.pop()
    for _ in range(2):
        with pytest.raises(DestinationUnknown):
            await destinations.route("b.test", 443)
    assert names.asked[2:] == ["b.test"] * 2


async def test_names_that_somebody_makes_up_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more answers and ways are kept than some, whatever is asked for."""
    monkeypatch.setattr("proxy.destinations._CACHED_NAMES", 4)
    names = Names(**{f"n{number}": ("93.184.215.14",) for number in range(20)})
    destinations = Destinations({}, upstream(), PORTS, lookup=names)
    for number in range(20):
        assert (await destinations.route(f"n{number}.test", 443)).host == f"n{number}.test"
        assert len(destinations._answers) <= 4
        assert len(destinations._direct) <= 4


async def test_a_name_without_an_address_is_unknown() -> None:
    """Nothing was refused, nothing can be sent: this is no denial."""
    destinations = Destinations({}, upstream(), PORTS, lookup=Names(a=()))
    with pytest.raises(DestinationUnknown, match=r'"a\.test" has no address'):
        await destinations.route("a.test", 443)


async def test_the_systems_resolver() -> None:
    """Real names: one that this machine knows, one that nobody knows (RFC 6761, 6.4), one that is too long."""
    assert set(await look_up("localhost")) & {"127.0.0.1", "::1"}
    for name in ("nobody.invalid", "a" * 64 + ".test"):
        with pytest.raises(DestinationUnknown, match="cannot be resolved"):
            await look_up(name)


# --- through a proxy beyond ---


def beyond(lookup: Names, *, by_name: bool, private: tuple[str, ...] = ()) -> Destinations:
    """Destinations behind a proxy at a private address."""
    chain = Chaining("proxy.test", 3128, tls=False, ca=None, by_name=by_name, authorization="Basic eDp5")
    return Destinations({}, upstream(*private), PORTS, lookup=lookup, chaining=chain)


@pytest.mark.parametrize(("by_name", "asked"), [(False, "93.184.215.14"), (True, "a.test")])
async def test_the_proxy_beyond_is_asked_for_what_was_checked(by_name: bool, asked: str) -> None:
    """For the checked address, or where it resolves for the name; the operator named it, so it may be private."""
    destinations = beyond(Names(a=("93.184.215.14",), proxy=("10.0.0.1",)), by_name=by_name)
    route = await destinations.route("a.test", 443)
    assert route.address == (asked, 443)
    assert route.parent is not None
    assert route.parent.route.address == ("10.0.0.1", 3128)
    assert route.parent.route.verify is True
    assert "eDp5" not in repr(route)


@pytest.mark.parametrize("by_name", [False, True])
async def test_the_proxy_beyond_loosens_no_check(by_name: bool) -> None:
    """Who resolves makes no difference to what is known here to be private."""
    destinations = beyond(Names(a=("93.184.215.14", "10.0.0.7"), proxy=("10.0.0.1",)), by_name=by_name)
    with pytest.raises(DestinationRefused) as refused:
        await destinations.route("a.test", 443)
    assert refused.value.code == "destination.private"


async def test_a_name_that_only_the_proxy_knows_is_its_to_resolve() -> None:
    """Where the operator says so; but never one by which a cloud gives out credentials."""
    names = Names(proxy=("10.0.0.1",))
    assert (await beyond(names, by_name=True).route("unknown.test", 443)).address == ("unknown.test", 443)
    with pytest.raises(DestinationUnknown):
        await beyond(names, by_name=False).route("unknown.test", 443)
    with pytest.raises(DestinationRefused) as refused:
        await beyond(names, by_name=True).route("metadata.google.internal", 443)
    assert refused.value.code == "destination.metadata"


async def test_a_proxy_beyond_that_has_become_ours_is_refused() -> None:
    """Its name may come to lead here while the gate runs."""
    destinations = beyond(Names(a=("93.184.215.14",), proxy=("127.0.0.1",)), by_name=False)
    destinations.guard_own_ports(frozenset({3128}))
    with pytest.raises(DestinationRefused) as refused:
        await destinations.route("a.test", 443)
    assert refused.value.code == "destination.own-listener"
