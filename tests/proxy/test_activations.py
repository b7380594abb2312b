"""Versions in force over a running gate: who may move the pointer, what is recorded, and what survives."""

import copy
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from chron import ChronError, show
from policies import token_digest
from proxy.cli.main import main
from support.clients import client_of
from support.gate import AGENTS, TOKEN, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

ECHO = "https://origin.test/echo"
ALLOWED = "skill:deploy-v2 -- action in allow list"
INACTIVE = "skill:deploy-v2 -- not activated"
MISSED = "skill:deploy-v2 -- action not in allow list"

PEOPLE = ("alice", "bob", "carol")
V1 = "skill: deploy-v2\nallow: [data:read]\n"
V2 = "skill: deploy-v2\nversion: 2\nallow: [deploy:staging]\n"
NO_READS = "policy: no-reads\ndeny: [data:read]\n"

type Run = Callable[..., Result]
type Make = Callable[..., LiveGate]


def agents() -> dict[str, Any]:
    registry = copy.deepcopy(AGENTS)
    registry["agents"] = registry["agents"][:1]
    registry["humans"] = [
        {
            "id": f"{name}@acme.test",
            "org": "acme",
            "state": "active",
            "tokens": [token_digest(f"clh_token-of-{name}-0123456789")],
        }
        for name in PEOPLE
    ]
    return registry


@pytest.fixture
def make(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Make:
    """Makes a gate whose agent has the skill deploy-v2; `require` as in its configuration."""

    def made(*require: str, skills: dict[str, Any] | None = None, window: str = "30d") -> LiveGate:
        return LiveGate(
            tmp_path / "gate",
            origin,
            target_ca=target_ca_pem,
            mappings=ORIGIN_MAPPINGS,
            agents=agents(),
            skills={"v1": V1} if skills is None else skills,
            config={"activation": {"require": list(require), "window": window}},
        )

    return made


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Path]:
    """Each person's token file."""
    files = {}
    for name in PEOPLE:
        files[name] = tmp_path / f"{name}.token"
        files[name].write_text(f"clh_token-of-{name}-0123456789\n")
    return files


