"""The compiler of Terraform's catalogue, on a client small enough to read, and the catalogue that is shipped."""

from pathlib import Path

import pytest

from mappings.catalogues import CataloguePack, Operation, shipped
from mappings.sources.compiling import SourceError
from mappings.sources.terraform import described, operations, read_client, route

CLIENT = """
class TFEClient:
    def __init__(self, config=None):
        self.runs = Runs(self._transport)
        self.admin = AdminClient(self._transport)
        self._transport = HTTPTransport()
"""

RESOURCES = '''
class _Service:
    def _list(self, path): ...

class Runs(_Service):
    """Runs."""

    def list(self, organization, options=None):
        def pages():
            yield from self._list(f"/api/v2/organizations/{organization}/runs?page={options.page}")
        return pages()

    def create(self, options):
        return self.t.request("POST", "/api/v2/runs", json_body={})

    def read(self, run_id):
        return self.t.request("GET", f"/api/v2/runs/{quote(run_id)}")

    def read_with_options(self, run_id, options):
        return self.t.request("GET", path=f"api/v2/runs/{run_id}")

    def delete(self, run_id, force=False):
        self._send("DELETE", self._link(run_id))

    def destroy(self, run_id):
        self.t.request("DELETE", f"/api/v2/runs/{run_id}?force=true")

    def logs(self, run_id):
        run = self.read(run_id)
        return self.t.request("GET", run.log_url)

    def _link(self, run_id):
        return f"/api/v2/runs/{run_id}"

    def _send(self, method, path):
        self.t.request(method, path)
'''

ADMIN = """
class AdminClient:
    def __init__(self, transport):
        self.users = _Users(transport)

class _Settings(_Service):
    _path = "/api/v2/admin/none"

    def suspend(self, user_id):
        self.t.request("POST", f"{self._path}/{user_id}/actions/suspend")

class _Users(_Settings):
    _path = "/api/v2/admin/users"
"""


@pytest.fixture
def client(tmp_path: Path) -> Path:
    resources = tmp_path / "pytfe" / "resources" / "admin"
    resources.mkdir(parents=True)
    (tmp_path / "pytfe" / "client.py").write_text(CLIENT)
    (resources.parent / "run.py").write_text(RESOURCES)
    (resources / "_users.py").write_text(ADMIN)
    return tmp_path


def test_methods_of_resources_become_operations(client: Path) -> None:
    """Each request is an operation under its plainest name, however the client puts its path together."""
    found, notes = described(operations(read_client(client)))
    assert {each.name: each.routes for each in found} == {
        "admin.users.suspend": ("POST /api/v2/admin/users/{user_id}/actions/suspend",),
        "runs.create": ("POST /api/v2/runs",),
        "runs.delete": ("DELETE /api/v2/runs/{run_id}",),
        "runs.destroy": ("DELETE /api/v2/runs/{run_id}?force=true",),
        "runs.list": ("GET /api/v2/organizations/{organization}/runs",),
        "runs.read": ("GET /api/v2/runs/{run_id}",),
    }
    assert notes == ["runs.logs: GET {log_url} is put together as it runs"]


def test_access_is_never_milder_than_the_method(client: Path) -> None:
    """Only what is asked for with GET is a read, and of those only a list is a list."""
    access = {each.name: each.access for each in described(operations(read_client(client)))[0]}
    assert {name: word for name, word in access.items() if word != "write"} == {
        "runs.list": "list",
        "runs.read": "read",
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("GET https://registry.terraform.io/v1/modules", "GET /v1/modules"),
        ("GET {base_url}/v1/modules", "GET /v1/modules"),
        ("GET /api/v2/organizations/{name}", "GET /api/v2/organizations/{organization}"),
        ("GET /api/v2/a/{id}/{id}", "GET /api/v2/a/{a_id}/{part}"),
        ("PUT {upload_url}", ""),
        ("{method} /api/v2/x", ""),
    ],
)
def test_a_path_that_only_running_would_tell_is_no_route(text: str, wanted: str) -> None:
    """What starts with a value is left out; hosts and the client's own names for a parameter make no difference."""
    assert route(text) == wanted


def test_a_folder_without_the_client_is_refused(tmp_path: Path) -> None:
    """A compiler that finds nothing says so, rather than writing an empty catalogue."""
    with pytest.raises(SourceError, match="is no unpacked pytfe"):
        read_client(tmp_path)


@pytest.mark.parametrize(
    ("name", "access", "executes", "mints"),
    [
        ("runs.create", "write", True, False),
        ("runs.apply", "write", True, False),
        ("workspaces.list", "list", False, False),
        ("state_versions.read", "read", False, True),
        ("objects.download", "read", False, True),
        ("organization_tokens.create", "permissions", False, True),
        ("teams.add_users", "permissions", False, False),
    ],
)
def test_operations_carry_what_is_known_of_them(name: str, access: str, executes: bool, mints: bool) -> None:
    """What changes access, runs something or answers with a secret says so."""
    assert CataloguePack(shipped()["terraform"]).routes.operations[name] == Operation(name, access, executes, mints)


@pytest.mark.parametrize("name", ["agent_tokens.delete", "aws_oidc_configurations.create", "workspaces.assign_ssh_key"])
def test_no_name_says_more_than_the_path(name: str) -> None:
    """Where one path serves several methods of the client, none of their names stands for all."""
    assert name not in CataloguePack(shipped()["terraform"]).routes.operations
