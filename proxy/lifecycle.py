"""What happened to agents, humans and organisations, as records: at each load the registry is compared with the last.

The registry of the last run is read back from the Chron, so that what was edited while no gate was running is told at
the next start. Whoever wrote the change is not told: a file has no author. Nothing here writes.
"""

from collections.abc import Iterator

import chron
from chron.reading import Record
from chron.sources import Source
from policies import Policies
from policies.changes import Change, agents_text, changes, registered, tokens_digest
from proxy import manifests
from proxy.questions import FieldValues, recorded

_NEWEST = 64
"""Among how many records of rules the newest in force is looked for before all are read."""
_TOKENS_TOLD = frozenset({"added", "removed", "tokens-changed", "not-compared"})
"""Events after which another digest of all tokens is no news."""


def since_last_run(path: Source, registry: Policies) -> list[Change]:
    """Return what changed in the registry since the last in force, by whatever gate wrote this Chron; blocks."""
    last = _last_in_force(path)
    if last is None:
        return changes(None, registry)
    found = list(_between(path, last, registry))
    exchanged = last.fields.get("tokens_digest") not in (None, tokens_digest(registry))
    told = any(change.kind != "organisation" and change.event in _TOKENS_TOLD for change in found)
    if exchanged and not told:
        reason = "a token took another's place while no gate was running"
        found.append(Change("agent", "tokens-exchanged", {"reason": reason}))
    return found


def _last_in_force(path: Source) -> Record | None:
    newest = chron.tail(path, _NEWEST, kind="policy")
    found = [record for record in newest if record.text("event") in ("loaded", "narrowed")]
    if not found and len(newest) == _NEWEST:
        found = [record for record in chron.find(path, kind="policy") if record.text("event") in ("loaded", "narrowed")]
    return found[-1] if found else None


def _between(path: Source, last: Record, registry: Policies) -> Iterator[Change]:
    text = agents_text(registry)
    if last.text("event") == "loaded" and last.text("agents_digest") == text.digest:
        return
    digests = manifests.registries_of(last, lambda digest: chron.kept_text(path, manifests.KIND, digest))
    known, now = registered(*(chron.kept_text(path, text.kind, each) or "" for each in digests)), registered(text.text)
    if known is None or now is None:
        reason = "the registry of the last run cannot be read any more; what changed since is not told"
        yield Change("agent", "not-compared", {"reason": reason})
        return
    # Both without tokens: the kept text has lost their hashes. Of one that took tokens away it is not known which, so
    # that is told again.
    yield from changes(known, now)


def change_records(found: list[Change], session: str) -> list[tuple[str, FieldValues]]:
    """Return the records that tell of changes."""
    return [
        (
            change.kind,
            {
                "event": change.event,
                **{name: recorded(value) if isinstance(value, str) else value for name, value in change.fields.items()},
                "session": session,
            },
        )
        for change in found
    ]
