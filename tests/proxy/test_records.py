"""The fields of records: flat, bounded, and without anything that was secret in the request."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chron.body import MAX_BODY_BYTES, canonical, checked
from mappings import Operation, RuleRef, compile_mappings, load_mappings, read_document
from policies import Decision, Mode, Outcome, TextRef, compile_policies
from policies.changes import tokens_digest
from proxy import manifests
from proxy.destinations import Route
from proxy.facts import FactsError, Inbound, read_facts
from proxy.questions import asked_again, asked_fields
from proxy.records import (
    FieldValues,
    Origin,
    decision_fields,
    loaded_fields,
    operation_fields,
    refused_fields,
    wire_fields,
)

ORIGIN = Origin("session", "mitmproxy", "12")
ROUTE = Route("a.test", ("127.0.0.1", 443), None, True)
SECRET = "hunter2-correct-horse"
INBOUND = Inbound(
    method="POST",
    scheme="https",
    target=f"/login?user=alice&password={SECRET}",
    fields=(
        (b"Host", b"a.test"),
        (b"Authorization", f"Bearer {SECRET}".encode()),
        (b"Cookie", SECRET.encode()),
        (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
    ),
    client="10.0.0.1",
    tunnel=("a.test", 443),
    sni="a.test",
)
DECISION = Decision(
    outcome=Outcome.DENY,
    mode=Mode.ENFORCE,
    reason="skill:deploy-v2 -- action in deny list",
    code="skill.denied",
    stage="skill",
    agent="deploy-bot",
    anchor="alice@acme.test",
    org="acme",
    rule="policies/deploy-v2.yaml:8:3",
    pattern="deploy:production",
    policy=None,
    skill=TextRef("skill", "deploy-v2", 3, "d1"),
    policies=(TextRef("policy", "no-prod-v1", 1, "d2"), TextRef("policy", "p", 2, "d3")),
    error="",
)
OPERATION = Operation(
    "http:POST", "deploy:production", "api-v2", "production", RuleRef("deploy", "site", "site.yaml:3:5", "d4"), {}
)


def all_fields(inbound: Inbound, operation: Operation | None, decision: Decision) -> FieldValues:
    try:
        facts = read_facts(inbound, SECRET.encode())
    except FactsError:
        facts = None
    shared = wire_fields(ORIGIN, "r1", inbound, facts, ROUTE if facts else None, "rules")
    return {**shared, **operation_fields(operation), **decision_fields(decision)}


def size_bytes(fields: FieldValues) -> int:
    """As the Chron would store it; it raises for what it does not take."""
    return len(canonical(checked("decision", fields))[1])


def test_a_record_names_everything_that_decided() -> None:
    """Who, what, where, by which texts, and what was asked, as flat fields."""
    fields = {name: value for name, value in all_fields(INBOUND, OPERATION, DECISION).items() if value is not None}
    digest = fields.pop("request_digest")
    assert len(str(digest)) == 64
    assert fields == {
        "channel": "wire",
        "session": "session",
        "client": "10.0.0.1",
        "request": "r1",
        "rules_digest": "rules",
        "method": "POST",
        "scheme": "https",
        "host": "a.test",
        "port": 443,
        "path": "/login",
        "query_keys": "user password",
        "request_bytes": len(SECRET),
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "address": "127.0.0.1 443",
        "upstream_verified": True,
        "operation": "http:POST",
        "action": "deploy:production",
        "target": "api-v2",
        "environment": "production",
        "mapping_rule": "deploy",
        "mapping_pack": "site",
        "mapping_place": "site.yaml:3:5",
        "agent": "deploy-bot",
        "anchor": "alice@acme.test",
        "org": "acme",
        "outcome": "DENY",
        "mode": "enforce",
        "reason": "skill:deploy-v2 -- action in deny list",
        "code": "skill.denied",
        "stage": "skill",
        "rule": "policies/deploy-v2.yaml:8:3",
        "pattern": "deploy:production",
        "policies": "no-prod-v1@1 p@2",
        "skill": "deploy-v2",
        "skill_version": 3,
    }


UNREADABLE = {
    "dot segments": replace(INBOUND, target=f"/../x?password={SECRET}"),
    "bad query": replace(INBOUND, target=f"/x?password={SECRET};a=b"),
    "absolute form": replace(INBOUND, target=f"https://alice:{SECRET}@a.test/?password={SECRET}"),
    "userinfo in a CONNECT": replace(
        INBOUND, method="CONNECT", target="/", tunnel=None, uri_authority=f"alice:{SECRET}@a.test:443"
    ),
    "userinfo without a password": replace(INBOUND, tunnel=None, uri_authority=f"{SECRET}@a.test:443"),
    "repeated field": replace(INBOUND, fields=(*INBOUND.fields, INBOUND.fields[1])),
    "line break in a value": replace(INBOUND, fields=(*INBOUND.fields, (b"X", f"{SECRET}\r\n".encode()))),
    "readable": INBOUND,
}


@pytest.mark.parametrize("inbound", UNREADABLE.values(), ids=UNREADABLE)
def test_no_secret_is_recorded(inbound: Inbound) -> None:
    """No credential, header value, query value or body is kept, of a request that is refused unread either."""
    reason = ""
    try:
        read_facts(inbound, SECRET.encode())
    except FactsError as error:
        reason = f"wire -- {error.message}"
    fields = all_fields(inbound, None, replace(DECISION, reason=reason))
    assert SECRET not in json.dumps(fields)


def test_a_trace_is_followed_only_where_it_is_one() -> None:
    """Free text in `traceparent` is not kept (W3C Trace Context, 3.2)."""
    for value in (b"x", b"00-" + b"g" * 32 + b"-" + b"b" * 16 + b"-01", SECRET.encode()):
        inbound = replace(INBOUND, fields=((b"Host", b"a.test"), (b"traceparent", value)))
        assert all_fields(inbound, OPERATION, DECISION)["traceparent"] is None


def test_a_plain_request_has_nothing_to_verify() -> None:
    """`upstream_verified` speaks of certificates; over plain HTTP it is absent, not true."""
    inbound = Inbound("GET", "http", "/", ((b"Host", b"a.test"),), "10.0.0.1", uri_authority="a.test:80")
    assert all_fields(inbound, OPERATION, DECISION)["upstream_verified"] is None


def test_a_record_does_not_say_what_there_was_nothing_of() -> None:
    """Without a query there are no names in it, and a rule of the operator's own is of no pack."""
    own = replace(OPERATION, rule=RuleRef("deploy", "", "site.yaml:3:5", "d4"))
    fields = checked("decision", all_fields(replace(INBOUND, target="/login"), own, DECISION))
    assert fields["mapping_rule"] == "deploy"
    assert not {"query_keys", "mapping_pack"} & fields.keys()


