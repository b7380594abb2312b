"""A smart-HTTP git server: `git http-backend` behind TLS, with one bare repository that accepts pushes."""

import asyncio
import os
import subprocess
from pathlib import Path

import trustme
from aiohttp import web

from support.targets.base import Seen, Target


class GitServer(Target):
    NAMES = ("git.test",)

    def __init__(self, ca: trustme.CA, folder: Path, *names: str, repository: str = "acme/shop.git") -> None:
        super().__init__(ca, *names)
        self.folder = folder
        self.repository = repository
        self.path = folder / repository

    async def on_start(self) -> None:
        self.path.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.path))
        self._git("-C", str(self.path), "config", "http.receivepack", "true")

    @property
    def remote(self) -> str:
        """The URL to clone from and push to."""
        return f"{self.url}/{self.repository}"

    def head(self, branch: str = "main") -> str | None:
        """The commit a branch stands at; None when there is no such branch."""
        done = subprocess.run(
            ["git", "-C", str(self.path), "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"],
            capture_output=True, text=True, check=False, env=self._environment(),
        )  # fmt: skip
        return done.stdout.strip() or None

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = bytearray()
        async for chunk in request.content.iter_any():
            seen.take(chunk)
            body += chunk
        seen.complete = True
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=self._environment() | self._cgi(request, len(body)),
        )  # fmt: skip
        output, _ = await backend.communicate(bytes(body))
        return _cgi_response(output)

    def _cgi(self, request: web.Request, body_bytes: int) -> dict[str, str]:
        """RFC 3875, section 4.1, as far as git-http-backend(1) reads it."""
        return {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(body_bytes),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
        }

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True, env=self._environment())

    def _environment(self) -> dict[str, str]:
        # Nothing of the machine's or the test's git configuration may leak in.
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        }  # fmt: skip


def _cgi_response(output: bytes) -> web.Response:
    head, _, body = output.partition(b"\r\n\r\n")
    status, headers = 200, []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((name, value.strip()))
    return web.Response(status=status, headers=headers, body=body)
