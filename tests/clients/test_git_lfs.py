"""git LFS: the batch says whether objects go up or come down, and they travel by way of another host."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from clients.conftest import Behind
from clients.test_git import local
from clients.tools import NOT_ALLOWED, Gated, Ran
from support.needed import needed
from support.targets.lfs import STORE, LfsServer

OBJECT = os.urandom(3 * 2**20)  # longer than what is read of a body

type Git = Callable[..., Ran]

pytestmark = pytest.mark.needs("git-lfs")


@pytest.fixture
def server(target_ca: trustme.CA, tmp_path: Path) -> Iterator[LfsServer]:
    with LfsServer(target_ca, tmp_path / "git-root") as target:
        yield target


@pytest.fixture
def gated(behind: Behind, server: LfsServer) -> Gated:
    return behind(server)


@pytest.fixture
def git(gated: Gated) -> Git:
    """Run git through the gate, in a repository with one large file."""
    local(gated.folder, "init", "--quiet", "--initial-branch=main", ".")
    local(gated.folder, "lfs", "install", "--local")
    local(gated.folder, "lfs", "track", "*.bin")
    (gated.folder / "large.bin").write_bytes(OBJECT)
    local(gated.folder, "add", ".gitattributes", "large.bin")
    local(gated.folder, "commit", "--quiet", "--message=large")
    return lambda *arguments, **more: gated.run(needed("git"), *arguments, **more)


def test_large_files_are_pushed_and_cloned(gated: Gated, git: Git, server: LfsServer) -> None:
    """An upload is a push and a download a fetch, each named; the object's own host is judged by its own rule."""
    pushed = git("push", server.remote, "main:refs/heads/topic")
    assert pushed.code == 0, pushed.said
    assert list(server.objects.values()) == [OBJECT]
    asked, *_ = gated.decisions(operation="git:lfs-upload")
    assert (asked["outcome"], asked["action"], asked["target"]) == ("ALLOW", "repo:push", "git/git.test/acme/shop")
    stored = gated.only(host=STORE, method="PUT")
    assert (stored["outcome"], stored["action"]) == ("ALLOW", "data:write")
    assert gated.outcome_of(stored)["request_bytes"] == len(OBJECT)

    config = ("-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.process=git-lfs filter-process")
    cloned = git(*config, "clone", "--quiet", "--branch=topic", server.remote, "clone", agent="reader-bot")
    assert cloned.code == 0, cloned.said
    assert (gated.folder / "clone/large.bin").read_bytes() == OBJECT
    (asked,) = gated.decisions(operation="git:lfs-download")
    assert (asked["outcome"], asked["action"], asked["agent"]) == ("ALLOW", "git:lfs-download", "reader-bot")
    fetched = gated.only(host=STORE, method="GET")
    assert (fetched["action"], fetched["agent"]) == ("data:read", "reader-bot")


def test_who_may_only_fetch_uploads_nothing(gated: Gated, git: Git, server: LfsServer) -> None:
    """The batch that asks to upload is refused with the reason, before the store hears of anything."""
    ran = git("lfs", "push", "--all", server.remote, agent="reader-bot")
    assert ran.code != 0
    (denied,) = gated.decisions(outcome="DENY", operation="git:lfs-upload")
    assert (denied["action"], denied["reason"]) == ("repo:push", f"skill:reader-v1 -- {NOT_ALLOWED}")
    assert denied["id"] in ran.said
    assert server.objects == {}
    assert {seen.header("host") for seen in server.seen if STORE in (seen.header("host") or "")} == set()
