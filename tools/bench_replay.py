"""How many recorded decisions `claiim chron replay` makes again in a second; run by `make bench`, never a test.

    bench_replay.py [DECISIONS]      100,000 when none is given

The log is one that a gate could have written: its decisions are made by the texts it keeps, each has an outcome beside
it and was named by a rule of a mapping. The same sets of texts are tried as by `bench_simulation.py`.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import batched
from pathlib import Path

from bench_chron import DECISION
from bench_simulation import ACTIONS, AGENTS, BEGIN, TARGETS, TEXTS, texts

from chron import Chron
from mappings import PackError, compile_mappings, read_document
from policies import Credential, Policies, Question
from proxy import manifests
from proxy.questions import FieldValues
from proxy.records import Origin, decision_fields, loaded_fields
from proxy.replaying import Replay

DECISIONS = 100_000
MAPPING = """\
version: 1
bind:
- {host: api.k8s.test, pack: http}
rules:
- {id: k8s.delete, match: {host: api.k8s.test, path: "/{stage}"}, action: "deploy:${stage}"}
"""


def write_log(path: Path, policies: Policies, decisions: int) -> None:
    """Write a Chron of that many decisions and outcomes, as the gate writes it."""
    mappings = compile_mappings([read_document(MAPPING, "mappings/site.yaml", error=PackError)])
    digest = manifests.digest_of_rules(mappings.digest, policies.digest)
    manifest = manifests.written(mappings, policies)
    chron = Chron.open(path, low_water_bytes=0)
    kept = [(text.kind, text.id, text.version, text.digest, text.text) for text in (*mappings.texts, *policies.texts)]
    chron.keep([*kept, (manifests.KIND, "rules", "", manifests.digest_of(manifest), manifest)])

    async def write() -> None:
        origin = Origin(str(DECISION["session"]), "fast", "1")
        await chron.append("policy", loaded_fields(mappings, policies, digest, origin))
        for some in batched(_records(policies, digest, decisions), 500):
            receipts = await chron.append_many([("decision", fields) for fields in some])
            for receipt in receipts:
                chron.note("outcome", {"channel": "wire", "ref": receipt.id, "result": "blocked", "status": 403})
        await asyncio.to_thread(chron.close, 60)

    asyncio.run(write())


def _records(policies: Policies, digest: str, decisions: int) -> Iterator[FieldValues]:
    chosen = random.Random(20260101)
    decided = decision_fields(policies.decide_again(Question(Credential("", ""), "", "", "", BEGIN, "")))
    shared = {name: value for name, value in DECISION.items() if name not in decided and "policy" not in name}
    naming = {"mapping_pack": "", "mapping_place": "mappings/site.yaml:5:3"}
    for number in range(decisions):
        agent, action = f"bot-{chosen.randrange(AGENTS)}", f"deploy:stage-{chosen.randrange(ACTIONS)}"
        question = Question(
            Credential(agent, ""),
            action,
            f"production/api-{chosen.randrange(TARGETS)}",
            "production",
            BEGIN + timedelta(seconds=number),
            f"127.0.{chosen.randrange(AGENTS)}.{chosen.randrange(3)}",
            attributes={"method": "DELETE", "scheme": "https", "host": "api.k8s.test", "access": "write"},
            uses={limit.key: chosen.randrange(600) for limit in policies.limits(agent, action)},
        )
        asked: FieldValues = {"action": action, "target": question.target, "client": question.client, "access": "write"}
        made = decision_fields(policies.decide_again(question), question)
        yield {**shared, **naming, **asked, **made, "request": f"s-{number}", "rules_digest": digest}


def main(decisions: int = DECISIONS) -> None:
    """Write a log for each set of texts, replay it, print the rates."""
    for name in TEXTS:
        with tempfile.TemporaryDirectory(prefix="replay-bench-", dir=Path.cwd()) as folder:
            path = Path(folder) / "chron.db"
            write_log(path, texts(name), decisions)
            start_s, cpu_s = time.perf_counter(), time.process_time()
            replayed = [each for each in Replay(path).decisions() if each.again and each.rule_found]
            took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
            assert len(replayed) == decisions
            assert not any(each.differing for each in replayed)
            rates = f"{decisions / took_s:>10,.0f} decisions/s   {decisions / cpu_s:>10,.0f} for each second of CPU"
            print(f"  {name:<28}{rates}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
