"""A gate of the attack's own: the rules to be tried, on ports and paths of its own, with no way to anywhere real.

Names lead to the target or to nothing: a table says where the attacked hosts are, and what the table has not is
looked up in another table, never in DNS. Addresses that stand in a request are dialled, if the gate fails, at the
port of the target alone.
"""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.assembling import utc_now
from proxy.attack import attacks
from proxy.attack.target import RecordingTarget
from proxy.attack.wire import Gate
from proxy.ca import create_authority, load_authority
from proxy.config import DEFAULT_ENGINE, Config, EngineName
from proxy.configloading import load_config
from proxy.destinations import DestinationUnknown
from proxy.serve import Service

AGENT = "attack-probe"
_BOUND_HOSTS = (
    attacks.HOST,
    attacks.H2_HOST,
    attacks.UNBOUND,
    attacks.KUBERNETES,
    attacks.MCP,
    *sorted(attacks.PROVIDERS),
)
_ADDRESSES = ("127.0.0.1", "10.0.0.7", "169.254.169.254", "100.100.100.200", "::1", "fd00:ec2::254", "0.0.0.0", "::")  # noqa: S104

_WIDE = ("169.254.0.0/16", "100.64.0.0/10", "fd00::/8")
"""What an operator may open who thinks of a private network, and in which clouds give out credentials."""

_ANY = {"host": [attacks.HOST, attacks.H2_HOST, attacks.PLAIN_HOST]}
RULES: dict[str, Any] = {
    "version": 1,
    "bind": [
        {"host": attacks.KUBERNETES, "pack": "kubernetes", "facts": {"cluster": "attack"}},
        {"host": attacks.MCP, "pack": "mcp"},
    ],
    "tunnels": [{"id": "attack-tunnel", "host": attacks.TUNNEL}],
    "rules": [
        {
            "id": "attack-read",
            "match": {**_ANY, "method": ["GET", "HEAD"], "path": "/open/{what+}"},
            "action": "attack:read",
            "target": "attack/${what}",
        },
        {
            "id": "attack-write",
            "match": {**_ANY, "method": ["POST", "PUT", "PATCH"], "path": "/open/{what+}"},
            "action": "attack:write",
            "target": "attack/${what}",
        },
        {
            "id": "attack-destroy",
            "match": {**_ANY, "method": "DELETE", "path": "/open/{what+}"},
            "action": "attack:destroy",
            "target": "attack/${what}",
        },
        {
            "id": "attack-guarded",
            "match": {**_ANY, "path": "/guarded/{what+}"},
            "action": "attack:guarded",
            "target": "attack/${what}",
        },
        {
            "id": "attack-asked",
            "match": {**_ANY, "method": "GET", "path": "/asked"},
            "action": "attack:read",
            "target": "attack",
        },
        {
            "id": "attack-asked-destroy",
            "match": {**_ANY, "method": "GET", "path": "/asked", "query": {"do": "destroy"}},
            "action": "attack:destroy",
            "target": "attack",
        },
        {
            "id": "attack-run",
            "match": {**_ANY, "method": "POST", "path": "/runs"},
            "action": "attack:write",
            "target": "attack",
        },
        {
            "id": "attack-run-destroy",
            "match": {**_ANY, "method": "POST", "path": "/runs", "json": {"destroy": True}},
            "action": "attack:destroy",
            "target": "attack",
        },
        {
            "id": "attack-slow",
            "match": {**_ANY, "method": "GET", "path": "/slow/{x:*a*a*a*a*a*a*b}"},
            "action": "attack:read",
            "target": "attack",
        },
        {
            "id": "attack-looked-up",
            "match": {"host": [f"*.{attacks.LOOKED_UP}", *_ADDRESSES], "path": "/open/{what+}"},
            "action": "attack:read",
            "target": "attack/${what}",
        },
    ],
}
SKILL: dict[str, Any] = {
    "skill": "attack-v1",
    "allow": [
        "attack:read",
        "attack:write",
        "github:repos/get",
        "github:graphql.viewer",
        "git:fetch",
        "aws:ec2:describeinstances",
        "kubernetes:list:pods",
        "mcp:tools/list",
        "tunnel:open",
    ],
    "deny": ["attack:destroy", "attack:guarded", "pr:merge", "infra:destroy", "data:delete", "repo:push"],
}


PLAIN_HOSTS = (attacks.PLAIN_HOST, attacks.TUNNEL)
"""What leads to the target's other port, which has no TLS."""
RUNNING_HOSTS = tuple(host for host in _BOUND_HOSTS if host not in attacks.PROVIDERS)
"""What a gate that runs already has to send to the target."""


