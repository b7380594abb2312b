"""Policies from texts, and questions to them, in one line each."""

import datetime
from collections.abc import Callable

import pytest

from mappings.documents import read_document
from policies import Policies, PolicyError, Question, compile_policies, credential

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)

SKILL = "skill: deploy-v2\nallow:\n- deploy:staging\n- health:check\ndeny:\n- deploy:production\n"


def registry(*, agent: str = "", human: str = "", more: str = "") -> str:
    """Return an agents.yaml with alice, bob and deploy-bot; `agent` and `human` change fields of the first."""
    fields = {
        "id": "deploy-bot",
        "anchor": "alice@acme.test",
        "org": "acme",
        "state": "active",
        "skill": "deploy-v2",
        "tokens": f'["{credential("deploy-bot", "secret").token_sha256}"]',
    }
    person = {"id": "alice@acme.test", "org": "acme", "state": "active"}
    for target, changes in ((fields, agent), (person, human)):
        for change in filter(None, changes.split("; ")):
            key, _, value = change.partition(": ")
            target[key] = value
    shown = [", ".join(f"{key}: {value}" for key, value in one.items() if value) for one in (person, fields)]
    return (
        f"version: 1\nhumans:\n- {{{shown[0]}}}\n- {{id: bob@acme.test, org: acme, state: active}}\n"
        f"agents:\n- {{{shown[1]}}}\n{more}"
    )


def compiled(*rules: str, agents: str | None = None, **options: object) -> Policies:
    """Compile texts; the source of each is "policies/NAME.yaml"."""
    documents = []
    for text in rules:
        name = text.split("\n", 1)[0].partition(": ")[2] or "text"
        documents.append(read_document(text, f"policies/{name}.yaml", error=PolicyError))
    registered = read_document(agents or registry(), "agents.yaml", error=PolicyError)
    return compile_policies(registered, documents, **options)


def asked(action: str, *, agent: str = "deploy-bot", token: str = "secret", environment: str = "") -> Question:
    """Ask at noon, from nowhere in particular."""
    return Question(credential(agent, token), action, "api-v2", environment, NOON, "127.0.0.1")


@pytest.fixture(scope="session")  # plain functions; session, so that properties may use them
def skill_text() -> str:
    return SKILL


@pytest.fixture(scope="session")
def build() -> Callable[..., Policies]:
    return compiled


@pytest.fixture(scope="session")
def agents_text() -> Callable[..., str]:
    return registry


@pytest.fixture(scope="session")
def ask() -> Callable[..., Question]:
    return asked
