"""The compiler of Slack's catalogue, and what the pack makes of hosts, methods and addresses that are secrets."""

from dataclasses import replace
from pathlib import Path

import pytest

from mappings.catalogues import Archive, Operation, shipped
from mappings.packs.slack import SlackPack
from mappings.recognition import NOT_RECOGNISED, Call
from mappings.request import Request
from mappings.resolution import UNREADABLE
from mappings.sources.compiling import SourceError
from mappings.sources.slack import access_of, methods, operations

WEB = """
class WebClient(BaseClient):
    def chat_postMessage(self, *, channel, **kwargs):
        return self.api_call("chat.postMessage", json=kwargs)

    def pins_list(self, *, channel):
        return self.api_call("pins.list", http_verb="GET", params={"channel": channel})
"""
SCIM = """
class SCIMClient:
    def create_user(self, user):
        return self.api_call(http_verb="POST", path="Users", body_params=user)

    def read_user(self, id):
        return self.api_call(http_verb="GET", path=f"Users/{quote(id)}")
"""


@pytest.fixture
def client(tmp_path: Path) -> Path:
    for name, text in {
        "web/client.py": WEB,
        "web/legacy_client.py": WEB.replace("pins", "stars"),
        "scim/v1/client.py": SCIM,
        "audit_logs/v1/client.py": "",
    }.items():
        path = tmp_path / "slack_sdk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_methods_of_old_and_new_clients_are_listed(client: Path) -> None:
    """A method is listed when any client of the package calls it, with the paths of the SCIM API beside."""
    assert methods(client) == ["chat.postMessage", "pins.list", "stars.list"]
    assert {each.name: each.routes for each in operations(client)} == {
        "chat.postMessage": ("GET /api/chat.postMessage", "POST /api/chat.postMessage"),
        "pins.list": ("GET /api/pins.list", "POST /api/pins.list"),
        "stars.list": ("GET /api/stars.list", "POST /api/stars.list"),
        "scim.create_user": ("POST api.slack.com/scim/v1/Users",),
        "scim.read_user": ("GET api.slack.com/scim/v1/Users/{id}",),
    }


def test_a_folder_without_the_client_is_refused(tmp_path: Path) -> None:
    """A compiler that finds nothing says so, rather than writing an empty catalogue."""
    with pytest.raises(SourceError, match="is not there"):
        methods(tmp_path)


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("users.list", "list"),
        ("admin.roles.listAssignments", "list"),
        ("users.info", "read"),
        ("search.messages", "read"),
        ("users.lookupByEmail", "read"),
        ("chat.postMessage", "write"),
        ("users.setPresence", "write"),
        ("brand.newThing", "write"),
        ("things.informEverybody", "write"),
        ("admin.users.getaway", "write"),
    ],
)
def test_what_is_not_known_to_read_is_a_write(method: str, wanted: str) -> None:
    """A method's access comes from its last word, and a word that only begins like one that reads is a write."""
    assert access_of(method) == wanted


# --- the pack ---


@pytest.fixture(scope="module")
def pack() -> SlackPack:
    return SlackPack(shipped()["slack"])


def call(pack: SlackPack, method: str, host: str, path: str) -> Call | None:
    recognition = pack.recognise(Request(method, "https", host, 443, path, (), (), None))
    assert recognition.problem is None
    return recognition.calls[0] if recognition.calls else None


def test_a_listed_method_carries_what_is_known_of_it(pack: SlackPack) -> None:
    """Attributes come from the catalogue, whatever the case of the path."""
    for path in ("/api/oauth.v2.access", "/api/OAuth.V2.Access"):
        found = call(pack, "POST", "slack.com", path)
        assert found is not None
        assert found.name == "slack:oauth.v2.access"
        assert found.attributes == {"access": "write", "mints": "true"}
    assert pack.routes.operations["conversations.invite"] == Operation(
        "conversations.invite", "permissions", False, False
    )


def test_a_method_that_nobody_listed_is_known_to_be_unknown(pack: SlackPack) -> None:
    """A new method is named from the wire, counts as a write, and says that nobody listed it."""
    found = call(pack, "GET", "slack.com", "/api/brand.getNews")
    assert found is not None
    assert found.name == "slack:brand.getNews"
    assert found.attributes == {"access": "write", "known": "false"}


@pytest.mark.parametrize(
    ("host", "path", "shown"),
    [
        ("hooks.slack.com", "/services/T1/B1/verysecret", "/services/T1/B1/-"),
        ("hooks.slack.com", "/services/T1/B1/verysecret/more", "/services/T1/B1/-"),
        ("hooks.slack.com", "/triggers/T1/12/verysecret", "/triggers/T1/-"),
        ("hooks.slack.com", "/actions/T1/12/verysecret", "/actions/T1/-"),
        ("files.slack.com", "/upload/v1/verysecret", "/upload/v1/-"),
    ],
)
def test_no_secret_of_an_address_is_shown(pack: SlackPack, host: str, path: str, shown: str) -> None:
    """What makes an address a credential stands in no target, path or capture."""
    found = call(pack, "POST", host, path)
    assert found is not None
    assert found.path == shown
    assert found.target == f"{host}{shown}"
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("PUT", "slack.com", "/api/chat.postMessage"),
        ("POST", "slack.com", "/"),
        ("POST", "slack.com", "/api"),
        ("POST", "slack.com", "/api/chat"),
        ("POST", "slack.com", "/api/chat..post"),
        ("POST", "slack.com", "/api/.chat"),
        ("POST", "slack.com", "/api/chat.post%0AMessage"),
        ("POST", "slack.com", f"/api/{'a' * 70}.b"),
        ("GET", "hooks.slack.com", "/services/T1/B1/secret"),
        ("POST", "hooks.slack.com", "/services/T1/B1"),
        ("POST", "hooks.slack.com", "/api/chat.postMessage"),
        ("POST", "files.slack.com", "/api/chat.postMessage"),
        ("POST", "files.slack.com", "/upload/v1"),
        ("POST", "slack.com", "/services/T1/B1/secret"),
    ],
)
def test_another_shape_is_not_recognised(pack: SlackPack, method: str, host: str, path: str) -> None:
    """A path, method or host that Slack does not serve is nobody's operation."""
    assert pack.recognise(Request(method, "https", host, 443, path, (), (), None)) == NOT_RECOGNISED


def test_without_its_catalogue_nothing_is_named(tmp_path: Path) -> None:
    """A catalogue that cannot be read refuses every method, also those named from the wire."""
    pack = SlackPack(Archive(tmp_path, replace(shipped()["slack"].header, file="gone.zip")))
    recognition = pack.recognise(Request("POST", "https", "slack.com", 443, "/api/chat.postMessage", (), (), None))
    assert recognition.problem is not None
    assert recognition.problem.code == UNREADABLE
