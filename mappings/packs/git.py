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
                                                    git:push-option for each option, such as GitLab's merge requests
    GET  REPO/HEAD, info/refs, objects/...          git:fetch, phase dumb
    .../git-upload-archive, as git-upload-pack      git:fetch: the files of one commit
    POST REPO/info/lfs/objects/batch                git:lfs-download or git:lfs-upload
    GET|PUT REPO/info/lfs/objects/OID[/SIZE]        the same, phase object; GitLab: REPO/gitlab-lfs/objects/...
    POST REPO/info/lfs/[objects/]verify             git:lfs-upload, phase verify
    GET|POST REPO/info/lfs/locks...                 git:lfs-locks (reads), git:lfs-lock (takes or breaks)

    push body = *shallow 1*command flush [*option flush] pack
    shallow   = pkt-line("shallow" SP oid)
    command   = pkt-line(old SP new SP ref [NUL capabilities])
    option    = pkt-line(text), there when a command's capabilities say "push-options"
    pkt-line  = 4HEXDIG payload, the length counting its own four bytes; flush = "0000"

    new all zero: delete, also with an old that is; old all zero: create; else update.

    a body that was not read, is packed, or ends before the flush     unreadable; the first bytes of a longer
                                                                      one will do, up to the flush
    "push-cert" (a signed push)                                       unreadable: use a plain push
    info/refs with two different services                             conflict

What a merge, a rewind and an addition look like is the same here: an old id and a new one. Who may write to a guarded
branch is a rule on the capture ``branch``. Objects of LFS travel to where the batch's answer says: other hosts are
bound by the operator.
"""

import re
from collections.abc import Mapping

from mappings.bodies import look_up, read_json, read_pointer
from mappings.packs.git_push import Command, PushError, read_push
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request
from mappings.resolution import Problem

FORGES = frozenset({"github.com", "gist.github.com", "gitlab.com", "bitbucket.org"})
"""Known to fold the case of owner and repository, so ours must too; elsewhere "Web" and "web" are two."""

FORGE_SUFFIX = ".ghe.com"
"""GitHub's hosts of Enterprise Cloud with data residency, which fold it as well."""

SERVICES: Mapping[str, str] = {"git-upload-pack": "fetch", "git-upload-archive": "fetch", "git-receive-pack": "push"}
"""gitprotocol-http, "Smart Clients"; archives since git 2.44 (http-backend.c, table `rpc_service`)."""

DUMB_FILE = re.compile(
    r"HEAD|info/refs|objects/info/(?:alternates|http-alternates|packs)"
    r"|objects/[0-9a-f]{2}/(?:[0-9a-f]{38}|[0-9a-f]{62})"
    r"|objects/pack/pack-(?:[0-9a-f]{40}|[0-9a-f]{64})\.(?:pack|idx)"
)
"""What git-http-backend serves as plain files (its source, table `services`)."""

ENDPOINT = re.compile(
    r"(?P<repository>/.+?)/"
    r"(?P<rest>git-upload-pack|git-upload-archive|git-receive-pack"
    r"|info/lfs/(?:objects/batch|(?:objects/)?verify|locks(?:/verify|/[^/]+/unlock)?)"
    r"|(?P<object>(?:info/lfs|gitlab-lfs)/objects/[0-9a-f]{64}(?:/[0-9]+)?)"
    rf"|{DUMB_FILE.pattern})"
)
"""Every ending is of fixed shape: one that could hold another ending would hide a push behind a lock."""

LFS_OPERATION = read_pointer("operation")
"""git-lfs, docs/api/batch.md, "Requests"."""

ACCESS: Mapping[str, str] = {"fetch": "read", "lfs-download": "read", "lfs-locks": "list"}

TRUSTED = frozenset({"owner", "repo", "repository", "ref", "branch", "tag"})


class GitPack:
    """Any git host: the big forges without being asked, others as the operator binds them."""

    name = "git"
    family = "git"
    hosts: tuple[str, ...] = ("github.com", "gist.github.com", "gitlab.com", "bitbucket.org", f"*{FORGE_SUFFIX}")
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
        if match["object"]:
            return _lfs_object(request, repository)
        if rest.startswith("info/lfs/"):
            return _lfs(request, repository, rest)
        if request.method not in ("GET", "HEAD"):
            return NOT_RECOGNISED
        return _advertise(request, repository) if rest == "info/refs" else _one("fetch", request, repository, "dumb")


def _repository(host: str, path: str) -> str:
    text = path.strip("/")
    folds = host in FORGES or host.endswith(FORGE_SUFFIX)
    return (text.lower() if folds else text).removesuffix(".git")


def _call(name: str, request: Request, repository: str, captures: Mapping[str, str]) -> Call:
    owner, _, repo = repository.rpartition("/")
    facts = {"owner": owner, "repo": repo, "repository": repository, **captures}
    ref = facts.get("ref")
    target = f"{request.host}/{repository}" + (f"#{ref}" if ref else "")
    return Call(f"git:{name}", facts, trusted=TRUSTED, target=target, access=ACCESS.get(name, "write"))


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
    if SERVICES[service] == "fetch":
        return _one("fetch", request, repository, "transfer")
    if (request.header("content-encoding") or "identity").lower() != "identity":
        return unreadable("the push is compressed; git itself compresses only fetches")
    if request.body is None:
        return unreadable("the push was not read, so its refs are not known")
    try:
        push = read_push(request.body, complete=request.body_complete)
    except PushError as error:
        return unreadable(str(error))
    if not push.commands:
        return _one("push", request, repository, "probe")
    calls = [_push(request, repository, command) for command in push.commands]
    for option in dict.fromkeys(push.options):
        # Not what is behind "=": GitLab takes variables of pipelines there.
        captures = {"phase": "transfer", "option": option.partition("=")[0]}
        calls.append(_call("push-option", request, repository, captures))
    return Recognition(tuple(calls))


def _push(request: Request, repository: str, command: Command) -> Call:
    captures = {"phase": "transfer", "old": command.old, "new": command.new, "change": command.change}
    captures["ref"] = command.ref
    for prefix, key in (("refs/heads/", "branch"), ("refs/tags/", "tag")):
        if command.ref.startswith(prefix):
            captures[key] = command.ref.removeprefix(prefix)
    return _call("push", request, repository, captures)


def _lfs(request: Request, repository: str, rest: str) -> Recognition:
    if rest in ("info/lfs/verify", "info/lfs/objects/verify"):
        return _one("lfs-upload", request, repository, "verify") if request.method == "POST" else NOT_RECOGNISED
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


def _lfs_object(request: Request, repository: str) -> Recognition:
    # docs/api/basic-transfers.md of git-lfs: GET downloads, PUT uploads.
    name = {"GET": "lfs-download", "HEAD": "lfs-download", "PUT": "lfs-upload"}.get(request.method)
    return _one(name, request, repository, "object") if name else NOT_RECOGNISED


PACK = GitPack()
