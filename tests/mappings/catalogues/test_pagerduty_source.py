"""The compiler of PagerDuty's catalogue, on lists small enough to read, and the catalogue that is shipped."""

from pathlib import Path

import pytest

from mappings.catalogues import CataloguePack, Operation, shipped
from mappings.sources.compiling import SourceError
from mappings.sources.pagerduty import _LISTS, operations


@pytest.fixture
def client(tmp_path: Path) -> Path:
    folder = tmp_path / "pagerduty"
    folder.mkdir()
    for module in _LISTS:
        paths = ["/incidents", "/incidents/{id}", "/{entity_type}/{id}/tags"] if module == "rest_api_v2_client" else []
        if module == "slack_integration_api_client":
            paths = ["/incidents/{incident_id}/channel"]
        (folder / f"{module}.py").write_text(f"OTHER = 1\nCANONICAL_PATHS = {paths!r}\n")
    return tmp_path


def test_every_path_is_listed_under_every_method(client: Path) -> None:
    """A list and its things share names, and nothing is listed that the client does not list."""
    found = {each.name: each.routes for each in operations(client)}
    assert found["incidents.list"] == ("GET /incidents",)
    assert found["incidents.get"] == ("GET /incidents/{id}",)
    assert found["incidents.delete"] == ("DELETE /incidents", "DELETE /incidents/{id}")
    assert found["integration-slack.incidents.channel.create"] == (
        "POST /integration-slack/incidents/{incident_id}/channel",
    )
    assert found["users.tags.get"] == ("GET /users/{id}/tags",)
    assert not [name for name in found if "entity" in name]


def test_only_get_is_a_read(client: Path) -> None:
    """Whatever the client lists, a method other than GET counts as a write."""
    for each in operations(client):
        methods = {route.partition(" ")[0] for route in each.routes}
        assert (each.access in ("read", "list")) == (methods == {"GET"})


def test_a_list_that_is_gone_is_refused(client: Path) -> None:
    """A compiler that does not find what it reads says so, rather than leaving a part of the API out."""
    path = client / "pagerduty" / "rest_api_v2_client.py"
    path.write_text("PATHS = []\n")
    with pytest.raises(SourceError, match="holds no CANONICAL_PATHS"):
        operations(client)
    path.unlink()
    with pytest.raises(SourceError, match="is not there"):
        operations(client)


@pytest.mark.parametrize(
    ("name", "access", "executes", "mints"),
    [
        ("incidents.create", "write", False, False),
        ("analytics.metrics.incidents.all.create", "read", False, False),
        ("events.enqueue", "write", False, False),
        ("automation_actions.actions.invocations.create", "write", True, False),
        ("users.delete", "permissions", False, False),
        ("services.integrations.get", "read", False, True),
        ("oauth.token.create", "permissions", False, True),
    ],
)
def test_operations_carry_what_is_known_of_them(name: str, access: str, executes: bool, mints: bool) -> None:
    """What changes access, runs something or answers with a secret says so."""
    assert CataloguePack(shipped()["pagerduty"]).routes.operations[name] == Operation(name, access, executes, mints)
