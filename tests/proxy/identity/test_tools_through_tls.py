"""Which unmodified tools come through a gate that is reached by https://, with what `claiim env` gives them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.wiring import UNSET, environment, write_files
from support.gate import TOKEN, LiveGate
from support.needed import needed
from support.secured import Site
from support.targets import Origin

GET = "r => {console.log(r.statusCode); r.resume()}"
TOOLS = {
    "requests": lambda url: [
        sys.executable, "-W", "ignore", "-c", f"import requests; print(requests.get('{url}').status_code)",
    ],
    "httpx": lambda url: [sys.executable, "-c", f"import httpx; print(httpx.get('{url}').status_code)"],
    "node fetch": lambda url: ["node", "-e", f"fetch('{url}').then(r => console.log(r.status))"],
    "node http": lambda url: ["node", "-e", f"require('{url.partition(':')[0]}').get('{url}', {GET})"],
    "node24 fetch": lambda url: ["node24", "-e", f"fetch('{url}').then(r => console.log(r.status))"],
    "node24 http": lambda url: ["node24", "-e", f"require('{url.partition(':')[0]}').get('{url}', {GET})"],
    "curl": lambda url: [
        "sh", "-c", f'curl -sS -o /dev/null -w "%{{http_code}}\\n" --proxy-cacert "$SSL_CERT_FILE" {url}',
    ],
}  # fmt: skip


def wired(gate: LiveGate, site: Site, folder: Path) -> dict[str, str]:
    """As `claiim env` gives it: the bundles hold the listener's authority too."""
    folder.mkdir()
    proxy_url = f"https://deploy-bot:{TOKEN}@{gate.service.proxy_address}"
    files = write_files(folder, gate.service.ca_pem + site.authority_pem.read_bytes(), proxy_url)
    given = environment(
        proxy_url,
        files,
        agent="deploy-bot",
        api_url=gate.api,
        run_id="test",
    )
    return {**{name: value for name, value in os.environ.items() if name not in UNSET}, **given}


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_comes_through(
    secured: LiveGate, site: Site, origin: Origin, plain_origin: Origin, tmp_path: Path, tool: str, secure: bool
) -> None:
    """To a target by https:// and by http://, and nothing of it goes around the gate."""
    command = TOOLS[tool](f"{(origin if secure else plain_origin).url}/echo")
    command[0] = needed(command[0])
    ran = subprocess.run(
        command, env=wired(secured, site, tmp_path / "wiring"), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "200"), ran
    assert [(record["outcome"], record["agent"]) for record in secured.records()] == [("ALLOW", "deploy-bot")]


AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        await session.get(sys.argv[1])
asyncio.run(main())
"""
OTHERS: dict[str, tuple[list[str], list[str]]] = {
    "urllib": ([sys.executable, "-c", "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"], ["wire.tls"]),
    "wget": (["wget", "-q", "-t", "1", "-O", "/dev/null"], ["wire.tls"]),
    "aiohttp": ([sys.executable, "-W", "ignore", "-c", AIOHTTP], []),
}
"""Those that do not, and what the gate hears of them."""


@pytest.mark.parametrize("tool", OTHERS)
def test_a_tool_does_not_come_through(secured: LiveGate, site: Site, origin: Origin, tmp_path: Path, tool: str) -> None:
    """It speaks plain HTTP to the proxy, or leaves it out and looks for the target by itself."""
    command, codes = OTHERS[tool]
    ran = subprocess.run(
        [needed(command[0]), *command[1:], f"{origin.url}/echo"],
        env=wired(secured, site, tmp_path / "wiring"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode != 0
    assert [record["code"] for record in secured.records()] == codes
    assert origin.connections == 0


def test_git_comes_through(secured: LiveGate, site: Site, origin: Origin, tmp_path: Path) -> None:
    """It takes the listener's authority from a variable of its own."""
    ran = subprocess.run(
        ["git", "ls-remote", f"{origin.url}/x.git"],
        env=wired(secured, site, tmp_path / "wiring"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "certificate" not in ran.stderr, ran
    assert [record["outcome"] for record in secured.records(path="/x.git/info/refs")] == ["ALLOW"]
