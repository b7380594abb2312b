"""Replay: what a gate decided is decided again from its Chron alone, and what was changed since shows."""

import asyncio
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

import chron
from chron.living import seal
from chron.schema import GUARDS
from chron.segments import default_folder, sealed
from mappings.documents import read_document
from policies import Credential, PolicyError, Question, State, compile_policies
from policies.narrowing import NarrowedError
from proxy.cli.main import main
from proxy.records import decision_fields
from proxy.registries import Registries
from proxy.replaying import DECIDED, Replay, Replayed
from support.clients import client_of
from support.gate import AGENTS, OTHER_TOKEN, TOKEN, LiveGate, running
from support.history import BEGIN, texts
from support.pasts import RULES, TEXTS, rich_gate, traffic
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.waiting import WaitingGate, registry, waiting_gate

BASE = "https://origin.test"


def counted(path: Path) -> tuple[Counter[str], list[Replayed]]:
    """Why decisions were not made again, and those that differ."""
    every = list(Replay(path).decisions())
    assert all(each.again or each.left_out or each.differing for each in every)
    return Counter(each.left_out for each in every), [each for each in every if each.differing]


def replay(path: Path, *arguments: str) -> Result:
    """Run the command where there is no configuration."""
    result = CliRunner().invoke(main, ["chron", "replay", "--chron", str(path), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


# --- what gates wrote ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA, target_ca_pem: Path) -> Path:
    """The Chron of a gate with rules of every kind that were changed now and then, and nothing else of it."""
    folder = tmp_path_factory.mktemp("past")
    with Origin(target_ca) as origin, running(rich_gate(folder / "gate", origin, target_ca_pem)) as live:
        traffic(live)
        _change_rules(live)
        live.settle()
    log = Path(shutil.copy(live.config.chron, folder / "written.db"))
    shutil.rmtree(folder / "gate")
    return log


@pytest.fixture
def copied(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where there is no configuration."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(written, tmp_path / "copy.db"))


def _change_rules(live: LiveGate) -> None:
    def read() -> None:
        with client_of(live) as client:
            client.get(f"{BASE}/production/a")
        live.call(live.service.reload())

    second = {**TEXTS["deploy-v2"], "version": 2, "allow": ["data:read"]}
    live.write("policies/deploy-v2-2.yaml", second)
    live.call(live.service.reload())
    read()
    live.write("mappings/site.yaml", {**RULES, "rules": [{**RULES["rules"][0], "action": "files:read"}]})
    read()
    # The same rules from another file: the place of a line is part of what is compared.
    shutil.move(live.folder / "policies/deploy-v2-2.yaml", live.folder / "policies/moved.yaml")
    live.write("mappings/site.yaml", RULES)
    read()
    read()
    (live.folder / "policies/watch.yaml").unlink()
    (live.folder / "policies/moved.yaml").unlink()
    live.call(live.service.reload())
    read()


def test_a_rich_past_is_decided_again_from_a_copy(copied: Path) -> None:
    """Conditions, headers, limits, observation, several operations, changed rules: nothing differs, all is told."""
    left_out, different = counted(copied)
    assert different == []
    assert left_out == Counter({"": 29, "identity": 1, "unnamed": 1, "target redacted": 1})
    result = replay(copied)
    assert result.exit_code == 0, result.output
    assert "32 decisions: 29 made again, 0 differ" in result.output
    assert "1 not made again: the target was kept out of the record" in result.output
    whole = json.loads(replay(copied, "--json").output)
    assert (whole["replayed"], whole["differences"], whole["rules_found"], whole["erased"]) == (29, 0, 27, 0)
    assert json.loads(replay(copied, "--json", "--agent", "other-bot").output)["decisions"] == 3


def tampered(path: Path, change: str, *values: str) -> None:
    """Change a Chron as its owner can: the guards are dropped before and put back after."""
    with closing(sqlite3.connect(path)) as database, database:
        for name in GUARDS:
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(change, values).rowcount > 0
        for statement in GUARDS.values():
            database.execute(statement)


def _id(path: Path, condition: str) -> str:
    with closing(sqlite3.connect(path)) as database:
        statement = f"SELECT id FROM chron WHERE kind = 'decision' AND {condition} ORDER BY seq LIMIT 1"
        return str(database.execute(statement).fetchone()[0])


DENIED = "body->>'$.reason' LIKE 'policy:calm%'"
CHANGES = {
    "an outcome": ("$.outcome", '"ALLOW"', "outcome"),
    "a reason": ("$.reason", '"skill:deploy-v2 -- action in allow list"', "reason"),
    "the uses of a limit": ("$.uses", '"{}"', "untold"),
    "a header": ("$.headers", '"{}"', "code"),
    "the action": ("$.action", '"data:tag"', "mapping_rule"),
    "the rule that named it": ("$.mapping_rule", '"read"', "mapping_rule"),
    "which mapping text named it": ("$.mapping_place", '"mappings/none.yaml:5:3"', "mapping_place"),
    "which version of the skill": ("$.skill_version", "2", "skill_version"),
    "the agent": ("$.agent", '"other-bot"', "skill"),
    "the human": ("$.anchor", '"mallory@acme.test"', "anchor"),
}


@pytest.mark.parametrize(("field", "value", "seen"), CHANGES.values(), ids=CHANGES)
def test_a_changed_record_differs(copied: Path, field: str, value: str, seen: str) -> None:
    """One field of one record was changed: that record differs and no other, and both decisions are shown."""
    changed = _id(copied, DENIED)
    tampered(copied, f"UPDATE chron SET body = json_set(body, '{field}', json(?)) WHERE id = ?", value, changed)
    result = replay(copied)
    assert result.exit_code == 1
    assert ", 1 differ" in result.output
    assert changed in result.output
    _, (different,) = counted(copied)
    assert seen in [each.name for each in different.differing]
    assert replay(copied, changed).exit_code == 1
    line = json.loads(replay(copied, changed, "--json").output.splitlines()[0])
    assert (line["id"], seen in line["differing"]) == (changed, True)


def test_a_name_of_which_no_record_says_where_it_is_from_differs(copied: Path) -> None:
    """Without the place of its rule a request's name is borne out by no text."""
    changed = _id(copied, DENIED)
    tampered(copied, "UPDATE chron SET body = json_remove(body, '$.mapping_place') WHERE id = ?", changed)
    _, (different,) = counted(copied)
    assert [(each.name, each.recorded) for each in different.differing] == [("mapping_place", "")]


def _as_formerly(path: Path) -> None:
    """Give each decision what records had until 0.1.0: the digest of each text beside that of the rules."""
    for record in list(chron.find(path, kind="decision")):
        shown = chron.show(path, record.id)
        assert shown is not None
        for text in shown.texts:
            change = "UPDATE chron SET body = json_set(body, ?, ?) WHERE id = ?"
            tampered(path, change, f"$.{text.kind}_digest", text.digest, record.id)


def test_a_record_until_0_1_0_is_replayed_as_well(copied: Path) -> None:
    """It says the digest of each text itself: all are found as they were, and one that was changed differs."""
    before = [chron.show(copied, record.id) for record in chron.find(copied, kind="decision")]
    _as_formerly(copied)
    left_out, different = counted(copied)
    assert different == []
    assert left_out == Counter({"": 29, "identity": 1, "unnamed": 1, "target redacted": 1})
    assert json.loads(replay(copied, "--json").output)["rules_found"] == 27
    after = [chron.show(copied, record.id) for record in chron.find(copied, kind="decision")]
    assert [each.texts for each in after if each] == [each.texts for each in before if each]
    changed = _id(copied, DENIED)
    for kind in ("mapping", "skill", "policy"):
        change = f"UPDATE chron SET body = json_set(body, '$.{kind}_digest', ?) WHERE id = ?"
        tampered(copied, change, "0" * 64, changed)
        _, (different_now,) = counted(copied)
        assert f"{kind}_digest" in [each.name for each in different_now.differing]


TEXT_CHANGES = {
    "a policy": ("kind = 'policy' AND id = 'calm'", "policy:calm@1:1:1: its kept text has another digest"),
    "the registry": ("kind = 'agents'", "its kept text has another digest"),
    "the manifest": ("kind = 'rules'", "the kept manifest has another digest"),
}


@pytest.mark.parametrize(("which", "told"), TEXT_CHANGES.values(), ids=TEXT_CHANGES)
def test_a_changed_text_differs(copied: Path, which: str, told: str) -> None:
    """A kept text was changed: every decision that hung on it says so, and none is taken for replayed."""
    tampered(copied, f"UPDATE artefact SET text = text || '# more' WHERE {which}")
    result = replay(copied)
    assert result.exit_code == 1
    assert told in result.output
    assert "29 made again" not in result.output


def test_the_rule_that_named_a_request_is_found_beside_a_changed_text(copied: Path) -> None:
    """What was done to a policy takes nothing from what the manifest says of mappings; another mapping text does."""
    tampered(copied, "UPDATE artefact SET text = text || '# more' WHERE kind = 'policy'")
    assert all(each.rule_found for each in counted(copied)[1] if "mapping_rule" in each.record)
    tampered(copied, "UPDATE artefact SET text = text || '# more' WHERE kind = 'mapping' AND id NOT LIKE 'pack:%'")
    assert not any(each.rule_found for each in counted(copied)[1])
    assert "has another digest" in replay(copied).output
    tampered(copied, "DELETE FROM artefact WHERE kind = 'mapping'")
    (told,) = {each.again for every in counted(copied)[1] for each in every.differing if each.name == "mapping_place"}
    assert told == "its text was not kept"


def test_a_text_that_is_gone_differs(copied: Path) -> None:
    """A text that was removed is no text that was never kept."""
    tampered(copied, "DELETE FROM artefact WHERE kind = 'skill' AND id = 'reader-v1'")
    result = replay(copied, "--agent", "other-bot")
    assert result.exit_code == 1
    assert "skill:reader-v1@1:1:1: its text was not kept" in result.output


def test_other_texts_under_a_new_manifest_differ(copied: Path) -> None:
    """A forged manifest of forged texts does not make the rules that the decisions name."""
    with closing(sqlite3.connect(copied)) as database:
        kept = dict(database.execute("SELECT digest, text FROM artefact WHERE kind = 'rules'").fetchall())
        (old,) = database.execute(
            "SELECT body->>'$.manifest' FROM chron WHERE kind = 'policy' AND body->>'$.event' = 'loaded' LIMIT 1"
        ).fetchone()
    content = json.loads(kept[old])
    content["texts"] = [text for text in content["texts"] if text["id"] != "calm"]
    forged = json.dumps(content)
    new = sha256(forged.encode()).hexdigest()
    tampered(copied, "UPDATE artefact SET digest = ?, text = ? WHERE digest = ?", new, forged, old)
    tampered(
        copied,
        "UPDATE chron SET body = json_set(body, '$.manifest', ?) WHERE kind = 'policy' AND body->>'$.manifest' = ?",
        new,
        old,
    )
    assert "do not make the rules that the record names" in replay(copied).output
    forged_for = [each for each in counted(copied)[1] if "rules_digest" in [one.name for one in each.differing]]
    assert forged_for
    assert not any(each.rule_found for each in forged_for)


def test_a_gate_that_wrote_no_manifest(copied: Path) -> None:
    """Decisions of a gate that did not yet write down which texts counted are counted as such, and are no fault."""
    tampered(copied, "UPDATE chron SET body = json_remove(body, '$.manifest') WHERE kind = 'policy'")
    assert "29 made again, 0 differ" in replay(copied).output  # what was kept says by its digest whose it is
    tampered(copied, "DELETE FROM artefact WHERE kind = 'rules'")
    result = replay(copied)
    assert result.exit_code == 0
    assert "29 not made again: no record says which texts were in force" in result.output
    assert replay(copied, _id(copied, DENIED)).exit_code == 1


def test_wrong_command_lines(copied: Path) -> None:
    """What is no decision, and two questions at once, are told in one line."""
    assert replay(copied, "chr_nothing").exit_code == 2
    assert replay(copied, _id(copied, DENIED), "--agent", "x").exit_code == 2
    assert replay(copied.with_name("none.db")).exit_code == 2


# --- with people ---------------------------------------------------------------------------------------

WITH_PEOPLE: dict[str, Any] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["data:read"],
        "approve": ["data:write"],
        "deny": [{"action": "infra:destroy", "overridable": "break-glass"}],
    },
    "dusk": {"policy": "dusk", "until": "2999-01-01T00:00:00Z", "deny": ["deploy:production"]},
}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate whose agents need humans, two organisations, and one of them owns targets."""
    agents = {
        **registry(),
        "organisations": [
            {"id": "acme", "name": "Acme", "state": "active"},
            {"id": "globex", "name": "Globex", "state": "active", "owns": ["origin.test/globex-*"]},
        ],
    }
    with waiting_gate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        skills=WITH_PEOPLE,
        agents=agents,
    ) as live:
        yield live


def send(gate: WaitingGate, method: str, path: str) -> int:
    with client_of(gate) as client:
        return client.request(method, BASE + path).status_code


def activate(gate: WaitingGate, verb: str, text: str) -> None:
    done = gate.ask("/v1/activations", "bob", method="POST", body={"verb": verb, "texts": [text]})
    assert done.status_code == 200, done.text


def test_what_people_decided_is_part_of_what_is_replayed(gate: WaitingGate) -> None:
    """Approved and refused calls, an exception, a boundary, versions put in force and taken back: nothing differs."""
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(send, gate, "PUT", "/a")
        gate.wait_parked()
        gate.approve(gate.pending()[0])
        assert waiting.result() == 200
        waiting = pool.submit(send, gate, "PUT", "/b")
        gate.wait_parked()
        gate.refuse(gate.pending()[0])
        assert waiting.result() == 403
    assert send(gate, "DELETE", "/db-7") == 403
    scope = {"agent": "deploy-bot", "action": "infra:*", "target": "origin.test/db-*", "minutes": 9, "reason": "fire"}
    name = gate.ask("/v1/exceptions", "bob", method="POST", body=scope).json()["exception"]
    gate.ask(f"/v1/exceptions/{name}/approve", "carol", method="POST", body={})
    assert send(gate, "DELETE", "/db-7") == 200
    assert send(gate, "GET", "/globex-1") == 403
    gate.write("policies/v2.yaml", {"skill": "deploy-v2", "version": 2, "deny": ["data:read"]})
    activate(gate, "activate", "deploy-v2@1")
    assert send(gate, "GET", "/a") == 200
    activate(gate, "activate", "deploy-v2@2")
    assert send(gate, "GET", "/a") == 403
    activate(gate, "rollback", "deploy-v2")
    assert send(gate, "GET", "/a") == 200
    activate(gate, "retire", "policy:dusk")
    assert send(gate, "GET", "/a") == 200
    gate.settle()
    left_out, different = counted(gate.config.chron)
    assert different == []
    assert left_out == Counter({"": 10, "humans": 1})
    assert {each.record["outcome"] for each in Replay(gate.config.chron).decisions()} == {"ALLOW", "DENY", "HOLD"}


def test_an_unactivated_version_is_replayed_as_one(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Where activation is required, what was never activated is out of force in the replay as well."""
    config = {"activation": {"require": ["second-approver"]}}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, skills=WITH_PEOPLE, config=config) as gate:
        assert send(gate, "GET", "/a") == 403
        gate.settle()
        (one,) = Replay(gate.config.chron).decisions()
        assert (one.again["reason"], one.differing) == ("skill:deploy-v2 -- not activated", ())


