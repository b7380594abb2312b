"""A real gate for tests: its own folder, its own ports, its own thread; real clients talk to it."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

import chron
from chron.fieldnames import FIELDS
from chron.sources import Source
from policies import credential
from proxy.configloading import ENGINE, load_config
from proxy.loops import run
from proxy.replaying import Replay
from proxy.serve import Service
from proxy.wiring import UNSET, environment, write_files
from support.targets.base import Target

_DUMPER: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
NOT_ASKED_FOR = frozenset({"v", "since", "until"})
"""Fields that a filter reaches with a dot only: in a filter the last two say when a record was written."""

TOKEN = "clm_test-token-of-deploy-bot-0123456789abcdef"
OTHER_TOKEN = "clm_test-token-of-other-bot-0123456789abcdef0"

AGENTS: dict[str, Any] = {
    "version": 1,
    "humans": [{"id": "alice@acme.test", "name": "Alice", "org": "acme", "state": "active"}],
    "agents": [
        {
            "id": "deploy-bot",
            "anchor": "alice@acme.test",
            "org": "acme",
            "state": "active",
            "skill": "deploy-v2",
            "tokens": [credential("deploy-bot", TOKEN).token_sha256],
        },
        {
            "id": "other-bot",
            "anchor": "alice@acme.test",
            "org": "acme",
            "state": "active",
            "skill": "reader-v1",
            "tokens": [credential("other-bot", OTHER_TOKEN).token_sha256],
        },
    ],
}

SKILLS: dict[str, dict[str, Any]] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["deploy:staging", "health:check", "data:**"],
        "deny": ["deploy:production", "infra:destroy"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}


def engines() -> list[str]:
    """The engines that this run is about: the one that was asked for, as of any gate, or all."""
    asked = os.environ.get(ENGINE)
    return [asked] if asked else ["mitmproxy", "fast"]


def asked_engine() -> dict[str, str]:
    """The one variable of a run that a clean environment keeps."""
    return {ENGINE: asked} if (asked := os.environ.get(ENGINE)) else {}


class LiveGate:
    """Runs `proxy.serve.Service` in a thread of its own between enter and exit."""

    def __init__(
        self,
        folder: Path,
        *targets: Target,
        target_ca: Path | None = None,
        mappings: Mapping[str, Any] | None = None,
        skills: Mapping[str, Any] = SKILLS,
        agents: Mapping[str, Any] = AGENTS,
        config: Mapping[str, Any] | None = None,
        prepare: Callable[[Service], None] | None = None,
    ) -> None:
        self.folder = folder
        self._prepare = prepare
        self.service_options: dict[str, Any] = {}
        """For a gate whose clock is the test's."""
        resolve = {
            name: {"address": target.address, **({"ca": str(target_ca)} if target_ca else {})}
            for target in targets
            for name in target.names
        }
        ports = [443, 80, *(target.port for target in targets)]
        settings: dict[str, Any] = {
            "version": 1,
            "proxy": {"listen": "127.0.0.1:0", "allowed_ports": ports},
            "api": {"listen": "127.0.0.1:0"},
            "resolve": resolve,
        }
        for section, values in (config or {}).items():
            settings[section] = {**settings.get(section, {}), **values} if isinstance(values, dict) else values
        self.write("claiim.yaml", settings)
        self.write("agents.yaml", agents)
        for name, skill in skills.items():
            self.write(f"policies/{name}.yaml", skill)
        self.write("mappings/site.yaml", mappings or {"version": 1})
        self.config = load_config(folder / "claiim.yaml")

    def write(self, name: str, value: Any) -> Path:
        """Write one YAML file of the gate's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else yaml.dump(value, Dumper=_DUMPER, sort_keys=False))
        return path

    def __enter__(self) -> Self:
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gate")
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        self.ca = self.config.ca_certificate
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop as TERM would and wait until everything is written."""
        self.__exit__()

    def _run(self) -> None:
        try:
            run(self._serve(), self.config)
        except BaseException as error:
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Service(self.config, **self.service_options) as self.service:
            if self._prepare:
                self._prepare(self.service)
            self._up.set()
            await self._stop.wait()

    @property
    def engine_name(self) -> str:
        """What serves its proxy."""
        return self.config.proxy.engine

    @property
    def serving(self) -> list[Any]:
        """The engines that are at work: that of the proxy, and that of its listeners where it is another."""
        return list(self.service._engines._all.values())

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the gate's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def proxy(self, agent: str = "deploy-bot", token: str = TOKEN) -> str:
        """The proxy URL with credentials."""
        return f"http://{agent}:{token}@{self.service.proxy_address}"

    @property
    def api(self) -> str:
        """The control API's URL."""
        return self.service.api_url

    def environment(self, agent: str = "deploy-bot", token: str = TOKEN) -> dict[str, str]:
        """What `claiim run` gives to an unmodified client, over a nearly empty environment."""
        import os

        files = write_files(self.folder / "wiring", self.service.ca_pem, self.proxy(agent, token))
        wired = environment(
            self.proxy(agent, token),
            files,
            agent=agent,
            api_url=self.api,
            run_id="test",
        )
        kept = {name: value for name, value in os.environ.items() if name not in UNSET}
        return {**kept, **wired}

    def settle(self) -> None:
        """Return once no exchange is open and every outcome so far is on disk."""

        async def settled() -> None:
            for engine in self.serving:
                await engine.idle()
            await self.service._chron.append("lifecycle", {"event": "settled"})

        self.call(settled())

    def records(self, kind: str = "decision", **wanted: Any) -> list[dict[str, Any]]:
        """The records of one kind, oldest first, whose fields are as wanted."""
        if self._thread.is_alive():
            self.settle()
        bodies = [dict(record.fields) for record in chron.find(self.config.chron, kind=kind)]
        return [body for body in bodies if all(body.get(name) == value for name, value in wanted.items())]

    def outcome_of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome record of a decision."""
        (outcome,) = self.records("outcome", ref=record["id"])
        return outcome


@contextmanager
def running(gate: LiveGate) -> Iterator[LiveGate]:
    """Run a gate and check, when it has stopped, that each decision has its outcome and is made again as it was."""
    with gate:
        yield gate
    decisions = {record["id"] for record in gate.records(channel="wire")}
    outcomes = [record["ref"] for record in gate.records("outcome")]
    assert sorted(decisions) == sorted(outcomes)
    assert [each for each in Replay(gate.config.chron).decisions() if each.differing] == []
    assert unlisted(gate.config.chron) == set()
    assert unshown(gate.config.chron) == []


def unshown(chron_path: Source) -> list[str]:
    """The decisions that are shown without the very texts that they name, one for each combination of texts."""
    decisions = {tuple(map(record.text, _NAMING)): record for record in chron.find(chron_path, kind="decision")}
    return [record.id for record in decisions.values() if _shown(chron_path, record) != _named(record)]


_NAMING = ("rules_digest", "policy", "policy_version", "skill", "skill_version", "mapping_place")


def _shown(chron_path: Source, record: chron.Record) -> list[tuple[str, str, str]]:
    shown = chron.show(chron_path, record.id)
    return [] if shown is None else [(text.kind, text.id, text.version) for text in shown.texts]


def _named(record: chron.Record) -> list[tuple[str, str, str]]:
    named = [(kind, record.text(kind), record.text(f"{kind}_version")) for kind in ("policy", "skill")]
    named.append(("mapping", record.text("mapping_place").rpartition(":")[0].rpartition(":")[0], ""))
    return [each for each in named if each[1]]


def unlisted(chron_path: Source) -> set[str]:
    """The names of fields that records have and the list of fields does not."""
    names = {name for record in chron.find(chron_path) for name in record.fields}
    return names - set(FIELDS) - NOT_ASKED_FOR
