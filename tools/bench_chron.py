"""How fast the Chron is here, next to what the disk can do: run by `make bench`, never a test.

    python tools/bench_chron.py

`measure()` returns flat numbers; units are in the names. Durable records a second say nothing without the fsync time
of the same disk in the same minute, so both are measured, in turns.
"""

import asyncio
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

from chron import Chron, Known, Signing, find, prove, verify

PRODUCERS = (1, 8, 64, 256)
SIGNED_PRODUCERS = 64
SECONDS_EACH = 2.0
FSYNCS = 200

DECISION: dict[str, str | int | bool | None] = {
    "channel": "wire",
    "agent": "deploy-bot",
    "anchor": "alice@acme.test",
    "org": "acme",
    "session": "01k9z3v5xq8w7e6r5t4y3u2i1o",
    "client": "127.0.0.1:51234",
    "request": "01k9z3v5xq8w7e6r5t4y3u2i1p",
    "operation": "kubernetes:delete:apps/deployments",
    "action": "deploy:production",
    "target": "production/api-v2",
    "environment": "production",
    "method": "DELETE",
    "scheme": "https",
    "host": "api.k8s.test",
    "port": 443,
    "address": "10.0.0.7 6443",
    "path": "/apis/apps/v1/namespaces/production/deployments/api-v2",
    "query_keys": "propagationPolicy",
    "request_digest": "0" * 64,
    "request_bytes": 57,
    "outcome": "DENY",
    "mode": "enforce",
    "reason": "policy:no-prod-v1 -- action not in allow list",
    "code": "policy.not-allowed",
    "stage": "org policy",
    "rule": "policies/no-prod.yaml:7:5",
    "pattern": "deploy:staging",
    "policy": "no-prod-v1",
    "policy_version": 1,
    "skill": "deploy-v2",
    "skill_version": 1,
    "policies": "no-prod-v1@1",
    "mapping_rule": "k8s.delete",
    "mapping_pack": "kubernetes",
    "mapping_place": "pack:kubernetes",
    "rules_digest": "4" * 64,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
"""As large as a real decision: the size of the record is half of the cost."""


def measure(folder: Path | None = None) -> dict[str, float]:
    """Measure in a temporary folder (below `folder` when given); takes about half a minute."""
    with tempfile.TemporaryDirectory(prefix="chron-bench-", dir=folder) as temporary:
        path = Path(temporary) / "chron.db"
        numbers: dict[str, float] = {}
        for producers in PRODUCERS:
            numbers |= _prefixed(f"fsync_before_{producers}", _fsync(Path(temporary)))
            numbers |= _prefixed(f"append_{producers}", asyncio.run(_appends(path, producers)))
        signed = path.with_name("signed.db")
        signing = Signing(path.with_name("key.pem"))
        # In turns with the same without a key, because a shared disk is never the same twice.
        for turn in range(2):
            numbers |= _prefixed(f"unsigned_{turn}", asyncio.run(_appends(path, SIGNED_PRODUCERS)))
            numbers |= _prefixed(f"signed_{turn}", asyncio.run(_appends(signed, SIGNED_PRODUCERS, signing)))
        numbers |= _verified(signed)
        numbers |= _evidence(signed)
    return numbers


def _prefixed(prefix: str, numbers: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": number for name, number in numbers.items()}


def _quantiles(times_s: list[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 3),
    }


def _fsync(folder: Path) -> dict[str, float]:
    times_s = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(b"\0" * 4096)
            start_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_s.append(time.perf_counter() - start_s)
    return _quantiles(times_s)


async def _appends(path: Path, producers: int, signing: Signing | None = None) -> dict[str, float]:
    times_s: list[float] = []
    chron = Chron.open(path, signing=signing)
    end_s = time.perf_counter() + SECONDS_EACH

    async def produce() -> None:
        while (start_s := time.perf_counter()) < end_s:
            receipt = await chron.append("decision", DECISION)
            times_s.append(time.perf_counter() - start_s)
            chron.append("outcome", {"ref": receipt.id, "result": "blocked", "status": 403, "duration_us": 950})

    start_s, cpu_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(produce() for _ in range(producers)))
    took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    await asyncio.to_thread(chron.close, 60)
    records = 2 * len(times_s)
    return {
        "decisions_per_s": round(len(times_s) / took_s),
        "records_per_s": round(records / took_s),
        "cpu_us_per_record": round(cpu_s / records * 1e6, 1),
        **_quantiles(times_s),
    }


def _verified(path: Path) -> dict[str, float]:
    """With every index, and without; in turns, the best of three, because a shared machine is only ever too slow."""
    best = dict.fromkeys(("verify", "verify_no_indexes"), math.inf)
    for name in sorted(best) * 3:
        start_s = time.perf_counter()
        found = verify(path, indexes=name == "verify")
        best[name] = min(best[name], time.perf_counter() - start_s)
        assert found.ok, found.fault
    per_s = {f"{name}_records_per_s": round(found.records / took_s) for name, took_s in best.items()}
    return {"verify_records": found.records, **per_s}


def _evidence(path: Path) -> dict[str, float]:
    """What follows an old checkpoint takes as long as there is of it; a proof costs the same anywhere."""
    notes = [record.text("note") for record in find(path, kind="checkpoint")]
    numbers: dict[str, float] = {}
    for part, note in (("half", notes[len(notes) // 2]), ("tenth", notes[-len(notes) // 10])):
        start_s = time.perf_counter()
        found = verify(path, known=Known(old=note, incremental=True))
        took_s = time.perf_counter() - start_s
        assert found.ok, found.fault
        new = found.records - found.skipped
        numbers |= {f"incremental_{part}_records": new, f"incremental_{part}_records_per_s": round(new / took_s)}
    ids = [record.id for record in find(path, kind="decision", newest=2000)][:100]
    start_s = time.perf_counter()
    for id_ in ids:
        assert prove(path, id_)
    return {**numbers, "prove_ms": round((time.perf_counter() - start_s) / len(ids) * 1e3, 2)}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