# --- what the registry alone took away -----------------------------------------------------------------

BROKEN = "policy: broken\ndenny: [x]\n"
SHARED: dict[str, Any] = {
    **AGENTS,
    "organisations": [
        {"id": "acme", "name": "Acme", "state": "active"},
        {"id": "globex", "name": "Globex", "state": "active", "owns": ["origin.test/globex-*"]},
    ],
    "cross_grants": [{"of": "acme", "into": "globex"}],
}
"""The agents of one organisation, and what they may do in another."""
FIRST_BOT, SECOND_BOT = SHARED["agents"]


@pytest.fixture
def taken(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> LiveGate:
    """A gate, stopped now, whose registry took away twice while a policy was broken, and was loaded whole then."""
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, agents=SHARED)
    with running(live):
        assert [_got(live, "/globex-1"), _got(live, "/a", FIRST_BOT)] == [200, 200]
        live.write("policies/broken.yaml", BROKEN)
        suspended = [{**FIRST_BOT, "state": "suspended"}, SECOND_BOT]
        _take_away(live, {**SHARED, "agents": suspended})
        assert [_got(live, "/globex-1"), _got(live, "/a", FIRST_BOT)] == [200, 403]
        _take_away(live, {**SHARED, "agents": [{**suspended[0], "tokens": []}, SECOND_BOT], "cross_grants": []})
        live.settle()
        _seal(live)
        assert [_got(live, "/globex-1"), _got(live, "/a")] == [403, 200]
        live.settle()
        _seal(live)
        (live.folder / "policies/broken.yaml").unlink()
        live.call(live.service.reload())
        assert [_got(live, "/globex-1"), _got(live, "/a")] == [403, 200]
    return live


