"""skopeo against a real container registry: pushes, pulls, and refusals."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from clients.memory import GROWTH_BYTES, Memory
from clients.tools import NOT_ALLOWED, Ran, Served
from support.needed import needed
from support.targets.registry import Registry, image
from support.torture.numbers import how_many

LAYER_MB = how_many(96, 1024)

type Copy = Callable[..., Ran]

pytestmark = [pytest.mark.needs("skopeo"), pytest.mark.needs("docker-registry")]


@pytest.fixture
def registry(target_ca: trustme.CA, tmp_path: Path) -> Iterator[Registry]:
    with Registry(needed("docker-registry"), target_ca, tmp_path / "registry") as started:
        yield started


@pytest.fixture
def gate(served: Callable[..., Served], registry: Registry) -> Served:
    return served(registry, anew=True)


@pytest.fixture
def copy(gate: Served) -> Copy:
    """Copy an image from one place to another as an agent."""
    return lambda *places, agent="deploy-bot": gate.run(
        needed("skopeo"), "copy", "--insecure-policy", *places, agent=agent
    )


def at(registry: Registry, tag: str) -> str:
    return f"docker://registry.test:{registry.port}/acme/web:{tag}"


def test_an_image_is_pushed_and_pulled(gate: Served, copy: Copy, registry: Registry, tmp_path: Path) -> None:
    """Large layers pass without staying in the gate; what was pushed comes back bit by bit, each request is named."""
    layer = gzip.compress(os.urandom(2**20) * LAYER_MB, compresslevel=0)
    source = image(tmp_path / "image", layer)
    pushed = copy(image(tmp_path / "small", gzip.compress(b"small")), at(registry, "small"))
    assert pushed.code == 0, pushed.said
    memory = Memory(gate.pid)
    pushed = copy(source, at(registry, "v1"))
    assert pushed.code == 0, pushed.said
    pulled = copy(at(registry, "v1"), f"oci:{tmp_path / 'pulled'}", agent="reader-bot")
    assert pulled.code == 0, pulled.said
    assert memory.growth_bytes < GROWTH_BYTES
    assert registry.tags("acme/web") == ["small", "v1"]
    blobs = [path.read_bytes() for path in (tmp_path / "pulled/blobs/sha256").iterdir()]
    assert layer in blobs
    gate.stop()
    patched = [record for record in gate.decisions(method="PATCH") if record["outcome"] == "ALLOW"]
    assert {(each["operation"], each["action"]) for each in patched} == {("registry:push", "data:write")}
    assert len(layer) in {gate.outcome_of(record)["request_bytes"] for record in patched}
    tagged = {(each["action"], each["target"]) for each in gate.decisions(method="PUT")}
    assert ("data:write", "registry.test/acme/web:v1") in tagged
    assert {each["action"] for each in gate.decisions(agent="reader-bot")} == {"data:read", "registry:ping"}


def test_who_may_only_pull_cannot_push(gate: Served, copy: Copy, registry: Registry, tmp_path: Path) -> None:
    """The first request that writes is refused, with the reason where skopeo prints it; nothing is stored."""
    pushed = copy(image(tmp_path / "image", gzip.compress(b"layer")), at(registry, "v1"), agent="reader-bot")
    assert pushed.code != 0
    assert registry.tags("acme/web") == []
    assert "POST" not in registry.methods
    gate.stop()
    denied = gate.decisions(outcome="DENY")
    assert {(each["operation"], each["action"]) for each in denied} == {("registry:push", "data:write")}
    assert denied[-1]["reason"] == f"skill:reader-v1 -- {NOT_ALLOWED}"
    assert denied[-1]["id"] in pushed.said