@pytest.mark.parametrize("at", ["2026-03-02T09:00:00.000007Z", "2026-03-02T09:00:00.000007+00:00"])
def test_the_time_that_was_decided_by_is_written_as_all_times_are(at: str) -> None:
    """To the microsecond, in UTC, with a Z; as older records have it, it is read as well."""
    recorded = {"channel": "api", "agent": "deploy-bot", "action": "deploy:staging", "at": at}
    question = asked_again(recorded, {})
    assert question is not None
    assert question.at == datetime(2026, 3, 2, 9, 0, 0, 7, UTC)
    assert asked_fields(question)["at"] == "2026-03-02T09:00:00.000007Z"


_LONG = st.sampled_from(["x", "\x1f", "\u20ac", "\U0001f600", "a b", '"', "/%41", "?&"]).map(lambda text: text * 20_000)
_TEXT = _LONG | st.text(max_size=30)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.builds(replace, st.just(INBOUND), method=_TEXT, target=_TEXT | _TEXT.map("/{}".format), uri_authority=_TEXT,
              tunnel=st.none()),
    st.none() | st.builds(replace, st.just(OPERATION), name=_TEXT, action=_TEXT, target=_TEXT),
    st.builds(replace, st.just(DECISION), agent=_TEXT, reason=_TEXT, error=_TEXT, observed=_TEXT,
              policies=st.just(tuple(TextRef("policy", f"policy-{n}", 1, "d") for n in range(9000)))),
)  # fmt: skip
def test_every_record_fits(inbound: Inbound, operation: Operation | None, decision: Decision) -> None:
    """No request and no number of policies makes a record that the Chron must refuse: that would stop everything."""
    assert size_bytes(all_fields(inbound, operation, decision)) < MAX_BODY_BYTES / 2


# --- records about rules -------------------------------------------------------------------------------

AGENTS = "version: 1\nhumans:\n- {id: a@x.test, org: x, state: active}\nagents: []\n"


def test_a_loaded_set_names_the_operators_texts_and_counts_the_rest(tmp_path: Path) -> None:
    """Shipped packs are counted, not named: each text has its own record."""
    (tmp_path / "site.yaml").write_text("version: 1\n")
    rules = compile_policies(
        read_document(AGENTS, "agents.yaml"),
        [read_document("skill: s\nversion: 2\nallow: [a:b]\n", "s"), read_document("policy: p\ndeny: [c:d]\n", "p")],
    )
    mappings = load_mappings([tmp_path])
    fields = loaded_fields(mappings, rules, "digest", Origin("session", "fast", "1"))
    packs = fields.pop("packs")
    assert isinstance(packs, int)
    assert packs > 3
    assert fields.pop("agents_digest") == next(text.digest for text in rules.texts if text.kind == "agents")
    assert fields.pop("tokens_digest") == tokens_digest(rules)
    assert fields.pop("manifest") == manifests.digest_of(manifests.written(mappings, rules))
    assert fields == {
        "event": "loaded",
        "rules_digest": "digest",
        "texts": f"policy:p@1 skill:s@2 mapping:{tmp_path}/site.yaml",
        "agents": 0,
        "skills": 1,
        "policies": 1,
        "mappings": 1,
        "bundles": None,
        "session": "session",
        "engine": "fast",
        "engine_version": "1",
    }


def test_a_set_of_any_size_fits() -> None:
    """Thousands of texts make no record that is too large."""
    skills = [read_document(f"skill: {'s' * 40}-{n}\nallow: [a:b]\n", f"{n}.yaml") for n in range(3000)]
    rules = compile_policies(read_document(AGENTS, "agents.yaml"), skills)
    fields = loaded_fields(compile_mappings([]), rules, "digest", Origin("session", "fast", "1"))
    assert fields["skills"] == 3000
    assert size_bytes(fields) < 8192


def test_a_refused_set_keeps_its_faults_but_no_token() -> None:
    """A token pasted into the wrong place is masked; a long list is cut, its length kept."""
    faults = "\n".join(f'agents.yaml:{n}:1: "clm_{"a1B2" * 8}" is no digest' for n in range(1, 2001))
    fields = refused_fields(faults, "session")
    assert (fields["event"], fields["faults"]) == ("refused", 2000)
    assert "clm_" not in str(fields["error"])
    assert "agents.yaml:1:1: " in str(fields["error"])
    assert size_bytes(fields) < 8192