def _got(live: LiveGate, path: str, agent: dict[str, Any] = SECOND_BOT) -> int:
    token = TOKEN if agent is FIRST_BOT else OTHER_TOKEN
    with client_of(live, proxy=live.proxy(agent["id"], token)) as client:
        return client.get(BASE + path).status_code


def _take_away(live: LiveGate, agents: dict[str, Any]) -> None:
    live.write("agents.yaml", agents)
    with pytest.raises(NarrowedError):
        live.call(live.service.reload())


def _seal(live: LiveGate) -> None:
    live.call(asyncio.to_thread(seal, live.service._chron, default_folder(live.config.chron)))


def test_what_the_registry_alone_took_away_is_replayed(taken: LiveGate, tmp_path: Path) -> None:
    """Twice in a row and then loaded whole: nothing differs, and only who was stopped is not asked again."""
    copy = tmp_path / "copy.db"
    shutil.copy(taken.config.chron, copy)
    every = list(Replay(copy).decisions())
    assert counted(copy) == (Counter({"": 7, "identity": 1}), [])
    assert [each.again.get("code") for each in every if each.record["target"] == "origin.test/globex-1"] == [
        *("skill.allowed", "skill.allowed", "org.foreign-target", "org.foreign-target")
    ]
    assert len({each.record["rules_digest"] for each in every}) == 4


