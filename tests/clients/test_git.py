"""git over smart HTTP: what may be fetched, who may push, and to which branch."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, NOT_ALLOWED, Gated, Ran, in_both_ways
from support.needed import needed
from support.targets import GitServer

type Git = Callable[..., Ran]

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "bot"), ("EMAIL", "bot@acme.test"))
}
PACK_BYTES = 3 * 2**20
LIMIT_BYTES = 2**20  # proxy.max_body_bytes and http.postBuffer (git-config(1)) have the same default


@pytest.fixture
def gated(behind: Behind, git_server: GitServer) -> Gated:
    return behind(git_server)


@pytest.fixture
def git(gated: Gated) -> Git:
    """Run git through the gate, in a repository with one commit on `main`."""
    tool = needed("git")
    local(gated.folder, "init", "--quiet", "--initial-branch=main", ".")
    local(gated.folder, "commit", "--quiet", "--allow-empty", "--message=first")
    return lambda *arguments, **more: gated.run(tool, *arguments, **more)


def local(folder: Path, *arguments: str) -> str:
    """Run git on the machine alone."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **IDENTITY}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def packs(server: GitServer) -> list[int]:
    """Sizes of what was posted to receive-pack."""
    return [seen.body_bytes for seen in server.seen if seen.path.endswith("/git-receive-pack")]


def test_an_agent_may_clone(gated: Gated, git: Git, git_server: GitServer) -> None:
    """A clone works for an agent that only reads, byte for byte."""
    local(gated.folder, "push", "--quiet", str(git_server.path), "main")
    ran = git("clone", "--quiet", git_server.remote, "clone", agent="reader-bot")
    assert ran.code == 0, ran.said
    assert local(gated.folder / "clone", "rev-parse", "HEAD") == git_server.head()
    decisions = gated.decisions()
    assert {(one["outcome"], one["action"], one["reason"]) for one in decisions} == {
        ("ALLOW", "git:fetch", "skill:reader-v1 -- action in allow list")
    }
    assert len(decisions) == len(git_server.seen)
    assert {one["target"] for one in decisions} == {"git.test/acme/shop"}


@in_both_ways
def test_an_agent_without_the_right_may_not_push(gated: Gated, git: Git, git_server: GitServer) -> None:
    """It is told why at its first question, before it makes a pack."""
    ran = git("push", git_server.remote, "main:refs/heads/topic", agent="reader-bot")
    assert ran.code == 128, ran.said
    denied = gated.denied(ran)
    assert f"remote: skill:reader-v1 -- {NOT_ALLOWED} [{denied['id']}]; " in ran.err, ran.err
    assert (denied["action"], denied["agent"]) == ("repo:push", "reader-bot")
    assert denied["target"] == "git/git.test/acme/shop"
    assert git_server.seen == []
    assert git_server.head("topic") is None


def test_an_agent_may_push_a_branch(gated: Gated, git: Git, git_server: GitServer) -> None:
    """A push arrives; the record names the branch."""
    ran = git("push", git_server.remote, "main:refs/heads/topic")
    assert ran.code == 0, ran.said
    assert git_server.head("topic") == local(gated.folder, "rev-parse", "HEAD")
    pushed = gated.decisions(action="repo:push")[-1]
    assert (pushed["outcome"], pushed["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
    assert pushed["target"] == "git/git.test/acme/shop#refs/heads/topic"
    assert gated.outcome_of(pushed)["request_bytes"] == packs(git_server)[-1]


def test_a_protected_branch_may_not_be_pushed(gated: Gated, git: Git, git_server: GitServer) -> None:
    """Which branch it is stands in the push itself: that is refused before the server sees it, with the reason."""
    ran = git("push", git_server.remote, "main")
    assert ran.code != 0
    denied = gated.denied(ran)
    assert (denied["action"], denied["target"]) == ("repo:push-main", "acme/shop#main")
    assert denied["reason"] == f"skill:deploy-v2 -- {IN_DENY_LIST}"
    assert packs(git_server) == []
    assert git_server.head("main") is None


BUFFERS = {
    # git sends a pack that fits http.postBuffer with its length, and asks with an empty push before a chunked one.
    "one request with its length": (8 * PACK_BYTES, 1),
    "chunked, after a probe": (LIMIT_BYTES, 2),
}


@pytest.mark.parametrize(("buffer_bytes", "requests"), BUFFERS.values(), ids=BUFFERS)
@pytest.mark.parametrize("branch", ["topic", "main"])
def test_a_push_is_longer_than_what_is_read(
    gated: Gated, git: Git, git_server: GitServer, buffer_bytes: int, requests: int, branch: str
) -> None:
    """The branch stands at the head of the push, so its length does not matter: it is allowed or denied alike."""
    (gated.folder / "noise").write_bytes(os.urandom(PACK_BYTES))
    local(gated.folder, "add", "noise")
    local(gated.folder, "commit", "--quiet", "--message=noise")
    options = ("-c", f"http.postBuffer={buffer_bytes}")
    ran = git(*options, "push", git_server.remote, f"main:refs/heads/{branch}")
    if branch == "topic":
        assert ran.code == 0, ran.said
        assert git_server.head("topic") == local(gated.folder, "rev-parse", "HEAD")
        assert len(packs(git_server)) == requests
        pushed = gated.decisions(action="repo:push")[-1]
        assert (pushed["outcome"], pushed["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
        assert gated.outcome_of(pushed)["request_bytes"] == packs(git_server)[-1] > PACK_BYTES
    else:
        assert ran.code != 0
        denied = gated.denied(ran)
        assert (denied["action"], denied["reason"]) == ("repo:push-main", f"skill:deploy-v2 -- {IN_DENY_LIST}")
        assert len(packs(git_server)) == requests - 1
        assert git_server.head("main") is None


@pytest.mark.parametrize("buffer_bytes", [buffer_bytes for buffer_bytes, _ in BUFFERS.values()], ids=BUFFERS)
def test_a_refused_push_that_takes_its_time_comes_to_its_end(
    gated: Gated, git: Git, git_server: GitServer, buffer_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused in the middle of its upload, git shows the reason and ends; curl 7.88 below it would upload for ever."""
    monkeypatch.setattr("proxy.fast.http2agents._QUIET_S", 0.0)
    (gated.folder / "noise").write_bytes(os.urandom(PACK_BYTES))
    local(gated.folder, "add", "noise")
    local(gated.folder, "commit", "--quiet", "--message=noise")
    ran = git("-c", f"http.postBuffer={buffer_bytes}", "push", git_server.remote, "main")
    assert ran.code != 0
    assert gated.denied(ran)["action"] == "repo:push-main"
    assert git_server.head("main") is None
