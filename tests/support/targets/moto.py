"""AWS as moto plays it, behind TLS: what reached the front is what reached AWS."""

import io
import logging
import os
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import trustme
from aiohttp import web

from support.targets.base import Seen, Target

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}  # RFC 9110, section 7.6.1


@cache
def find_aws() -> str | None:
    """An AWS CLI that runs; None when there is none.

    One on the PATH may be a pyenv shim, which finds or does not find it depending on the working directory.
    """
    candidates = [shutil.which("aws"), *map(str, sorted(Path.home().glob(".pyenv/versions/*/bin/aws")))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


class MotoAws(Target):
    """Its names cover the endpoints that botocore would make up for EC2, STS and one bucket in us-east-1."""

    NAMES = (
        "ec2.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com", "orders.s3.us-east-1.amazonaws.com",
        "orders.s3.amazonaws.com", "s3.us-east-1.amazonaws.com", "aws.test",
    )  # fmt: skip

    def __init__(self, ca: trustme.CA, *names: str) -> None:
        super().__init__(ca, *names)
        self._moto: ThreadedMotoServer | None = None

    async def on_start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # moto's own deprecations are not ours to fix
            from moto.server import ThreadedMotoServer

            self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            self._moto.start()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line per request otherwise
        host, port = self._moto.get_host_and_port()
        self._upstream = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession(auto_decompress=False, trust_env=False)

    async def on_stop(self) -> None:
        await self._session.close()
        assert self._moto is not None
        self._moto.stop()

    def reset(self) -> None:
        """Forget every resource and every request."""
        self.run(self._reset())
        self.clear()

    async def _reset(self) -> None:
        async with self._session.post(f"{self._upstream}/moto-api/reset") as response:
            response.raise_for_status()

    @staticmethod
    def credentials() -> dict[str, str]:
        """The environment that makes the AWS tools sign, for an account that is not one."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
        }

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = bytearray()
        async for chunk in request.content.iter_any():
            seen.take(chunk)
            body += chunk
        seen.complete = True
        # Host stays: moto reads the service out of it when nothing is signed.
        headers = [(name, value) for name, value in seen.headers if name.lower() not in _HOP_BY_HOP]
        url = self._upstream + seen.path
        async with self._session.request(
            request.method, url, headers=headers, data=io.BytesIO(body), allow_redirects=False
        ) as response:
            kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP]
            if request.method == "HEAD" and (length := response.headers.get("Content-Length")):
                kept.append(("Content-Length", length))  # of what a GET would get (RFC 9110, 9.3.2)
            return web.Response(status=response.status, headers=kept, body=await response.read())