def test_a_segment_is_enough_for_what_was_taken_away(taken: LiveGate) -> None:
    """Also one of a time that began behind it, which has the kept texts and no record of what took away."""
    *_, segment = sealed(taken.config.chron)
    path = default_folder(taken.config.chron) / segment.file
    assert [record for record in chron.find(path, kind="policy") if record.text("event") == "narrowed"] == []
    assert counted(path) == (Counter({"": 2}), [])


def test_what_was_taken_away_is_on_record_before_it_counts(taken: LiveGate) -> None:
    """The registry's text first, without tokens and names, then what it did, then what is decided by it."""
    first, second = taken.records("policy", event="narrowed")
    (loaded, whole) = taken.records("policy", event="loaded")
    assert (loaded["tokens_digest"], whole["tokens_digest"]) == (first["tokens_digest"], second["tokens_digest"])
    assert first["tokens_digest"] != second["tokens_digest"]
    for narrowed in (first, second):
        kept = [record["seq"] for record in taken.records("text", digest=narrowed["agents_digest"])]
        kept += [record["seq"] for record in taken.records("text", digest=narrowed["manifest"])]
        decided = [record["seq"] for record in taken.records(rules_digest=narrowed["rules_digest"])]
        assert max(kept) < narrowed["seq"] < min(decided)
    texts_kept = chron.kept_texts(taken.config.chron, "agents")
    assert len(texts_kept) == 3
    assert not any(word in text for text in texts_kept.values() for word in ("Alice", *FIRST_BOT["tokens"]))


