"""What an unmodified git sends when it fetches and pushes, captured from a real server, and how it is named.

The server is git's own http-backend behind a few lines of HTTP; the client is git as installed.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mappings import Operation, Request, canonical_target, compile_mappings, read_document

SHIPPED = Path(__file__).parents[3] / "mappings" / "packs"
SITE = '{"version": 1, "bind": [{"host": "git.acme.test", "pack": "git"}]}'

MAPPINGS = compile_mappings(
    [
        read_document((SHIPPED / "git.yaml").read_text("utf-8"), "pack:git"),
        read_document(SITE, "mappings/site.yaml"),
    ]
)


class _GitServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _GitHandler)
        self.root = root
        self.seen: list[Request] = []


class _GitHandler(BaseHTTPRequestHandler):
    server: _GitServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            self._serve(b"".join(iter(self._chunk, b"")))
        else:
            self._serve(self.rfile.read(int(self.headers["content-length"])))

    def _chunk(self) -> bytes:
        chunk = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return chunk

    def _serve(self, body: bytes) -> None:
        target = canonical_target(self.path)
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        self.server.seen.append(
            Request(self.command, "https", "git.acme.test", 443, target.path, target.query, headers, body)
        )
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": target.path,
            "QUERY_STRING": target.query_text,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        answer = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=environment, check=True
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Work:
    """A working copy, and the requests its git has sent."""

    def __init__(self, server: _GitServer, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def git(self, *words: str) -> None:
        """Run git here, untouched by the machine's own configuration and proxies."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "GIT_CONFIG_NOSYSTEM": "1"}
        settings = ["-c", "user.name=a", "-c", "user.email=a@acme.test", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *settings, *words], cwd=self._folder, env=kept, check=True, capture_output=True)

    def commit(self, name: str, content: bytes) -> None:
        """Add one commit."""
        (self._folder / name).write_bytes(content)
        self.git("add", name)
        self.git("commit", "-m", name)

    def operations(self) -> list[Operation]:
        """Return what the requests since the last call were named, none of them refused."""
        found: list[Operation] = []
        for request in self._server.seen:
            resolution = MAPPINGS.resolve(request)
            assert resolution.problem is None, (request, resolution.problem)
            found.extend(resolution.operations)
        self._server.seen.clear()
        return found


@pytest.fixture
def work(tmp_path: Path) -> Iterator[_Work]:
    """A repository with one pushed commit on main, and its server."""
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "acme" / "web.git"], check=True)
    subprocess.run(["git", "-C", tmp_path / "acme" / "web.git", "config", "http.receivepack", "true"], check=True)
    subprocess.run(
        ["git", "-C", tmp_path / "acme" / "web.git", "config", "receive.advertisePushOptions", "true"], check=True
    )
    server = _GitServer(tmp_path)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    folder = tmp_path / "work"
    folder.mkdir()
    copy = _Work(server, folder)
    copy.git("init", "-q", "-b", "main")
    copy.git("remote", "add", "origin", f"http://127.0.0.1:{server.server_address[1]}/acme/web.git")
    copy.commit("a", b"a")
    copy.git("push", "origin", "main")
    yield copy
    server.shutdown()
    thread.join()
    server.server_close()


def _named(operations: list[Operation]) -> list[tuple[str, str, str]]:
    return [(each.action, each.target, each.attributes.get("change", "")) for each in operations]


START = ("repo:push", "git/git.acme.test/acme/web", "")


def test_a_first_push_creates_its_branch(work: _Work) -> None:
    """git asks for the refs, then pushes; both are pushes, the second names the branch."""
    assert _named(work.operations()) == [
        START,
        ("repo:push", "git/git.acme.test/acme/web#refs/heads/main", "create"),
    ]


def test_every_ref_of_a_push_is_named(work: _Work) -> None:
    """An update and a new tag in one push are two operations."""
    work.operations()
    work.commit("b", b"b")
    work.git("tag", "v1")
    work.git("push", "origin", "main", "v1")
    assert _named(work.operations()) == [
        START,
        ("repo:push", "git/git.acme.test/acme/web#refs/heads/main", "update"),
        ("repo:push", "git/git.acme.test/acme/web#refs/tags/v1", "create"),
    ]


def test_deleting_a_branch_is_no_push(work: _Work) -> None:
    """A deletion travels as a push and is named for what it does."""
    work.git("push", "origin", "main:refs/heads/feature/x")
    work.operations()
    work.git("push", "origin", ":refs/heads/feature/x")
    assert _named(work.operations()) == [
        START,
        ("repo:delete-ref", "git/git.acme.test/acme/web#refs/heads/feature/x", "delete"),
    ]


def test_a_large_push_probes_first(work: _Work) -> None:
    """Beyond http.postBuffer git sends an empty push before the chunked one; neither is refused."""
    work.operations()
    work.commit("big", os.urandom(200_000))
    work.git("-c", "http.postBuffer=65536", "push", "origin", "main")
    operations = work.operations()
    assert [each.attributes["phase"] for each in operations] == ["advertise", "probe", "transfer"]
    assert operations[-1].target == "git/git.acme.test/acme/web#refs/heads/main"


def test_fetching_is_no_push(work: _Work) -> None:
    """Listing refs and fetching, in protocol version 2 and 0, are fetches only."""
    work.operations()
    work.git("ls-remote", "origin")
    work.git("fetch", "origin")
    work.git("-c", "protocol.version=0", "fetch", "origin")
    assert {each.name for each in work.operations()} == {"git:fetch"}


def test_an_option_of_a_push_is_seen(work: _Work) -> None:
    """What a push asks for beside its refs is named for what it does: here, to be merged."""
    work.operations()
    work.commit("b", b"b")
    work.git("push", "-o", "ci.skip", "-o", "merge_request.merge_when_pipeline_succeeds", "origin", "main")
    assert [(each.name, each.action) for each in work.operations()] == [
        ("git:push", "repo:push"),
        ("git:push", "repo:push"),
        ("git:push-option", "git:push-option"),
        ("git:push-option", "pr:merge"),
    ]


def test_a_rewound_branch_looks_like_any_other(work: _Work) -> None:
    """A forced push is a push: old and new id say nothing of the history between them."""
    work.commit("b", b"b")
    work.git("push", "origin", "main")
    work.operations()
    work.git("reset", "-q", "--hard", "HEAD~1")
    work.git("push", "--force", "origin", "main")
    assert _named(work.operations())[-1] == (
        "repo:push",
        "git/git.acme.test/acme/web#refs/heads/main",
        "update",
    )
