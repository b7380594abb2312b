"""The directory: a chain beside all others in which each of them says how far it has come, so that none can be hidden.

    record 1       lifecycle, event "open"
    record 2...    directory, chain "gate-1", event "checkpoint", size 1200, head "9f3c...", note "<signed>"

An entry is written in the transaction that it tells of: whatever stands in a chain about its own life (openings, ends,
checkpoints) is in the directory too. The other way round, each checkpoint of a chain names the directory's head, and is
signed by a key that the database does not have; and no gate goes on beside another directory than it saw. So who takes
a chain away has to shorten the directory, and who does that contradicts what the other gates have signed:

    chain "gate-2" is missing; the directory knows 1200 records of it
    record 40 of the directory is missing or another; chain "gate-1" has signed for it in its record 2001

What is left: a chain that nobody signed beside, taken away whole with the end of the directory. Its own
anchors show it. Times in the directory are the server's.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from chron.batch import Batch, Entry
from chron.body import Fields, stamp_ns
from chron.chain import genesis
from chron.errors import ChronError
from chron.ids import Ids
from chron.ledger import NewRow
from chron.signed import CHECKPOINT

if TYPE_CHECKING:
    import psycopg

DIRECTORY = "directory"
"""The chain, its origin, and the kind of its records."""
COPIED = "copied"
"""Told of a chain that came from another database, whose directory its checkpoints name."""

_TOLD = ('"kind":"lifecycle"', f'"kind":"{CHECKPOINT}"')
"""In a flat object a bare quote is never inside a string, so these can only be the field itself."""
_HEAD = "SELECT seq, hash FROM records WHERE chain = 'directory' ORDER BY seq DESC LIMIT 1"
_FIRST = "SELECT id FROM records WHERE chain = 'directory' AND seq = 1"
_HASH_AT = "SELECT hash FROM records WHERE chain = %s AND seq = %s"
_COPIED = """
SELECT 1 FROM records WHERE chain = %s AND field(body, 'kind') = %s AND field(body, 'chain') = %s
AND field(body, 'event') = 'copied' LIMIT 1"""
_LAST_SEEN = """
SELECT body FROM records WHERE chain = %s AND field(body, 'kind') NOT IN ('decision', 'outcome')
AND field(body, 'kind') = %s ORDER BY seq DESC LIMIT 1"""
_NOW_NS = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000000)::bigint"
_LOCK = "SELECT pg_advisory_xact_lock(%s)"


def lock_number(chain: str) -> int:
    """The number of a chain's lock: a digest, as a signed number of 64 bits."""
    return int.from_bytes(sha256(b"claiim/chain\n" + chain.encode()).digest()[:8], "big", signed=True)


def worth_telling(rows: Sequence[NewRow]) -> bool:
    """Whether the directory is to know of rows that are being written."""
    return any(map(_tells, rows))


def _tells(row: NewRow) -> bool:
    body = row[2] or ""  # a body that went, in a log that is copied
    return any(mark in body for mark in _TOLD)


def entry(raw: "psycopg.Connection[Any]", chain: str, rows: Sequence[NewRow], event: str = "") -> list[NewRow]:
    """The directory's next records, which tell of these rows; takes the directory's lock until the transaction ends.

    What happened is what the last of them says of the chain's own life, unless it is given.
    """
    raw.execute(_LOCK, (lock_number(DIRECTORY),))
    seq, before = raw.execute(_HEAD).fetchone() or (0, genesis(DIRECTORY))
    (at_ns,) = raw.execute(_NOW_NS).fetchone() or (0,)
    fields = json.loads([row[2] for row in rows if _tells(row)][-1])
    told: dict[str, Any] = {"chain": chain, "size": rows[-1][0], "head": rows[-1][4].hex()}
    told |= {"event": event or fields.get("event", CHECKPOINT), "note": fields.get("note")}
    ids, batch = Ids(), Batch(seq, before)
    if not seq:
        batch.add(Entry([(ids.next(at_ns), at_ns, "lifecycle", {"event": "open", "origin": DIRECTORY})]))
    known = {name: value for name, value in told.items() if value is not None}
    batch.add(Entry([(ids.next(at_ns), at_ns, DIRECTORY, known)]))
    return batch.rows


