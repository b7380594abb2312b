"""Two gates that differ in their engine alone, side by side in front of one origin that writes down what it gets.

A stream is sent to one, and when nothing of it is under way any more, to the other. A marker in the Chron of each
says where its records end.
"""

import contextlib
import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

import chron
from policies import credential
from proxy.attack import attacks
from proxy.attack.owngate import _WIDE, AGENT, PLAIN_HOSTS, RULES, SKILL, _lookup
from proxy.attack.reached import Reached
from proxy.attack.target import RecordingTarget
from proxy.attack.wire import Gate
from proxy.configloading import ENGINE
from support.beside.streams import Said, Stream
from support.beside.told import Told, arrived, told, unported
from support.garden.driving import MAPPINGS as GARDEN_RULES
from support.garden.driving import PLAIN, SECURE
from support.gate import TOKEN, LiveGate
from support.until import until

ENGINES = ("mitmproxy", "fast")
RECORDED_HOSTS = ("h2.test", "api.k8s.test", "git.test", "aws.test", "made-up.aws.test", "state.test")
"""What clients were recorded with; that beginning with "h2." is answered by HTTP/2, where the agent speaks it."""

_SECURE_HOSTS = (
    *(attacks.HOST, attacks.H2_HOST, attacks.UNBOUND, attacks.KUBERNETES, attacks.MCP),
    *sorted(attacks.PROVIDERS),
    *RECORDED_HOSTS,
    SECURE,
)
_MAPPINGS: dict[str, Any] = {
    **RULES,
    "bind": [
        *RULES["bind"],
        {"host": "api.k8s.test", "pack": "kubernetes", "facts": {"cluster": "test"}},
        {"host": "git.test", "pack": "git"},
        {"host": "aws.test", "pack": "aws", "facts": {"account": "test"}},
    ],
    "rules": [
        *RULES["rules"],
        *GARDEN_RULES["rules"],
        {
            "id": "recorded",
            "match": {"host": ["h2.test", "state.test"], "path": "/{what+}"},
            "action": "data:read",
            "target": "${what}",
        },
    ],
}
_SKILL: dict[str, Any] = {
    **SKILL,
    "allow": [*SKILL["allow"], "data:**", "aws:**", "kubernetes:get:**", "kubernetes:list:**", "git:**", "repo:*"],
    "deny": [each for each in SKILL["deny"] if each not in ("data:delete", "repo:push")],
}
_AGENTS: dict[str, Any] = {
    "version": 1,
    "humans": [{"id": "attack@attack.test", "name": "The attack", "org": "attack", "state": "active"}],
    "agents": [
        {
            "id": AGENT,
            "anchor": "attack@attack.test",
            "org": "attack",
            "state": "active",
            "skill": "attack-v1",
            "tokens": [credential(AGENT, TOKEN).token_sha256],
        }
    ],
}


def _written_out(value: dict[str, Any]) -> dict[str, Any]:
    """The same with nothing in it twice, for a YAML without aliases."""
    again: dict[str, Any] = json.loads(json.dumps(value))
    return again


