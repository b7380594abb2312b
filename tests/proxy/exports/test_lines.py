"""A record as a line for other systems: what each format requires is there, and nothing breaks out of its line."""

import csv
import io
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.exports import COLUMNS, LINES, Event, cloudevent, csv_line, ocsf, syslog
from proxy.exports.csvs import csv_row

DECISION = {
    "v": 1,
    "seq": 7,
    "id": "chr_1",
    "ts": "2026-03-01T12:00:00.123456Z",
    "kind": "decision",
    "session": "s1",
    "request": "s1-4",
    "client": "10.0.0.7",
    "agent": "deploy-bot",
    "anchor": "alice@acme.test",
    "org": "acme",
    "action": "deploy:production",
    "target": "api-v2",
    "method": "DELETE",
    "scheme": "https",
    "host": "api.k8s.test",
    "port": 6443,
    "path": "/apis/apps/v1/x?token",
    "request_bytes": 0,
    "outcome": "DENY",
    "mode": "enforce",
    "reason": "policy:no-prod-v1 -- action not in allow list",
    "code": "policy.not-allowed",
    "policy": "no-prod-v1",
    "policy_version": 3,
    "rules_digest": "d" * 64,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "executes": True,
}
OUTCOME = {"kind": "outcome", "ts": DECISION["ts"], "ref": "chr_1", "result": "blocked", "status": 403}
LIFECYCLE = {"kind": "lifecycle", "ts": DECISION["ts"], "event": "open", "origin": "claiim"}


def event(fields: dict[str, object]) -> Event:
    return Event(7, "chr_1", fields, "a" * 64, "b" * 64, "claiim")  # type: ignore[arg-type]


# --- OCSF: required attributes of the class, of the base event and of the objects that are used (1.9.0) ---

REQUIRED = ("activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata")
REQUIRED += ("actor", "api", "src_endpoint")
KNOWN = {
    *REQUIRED,
    *("activity_name", "category_name", "class_name", "type_name", "severity", "message", "unmapped"),
    *("dst_endpoint", "http_request", "http_response", "resources", "ai_agent"),
    *("action_id", "action", "disposition_id", "disposition", "authorizations", "policy"),
    *("status_id", "status", "status_detail"),
}
TYPES = {"activity_id": int, "category_uid": int, "class_uid": int, "type_uid": int, "severity_id": int, "time": int}
TYPES |= {"metadata": dict, "actor": dict, "api": dict, "src_endpoint": dict, "unmapped": dict, "resources": list}


def ocsf_faults(told: dict[str, object]) -> list[str]:
    """What the schema would say, as far as these events use it."""
    faults = [f"{name} is missing" for name in REQUIRED if name not in told]
    faults += [f"{name} is unknown" for name in set(told) - KNOWN]
    faults += [
        f"{name} is of another type" for name, kind in TYPES.items() if not isinstance(told.get(name, kind()), kind)
    ]
    if told["type_uid"] != told["class_uid"] * 100 + told["activity_id"]:
        faults.append("type_uid does not follow")
    if told["activity_id"] not in (0, 1, 2, 3, 4, 99):
        faults.append("activity_id")
    metadata, actor, source = told["metadata"], told["actor"], told["src_endpoint"]
    if metadata["version"] != "1.9.0" or not metadata["product"].get("name"):
        faults.append("metadata")
    if not {"process", "user", "invoked_by", "session", "app_name", "app_uid"} & set(actor):
        faults.append("actor needs one of its attributes")
    if not {"ip", "uid", "name", "hostname", "svc_name", "instance_uid"} & set(source):
        faults.append("src_endpoint needs one of its attributes")
    if not told["api"].get("operation"):
        faults.append("api.operation")
    if "http_response" in told and "code" not in told["http_response"]:
        faults.append("http_response.code")
    if "ai_agent" in told and not told["ai_agent"].get("uid"):
        faults.append("ai_agent.uid")
    if "action_id" in told and told["action_id"] not in (1, 2, 3):
        faults.append("action_id")
    return faults


def test_a_decision_in_ocsf() -> None:
    """Who, for whom, what, where, decided how and by which policy stand where OCSF has them."""
    told = json.loads(ocsf(event(DECISION)))
    assert ocsf_faults(told) == []
    assert (told["class_uid"], told["type_uid"], told["activity_name"]) == (6003, 600304, "Delete")
    assert told["time"] == int(datetime(2026, 3, 1, 12, 0, 0, 123456, UTC).timestamp() * 1000)
    assert (told["action"], told["disposition"], told["message"]) == ("Denied", "Blocked", DECISION["reason"])
    assert (told["ai_agent"]["uid"], told["actor"]["user"]["uid"]) == ("deploy-bot", "alice@acme.test")
    assert (told["api"]["operation"], told["resources"]) == ("deploy:production", [{"name": "api-v2"}])
    policy = {"name": "no-prod-v1", "uid": "no-prod-v1@3", "version": "3"}
    assert told["authorizations"] == [{"decision": "DENY", "policy": policy}]
    older = json.loads(ocsf(event({**DECISION, "policy_digest": "e" * 64})))  # as records were until 0.1.0
    assert older["policy"] == {**policy, "uid": "e" * 64}
    assert told["metadata"]["uid"] == "chr_1"
    assert told["metadata"]["profiles"] == ["security_control", "ai_operation"]
    assert told["src_endpoint"] == {"ip": "10.0.0.7"}
    assert told["http_request"]["url"]["path"] == "/apis/apps/v1/x?token"
    assert told["unmapped"] == {**DECISION, "leaf": "a" * 64, "hash": "b" * 64}