def directory_head(raw: "psycopg.Connection[Any]") -> Fields:
    """What a checkpoint says of the directory; nothing while there is none."""
    head, first = raw.execute(_HEAD).fetchone(), raw.execute(_FIRST).fetchone()
    if head is None or first is None:
        return {}
    return {"directory": first[0], "directory_size": head[0], "directory_head": head[1].hex()}


def require_same(raw: "psycopg.Connection[Any]", chain: str, seen: Fields) -> None:
    """Raise ChronError when the directory is not the one that was seen, gone on with.

    The chain may have come from another database: then it was written down here that it was copied.
    """
    if not seen:
        return
    place = f"at its record {seen['directory_size']}"
    remedy = 'run "claiim chron verify" with the URL of the database, and restore what is missing'
    first = raw.execute(_FIRST).fetchone()
    if first is None or first[0] != seen["directory"]:
        if not raw.execute(_COPIED, (DIRECTORY, DIRECTORY, chain)).fetchone():
            raise ChronError(f"the directory was replaced; this chain has seen another one {place}; {remedy}")
        return
    row = raw.execute(_HASH_AT, (DIRECTORY, seen["directory_size"])).fetchone()
    if row is None or row[0].hex() != seen["directory_head"]:
        raise ChronError(f"the directory was cut or rewritten; this chain has seen it {place}; {remedy}")


def last_seen(raw: "psycopg.Connection[Any]", chain: str) -> Fields:
    """What the last checkpoint of a chain says of the directory; nothing when it says nothing."""
    row = raw.execute(_LAST_SEEN, (chain, CHECKPOINT)).fetchone()
    body = json.loads(row[0]) if row else {}
    return {name: body[name] for name in ("directory", "directory_size", "directory_head") if name in body}


# --- verifying --------------------------------------------------------------------------------------------------------

SILENT_S = 2 * 3600
"""A gate signs a checkpoint once an hour even when nothing happens; twice that is more than a late one."""

_BEGUN = """
SELECT c.chain FROM chains AS c WHERE c.chain <> %s
AND NOT EXISTS (SELECT FROM records AS r WHERE r.chain = c.chain) ORDER BY c.chain LIMIT 1"""
_ENTRIES = """
SELECT d.seq, field(d.body, 'chain'), field(d.body, 'event'), field(d.body, 'ts'), field(d.body, 'size')::bigint,
  (SELECT max(m.seq) FROM records AS m WHERE m.chain = field(d.body, 'chain')),
  encode(r.hash, 'hex') IS NOT DISTINCT FROM field(d.body, 'head')
FROM records AS d LEFT JOIN records AS r
  ON r.chain = field(d.body, 'chain') AND r.seq = field(d.body, 'size')::bigint
WHERE d.chain = %s AND field(d.body, 'kind') = %s ORDER BY d.seq"""
_OWN_LIFE = """
SELECT c.chain, max(r.seq) FROM (SELECT DISTINCT chain FROM records WHERE chain <> %s) AS c LEFT JOIN records AS r
  ON r.chain = c.chain AND field(r.body, 'kind') NOT IN ('decision', 'outcome')
  AND field(r.body, 'kind') IN ('lifecycle', %s)
GROUP BY c.chain ORDER BY c.chain"""
_SIGNED = """
SELECT r.chain, r.seq, field(r.body, 'directory'), field(r.body, 'directory_size')::bigint,
  encode(d.hash, 'hex') IS NOT DISTINCT FROM field(r.body, 'directory_head')
FROM records AS r LEFT JOIN records AS d ON d.chain = %s AND d.seq = field(r.body, 'directory_size')::bigint
WHERE r.chain <> %s AND field(r.body, 'kind') NOT IN ('decision', 'outcome') AND field(r.body, 'kind') = %s
  AND field(r.body, 'directory') IS NOT NULL ORDER BY r.chain, r.seq"""