def _tls(authority: trustme.CA) -> ssl.SSLContext:
    """HTTP/2 for the hosts whose names say so."""
    both = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    leaf = authority.issue_cert(*_SECURE_HOSTS, "127.0.0.1")
    for context in both:
        leaf.configure_cert(context)
    one, two = both
    two.set_alpn_protocols(["h2", "http/1.1"])

    def by_name(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = two if (name or "").startswith("h2.") else one

    one.sni_callback = by_name
    return one


def _ended(records: list[chron.Record]) -> bool:
    """Whether every decision has its outcome."""
    decisions = {record.fields["id"] for record in records if record.fields["kind"] == "decision"}
    return decisions == {record.fields["ref"] for record in records if record.fields["kind"] == "outcome"}


class Beside:
    """Both gates and the origin run between enter and exit."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self._folder = folder
        self._authority = authority
        self._read = dict.fromkeys(ENGINES, 0)
        """The last record of each log that was looked at."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._write_rules()
            self._target = stack.enter_context(RecordingTarget(_tls(self._authority)))
            self._gates = {engine: stack.enter_context(self._gate(engine)) for engine in ENGINES}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _gate(self, engine: str) -> LiveGate:
        folder = self._folder / engine
        folder.mkdir(parents=True)
        ca = folder / "target-ca.pem"
        self._authority.cert_pem.write_to_path(str(ca))
        secure = {"address": f"127.0.0.1:{self._target.port}", "ca": str(ca)}
        plain = {"address": f"127.0.0.1:{self._target.plain_port}"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENGINE, engine)  # whatever this run of the tests is about
            gate = LiveGate(
                folder,
                skills={},
                agents=_AGENTS,
                config=_written_out(
                    {
                        "mappings": [str(self._folder / "rules.yaml")],
                        "policies": [str(self._folder / "attack-v1.yaml")],
                        "proxy": {"allowed_ports": [443, 80, self._target.port]},
                        "resolve": {
                            **dict.fromkeys(_SECURE_HOSTS, secure),
                            **dict.fromkeys((*PLAIN_HOSTS, PLAIN), plain),
                        },
                        # Which of too many refusals have a record hangs on the clock.
                        "limits": {"unproven_records_per_min": 1_000_000},
                        "upstream": {"ca_bundle": str(ca), "response_timeout_s": 5, "allow_private": _WIDE},
                    }
                ),
            )
        gate.service_options = {"lookup": _lookup}
        return gate

    def _write_rules(self) -> None:
        """Where both gates read them: a record names the file and the line."""
        (self._folder / "rules.yaml").write_text(json.dumps(_MAPPINGS, indent=1))
        (self._folder / "attack-v1.yaml").write_text(json.dumps(_SKILL, indent=1))

    def played(self, streams: Iterable[Stream]) -> list[tuple[Stream, Told, Told]]:
        """Send each to both; what came of it at mitmproxy's engine and at the fast one."""
        played = list[Stream]()
        came: dict[str, list[tuple[Sequence[Said], list[Reached]]]] = {engine: [] for engine in ENGINES}
        for stream in streams:
            played.append(stream)
            for engine, gate in self._gates.items():
                came[engine].append(self._one(gate, stream))
        both = [self._told(engine, played, came[engine]) for engine in ENGINES]
        return list(zip(played, *both, strict=True))

    def _one(self, gate: LiveGate, stream: Stream) -> tuple[Sequence[Said], list[Reached]]:
        before = len(self._target.reached)
        said = stream.send(self._known(gate))
        gate.call(gate.service.engine.idle())
        self._target.settle()
        gate.call(self._mark(gate))
        return said, self._target.reached[before:]

    def _known(self, gate: LiveGate) -> Gate:
        address = gate.service.proxy_address
        places = {"port": self._target.port, "proxy": address.port, "api": gate.service.api_address.port}
        return Gate(
            address.host, address.port, AGENT, TOKEN, gate.ca, {name: str(port) for name, port in places.items()}
        )

    async def _mark(self, gate: LiveGate) -> None:
        """Outcomes are written off the critical path, in their order; so what is durable behind them makes them so."""
        await gate.service._chron.append("lifecycle", {"event": "settled"})

    def _ports(self, gate: LiveGate) -> dict[str, str]:
        return {str(gate.service.proxy_address.port): "PROXY", str(gate.service.api_address.port): "API"}

    def _told(
        self, engine: str, streams: Iterable[Stream], came: Iterable[tuple[Sequence[Said], list[Reached]]]
    ) -> list[Told]:
        gate, ports = self._gates[engine], self._ports(self._gates[engine])
        records: list[chron.Record] = []

        def all_there() -> bool:
            # The end of a connection that the agent broke off is seen later than anything that it was answered.
            records[:] = chron.find(gate.config.chron, after_seq=self._read[engine])
            return _ended(records)

        until(all_there)
        self._read[engine] = records[-1].fields["seq"]
        batches: list[list[Mapping[str, Any]]] = [[]]
        outcomes: dict[str, Mapping[str, Any]] = {}
        for record in records:
            # Among the figures of a digest those of a port are there by chance.
            fields = {
                name: value if name.endswith("digest") else unported(value, ports)
                for name, value in record.fields.items()
            }
            if fields["kind"] == "lifecycle" and fields.get("event") == "settled":
                batches.append([])
            elif fields["kind"] == "decision":
                batches[-1].append(fields)
            elif fields["kind"] == "outcome":
                outcomes[fields["ref"]] = fields
        return [
            told(
                batch,
                outcomes,
                [(status, ids, unported(body, ports)) for status, ids, body in said],
                [arrived(each) for each in reached],
                http2=stream.http2,
            )
            for stream, (said, reached), batch in zip(streams, came, batches, strict=False)
        ]
