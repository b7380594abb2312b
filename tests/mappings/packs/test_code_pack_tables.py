"""What holds for every operation that the code packs list: its words fit what the pack itself says of it."""

from mappings import canonical_action
from mappings.inventory import Known, doors
from mappings.loading import load_compiled
from mappings.packs import argocd, docker, grpc, mcp, vault
from mappings.recognition import ACCESS, Call

CALLS = [call for pack in (argocd, docker, grpc, mcp, vault) for call in pack.PACK.known_operations()]
COMPILED = load_compiled([])[0]


def _actions(call: Call) -> set[str]:
    """Return every action that a shipped rule may give an operation, and its own name where none always holds."""
    found = doors(COMPILED, Known(call.name, call.attributes))
    actions = {door.action for door in found}
    return actions if any(door.always for door in found) else actions | {canonical_action(call.name)}


def _beyond(calls: list[Call], *words: str) -> dict[str, set[str]]:
    """Return, by operation, the actions that are neither one of these words nor its own name."""
    assert calls
    found = {call.name: _actions(call) - {*words, canonical_action(call.name)} for call in calls}
    return {name: actions for name, actions in found.items() if actions}


def test_every_operation_says_what_it_does() -> None:
    """Every operation that is listed has a name an action can be written for, and an access level when known."""
    assert [call.name for call in CALLS if not canonical_action(call.name)] == []
    assert [call.name for call in CALLS if call.known and call.access not in ACCESS] == []


def test_an_operation_is_listed_once() -> None:
    """A name stands for one operation."""
    names = [call.name for call in CALLS]
    assert len(names) == len(set(names))


def test_what_answers_with_a_secret_is_never_called_a_read_of_data() -> None:
    """An operation whose answer holds a secret is secret:read or graver, or keeps its own name."""
    minting = [call for call in CALLS if call.mints]
    assert _beyond(minting, "secret:read", "iam:change", "infra:destroy") == {}


def test_what_changes_access_is_never_a_mere_change() -> None:
    """An operation that changes who may do what is iam:change or graver, or keeps its own name."""
    changing = [call for call in CALLS if call.access == "permissions"]
    assert _beyond(changing, "iam:change", "secret:read", "infra:destroy") == {}


def test_what_runs_code_is_never_a_mere_change() -> None:
    """An operation that runs code is not called a creation, an update, or a write of what is stored."""
    running = [call for call in CALLS if call.executes]
    words = ("code:execute", "deploy:${env}", "deploy:rollback-${env}", "deploy:plan", "infra:destroy", "secret:read")
    assert _beyond(running, *words) == {}


def test_taking_away_never_sounds_mild() -> None:
    """Every deletion of Docker and of Vault has a word for taking away, or for changing who may do what."""
    deletions = [call for call in CALLS if call.name.startswith("vault:delete:")]
    deletions += [call for call in CALLS if call.name.startswith("docker:") and call.name.endswith(("Delete", "Prune"))]
    grave = {"infra:destroy", "iam:change", "secret:read"}
    assert {call.name: _actions(call) for call in deletions if not _actions(call) <= grave} == {}
