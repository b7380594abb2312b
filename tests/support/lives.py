"""Lives of a log that is sealed, archived, pruned, erased from and taken up again in any order, each with its twin: the
same log with every body still in it, which says how everything has to be answered.
"""

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from hypothesis import strategies as st

from chron import Cadence, Chron, Signing
from chron.living import archive, erase, locate, prune, seal, spans_of
from chron.schema import EMPTIABLE, GUARDS
from chron.segments import Sealed, default_folder, sealed
from mappings.mapping import digest_of as digest_of_mappings
from policies import Credential, Question
from proxy import manifests
from proxy.records import decision_fields
from support.history import texts

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
RULES = tuple(f"skill: deploy-v2\nversion: 1\nallow:\n- {action}\n" for action in ("deploy:*", "deploy:staging"))
ACTIONS = ("deploy:staging", "deploy:production", "data:read")

_share = st.integers(0, 100)
_step = (
    st.tuples(st.just("decide"), st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3))
    | st.tuples(st.just("load"), st.sampled_from(RULES))
    | st.tuples(st.sampled_from(["seal", "settle", "rotate", "reopen", "checkpoint"]), st.none())
    | st.tuples(st.sampled_from(["archive", "prune", "erase"]), _share)
)
_some = st.lists(_step, max_size=5)
_SEALED = [("settle", None), ("seal", None)]
steps = st.tuples(_some, _some, st.sampled_from(["prune", "erase", "archive"]), _share, _some).map(
    lambda some: [
        *(("decide", ACTIONS), *some[0], *_SEALED),
        *(("decide", ACTIONS), *some[1], *_SEALED),
        *(("archive", 100), ("decide", ACTIONS), (some[2], some[3]), *some[4]),
    ]
)
"""What happens, and with what: at least two segments with decisions in each, and some behind them."""


class Life:
    """One log in a folder of its own, from its first record to its close."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "chron.db"
        self.folder = default_folder(self.path)
        self.gone: set[int] = set()
        """Places of the records whose bodies were pruned or erased."""
        self._bodies: dict[int, str] = {}
        self._under_way: list[str] = []
        self._at = BEGIN
        self._open()

    def live(self, done: Sequence[tuple[str, object]]) -> None:
        """Let all of it happen, and close the log."""
        try:
            self._load(RULES[0])
            for what, how in done:
                self._remember()
                getattr(self, f"_{what}")(how)
        finally:
            self._chron.close()
        self._remember()

    def segments(self, *states: str) -> list[Sealed]:
        """Its segments in these states."""
        return [each for each in sealed(self.path) if each.state in states]

    def twin(self) -> Path:
        """The log as it were had no body ever gone."""
        twin = self.path.with_name("twin.db")
        shutil.copyfile(self.path, twin)
        with closing(sqlite3.connect(twin, isolation_level=None)) as owner:
            owner.execute("BEGIN")
            for name in GUARDS:
                owner.execute(f"DROP TRIGGER {name}")
            changed = [(body, seq) for seq, body in self._bodies.items()]
            owner.executemany("UPDATE chron SET body = ? WHERE seq = ? AND body IS NULL", changed)
            for text in GUARDS.values():
                owner.execute(text)
            owner.execute("COMMIT")
        return twin

    def _open(self) -> None:
        signing = Signing(self.path.with_name("key.pem"), cadence=Cadence(every_records=7, every_s=10**9))
        self._chron = Chron.open(self.path, session="s", low_water_bytes=0, clock_ns=self._clock_ns, signing=signing)

    def _clock_ns(self) -> int:
        self._at += timedelta(seconds=1)
        return int(self._at.timestamp()) * 1_000_000_000

    def _remember(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            self._bodies |= dict(connection.execute("SELECT seq, body FROM chron WHERE body IS NOT NULL").fetchall())

    def _load(self, rule: object) -> None:
        self._policies = texts(str(rule))
        mappings = SimpleNamespace(texts=())
        manifest = manifests.written(mappings, self._policies)  # type: ignore[arg-type]
        kept = [(text.kind, text.id, text.version, text.digest, text.text) for text in self._policies.texts]
        digest = manifests.digest_of(manifest)
        self._chron.keep([*kept, (manifests.KIND, "rules", "", digest, manifest)])
        self._rules = manifests.digest_of_rules(digest_of_mappings(()), self._policies.digest)
        loaded = {"event": "loaded", "rules_digest": self._rules, "manifest": digest, "session": "s"}
        self._chron.write("policy", loaded)

    def _decide(self, actions: Sequence[str]) -> None:
        for action in actions:
            question = Question(Credential("deploy-bot", ""), action, "api", "", self._at, "127.0.0.1")
            said = decision_fields(self._policies.decide_again(question), question)
            asked = {"channel": "wire", "action": action, "target": "api", "session": "s", "rules_digest": self._rules}
            self._under_way.append(self._chron.write("decision", {**asked, **said}).id)

    def _settle(self, _: object) -> None:
        for id_ in self._under_way:
            self._chron.write("outcome", {"ref": id_, "result": "sent", "status": 200})
        self._under_way.clear()

    def _seal(self, _: object) -> None:
        seal(self._chron, self.folder)

    def _rotate(self, _: object) -> None:
        self._chron.rotate_key()

    def _checkpoint(self, _: object) -> None:
        self._chron.checkpoint()

    def _reopen(self, _: object) -> None:
        self._chron.close()
        self._under_way.clear()  # each is in doubt now
        self._open()

    def _archive(self, share: int) -> None:
        archive(self._chron, [self.folder], self._before(share))

    def _prune(self, share: int) -> None:
        prune(self._chron, [self.folder], self._before(share), {"basis": "its time is over"})
        spans = [range(each.first, each.last + 1) for each in self.segments("pruned")]
        self.gone |= {seq for span in spans for seq in span if self._kind(seq) in EMPTIABLE}

    def _erase(self, share: int) -> None:
        over = {body["ref"] for body in map(json.loads, self._bodies.values()) if body["kind"] == "outcome"}
        there = [seq for seq in sorted(self._bodies.keys() - self.gone) if self._kind(seq) == "decision"]
        ids = [json.loads(self._bodies[seq])["id"] for seq in there]
        settled = [id_ for id_ in ids if id_ in over]
        if not settled:
            return
        id_ = settled[(len(settled) - 1) * share // 100]
        erase(self._chron, [self.folder], spans_of(locate(self.path, [self.folder], [id_])), {"basis": "asked for"})
        told = ((seq, json.loads(body)) for seq, body in self._bodies.items())
        self.gone |= {seq for seq, body in told if id_ in (body["id"], body.get("ref"))}

    def _before(self, share: int) -> datetime:
        return BEGIN + (self._at - BEGIN) * share / 100

    def _kind(self, seq: int) -> str:
        return str(json.loads(self._bodies[seq])["kind"])