def test_the_registry_of_then_is_what_was_left(taken: LiveGate) -> None:
    """A simulation that asks with the agents of then has neither what was taken away nor what waited for a load."""
    path = taken.config.chron
    skills = [read_document(text, "skill", error=PolicyError) for text in chron.kept_texts(path, "skill").values()]
    of_then = Registries(path, lambda registry: compile_policies(registry, skills))
    narrowed = [event["rules_digest"] for event in taken.records("policy", event="narrowed")]
    once, twice = (of_then({"rules_digest": digest}) for digest in narrowed)
    assert once is not None
    assert twice is not None
    assert [each.agents["deploy-bot"].state for each in (once, twice)] == [State.SUSPENDED] * 2
    assert [len(each.boundaries.grants) for each in (once, twice)] == [1, 0]
    assert [each.agents["other-bot"].state for each in (once, twice)] == [State.ACTIVE] * 2
    tampered(path, "DELETE FROM artefact WHERE kind = 'rules'")
    assert Registries(path, lambda registry: compile_policies(registry, skills))({"rules_digest": narrowed[0]}) is None


def test_a_registry_of_then_may_be_as_large_as_one_of_now(taken: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hand writes one of thousands of agents, so it may be larger than other texts."""
    path = taken.config.chron
    skills = [read_document(text, "skill", error=PolicyError) for text in chron.kept_texts(path, "skill").values()]
    (loaded, _) = taken.records("policy", event="loaded")
    monkeypatch.setattr("mappings.documents.MAX_TEXT_CHARS", 100)
    of_then = Registries(path, lambda registry: compile_policies(registry, skills))
    assert of_then({"rules_digest": loaded["rules_digest"]}) is not None


TAKEN_CHANGES = {
    "the registry that took away": (
        "UPDATE artefact SET text = replace(text, 'suspended', 'active') WHERE kind = 'agents'",
        "its kept text has another digest",
    ),
    "which registries took away": (
        "UPDATE artefact SET text = replace(text, '\"narrowed_by\"', '\"not_by\"') WHERE kind = 'rules'",
        "the kept manifest has another digest",
    ),
    "the registry is gone": (
        "DELETE FROM artefact WHERE seq = (SELECT max(seq) FROM artefact WHERE kind = 'agents')",
        "agents:1:1: its text was not kept",
    ),
}


@pytest.mark.parametrize(("change", "told"), TAKEN_CHANGES.values(), ids=TAKEN_CHANGES)
def test_a_change_of_what_took_away_differs(taken: LiveGate, change: str, told: str) -> None:
    """Every decision that hung on it says so."""
    narrowed = {record["rules_digest"] for record in taken.records("policy", event="narrowed")}
    tampered(taken.config.chron, change)
    _, different = counted(taken.config.chron)
    assert {each.record["rules_digest"] for each in different} & narrowed
    assert told in replay(taken.config.chron).output


# --- what is compared ----------------------------------------------------------------------------------


def test_everything_a_decision_says_is_compared() -> None:
    """A field that records get one day is either compared or left out on purpose."""
    policies = texts("skill: deploy-v2\nallow: [data:read]\n", "policy: p\ndeny: [data:write]\n")
    question = Question(Credential("deploy-bot", ""), "data:write", "", "", BEGIN, "")
    assert decision_fields(policies.decide_again(question)).keys() == {*DECIDED, "error"}


def test_replay_writes_nothing(copied: Path) -> None:
    """The copy is the same, byte for byte, after it was replayed."""
    before = copied.read_bytes()
    replay(copied)
    assert copied.read_bytes() == before
