"""The commands of docs/live-traffic.md: what mitmweb sees behind a gate, and what waits there for a person."""

import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.children import child
from support.clients import client_of
from support.gate import SKILLS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.serving import clean_environment
from support.targets import Origin
from support.until import until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "live-traffic.md").read_text()
MAKE, LOOK, _ = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(CONFIGURATION,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PASSWORD = "web-password-of-the-test"


def test_what_is_let_through_is_seen_and_can_be_held(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Each allowed request with its body, a POST only when a person lets it go; of a refused one nothing."""
    folder = tmp_path / "gate"
    folder.mkdir()
    ports = {"8085": _free_port(), "8086": _free_port()}

    def here(text: str) -> str:
        return re.sub("8085|8086", lambda found: str(ports[found[0]]), text)

    environ = clean_environment(tmp_path)
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    how: dict[str, Any] = {"cwd": folder, "env": {**environ, "PYTHONUNBUFFERED": "1"}}
    subprocess.run(["bash", "-euo", "pipefail", "-c", here(MAKE)], check=True, timeout=60, **how)
    look = f"exec {LOOK.strip()} --set web_password={PASSWORD} --set ssl_verify_upstream_trusted_ca={target_ca_pem}"
    with child("bash", "-c", look, stdout=subprocess.PIPE, **how) as mitmweb:
        assert mitmweb.stdout is not None
        assert any("Web server listening at" in line for line in mitmweb.stdout)
        upstream = yaml.safe_load(here(CONFIGURATION))["upstream"]
        with running(_gate(folder, origin, upstream)) as gate, client_of(gate) as client, _page(ports["8086"]) as page:
            url = f"https://origin.test:{origin.port}/echo"
            assert client.get(url).status_code == 200
            assert client.delete(url).status_code == 403
            with ThreadPoolExecutor(1) as agent:
                sent = agent.submit(client.post, url, content=b"what is seen")
                held = until(lambda: [flow for flow in page.get("/flows").json() if flow["intercepted"]])
                assert page.get(f"/flows/{held[0]['id']}/request/content.data").content == b"what is seen"
                assert [seen.method for seen in origin.seen] == ["GET"]
                assert page.post("/flows/resume").is_success
                assert sent.result(60).status_code == 200
            assert [flow["request"]["method"] for flow in page.get("/flows").json()] == ["GET", "POST"]
            assert {each["via"] for each in gate.records(outcome="ALLOW")} == {f"127.0.0.1 {ports['8085']}"}
        with httpx.Client(proxy=f"http://127.0.0.1:{ports['8085']}", trust_env=False) as beside:
            assert beside.get("http://origin.test/echo").status_code == 407
        mitmweb.terminate()
    assert [seen.method for seen in origin.seen] == ["GET", "POST"]


def _gate(folder: Path, origin: Origin, upstream: dict[str, Any]) -> LiveGate:
    """As the page has it, for a target of this machine, which `no_proxy` would go around."""
    gate = LiveGate(
        folder,
        skills={**SKILLS, "deploy-v2": {**SKILLS["deploy-v2"], "allow": ["data:**"]}},
        mappings=ORIGIN_MAPPINGS,
        config={
            "proxy": {"allowed_ports": [443, origin.port]},
            "upstream": {**upstream, "no_proxy": [], "allow_private": ["127.0.0.0/8"]},
        },
    )
    gate.service_options = {"lookup": _look_up}
    return gate


async def _look_up(_: str) -> tuple[str, ...]:
    return ("127.0.0.1",)


def _page(port: int) -> httpx.Client:
    """Who has the password of mitmweb's page."""
    shown = {"Authorization": f"Bearer {PASSWORD}", "X-XSRFToken": "same"}
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=shown, cookies={"_mitmproxy_xsrf": "same"}, trust_env=False
    )


def _free_port() -> int:
    """mitmweb does not tell which port it was given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
