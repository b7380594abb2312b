"""What happens to agents and humans stands in the Chron, whoever wrote it: by command, by hand, between two runs."""

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chron
from chron import Chron
from mappings import DocumentError
from policies import credential
from proxy.configloading import load_config
from proxy.serve import Service
from support.gate import AGENTS, TOKEN, LiveGate

NEW = credential("deploy-bot", "clm_another").token_sha256


def edited(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The registry after a change."""
    agents = copy.deepcopy(AGENTS)
    change(agents)
    return agents


def events(path: Path) -> list[tuple[str, str, str]]:
    """All that was told of the registry: kind, event, of whom."""
    told = [record for record in chron.find(path) if record.kind in ("agent", "human", "organisation")]
    return [(one.kind, one.text("event"), one.text("agent") or one.text("human")) for one in told]


FIRST = [
    ("human", "added", "alice@acme.test"),
    ("agent", "added", "deploy-bot"),
    ("agent", "added", "other-bot"),
]


@pytest.fixture
def site(tmp_path: Path) -> LiveGate:
    return LiveGate(tmp_path / "gate")


def once(site: LiveGate, *, private: bool = False) -> Path:
    """Start a gate and stop it again; where its Chron is."""

    async def run() -> None:
        async with Service(load_config(site.folder / "claiim.yaml"), private=private):
            pass

    asyncio.run(run())
    return site.config.chron


def test_a_hand_edit_is_told_when_it_is_loaded(site: LiveGate) -> None:
    """With what was before and after, and before the record of the rules that hold from then on."""

    def suspend(registry: dict[str, Any]) -> None:
        registry["humans"].append({"id": "bob@acme.test", "org": "acme", "state": "active"})
        registry["agents"][0].update(state="suspended", anchor="bob@acme.test", skill="reader-v1")

    with site:
        site.write("agents.yaml", edited(suspend))
        site.call(site.service.reload())
        told = site.records("agent", event="transferred")
    assert events(site.config.chron) == [
        *FIRST,
        ("human", "added", "bob@acme.test"),
        ("agent", "suspended", "deploy-bot"),
        ("agent", "transferred", "deploy-bot"),
        ("agent", "re-skilled", "deploy-bot"),
    ]
    (transfer,) = told
    assert (transfer["from_anchor"], transfer["to_anchor"]) == ("alice@acme.test", "bob@acme.test")
    assert transfer["session"] == site.service.session
    order = [record.text("event") for record in chron.find(site.config.chron) if record.kind in ("agent", "policy")]
    assert order[-2:] == ["re-skilled", "loaded"]
    assert chron.verify(site.config.chron).ok


def test_what_is_not_loaded_is_not_told(site: LiveGate) -> None:
    """Of a registry that is refused only what it takes away has happened; the next that loads tells the rest, once."""
    with site:
        broken = edited(lambda registry: registry["agents"][0].update(state="suspended", skill="none", mode="observe"))
        site.write("agents.yaml", broken)
        with pytest.raises(DocumentError):
            site.call(site.service.reload())
        assert events(site.config.chron) == [*FIRST, ("agent", "suspended", "deploy-bot")]
        loadable = edited(lambda registry: registry["agents"][0].update(state="suspended", mode="observe"))
        site.write("agents.yaml", loadable)
        site.call(site.service.reload())
        site.call(site.service.reload())
    assert events(site.config.chron) == [
        *FIRST,
        ("agent", "suspended", "deploy-bot"),
        ("agent", "mode-changed", "deploy-bot"),
    ]


def test_what_changed_between_two_runs_is_told_at_the_start(site: LiveGate) -> None:
    """Compared is what was in force last, also when that text had been kept before another one."""
    once(site)
    site.write("agents.yaml", edited(lambda registry: registry["agents"].pop()))
    once(site)
    site.write("agents.yaml", AGENTS)
    once(site)
    once(site)
    site.write("agents.yaml", edited(lambda registry: registry["agents"][0].update(mode="observe")))
    assert events(once(site)) == [
        *FIRST,
        ("agent", "removed", "other-bot"),
        ("agent", "added", "other-bot"),
        ("agent", "mode-changed", "deploy-bot"),
    ]


def test_what_was_taken_away_before_a_stop_is_not_told_again(site: LiveGate) -> None:
    """At the next start only what it could not load then is news."""
    bad = edited(lambda registry: registry["agents"][0].update(state="suspended", skill="none", mode="observe"))
    with site:
        site.write("agents.yaml", bad)
        with pytest.raises(DocumentError):
            site.call(site.service.reload())
        assert len(site.records("policy", event="narrowed")) == 1
    site.write("agents.yaml", edited(lambda registry: registry["agents"][0].update(state="suspended", mode="observe")))
    path = once(site)
    told = [*FIRST, ("agent", "suspended", "deploy-bot"), ("agent", "mode-changed", "deploy-bot")]
    assert events(path) == told
    assert events(once(site)) == told
    site.write("agents.yaml", edited(lambda registry: registry["agents"][0].update(mode="observe")))
    assert events(once(site)) == [*told, ("agent", "resumed", "deploy-bot")]


def test_a_token_that_was_exchanged_between_two_runs_is_noticed(site: LiveGate) -> None:
    """No hash of a token is kept, so it is not told whose; that it happened is. A run of its own adds no tokens."""
    once(site)
    once(site, private=True)
    path = once(site)
    assert events(path) == FIRST
    site.write("agents.yaml", edited(lambda registry: registry["agents"][0].update(tokens=[NEW])))
    assert events(once(site)) == [*FIRST, ("agent", "tokens-exchanged", "")]
    two = [NEW, credential("deploy-bot", TOKEN).token_sha256]
    site.write("agents.yaml", edited(lambda registry: registry["agents"][0].update(tokens=two)))
    assert events(once(site))[4:] == [("agent", "tokens-changed", "deploy-bot")]
    everything = path.read_bytes()
    assert not any(digest.encode() in everything for digest in two)


def test_a_registry_that_is_not_readable_any_more(site: LiveGate) -> None:
    """What nobody can compare is not guessed: one record says so, and the gate starts."""
    path = once(site)

    async def of_another_version() -> None:
        with Chron.open(path) as log:
            await log.append("policy", {"event": "loaded", "agents_digest": "0" * 64, "tokens_digest": "0" * 64})

    asyncio.run(of_another_version())
    assert events(once(site)) == [*FIRST, ("agent", "not-compared", "")]
    (told,) = (record for record in chron.find(path, kind="agent") if record.text("event") == "not-compared")
    assert told.text("reason") == "the registry of the last run cannot be read any more; what changed since is not told"
