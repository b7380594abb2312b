"""Names what git does over HTTP: fetch, or push ref by ref, read from the head of the push itself.

Decides nothing about branches, keeps no objects, and cannot tell a forced update from a plain one: that takes
the history, which is not in the request. Only the smart protocol pushes here; a push by WebDAV is not known.

Grammar (gitprotocol-http and gitprotocol-pack manual pages, https://git-scm.com/docs/gitprotocol-pack
"Reference Update Request and Packfile Transfer"; LFS: git-lfs docs/api/batch.md and locking.md):

    GET  REPO/info/refs?service=git-upload-pack     git:fetch, phase advertise
    POST REPO/git-upload-pack                       git:fetch, phase transfer
    GET  REPO/info/refs?service=git-receive-pack    git:push, phase advertise
    POST REPO/git-receive-pack                      git:push, one call per ref, phase transfer
                                                    body "0000" alone: a probe, changes nothing
    GET  REPO/HEAD, info/refs, objects/...          git:fetch, phase dumb
    POST REPO/info/lfs/objects/batch                git:lfs-download or git:lfs-upload
    GET|POST REPO/info/lfs/locks...                 git:lfs-locks (reads), git:lfs-lock (takes or breaks)

    push body = *shallow 1*command flush [push options] pack
    shallow   = pkt-line("shallow" SP oid)
    command   = pkt-line(old SP new SP ref [NUL capabilities])
    pkt-line  = 4HEXDIG payload, the length counting its own four bytes; flush = "0000"

    old all zero: create; new all zero: delete; else update.

    a body that was not read, is packed, or ends before the flush     unreadable; the first bytes of a longer
                                                                      one will do, up to the flush
    "push-cert" (a signed push)                                       unreadable: use a plain push
    info/refs with two different services                             conflict
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mappings.bodies import look_up, read_json, read_pointer
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request
from mappings.resolution import Problem

FORGES = frozenset({"github.com", "gitlab.com", "bitbucket.org"})
"""Known to fold the case of owner and repository, so ours must too; elsewhere "Web" and "web" are two."""

SERVICES: Mapping[str, str] = {"git-upload-pack": "fetch", "git-receive-pack": "push"}
"""gitprotocol-http, "Smart Clients"."""

DUMB_FILE = re.compile(
    r"HEAD|info/refs|objects/info/(?:alternates|http-alternates|packs)"
    r"|objects/[0-9a-f]{2}/(?:[0-9a-f]{38}|[0-9a-f]{62})"
    r"|objects/pack/pack-(?:[0-9a-f]{40}|[0-9a-f]{64})\.(?:pack|idx)"
)
"""What git-http-backend serves as plain files (its source, table `services`)."""

ENDPOINT = re.compile(
    r"(?P<repository>/.+?)/"
    rf"(?P<rest>git-upload-pack|git-receive-pack|info/lfs/(?:objects/batch|locks(?:/verify|/[^/]+/unlock)?)"
    rf"|{DUMB_FILE.pattern})"
)
"""Every ending is of fixed shape: one that could hold another ending would hide a push behind a lock."""

COMMAND = re.compile(rb"(?P<old>[0-9a-f]{40}|[0-9a-f]{64}) (?P<new>[0-9a-f]{40}|[0-9a-f]{64}) (?P<ref>[^\0]+)")
"""SHA-1 or SHA-256 object names."""

REF_PART = re.compile(r"(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+(?<!\.)(?<!\.lock)")
"""git-check-ref-format, rules 1, 4, 5, 7 and 10, for what stands between two slashes."""

LFS_OPERATION = read_pointer("operation")
"""git-lfs, docs/api/batch.md, "Requests"."""

MAX_PKT_BYTES = 65_520
"""gitprotocol-common, "pkt-line Format"."""

CUT = "the list of refs does not end within what was read of the push; push fewer refs at once"

TRUSTED = frozenset({"owner", "repo", "repository", "ref", "branch", "tag"})


@dataclass(frozen=True, slots=True)
class Command:
    """One ref that a push wants changed."""

    old: str
    new: str
    ref: str

    @property
    def change(self) -> str:
        """ "create", "delete" or "update", as the all-zero object name says."""
        if not self.old.strip("0"):
            return "create"
        return "update" if self.new.strip("0") else "delete"


class PushError(ValueError):
    """The head of a push cannot be read; the text says why."""


class GitPack:
    """Any git host: the big forges without being asked, others as the operator binds them."""

    name = "git"
    family = "git"
    hosts: tuple[str, ...] = ("github.com", "gitlab.com", "bitbucket.org")
    reads_prefix = True

    def needs_body(self, request: Request) -> bool:
        """Pushes and LFS batches say in the body what they do; fetches do not."""
        return request.method == "POST" and request.path.endswith(("/git-receive-pack", "/info/lfs/objects/batch"))

    def recognise(self, request: Request) -> Recognition:
        """Name one request of git, or of git LFS, to a repository."""
        match = ENDPOINT.fullmatch(request.path)
        if match is None:
            return NOT_RECOGNISED
        if "%2F" in request.path:
            return conflict('path has an encoded "/"; git servers split there')
        repository = _repository(request.host, match["repository"])
        rest = match["rest"]
        if rest in SERVICES:
            return _transfer(request, repository, rest)
        if rest.startswith("info/lfs/"):
            return _lfs(request, repository, rest)
        if request.method not in ("GET", "HEAD"):
            return NOT_RECOGNISED
        return _advertise(request, repository) if rest == "info/refs" else _one("fetch", request, repository, "dumb")


def read_commands(body: bytes, *, complete: bool = True) -> tuple[Command, ...]:
    """Return the ref changes at the head of a push, () for the probe; PushError when they cannot be read.

    Nothing behind the flush changes them, so a body that is not `complete` will do when it holds the flush.
    """
    # Before a chunked push git asks with an empty one whether it would be let in (remote-curl.c, probe_rpc).
    if complete and body == b"0000":
        return ()
    commands = []
    for line in _pkt_lines(body):
        if line.startswith(b"shallow "):
            continue
        match = COMMAND.fullmatch(line.split(b"\0", 1)[0].removesuffix(b"\n"))
        if match is None:
            signed = line.startswith(b"push-cert")
            raise PushError("a signed push is not read; push without --signed" if signed else "not a ref command")
        commands.append(Command(match["old"].decode(), match["new"].decode(), _ref(match["ref"])))
    if not commands:
        raise PushError("no ref command")
    return tuple(commands)


def _ref(raw: bytes) -> str:
    """Return a ref name; PushError when receive-pack would refuse it: not under refs/, or badly formed."""
    try:
        ref = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PushError("a ref name that is not UTF-8") from None
    first, *parts = ref.split("/")
    if first != "refs" or not parts or ".." in ref or "@{" in ref or not all(map(REF_PART.fullmatch, parts)):
        raise PushError("a ref name that git does not allow")
    return ref


def _pkt_lines(body: bytes) -> Iterator[bytes]:
    """Yield payloads up to the flush packet; PushError when the body ends or breaks before it."""
    at = 0
    while True:
        head = body[at : at + 4]
        if len(head) < 4:
            raise PushError(CUT)
        if not re.fullmatch(rb"[0-9a-f]{4}", head):
            raise PushError("the push does not start with pkt-lines")
        length = int(head, 16)
        if length == 0:
            return
        # 0001 and 0002 are protocol v2 delimiters, 0003 is undefined; in a push, git itself never sends them.
        if not 4 < length <= MAX_PKT_BYTES:
            raise PushError("the push does not start with pkt-lines")
        if at + length > len(body):
            raise PushError(CUT)
        yield body[at + 4 : at + length]
        at += length


def _repository(host: str, path: str) -> str:
    text = path.strip("/")
    return (text.lower() if host in FORGES else text).removesuffix(".git")


def _call(name: str, request: Request, repository: str, captures: Mapping[str, str]) -> Call:
    owner, _, repo = repository.rpartition("/")
    facts = {"owner": owner, "repo": repo, "repository": repository, **captures}
    ref = facts.get("ref")
    target = f"{request.host}/{repository}" + (f"#{ref}" if ref else "")
    return Call(f"git:{name}", facts, trusted=TRUSTED, target=target)


def _one(name: str, request: Request, repository: str, phase: str) -> Recognition:
    return Recognition((_call(name, request, repository, {"phase": phase}),))


def _advertise(request: Request, repository: str) -> Recognition:
    """The first request of a fetch or push: the list of refs, or the whole of `info/refs` when dumb."""
    services = {value for key, value in request.query if key == "service"}
    if len(services) > 1:
        return conflict('query parameter "service" is given twice with different values')
    if not services:
        return _one("fetch", request, repository, "dumb")
    name = SERVICES.get(services.pop())
    return _one(name, request, repository, "advertise") if name else NOT_RECOGNISED


def _transfer(request: Request, repository: str, service: str) -> Recognition:
    if request.method != "POST":
        return NOT_RECOGNISED
    if service == "git-upload-pack":
        return _one("fetch", request, repository, "transfer")
    if (request.header("content-encoding") or "identity").lower() != "identity":
        return unreadable("the push is compressed; git itself compresses only fetches")
    if request.body is None:
        return unreadable("the push was not read, so its refs are not known")
    try:
        commands = read_commands(request.body, complete=request.body_complete)
    except PushError as error:
        return unreadable(str(error))
    if not commands:
        return _one("push", request, repository, "probe")
    return Recognition(tuple(_push(request, repository, command) for command in commands))


def _push(request: Request, repository: str, command: Command) -> Call:
    captures = {"phase": "transfer", "old": command.old, "new": command.new, "change": command.change}
    captures["ref"] = command.ref
    for prefix, key in (("refs/heads/", "branch"), ("refs/tags/", "tag")):
        if command.ref.startswith(prefix):
            captures[key] = command.ref.removeprefix(prefix)
    return _call("push", request, repository, captures)


def _lfs(request: Request, repository: str, rest: str) -> Recognition:
    if rest != "info/lfs/objects/batch":
        # locking.md: listing (GET locks) and "which of these are mine" (POST locks/verify) change nothing.
        reads = request.method == "GET" and rest == "info/lfs/locks"
        if reads or (request.method == "POST" and rest == "info/lfs/locks/verify"):
            return _one("lfs-locks", request, repository, "lfs")
        return _one("lfs-lock", request, repository, "lfs") if request.method == "POST" else NOT_RECOGNISED
    if request.method != "POST":
        return NOT_RECOGNISED
    body = read_json(request)
    operation = body if isinstance(body, Problem) else look_up(body, LFS_OPERATION)
    if isinstance(operation, Problem):
        return Recognition((), operation)
    if operation not in ("upload", "download"):
        return unreadable('the LFS batch says neither "upload" nor "download"')
    return _one(f"lfs-{operation}", request, repository, "lfs")


PACK = GitPack()