@dataclass(frozen=True, slots=True)
class Told:
    """What the directory and the chains say of each other."""

    fault: str = ""
    """"" when they agree."""
    notices: tuple[str, ...] = ()
    """What is no fault by itself and somebody should know."""
    chains: frozenset[str] = frozenset()
    """Those that have records, the directory among them."""


@dataclass(slots=True)
class _Known:
    """The last that the directory says of a chain."""

    closed: bool
    ts: str
    size: int
    copied: int
    """So many records came from another database."""


def compare(raw: "psycopg.Connection[Any]", now_ns: int) -> Told:
    """Hold the directory against all chains, in one snapshot; whether each chain verifies is another question."""
    with raw.transaction():
        raw.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        begun = raw.execute(_BEGUN, (DIRECTORY,)).fetchone()
        entries = raw.execute(_ENTRIES, (DIRECTORY, DIRECTORY)).fetchall()
        life = dict(raw.execute(_OWN_LIFE, (DIRECTORY, CHECKPOINT)).fetchall())
        signed = raw.execute(_SIGNED, (DIRECTORY, DIRECTORY, CHECKPOINT)).fetchall()
        first = raw.execute(_FIRST).fetchone()
    known = _known(entries)
    fault = _entry_fault(entries) or _life_fault(life, known)
    fault = fault or (f'chain "{begun[0]}" is missing; a role has begun it' if begun else "")
    others: dict[str, int] = {}
    for chain, seq, directory, size, agrees in signed:
        if first is not None and directory == first[0]:
            if not agrees and not fault:
                fault = (
                    f"record {size} of the directory is missing or another; "
                    f'chain "{chain}" has signed for it in its record {seq}'
                )
        elif chain in known and seq <= known[chain].copied:
            others[chain] = seq
        else:
            fault = fault or f'chain "{chain}" has signed for another directory in its record {seq}'
    notices = [
        f'chain "{chain}" was copied from another database; its signatures up to record {seq} name the directory there'
        for chain, seq in others.items()
    ]
    there = frozenset([*life, *([DIRECTORY] if first else [])])
    return Told(fault, (*notices, *_silent(known, now_ns)), there)


def _known(entries: Iterable[tuple[Any, ...]]) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for _, chain, event, ts, size, *_ in entries:
        before = known.get(chain)
        # What is signed behind the end of a run does not open it again.
        closed = event == "close" or (event == CHECKPOINT and before is not None and before.closed)
        copied = size if event == COPIED else before.copied if before else 0
        known[chain] = _Known(closed, ts, size, copied)
    return known


def _entry_fault(entries: Iterable[tuple[Any, ...]]) -> str:
    for seq, chain, _, _, size, last, agrees in entries:
        if last is None:
            return f'chain "{chain}" is missing; the directory knows {size} records of it'
        if last < size:
            return f'chain "{chain}" ends at record {last}; the directory knows {size}'
        if not agrees:
            return f'record {size} of chain "{chain}" is another than the directory says in its record {seq}'
    return ""


def _life_fault(life: Mapping[str, int | None], known: Mapping[str, _Known]) -> str:
    for chain, seq in life.items():
        if chain not in known:
            return f'chain "{chain}" is not in the directory; it was put in aside, or the directory was cut'
        if seq is not None and seq > known[chain].size:
            return f'record {seq} of chain "{chain}" is not in the directory, which was cut'
    return ""


def _silent(known: Mapping[str, _Known], now_ns: int) -> list[str]:
    """Those that stopped speaking without saying goodbye."""
    return [
        f'chain "{chain}" is silent since {last.ts}; see whether its gate was stopped or its records are kept away'
        for chain, last in sorted(known.items())
        if not last.closed and now_ns - stamp_ns(last.ts) > SILENT_S * 1_000_000_000
    ]
