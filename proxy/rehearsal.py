"""The rehearsal: a whole gate in a temporary folder, one ALLOW and one DENY, asked four ways, and the proof.

It makes its own CA, a sample agent with its skill and an organisation policy, and a deployment API on
loopback that counts what reaches it. An unmodified client deploys to staging and to production through
the proxy; the SDK asks the same two questions. It succeeds only if every answer, every reason, the
target's count and the Chron's verification are as expected.
"""

import asyncio
import os
import shutil
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

import chron
import policies
from proxy.ca import create_authority, load_authority
from proxy.configloading import ENGINE, load_config
from proxy.serve import Service
from proxy.wiring import UNSET, environment, write_files

AGENT = "deploy-bot"
HOST = "deploy.rehearsal.test"
"""RFC 6761, 6.2: names under .test are never real ones."""
EXPECTED_DENIAL = "policy:no-prod-v1 -- action not in allow list"

_CLIENT_TIMEOUT_S = 30

_CONFIG = """\
# Written by "claiim rehearse": a sample gate with a deployment API on loopback.
version: 1
state: state
chron: chron.db
proxy: {{listen: "127.0.0.1:0"}}
api: {{listen: "127.0.0.1:0"}}
resolve:
  {host}: {{address: "127.0.0.1:{port}", ca: target-ca.pem}}
"""

_MAPPINGS = f"""\
version: 1
rules:
  - id: deploy
    match: {{host: {HOST}, method: POST, path: "/environments/{{place:staging|production}}/deployments"}}
    action: "deploy:${{place}}"
    target: api-v2
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """One question and its answer."""

    caller: str
    action: str
    outcome: str
    reason: str
    chron_id: str
    status: int | None
    """HTTP status that the client saw; None for the SDK."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Everything that happened, and what was not as expected."""

    scenes: tuple[Scene, ...]
    reached: tuple[str, ...]
    """Paths that reached the target."""
    records: int
    folder: Path
    faults: tuple[str, ...]


async def rehearse(folder: Path, now: datetime) -> Rehearsed:
    """Rehearse in an empty `folder`, which keeps configuration, CA and `chron.db`."""
    reached: list[str] = []
    authority_paths = folder / "target-ca.pem", folder / "target-ca-key.pem"
    create_authority(*authority_paths, now)
    runner, port = await _start_target(reached, _target_tls(*authority_paths, now))
    try:
        _write_configuration(folder, port)
        # No other variable counts: CLAIIM_STATE and CLAIIM_CHRON would lead to the operator's real log.
        engine = {ENGINE: asked} if (asked := os.environ.get(ENGINE)) else {}
        config = load_config(folder / "claiim.yaml", environ=engine)
        async with Service(config, private=True) as service:
            scenes = await _scenes(service, folder)
    finally:
        await runner.cleanup()
    verification = await asyncio.to_thread(chron.verify, config.chron)
    faults = _faults(scenes, reached)
    if not verification.ok:
        faults.append(f"the Chron does not verify: {verification.fault}")
    return Rehearsed(tuple(scenes), tuple(reached), verification.records, folder, tuple(faults))


def _write_configuration(folder: Path, target_port: int) -> None:
    examples = Path(policies.__file__).parent / "examples"
    (folder / "policies").mkdir()
    (folder / "mappings").mkdir()
    (folder / "claiim.yaml").write_text(_CONFIG.format(host=HOST, port=target_port))
    (folder / "mappings" / "deploy.yaml").write_text(_MAPPINGS)
    shutil.copyfile(examples / "agents.yaml", folder / "agents.yaml")
    for name in ("deploy-v2.yaml", "no-prod-v1.yaml"):
        shutil.copyfile(examples / name, folder / "policies" / name)


