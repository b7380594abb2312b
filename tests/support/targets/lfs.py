"""A git server with large files: the LFS batch API beside `git http-backend`, and a store under another name.

POST REPO/info/lfs/objects/batch   where each object goes to or comes from: the store (git-lfs, docs/api/batch.md)
POST REPO/info/lfs/verify          whether an uploaded object is there
PUT|GET  STORE/objects/OID         the object (docs/api/basic-transfers.md)
"""

import hashlib
import json
from typing import Any

from aiohttp import web

from support.targets.base import Seen, read_body
from support.targets.git import GitServer

STORE = "lfs-store.test"
_TYPE = "application/vnd.git-lfs+json"


class LfsServer(GitServer):
    NAMES = ("git.test", STORE)

    async def on_start(self) -> None:
        await super().on_start()
        self.objects: dict[str, bytes] = {}

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if request.host.partition(":")[0] == STORE:
            return await self._store(request, seen)
        if "/info/lfs/" not in request.path:
            return await super().answer(request, seen)
        asked = json.loads(await read_body(request, seen) or b"{}")
        match request.path.partition("/info/lfs/")[2]:
            case "objects/batch":
                objects = [self._place(asked["operation"], each) for each in asked["objects"]]
                return _json({"transfer": "basic", "objects": objects})
            case "verify":
                return _json({}, 200 if asked["oid"] in self.objects else 404)
            case _:
                return _json({"message": "no such thing"}, 404)

    def _place(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        there = asked["oid"] in self.objects
        if operation == "upload" and there:
            return asked
        if operation == "download" and not there:
            return {**asked, "error": {"code": 404, "message": "no such object"}}
        actions = {operation: {"href": f"https://{STORE}:{self.port}/objects/{asked['oid']}"}}
        if operation == "upload":
            actions["verify"] = {"href": f"{self.remote}/info/lfs/verify"}
        return {**asked, "authenticated": True, "actions": actions}

    async def _store(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if request.method == "GET":
            return web.Response(body=self.objects[name])
        content = bytearray()
        async for chunk in request.content.iter_any():
            seen.take(chunk)
            content += chunk
        seen.complete = True
        assert hashlib.sha256(content).hexdigest() == name
        self.objects[name] = bytes(content)
        return web.Response()


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type=_TYPE)