@pytest.fixture
def claiim(monkeypatch: pytest.MonkeyPatch, people: dict[str, Path]) -> Run:
    """Runs `claiim policy VERB ...` as somebody, for a gate that runs."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_HUMAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(gate: LiveGate, who: str, *arguments: str) -> Result:
        address = {"CLAIIM_API_LISTEN": str(gate.service.api_address)}
        more = ["--token-file", str(people[who])] if who else []
        result = CliRunner().invoke(
            main, ["policy", *arguments, *more, "-c", str(gate.folder / "claiim.yaml")], env=address
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def reading(gate: LiveGate) -> str:
    """The reason that is recorded for a read by the agent, which the answer must agree with."""
    with client_of(gate) as client:
        response = client.get(ECHO)
    record = gate.records()[-1]
    assert (response.status_code == 200) is (record["outcome"] == "ALLOW")
    return str(record["reason"])


def acts(gate: LiveGate) -> list[tuple[str, ...]]:
    """What is recorded of versions: event, version, by, approved by, version before."""
    names = ("event", "text_version", "by", "approved_by", "previous_version")
    events = ("activated", "retired", "activation-requested", "activation-refused")
    return [
        tuple(str(each.get(name, "-")) for name in names) for each in gate.records("policy") if each["event"] in events
    ]


def reload(gate: LiveGate) -> httpx.Response:
    token = gate.config.operator_token.read_text().strip()
    return httpx.post(f"{gate.api}/v1/reload", headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def ready(gate: LiveGate) -> dict[str, Any]:
    token = gate.config.operator_token.read_text().strip()
    return httpx.get(f"{gate.api}/readyz", headers={"Authorization": f"Bearer {token}"}, trust_env=False).json()


# --- moving the pointer --------------------------------------------------------------------------------


def test_a_version_is_activated_and_rolled_back_at_the_next_request(make: Make, claiim: Run) -> None:
    """Each move counts at once, is one record that names who and what was before, and its record comes first."""
    with running(make(skills={"v1": V1, "v2": V2})) as gate:
        assert reading(gate) == MISSED  # without any activation the highest version counts
        done = claiim(gate, "alice", "activate", "deploy-v2@1")
        assert (done.exit_code, done.stderr) == (0, "skill:deploy-v2@1 is in force (before: 2)\n")
        assert reading(gate) == ALLOWED
        assert claiim(gate, "bob", "rollback", "deploy-v2").exit_code == 0
        assert reading(gate) == MISSED
        assert acts(gate) == [
            ("activated", "1", "alice@acme.test", "-", "2"),
            ("activated", "2", "bob@acme.test", "-", "1"),
        ]
        (read, *_) = gate.records(reason=ALLOWED)
        activated, loaded = [each for each in gate.records("policy") if each["event"] in ("activated", "loaded")][1:3]
        assert (activated["event"], loaded["event"]) == ("activated", "loaded")
        assert activated["seq"] < loaded["seq"] < read["seq"]
        assert read["skill_version"] == 1
        assert read["rules_digest"] == loaded["rules_digest"]
        shown = show(gate.config.chron, read["id"])
        assert shown is not None
        assert {text.kind: text.digest for text in shown.texts}["skill"] == activated["text_digest"]


def test_the_pointer_survives_a_restart_and_a_new_file(make: Make, claiim: Run) -> None:
    """A higher version that a file brings changes nothing once somebody chose; nor does a restart."""
    gate = make()
    with running(gate):
        assert claiim(gate, "alice", "activate", "skill:deploy-v2").exit_code == 0
        gate.write("policies/v2.yaml", V2)
        assert reload(gate).status_code == 200
        assert reading(gate) == ALLOWED
    with running(gate):
        assert reading(gate) == ALLOWED
        assert gate.records("policy")[-1]["texts"].split()[:2] == ["skill:deploy-v2@1", "skill:deploy-v2@2"]


def test_a_version_whose_file_is_gone_stays_in_force_and_can_be_activated_again(make: Make, claiim: Run) -> None:
    """Its text is obeyed from the Chron, also after a restart; the deciding line says so."""
    gate = make(skills={"v1": V1, "v2": V2})
    with running(gate):
        assert claiim(gate, "alice", "activate", "deploy-v2@1").exit_code == 0
        (gate.folder / "policies" / "v1.yaml").unlink()
        assert reload(gate).status_code == 200
        assert reading(gate) == ALLOWED
        assert gate.records()[-1]["rule"] == "chron:skill:deploy-v2@1:2:9"
    with running(gate):
        assert reading(gate) == ALLOWED
        assert claiim(gate, "alice", "activate", "deploy-v2").exit_code == 0
        assert reading(gate) == MISSED
        assert claiim(gate, "alice", "activate", "deploy-v2@1").exit_code == 0
        assert reading(gate) == ALLOWED


def test_removing_the_file_of_an_activated_policy_does_not_remove_its_deny(make: Make, claiim: Run) -> None:
    """It stays in force until a human retires it, and that is on record too."""
    with running(make(skills={"v1": V1, "no-reads": NO_READS})) as gate:
        assert claiim(gate, "alice", "activate", "policy:no-reads").exit_code == 0
        (gate.folder / "policies" / "no-reads.yaml").unlink()
        assert reload(gate).status_code == 200
        assert reading(gate) == "policy:no-reads -- action in deny list"
        retired = claiim(gate, "bob", "retire", "no-reads")
        assert retired.stderr == "no version of policy:no-reads is in force (before: 1)\n"
        assert reading(gate) == ALLOWED
        assert acts(gate)[-1] == ("retired", "0", "bob@acme.test", "-", "1")
        assert reload(gate).status_code == 200
        assert reading(gate) == ALLOWED


def test_an_agent_that_pins_a_version_keeps_it(make: Make, claiim: Run) -> None:
    """An activation moves those who name no version."""
    gate = make(skills={"v1": V1, "v2": V2})
    registry = agents()
    registry["agents"][0]["skill"] = "deploy-v2@1"
    gate.write("agents.yaml", registry)
    with running(gate):
        assert claiim(gate, "alice", "activate", "deploy-v2@2").exit_code == 0
        assert reading(gate) == ALLOWED


def test_several_texts_are_put_in_force_together(make: Make, claiim: Run) -> None:
    """One act, one record for each, next to each other."""
    with running(make(skills={"v1": V1, "no-reads": NO_READS})) as gate:
        assert claiim(gate, "alice", "activate", "deploy-v2", "no-reads").exit_code == 0
        first, second = [each for each in gate.records("policy") if each["event"] == "activated"]
        assert first["activation"] == second["activation"]
        assert second["seq"] == first["seq"] + 1


REFUSED = {
    "what does not exist": (("activate", "deplo-v2"), 1, 'text "deplo-v2" does not exist; did you mean "deploy-v2"'),
    "a version nobody has": (("activate", "deploy-v2@9"), 1, 'skill "deploy-v2" has no version 9; known: 1, 2'),
    "no name at all": (("activate", "../x"), 1, '"../x" names no text'),
    "two of one text": (("activate", "deploy-v2@1", "deploy-v2@2"), 1, "one text is named twice"),
    "back to nothing": (("rollback", "deploy-v2"), 1, "nothing was in force before this version"),
    "a version to roll back to": (("rollback", "deploy-v2@1"), 1, "rollback takes a name without a version"),
    "a simulation nobody recorded": (("activate", "deploy-v2", "--simulation", "0" * 64), 1, "a recorded simulation"),
    "what is no digest": (("activate", "deploy-v2", "--simulation", "x"), 2, "simulation: string should match"),
    "an id nobody has": (("approve", "act_1"), 1, 'nothing waits as "act_1"'),
}


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_put_in_force_is_refused(
    idle: LiveGate, claiim: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """One line that says why; nothing is recorded and nothing moves."""
    done = claiim(idle, "alice", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert acts(idle) == []


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGate]:
    """One gate for what is refused."""
    folder = tmp_path_factory.mktemp("idle")
    with LiveGate(folder, agents=agents(), skills={"v1": V1, "v2": V2}) as gate:
        yield gate


@pytest.mark.parametrize(
    "token", [TOKEN, "operator", "clh_token-of-nobody"], ids=["an agent", "the operator", "nobody"]
)
def test_only_a_human_puts_versions_in_force(idle: LiveGate, claiim: Run, tmp_path: Path, token: str) -> None:
    """Exit 4, whoever else asks, the operator too."""
    secret = idle.config.operator_token.read_text() if token == "operator" else token
    file = tmp_path / "token"
    file.write_text(secret)
    for verb in (("activate", "deploy-v2@1"), ("rollback", "deploy-v2"), ("retire", "deploy-v2"), ("refuse", "act_1")):
        done = claiim(idle, "", *verb, "--token-file", str(file))
        assert (done.exit_code, done.stderr) == (4, "no active human has this token\n")
    assert acts(idle) == []


def test_a_gated_agent_and_a_caller_without_token_or_gate_get_nowhere(
    idle: LiveGate, claiim: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 inside `claiim run`, 4 without a token, 69 where no gate answers."""
    assert claiim(idle, "", "activate", "deploy-v2@1").exit_code == 4
    done = CliRunner().invoke(
        main,
        ["policy", "waiting", "--token-file", str(idle.folder / "claiim.yaml"), "-c", str(idle.folder / "claiim.yaml")],
        env={"CLAIIM_API_LISTEN": "127.0.0.1:1"},
    )
    assert (done.exit_code, done.stderr[:36]) == (4, f"{idle.folder}/claiim.yaml"[:36])
    token = idle.folder / "human.token"
    token.write_text("clh_token-of-alice-0123456789")
    done = CliRunner().invoke(
        main,
        ["policy", "waiting", "--token-file", str(token), "-c", str(idle.folder / "claiim.yaml")],
        env={"CLAIIM_API_LISTEN": "127.0.0.1:1"},
    )
    assert (done.exit_code, done.stderr) == (
        69,
        'no gate answers at http://127.0.0.1:1; start it with "claiim serve"\n',
    )
    monkeypatch.setenv("CLAIIM_RUN_ID", "x")
    assert claiim(idle, "alice", "activate", "deploy-v2@1").exit_code == 2
    assert acts(idle) == []