async def _start_target(reached: list[str], tls: ssl.SSLContext) -> tuple[web.AppRunner, int]:
    async def deploy(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.json_response({"deployed": request.match_info["place"]}, status=201)

    app = web.Application()
    app.router.add_post("/environments/{place}/deployments", deploy)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    return runner, int(runner.addresses[0][1])


def _target_tls(certificate: Path, key: Path, now: datetime) -> ssl.SSLContext:
    from cryptography.hazmat.primitives import serialization

    leaf = load_authority(certificate, key, now).leaf(HOST, now)
    pem = leaf.certificate.public_bytes(serialization.Encoding.PEM) + leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = certificate.with_name("target.pem")
    chain.touch(mode=0o600)
    chain.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


async def _scenes(service: Service, folder: Path) -> list[Scene]:
    files = write_files(folder / "state", service.ca_pem, service.proxy_url(AGENT))
    environ = environment(
        service.proxy_url(AGENT),
        files,
        agent=AGENT,
        api_url=service.api_url,
        run_id=service.session,
    )
    scenes = []
    for place in ("staging", "production"):
        scenes.append(await _call(environ, place))
    scenes += await asyncio.to_thread(_ask, service)
    return scenes


async def _call(environ: Mapping[str, str], place: str) -> Scene:
    """Deploy with a client that knows nothing of the gate but its environment."""
    url = f"https://{HOST}/environments/{place}/deployments"
    command = _client(url)
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**kept, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _CLIENT_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        return Scene(command[0], f"deploy:{place}", "?", "the client did not finish", "", None)
    return _read_response(Path(command[0]).name, place, output, errors)


def _client(url: str) -> list[str]:
    if curl := shutil.which("curl"):
        return [curl, "--silent", "--show-error", "--include", "--http1.1", "--suppress-connect-headers",
                "--request", "POST", url]  # fmt: skip
    # A machine without curl: the standard library is as unmodified as a client can be.
    program = (
        "import sys, urllib.request, urllib.error\n"
        "try: r = urllib.request.urlopen(urllib.request.Request(sys.argv[1], method='POST'))\n"
        "except urllib.error.HTTPError as e: r = e\n"
        "print(f'HTTP/1.1 {r.status}\\r\\n{r.headers}'.replace('\\n\\n', '\\r\\n\\r\\n')"
        " + r.read().decode(), end='')\n"
    )
    return [sys.executable, "-c", program, url]


def _read_response(caller: str, place: str, output: bytes, errors: bytes) -> Scene:
    import json

    head, _, body = output.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n\n")
    lines = head.split("\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    try:
        status = int(lines[0].split()[1])
    except (IndexError, ValueError):
        said = errors.decode("utf-8", "replace").strip()
        return Scene(caller, f"deploy:{place}", "?", said or "no answer", "", None)
    chron_id = fields.get("x-chron-id", "")
    if status == 201:
        return Scene(caller, f"deploy:{place}", "ALLOW", "", chron_id, status)
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    outcome, reason = str(problem.get("outcome", "?")), str(problem.get("reason", body[:200]))
    return Scene(caller, f"deploy:{place}", outcome, reason, chron_id, status)


def _ask(service: Service) -> list[Scene]:
    from claiim import Gate

    gate = Gate(agent_id=AGENT, token=service.token(AGENT), url=service.api_url)
    scenes = []
    for place in ("staging", "production"):
        result = gate.check(action=f"deploy:{place}", target="api-v2")
        reason = "" if result.allowed else result.reason
        scenes.append(Scene("SDK", result.action, result.outcome, reason, result.chron_id, None))
    return scenes


def _faults(scenes: list[Scene], reached: list[str]) -> list[str]:
    expected = [
        ("deploy:staging", "ALLOW", "", 201),
        ("deploy:production", "DENY", EXPECTED_DENIAL, 403),
        ("deploy:staging", "ALLOW", "", None),
        ("deploy:production", "DENY", EXPECTED_DENIAL, None),
    ]
    faults = []
    for scene, (action, outcome, reason, status) in zip(scenes, expected, strict=True):
        seen = (scene.action, scene.outcome, scene.reason, scene.status)
        if seen != (action, outcome, reason, status):
            faults.append(f"{scene.caller} {action}: expected {outcome} {reason}, got {scene.outcome} {scene.reason}")
        if not scene.chron_id.startswith("chr_"):
            faults.append(f"{scene.caller} {action}: no Chron id")
    if reached != ["/environments/staging/deployments"]:
        faults.append(f"the target was reached by {reached}, expected staging once and nothing else")
    return faults