def write_rules(folder: Path, *, running: bool = False) -> None:
    """Write the mappings and the skill of the attack; YAML 1.2 holds JSON.

    For a gate that is `running` already, without the rule that names addresses: it guards more than our target.
    """
    rules = {**RULES, "rules": [rule for rule in RULES["rules"] if not running or rule["id"] != "attack-looked-up"]}
    for name, value in (("mappings/attack.yaml", rules), ("policies/attack-v1.yaml", SKILL)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1))


def target_tls(folder: Path, now: datetime.datetime) -> ssl.SSLContext:
    """What the target shows; its authority is in `target-ca.pem`."""
    from cryptography.hazmat.primitives import serialization

    certificate, key = folder / "target-ca.pem", folder / "target-ca-key.pem"
    if not certificate.exists():
        create_authority(certificate, key, now)
    authority = load_authority(certificate, key, now)
    contexts = {}
    for host in (*_BOUND_HOSTS, "127.0.0.1"):
        leaf = authority.leaf(host, now)
        pem = leaf.certificate.public_bytes(serialization.Encoding.PEM) + leaf.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = folder / "target.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(pem)
        contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[host].load_cert_chain(chain)
    contexts[attacks.H2_HOST].set_alpn_protocols(["h2", "http/1.1"])

    def by_name(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts.get(name or "", contexts[attacks.HOST])

    contexts[attacks.HOST].sni_callback = by_name
    return contexts[attacks.HOST]


def own_config(folder: Path, target: RecordingTarget, rules: Config | None, engine: EngineName | None = None) -> Config:
    """A configuration in `folder` with the attack's rules, beside those of `rules` when they are given.

    Served by `engine`, else by the one that `rules` names.
    """
    write_rules(folder)
    ca = str(folder / "target-ca.pem")
    settings = {
        "version": 1,
        "proxy": {
            "listen": "127.0.0.1:0",
            "allowed_ports": [443, 80, target.port],
            "engine": engine or (rules.proxy.engine if rules is not None else DEFAULT_ENGINE),
        },
        "api": {"listen": "127.0.0.1:0"},
        "resolve": {
            **{host: {"address": f"127.0.0.1:{target.port}", "ca": ca} for host in _BOUND_HOSTS},
            **{host: {"address": f"127.0.0.1:{target.plain_port}"} for host in PLAIN_HOSTS},
        },
        "upstream": {"ca_bundle": ca, "response_timeout_s": 5, "allow_private": _WIDE},
    }
    (folder / "claiim.yaml").write_text(json.dumps(settings))
    agents = {
        "version": 1,
        "humans": [{"id": "attack@attack.test", "name": "The attack", "org": "attack", "state": "active"}],
        "agents": [
            {"id": AGENT, "anchor": "attack@attack.test", "org": "attack", "state": "active", "skill": "attack-v1"}
        ],
    }
    (folder / "agents.yaml").write_text(json.dumps(agents))
    # No variable counts: CLAIIM_STATE and CLAIIM_CHRON would lead to the operator's real log.
    config = load_config(folder / "claiim.yaml", environ={})
    if rules is None:
        return config
    return replace(
        config,
        mappings=(*rules.mappings, *config.mappings),
        policies=(*rules.policies, *config.policies),
        catalogues=rules.catalogues,
        proxy=replace(config.proxy, max_body_bytes=rules.proxy.max_body_bytes),
    )


async def _lookup(host: str) -> tuple[str, ...]:
    """The attack's own answers; whatever else is asked for has none."""
    if not host.endswith(f".{attacks.LOOKED_UP}"):
        raise DestinationUnknown(f'"{host}" cannot be resolved')
    label = host.partition(".")[0]
    answers = {
        "mapped": ("::ffff:127.0.0.1",),
        "mixed": ("127.0.0.1", "192.0.2.1"),
        "six": ("::1",),
        "metadata": ("169.254.169.254",),
        "metadata-six": ("fd00:ec2::254",),
    }
    return answers.get(label, ("127.0.0.1",))


@asynccontextmanager
async def own_gate(
    folder: Path, target: RecordingTarget, rules: Config | None, engine: EngineName | None = None
) -> AsyncIterator[tuple[Gate, Config]]:
    """A running gate of our own, and what it was told."""
    config = own_config(folder, target, rules, engine)
    loop = asyncio.get_running_loop()
    async with Service(config, private=True, lookup=_lookup) as service:
        address = service.proxy_address
        places = {"port": target.port, "proxy": address.port, "api": service.api_address.port}
        yield (
            Gate(
                address.host,
                address.port,
                AGENT,
                service.token(AGENT),
                config.ca_certificate,
                {name: str(port) for name, port in places.items()},
                lambda: asyncio.run_coroutine_threadsafe(service.engine.idle(), loop).result(10),
            ),
            config,
        )


def now() -> datetime.datetime:
    """The time, for certificates."""
    return utc_now()
