"""Every tool of the table, unmodified, with its owner's settings against it: through the gate, or not at all.

Both calls of all tools are made before the first test, several at a time, since most of what a tool costs is its start.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from clients.wiring.conftest import HOSTS, Results, Site
from clients.wiring.drives import AROUND, DRIVES, TURNED_AWAY, Drive
from support.needed import found, needed

ALL = bool(os.environ.get("CLAIIM_DRIVES"))
"""Set by `make drives`: all tools in both ways."""
SLOW = frozenset(
    {"httpx", "urllib", "urllib3", "httplib2", "openai", "anthropic", "boto3", "aws", "gcloud", "maven"}
    | {"node https", "node undici", "node24 fetch", "node24 https", "java HttpClient"}
)
"""In `make drives` alone."""
SLOW_AGAIN = SLOW | {"requests", "aiohttp", "aiohttp-ws", "gRPC", "npm", "pip", "java"}
"""Behind `claiim run` there alone: they get the variables that they get from `claiim env`."""
ONE_WAY: Mapping[str, str] = {"kubectl": "run", "kubectl by hand": "env"}
"""What `claiim run` does and `claiim env` cannot, and what is done by hand instead."""

CASES = [
    (way, name)
    for way in ("env", "run")
    for name in DRIVES
    if ONE_WAY.get(name, way) == way and (ALL or name not in (SLOW if way == "env" else SLOW_AGAIN))
]


@dataclass(frozen=True)
class Driven:
    """What the tools did in one way, and what the gate recorded of it."""

    site: Site
    results: Results
    records: list[dict[str, Any]]
    caught: list[tuple[int, bytes]]
    """What came to the trap meanwhile."""

    def of(self, drive: Drive, host: str) -> list[dict[str, Any]]:
        """The decisions on the requests of one drive to one host."""
        return [one for one in self.records if one["host"] == host and re.fullmatch(drive.path, one["path"])]


@pytest.fixture(scope="module")
def driven(site: Site) -> Callable[[str], Driven]:
    """Drives all tools in one way, when it is first asked for."""

    @cache
    def drive(way: str) -> Driven:
        chosen = {name for each, name in CASES if each == way}
        plan = site.plan({name: each for name, each in DRIVES.items() if name in chosen and found(each.needs)})
        before = len(site.trap.caught)
        results = site.by_env(plan) if way == "env" else site.by_run(plan)
        records = site.live.records() if way == "env" else site.privately_recorded()
        return Driven(site, results, records, site.trap.caught[before:])

    return drive


@pytest.mark.parametrize(("way", "name"), CASES)
def test_a_tool_is_gated(driven: Callable[[str], Driven], way: str, name: str) -> None:
    """Its allowed call arrives and is recorded as the agent's; its denied one is refused, and it says so."""
    drive = DRIVES[name]
    needed(drive.needs)
    done = driven(way)
    code, said = done.results[f"{name} allowed"]
    assert code == 0, said
    allowed = done.of(drive, HOSTS.get(name, "origin.test"))
    assert {(one["outcome"], one["agent"]) for one in allowed} == {("ALLOW", "deploy-bot")}, said
    code, said = done.results[f"{name} denied"]
    denied = done.of(drive, "other.test")
    assert code != 0, said
    assert {(one["outcome"], one["agent"], one["action"]) for one in denied} == {
        ("DENY", "deploy-bot", "secret:read")
    }, said
    assert {one["reason"] for one in denied} == {"skill:deploy-v2 -- action not in allow list"}


@pytest.mark.parametrize("way", ["env", "run"])
def test_nothing_goes_around(driven: Callable[[str], Driven], way: str) -> None:
    """None of all these calls has gone where it would go without a gate, whatever the home and the shell say."""
    assert driven(way).results
    assert driven(way).caught == []


def test_without_the_wiring_the_trap_is_where_they_go(site: Site) -> None:
    """Else nothing would be shown by its being empty."""
    before = list(site.trap.caught)
    curl = {"curl": DRIVES["curl"]}
    plan = [step | {"argv": ["curl", "-q", "-sS", *step["argv"][3:]]} for step in site.plan(curl)]
    assert {code for code, _ in site.without(plan).values()} != {0}
    caught = [hello for _, hello in site.trap.caught[len(before) :]]
    assert len(caught) == 2
    assert {name for name in (b"origin.test", b"other.test") for hello in caught if name in hello} == {
        b"origin.test",
        b"other.test",
    }


@pytest.fixture(scope="module")
def unhandled(site: Site) -> Results:
    """What tools do that go around the gate, or want a hand and have none."""
    turned_away = {f"turned {name}": drive for name, drive in TURNED_AWAY.items() if ALL or name not in SLOW}
    drives = turned_away | AROUND
    plan = site.plan({name: drive for name, drive in drives.items() if found(drive.needs)}, allowed_only=True)
    return site.by_env(plan)


@pytest.mark.parametrize("host", AROUND)
def test_what_goes_around_is_said_to(site: Site, unhandled: Results, host: str) -> None:
    """The page says that these are not gated, or not without a hand: it is true, and the network has to see to it."""
    needed(AROUND[host].needs)
    assert unhandled[f"{host} allowed"][0] != 0
    ports = {port for port, hello in site.trap.caught if host.encode() in hello or port in (5432, 22)}
    assert {"psql.test": 5432, "ssh.test": 22}.get(host, 443) in ports
    assert [one for one in site.live.records() if one.get("host") == host] == []


@pytest.mark.skipif(not ALL, reason="a JVM each; in make drives")
@pytest.mark.parametrize("name", TURNED_AWAY)
def test_what_wants_a_hand_is_turned_away(site: Site, unhandled: Results, name: str) -> None:
    """Without it the gate answers 407, which is recorded, and the target is not reached."""
    needed(TURNED_AWAY[name].needs)
    _, said = unhandled[f"turned {name} allowed"]
    assert "407" in said
    refused = site.live.records(host="origin.test", code="agent.no-credentials")
    assert {one["outcome"] for one in refused} == {"DENY"}
