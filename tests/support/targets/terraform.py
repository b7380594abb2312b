"""Terraform's HTTP state backend: one state per path, with locks.

GET, POST and DELETE of the state; LOCK and UNLOCK with the lock's JSON
(developer.hashicorp.com/terraform/language/backend/http). A held lock answers 423 with its holder.
"""

import json
from pathlib import Path

from aiohttp import web

from support.targets.base import Seen, Target, read_body

# Built into terraform (terraform.io/builtin/terraform): nothing is downloaded.
_RESOURCE = """\
resource "terraform_data" "site" {
  input = "v1"
}
output "site" {
  value = terraform_data.site.output
}
"""


class TerraformState(Target):
    NAMES = ("state.test",)

    async def on_start(self) -> None:
        self.states: dict[str, bytes] = {}
        self.locks: dict[str, bytes] = {}

    def backend(self, name: str = "prod", *, direct: bool = False) -> str:
        """A `terraform` block that keeps its state here, under /state/NAME."""
        address = f"{self.direct_url if direct else self.url}/state/{name}"
        lines = [f'{key} = "{address}"' for key in ("address", "lock_address", "unlock_address")]
        return 'terraform {\n  backend "http" {\n' + "".join(f"    {line}\n" for line in lines) + "  }\n}\n"

    def write_configuration(self, folder: Path, name: str = "prod", *, direct: bool = False) -> None:
        """A configuration that needs no provider from anywhere."""
        (folder / "main.tf").write_text(self.backend(name, direct=direct) + _RESOURCE, encoding="utf-8")

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = await read_body(request, seen)
        path = request.path
        match request.method:
            case "GET":
                state = self.states.get(path)
                return web.Response(status=404) if state is None else _json(200, state)
            case "POST":
                if path in self.locks and request.query.get("ID") != json.loads(self.locks[path])["ID"]:
                    return _json(409, self.locks[path])
                self.states[path] = body
                return web.Response()
            case "DELETE":
                self.states.pop(path, None)
                return web.Response()
            case "LOCK":
                if path in self.locks:
                    return _json(423, self.locks[path])
                self.locks[path] = body
                return web.Response()
            case "UNLOCK":
                self.locks.pop(path, None)
                return web.Response()
            case _:
                return web.Response(status=405)


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
