"""The compiler of GitLab's catalogue, on a client small enough to read, and the catalogue that is shipped."""

from pathlib import Path

import pytest

from mappings.catalogues import CataloguePack, Operation, shipped
from mappings.sources.compiling import SourceError
from mappings.sources.gitlab import described, operations, read_client

MIXINS = """
class HeadMixin(base.RESTManager):
    def head(self, id=None):
        path = self.path
        if id is not None:
            path = f"{path}/{utils.EncodedId(id)}"
        return self.gitlab.http_head(path)

class GetMixin(HeadMixin[base.T]):
    def get(self, id, lazy=False):
        if isinstance(id, str):
            id = utils.EncodedId(id)
        path = f"{self.path}/{id}"
        return self.gitlab.http_get(path)

class CreateMixin(base.RESTManager):
    def create(self, data=None, **kwargs):
        path = kwargs.pop("path", self.path)
        return self.gitlab.http_post(path, post_data=data)

class UpdateMixin(base.RESTManager):
    def update(self, id=None, new_data=None):
        if id is None:
            path = self.path
        else:
            path = f"{self.path}/{utils.EncodedId(id)}"
        http_method = self._get_update_method()
        return http_method(path)

class CRUDMixin(GetMixin, CreateMixin, UpdateMixin): ...
"""

OBJECTS = '''
class ProjectBranch(RESTObject):
    _id_attr = "name"

    def merge(self, **kwargs):
        path = f"{self.manager.path}/{self.encoded_id}/merge"
        return self.manager.gitlab.http_put(path, **kwargs)

    def later(self, **kwargs):
        """Says something else when it is told to."""
        path = f"{self.manager.path}/{self.get_id()}"
        if kwargs:
            path += "/later"
        self.manager.gitlab.http_get(path)

class ProjectBranchManager(CRUDMixin[ProjectBranch]):
    _path = "/projects/{project_id}/branches"
    _obj_cls = ProjectBranch
    _update_method = UpdateMethod.PATCH

class Settings(RESTObject):
    _id_attr = None

class SettingsManager(UpdateMixin[Settings]):
    _path = "/settings"
    _obj_cls = Settings

class Run(RESTObject): ...

class RunManager(CreateMixin[Run]):
    _path = "/projects/{project_id}/runs"
    _obj_cls = Run

    def create(self, data):
        path = self.path[:-1]
        return super().create(data, path=path)
'''


@pytest.fixture
def client(tmp_path: Path) -> Path:
    objects = tmp_path / "gitlab" / "v4" / "objects"
    objects.mkdir(parents=True)
    (tmp_path / "gitlab" / "client.py").write_text(
        "class Gitlab:\n    def version(self):\n        self.http_get('/version')\n"
    )
    (tmp_path / "gitlab" / "mixins.py").write_text(MIXINS)
    (objects / "some.py").write_text(OBJECTS)
    return tmp_path


def test_managers_mixins_and_functions_become_operations(client: Path) -> None:
    """Each path and verb of the client is an operation, named by the words of its path, whoever builds the path."""
    found = {each.name: each.routes for each in described(operations(read_client(client)))}
    assert found == {
        "projects.branches.create": ("POST /projects/{project}/branches",),
        "projects.branches.get": ("GET /projects/{project}/branches/{branch}",),
        "projects.branches.later": ("GET /projects/{project}/branches/{branch}/later",),
        "projects.branches.merge": ("PUT /projects/{project}/branches/{branch}/merge",),
        "projects.branches.update": ("PATCH /projects/{project}/branches/{branch}",),
        "projects.runs.create": ("POST /projects/{project}/run",),
        "settings.update": ("PUT /settings",),
        "version": ("GET /version",),
    }


def test_only_what_is_asked_for_with_get_is_a_read(client: Path) -> None:
    """An operation that is sent with any other method counts as a write."""
    access = {each.name: each.access for each in described(operations(read_client(client)))}
    assert {name for name, word in access.items() if word == "read"} == {
        "projects.branches.get",
        "projects.branches.later",
        "version",
    }


def test_a_folder_without_the_client_is_refused(tmp_path: Path) -> None:
    """A compiler that finds nothing says so, rather than writing an empty catalogue."""
    with pytest.raises(SourceError, match="is no unpacked python-gitlab"):
        read_client(tmp_path)


def operation(name: str) -> Operation:
    return CataloguePack(shipped()["gitlab"]).routes.operations[name]


@pytest.mark.parametrize(
    ("name", "access", "executes", "mints"),
    [
        ("projects.list", "list", False, False),
        ("projects.repository.files.raw", "read", False, False),
        ("projects.repository.files.update", "write", False, False),
        ("projects.members.create", "permissions", False, False),
        ("projects.pipelines.create", "write", True, False),
        ("projects.merge_requests.notes.create", "write", True, False),
        ("projects.variables.list", "list", False, True),
        ("projects.access_tokens.rotate", "permissions", False, True),
        ("projects.terraform.state.get", "read", False, True),
    ],
)
def test_operations_carry_what_is_known_of_them(name: str, access: str, executes: bool, mints: bool) -> None:
    """What changes access, runs something or answers with a secret says so."""
    assert operation(name) == Operation(name, access, executes, mints)
