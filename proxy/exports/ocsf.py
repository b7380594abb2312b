"""A record as an OCSF event of class API Activity (6003), schema version 1.9.0.

Decisions say what was asked and what was answered (profiles `security_control` and `ai_operation`); an outcome refers
to its decision by `metadata.correlation_uid`; what else the log tells (rules loaded, agents suspended, reads of the
log) is an activity of the gate itself. Every field of the record stands under `unmapped` as well, with leaf and hash
of the Chron: OCSF's own `attestation` would have to be computed over this event and not over the record.

https://github.com/ocsf/ocsf-schema, events/application/api_activity.json, events/base_event.json, objects/, profiles/
"""

import json

from proxy.exports.events import Event, without_empty

VERSION = "1.9.0"
_CATEGORY, _CLASS = 6, 6003
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITY_NAMES = {_CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete"}
_OF_METHOD = {
    **dict.fromkeys(("GET", "HEAD", "OPTIONS", "QUERY"), _READ),
    "POST": _CREATE,
    **dict.fromkeys(("PUT", "PATCH"), _UPDATE),
    "DELETE": _DELETE,
}
# profiles/security_control.json: action_id, disposition_id.
_ALLOWED, _DENIED, _OBSERVED = (1, "Allowed"), (2, "Denied"), (3, "Observed")
_DISPOSITIONS = {1: (1, "Allowed"), 2: (2, "Blocked"), 3: (17, "Logged")}
_INFORMATIONAL, _MEDIUM = (1, "Informational"), (3, "Medium")  # traits/classification: severity_id
_SUCCESS, _FAILURE, _STATUS_OTHER = (1, "Success"), (2, "Failure"), (99, "Other")


def ocsf(event: Event) -> str:
    """The event as one line of JSON."""
    activity = _activity(event)
    severity = _MEDIUM if event.text("outcome") == "DENY" else _INFORMATIONAL
    told: dict[str, object] = {
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES.get(activity, "Other"),
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "type_uid": _CLASS * 100 + activity,
        "type_name": f"API Activity: {_ACTIVITY_NAMES.get(activity, 'Other')}",
        "severity_id": severity[0],
        "severity": severity[1],
        "time": event.milliseconds,
        "message": event.text("reason") or event.text("error"),
        "metadata": _metadata(event),
        "actor": _actor(event),
        "api": _api(event),
        "src_endpoint": _source(event),
        "dst_endpoint": without_empty({"hostname": event.text("host"), "port": event.number("port")}),
        "http_request": _http_request(event),
        "http_response": without_empty({"code": event.number("status"), "length": event.number("response_bytes")}),
        "resources": [without_empty({"name": event.text("target")})] if event.text("target") else None,
        "ai_agent": without_empty({"uid": event.text("agent"), "instance_uid": event.text("session")})
        if event.text("agent")
        else None,
        **_control(event),
        **_status(event),
        "unmapped": {**event.fields, "seq": event.seq, "id": event.id, "leaf": event.leaf, "hash": event.hash},
    }
    if "code" not in told["http_response"]:  # type: ignore[operator]
        told.pop("http_response")  # the schema wants a code in it
    return json.dumps(without_empty(told), ensure_ascii=False, separators=(",", ":"))


def _activity(event: Event) -> int:
    if event.text("method"):
        return _OF_METHOD.get(event.text("method"), _OTHER)
    return _READ if event.text("access") == "read" or event.kind == "access" else _OTHER


def _metadata(event: Event) -> dict[str, object]:
    profiles = ["security_control"] if event.kind == "decision" else []
    return without_empty(
        {
            "version": VERSION,
            "product": {"name": "claiim", "vendor_name": "claiim", "feature": {"name": "chron"}},
            "uid": event.id,
            "original_event_uid": event.id,
            "original_time": event.text("ts"),
            "correlation_uid": event.text("ref") or event.text("request"),
            "event_code": event.text("code") or ":".join(filter(None, (event.kind, event.text("event")))),
            "log_name": event.origin,
            "sequence": event.seq,
            "profiles": [*profiles, "ai_operation"] if event.text("agent") else profiles,
        }
    )


def _actor(event: Event) -> dict[str, object]:
    # At least one of its attributes is required; an event of the gate itself has the gate as its actor.
    human = event.text("anchor") or event.text("by") or event.text("human")
    user = without_empty({"uid": human, "org": without_empty({"uid": event.text("org")})}) if human else None
    session = without_empty({"uid": event.text("session")})
    return without_empty({"user": user, "session": session, "app_name": event.text("agent") or "claiim"})


def _api(event: Event) -> dict[str, object]:
    named = event.text("action") or ":".join(("chron", event.kind, event.text("event"))).rstrip(":")
    return without_empty(
        {
            "operation": named,
            "request": without_empty({"uid": event.text("request")}),
            "service": without_empty({"name": event.text("host")}),
        }
    )


def _source(event: Event) -> dict[str, object]:
    return {"ip": event.text("client")} if event.text("client") else {"name": "claiim"}


def _http_request(event: Event) -> dict[str, object]:
    if not event.text("method"):
        return {}
    url = {
        "scheme": event.text("scheme"),
        "hostname": event.text("host"),
        "port": event.number("port"),
        "path": event.text("path"),
    }
    return without_empty(
        {"http_method": event.text("method"), "url": without_empty(url), "length": event.number("request_bytes")}
    )


def _control(event: Event) -> dict[str, object]:
    if event.kind != "decision":
        return {}
    outcome = event.text("outcome")
    action = _ALLOWED if outcome == "ALLOW" else _OBSERVED if event.text("mode") == "observe" else _DENIED
    disposition = _DISPOSITIONS[action[0]]
    decided = "policy" if event.text("policy") else "skill"
    name, version = event.text(decided), event.text(f"{decided}_version")
    # Records had the text's digest until 0.1.0. What stands in a version never changes, so it names a text as well.
    uid = event.text(f"{decided}_digest") or (f"{name}@{version}" if name else "")
    policy = without_empty({"name": name, "uid": uid, "version": version})
    return {
        "action_id": action[0],
        "action": action[1],
        "disposition_id": disposition[0],
        "disposition": disposition[1],
        "authorizations": [without_empty({"decision": outcome, "policy": policy})],
        "policy": policy,
    }


def _status(event: Event) -> dict[str, object]:
    if event.kind != "outcome":
        return {}
    result = event.text("result")
    status = {"sent": _SUCCESS, "blocked": _FAILURE, "failed": _FAILURE}.get(result, _STATUS_OTHER)
    return {"status_id": status[0], "status": status[1], "status_detail": result}