def test_what_would_not_load_is_not_recorded(make: Make, claiim: Run) -> None:
    """The faults come back, the rules in force stay, and the gate is as well as before."""
    with running(make(skills={"v1": V1, "v2": V2})) as gate:
        gate.write("policies/v2.yaml", V2.replace("staging", "production"))
        done = claiim(gate, "alice", "activate", "deploy-v2@2")
        assert done.exit_code == 1
        assert 'skill "deploy-v2" version 2 changed since it was first loaded; bump the version' in done.stderr
        assert acts(gate) == []
        assert ready(gate)["status"] == "ok"


def test_what_cannot_be_recorded_is_not_put_in_force(make: Make, claiim: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record comes first: without it the older version stays, now and after the next load."""
    with running(make(skills={"v1": V1, "v2": V2})) as gate:

        def full(*_: Any) -> Any:
            raise ChronError("disk full")

        with monkeypatch.context() as planted:
            planted.setattr(type(gate.service._chron), "append_many", full)
            done = claiim(gate, "alice", "activate", "deploy-v2@1")
        assert (done.exit_code, done.stderr) == (1, "the decision cannot be recorded\n")
        assert reading(gate) == MISSED
        assert reload(gate).status_code == 200
        assert reading(gate) == MISSED
        assert acts(gate) == []


# --- a second human ------------------------------------------------------------------------------------


def test_with_a_second_approver_nothing_is_in_force_until_two_said_yes(make: Make, claiim: Run) -> None:
    """A new site allows nothing; then one asks, another approves, and from then on it counts."""
    with running(make("second-approver")) as gate:
        assert reading(gate) == INACTIVE
        assert ready(gate)["waiting"] == ["skill:deploy-v2@1 is not in force, no version is"]
        asked = claiim(gate, "alice", "activate", "deploy-v2")
        assert asked.exit_code == 8
        act = asked.stdout.strip()
        assert reading(gate) == INACTIVE
        assert ready(gate)["waiting"][0] == f"{act} waits for another human than alice@acme.test"
        own = claiim(gate, "alice", "approve", act)
        assert (own.exit_code, own.stderr) == (1, "you asked for this; another human has to approve it\n")
        assert reading(gate) == INACTIVE
        listed = claiim(gate, "bob", "waiting").stdout
        assert f"{act}  " in listed
        assert "skill:deploy-v2 none -> 1" in listed
        done = claiim(gate, "bob", "approve", act)
        assert (done.exit_code, done.stderr) == (0, "skill:deploy-v2@1 is in force (before: none)\n")
        assert reading(gate) == ALLOWED
        assert acts(gate) == [
            ("activation-requested", "1", "alice@acme.test", "-", "-"),
            ("activated", "1", "alice@acme.test", "bob@acme.test", "-"),
        ]
        assert claiim(gate, "carol", "approve", act).exit_code == 1  # done is done
        assert ready(gate)["waiting"] == []


def test_a_changed_file_changes_nothing_until_it_is_activated(make: Make, claiim: Run) -> None:
    """A new version waits, and says so; a request outlives a restart."""
    gate = make("second-approver")
    with running(gate):
        act = claiim(gate, "alice", "activate", "deploy-v2").stdout.strip()
        claiim(gate, "bob", "approve", act)
        gate.write("policies/v2.yaml", V2)
        assert reload(gate).status_code == 200
        assert reading(gate) == ALLOWED
        assert ready(gate)["waiting"] == ["skill:deploy-v2@2 is not in force, version 1 is"]
        second = claiim(gate, "bob", "activate", "deploy-v2").stdout.strip()
    with running(gate):
        assert reading(gate) == ALLOWED
        assert claiim(gate, "alice", "approve", second).exit_code == 0
        assert reading(gate) == MISSED


def test_an_approval_is_of_the_very_text_that_was_asked_for(make: Make, claiim: Run, people: dict[str, Path]) -> None:
    """Neither another digest nor a file that changed in between gets in; the old rules stay."""
    gate = make("second-approver")
    with running(gate):
        act = claiim(gate, "alice", "activate", "deploy-v2").stdout.strip()
        token = {"Authorization": f"Bearer {people['bob'].read_text().strip()}"}
        url = f"{gate.api}/v1/activations/{act}/approve"
        other = httpx.post(url, json={"digests": ["0" * 64]}, headers=token, trust_env=False)
        assert (other.status_code, other.json()["code"]) == (409, "activation.digest")
        assert claiim(gate, "bob", "approve", act, "--digest", "0000").exit_code == 1
        gate.write("policies/v1.yaml", V1.replace("data:read", "data:*"))
        changed = claiim(gate, "bob", "approve", act)
        assert changed.exit_code == 1
        assert "changed since it was first loaded" in changed.stderr
        assert reading(gate) == INACTIVE
        assert [event for event, *_ in acts(gate)] == ["activation-requested"]
        gate.write("policies/v1.yaml", V1)
        assert claiim(gate, "bob", "approve", act).exit_code == 0
        assert reading(gate) == ALLOWED


def test_an_approval_counts_only_while_nothing_moved(make: Make, claiim: Run) -> None:
    """Of two requests for one text, the second to be approved is refused: it was looked at beside other rules."""
    with running(make("second-approver", skills={"v1": V1, "v2": V2})) as gate:
        first = claiim(gate, "alice", "activate", "deploy-v2@1").stdout.strip()
        second = claiim(gate, "alice", "activate", "deploy-v2@2").stdout.strip()
        assert claiim(gate, "bob", "approve", first).exit_code == 0
        late = claiim(gate, "bob", "approve", second)
        assert late.exit_code == 1
        assert "another version of skill:deploy-v2 was put in force since" in late.stderr
        assert reading(gate) == ALLOWED


def test_a_request_of_somebody_who_was_suspended_since_is_not_approved(make: Make, claiim: Run) -> None:
    """Two active humans, or none."""
    with running(make("second-approver")) as gate:
        act = claiim(gate, "bob", "activate", "deploy-v2").stdout.strip()
        registry = agents()
        registry["humans"][1]["state"] = "suspended"
        gate.write("agents.yaml", registry)
        assert reload(gate).status_code == 200
        done = claiim(gate, "carol", "approve", act)
        assert (done.exit_code, done.stderr) == (1, "bob@acme.test, who asked for this, is not active any more\n")
        assert claiim(gate, "bob", "approve", act).exit_code == 4
        assert reading(gate) == INACTIVE


def test_a_refused_request_is_over(make: Make, claiim: Run) -> None:
    """With its reason on record."""
    with running(make("second-approver")) as gate:
        act = claiim(gate, "alice", "activate", "deploy-v2").stdout.strip()
        assert claiim(gate, "bob", "refuse", act, "--reason", "too wide").exit_code == 0
        assert claiim(gate, "bob", "approve", act).exit_code == 1
        refused = gate.records("policy", event="activation-refused")[0]
        assert (refused["activation"], refused["by"], refused["reason"]) == (act, "bob@acme.test", "too wide")
        assert reading(gate) == INACTIVE


def test_a_rollback_needs_the_second_human_too(make: Make, claiim: Run) -> None:
    """The version before may be the one that allowed too much."""
    with running(make("second-approver", skills={"v1": V1, "v2": V2})) as gate:
        for version in ("1", "2"):
            act = claiim(gate, "alice", "activate", f"deploy-v2@{version}").stdout.strip()
            assert claiim(gate, "bob", "approve", act).exit_code == 0
        assert reading(gate) == MISSED
        act = claiim(gate, "alice", "rollback", "deploy-v2").stdout.strip()
        assert reading(gate) == MISSED
        assert claiim(gate, "carol", "approve", act).exit_code == 0
        assert reading(gate) == ALLOWED


# --- a simulation --------------------------------------------------------------------------------------


def simulated(gate: LiveGate, *texts: str, report: str, days: int = 30) -> None:
    """Record a simulation, as a human with a report would."""
    now = datetime.datetime.now(datetime.UTC)
    fields = {
        "event": "simulated",
        "report": report,
        "texts": " ".join(texts),
        "since": (now - datetime.timedelta(days=days)).isoformat(),
        "until": now.isoformat(),
        "decisions": 1000,
        "flips": 0,
        "by": "alice@acme.test",
    }

    async def append() -> None:
        await gate.service._chron.append("policy", fields)

    gate.call(append())


def test_a_simulation_must_be_of_exactly_what_is_activated(make: Make, claiim: Run) -> None:
    """Recorded, of these very texts, and far enough back; what was in force once needs none to come back."""
    with running(make("simulation", skills={"v1": V1, "v2": V2})) as gate:
        digests = {text.version: text.digest for text in gate.service.gate.book.policies.texts if text.kind == "skill"}
        one, two = (f"skill:deploy-v2@{version}:{digests[version]}" for version in ("1", "2"))
        without = claiim(gate, "alice", "activate", "deploy-v2@1")
        assert without.exit_code == 1
        assert "a recorded simulation is needed" in without.stderr
        simulated(gate, one, two, report="a" * 64)
        simulated(gate, one, report="b" * 64, days=29)
        simulated(gate, one, report="c" * 64)
        simulated(gate, two, report="d" * 64)
        for report, said in (("a", "of other texts"), ("b", "less than 30 days"), ("d", "of other texts")):
            done = claiim(gate, "alice", "activate", "deploy-v2@1", "--simulation", report * 64)
            assert done.exit_code == 1
            assert said in done.stderr
        assert reading(gate) == INACTIVE
        assert claiim(gate, "alice", "activate", "deploy-v2@1", "--simulation", "c" * 64).exit_code == 0
        assert reading(gate) == ALLOWED
        assert gate.records("policy", event="activated")[0]["simulation"] == "c" * 64
        assert claiim(gate, "alice", "activate", "deploy-v2@2", "--simulation", "d" * 64).exit_code == 0
        assert claiim(gate, "alice", "rollback", "deploy-v2").exit_code == 0
        assert reading(gate) == ALLOWED


def test_a_text_is_simulated_requested_approved_and_in_force(make: Make, claiim: Run) -> None:
    """The whole way, with both requirements: one human vouches for what it would have done, another says yes."""
    with running(make("simulation", "second-approver")) as gate:
        assert reading(gate) == INACTIVE
        text = str(gate.folder / "policies" / "v1.yaml")
        found = claiim(gate, "alice", "simulate", text, "--since", "30d", "--record", "--json")
        assert (found.exit_code, json.loads(found.stdout)["flips"]) == (1, 1)
        report = json.loads(found.stdout)["digest"]
        act = claiim(gate, "alice", "activate", "deploy-v2", "--simulation", report).stdout.strip()
        assert claiim(gate, "bob", "approve", act).exit_code == 0
        assert reading(gate) == ALLOWED
        (activated,) = gate.records("policy", event="activated")
        names = ("by", "approved_by", "simulation")
        assert [activated[name] for name in names] == ["alice@acme.test", "bob@acme.test", report]


# --- looking -------------------------------------------------------------------------------------------


def test_versions_lists_what_is_known_and_who_put_it_in_force(make: Make, claiim: Run) -> None:
    """Also what only the Chron has; check and explain go by the same versions as the gate."""
    gate = make("second-approver", skills={"v1": V1, "v2": V2})
    with running(gate):
        act = claiim(gate, "alice", "activate", "deploy-v2@1").stdout.strip()
        assert claiim(gate, "bob", "approve", act).exit_code == 0
        (gate.folder / "policies" / "v1.yaml").unlink()
        listed = json.loads(claiim(gate, "", "versions", "deploy-v2", "--json").stdout)
        shown = [(each["version"], each["state"], each["by"], each["approved_by"], each["text"]) for each in listed]
        assert shown == [
            (1, "in force", "alice@acme.test", "bob@acme.test", "chron"),
            (2, "loaded", "-", "-", str(gate.folder / "policies" / "v2.yaml")),
        ]
        assert "in force" in claiim(gate, "", "versions").stdout
    config = ["-c", str(gate.folder / "claiim.yaml")]
    checked = CliRunner().invoke(main, ["check", *config])
    assert checked.exit_code == 0
    assert 'skill:deploy-v2@2 is not in force, version 1 is; run "claiim policy activate"' in checked.stderr
    explained = CliRunner().invoke(main, ["explain", "--agent", "deploy-bot", "--action", "data:read", *config])
    assert explained.exit_code == 0
    assert "chron:skill:deploy-v2@1:2:9" in explained.stdout
    suspended = CliRunner().invoke(main, ["agent", "suspend", "deploy-bot", *config])
    assert suspended.exit_code == 0


def test_a_chron_that_cannot_be_seen_is_not_taken_for_none(make: Make, claiim: Run) -> None:
    """The highest versions would count; only a change of the registry goes on, which the gate looks at again."""
    gate = make(skills={"v1": V1, "v2": V2})
    gate.config.state.mkdir()
    gate.config.chron.symlink_to(gate.config.chron)  # a loop, as unreadable for root as a closed folder for others
    config = ["-c", str(gate.folder / "claiim.yaml")]
    for command in (("explain", "--agent", "deploy-bot", "--action", "deploy:staging"), ("policy", "versions")):
        done = CliRunner().invoke(main, [*command, *config])
        assert (done.exit_code, done.stdout) == (78, "")
        assert done.stderr.startswith(f'cannot read chron "{gate.config.chron}": too many levels of symbolic links')
    assert CliRunner().invoke(main, ["agent", "suspend", "deploy-bot", *config]).exit_code == 0