@pytest.mark.parametrize(
    ("outcome", "mode", "action"),
    [
        ("ALLOW", "enforce", "Allowed"),
        ("DENY", "observe", "Observed"),
        ("HOLD", "enforce", "Denied"),
        ("", "", "Denied"),
    ],
)
def test_what_was_only_observed_was_not_denied(outcome: str, mode: str, action: str) -> None:
    """A call that went through although it would have been denied is "Observed"; what is unknown is no permission."""
    assert json.loads(ocsf(event({**DECISION, "outcome": outcome, "mode": mode})))["action"] == action


def test_an_outcome_refers_to_its_decision_in_ocsf() -> None:
    """The answer's status, and the id of the decision to join it by."""
    told = json.loads(ocsf(event(OUTCOME)))
    assert ocsf_faults(told) == []
    assert (told["metadata"]["correlation_uid"], told["http_response"], told["status"]) == (
        "chr_1",
        {"code": 403},
        "Failure",
    )


@pytest.mark.parametrize("fields", [LIFECYCLE, {"kind": "access", "ts": DECISION["ts"], "by": "x"}, {}])
def test_every_record_is_a_valid_ocsf_event(fields: dict[str, object]) -> None:
    """Nothing is left out of an export because it is no decision, not even what was erased."""
    assert ocsf_faults(json.loads(ocsf(event(fields)))) == []


def test_a_cloudevent() -> None:
    """The four required attributes, the record as data, and extension names of small letters and digits."""
    told = json.loads(cloudevent(event(DECISION)))
    assert {name: told[name] for name in ("specversion", "id", "source", "type")} == {
        "specversion": "1.0",
        "id": "chr_1",
        "source": "urn:claiim:chron:claiim",
        "type": "claiim.decision.deny",
    }
    assert (told["time"], told["subject"], told["data"]) == (DECISION["ts"], "deploy:production", DECISION)
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in told)
    assert all(isinstance(value, str) for name, value in told.items() if name != "data")
    assert json.loads(cloudevent(event({})))["type"] == "claiim.erased"


SYSLOG = re.compile(
    r"<(?P<pri>[0-9]{1,3})>1 (?P<time>-|[0-9T:.-]+Z) (?P<host>[!-~]{1,255}) claiim - (?P<msgid>[!-~]{1,32}) "
    r"\[claiim@32473(?P<data>(?: [!-<>-\\^-~]{1,32}=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\] \ufeff(?P<message>[^\n]*)"
)


def test_a_line_of_syslog() -> None:
    """Facility audit, a denial is a notice, fields are structured data; RFC 5424's grammar holds."""
    match = SYSLOG.fullmatch(syslog(event(DECISION)))
    assert match is not None
    assert (match["pri"], match["time"], match["msgid"]) == ("109", DECISION["ts"], "decision")
    assert ' agent="deploy-bot"' in match["data"]
    assert ' executes="true"' in match["data"]
    assert match["message"].startswith("decision DENY deploy-bot deploy:production api-v2 policy:no-prod-v1 -- ")
    hostile = SYSLOG.fullmatch(syslog(event({**DECISION, "agent": 'x"] \\evil\n<0>1 - - -', "outcome": "ALLOW"})))
    assert hostile is not None
    assert hostile["pri"] == "110"
    assert r'agent="x\"\] \\evil\\n<0>1 - - -"' in hostile["data"]


def test_csv_has_all_columns_and_cannot_calculate() -> None:
    """A row has a cell for each column, and what an agent sent is shown as text."""
    line = csv_line(event({**DECISION, "agent": "=cmd()", "target": "+1", "reason": 'a,"b"\r\n@x', "path": "\t=1"}))
    assert "\n" not in line
    [row] = csv.DictReader(io.StringIO(f"{csv_row(COLUMNS)}\n{line}\n"))
    assert (row["agent"], row["target"], row["reason"]) == ("'=cmd()", "'+1", r'a,"b"\r\n@x')
    assert (row["path"], row["port"], row["executes"], row["host"]) == (r"\t=1", "6443", "true", "api.k8s.test")
    assert (row["seq"], row["hash"], row["error"]) == ("7", "b" * 64, "")


values = st.text(max_size=20) | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
names = st.sampled_from([*sorted(DECISION.keys() - {"v", "seq", "id", "ts"}), "by", "event", "result", "ref", "status"])


@example({"kind": "\n"})
@given(st.dictionaries(names, values))
def test_no_record_breaks_out_of_its_line(fields: dict[str, object]) -> None:
    """Whatever texts a record has, each format makes one line of it that reads back."""
    one = event({**fields, "ts": DECISION["ts"]})
    for form, line in LINES.items():
        text = line(one)
        assert len(text.encode("utf-8", "surrogatepass").split(b"\n")) == 1, form
    assert ocsf_faults(json.loads(ocsf(one))) == []
    assert json.loads(cloudevent(one))["data"] == one.fields
    assert SYSLOG.fullmatch(syslog(one))
