"""Record what real clients send through a proxy, as streams to feed both engines with (tests/proxy/recorded).

    .venv/bin/python tools/record_clients.py              every client that is installed
    .venv/bin/python tools/record_clients.py curl git     these

Each client runs unmodified against the tests' own targets, through a proxy that ends TLS on both sides and passes all
bytes on as they are; what the client sent is kept, connection by connection and turn by turn. Every credential in it is
made up here or by the targets, and the proxy's own stands as a place: `{auth}`.

A file has a line for each connection (`= tls HOST:PORT`, also `plain`, `tunnel` and `h2`) and below it one for each
turn, written as in the corpora of the fuzzers. `support.beside.sources.of_clients` reads it.
"""

import asyncio
import contextlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from proxy.wiring import environment, write_files  # noqa: E402
from support.fuzzing.harness import written  # noqa: E402
from support.targets import GitServer, H2Origin, KubernetesApi, MotoAws, Origin, Target, TerraformState  # noqa: E402

FOLDER = ROOT / "tests" / "proxy" / "recorded"
TIMEOUT_S = 180


@dataclass
class Recorded:
    """One connection of a client."""

    way: str
    authority: str
    turns: list[bytes] = field(default_factory=list)
    answered: bool = True
    """Whether the target has spoken since the last bytes of the client, and not only to ask for the body."""


class RecordingProxy:
    """Listens on loopback between enter and exit, in a thread of its own."""

    def __init__(self, authority: trustme.CA, targets: list[Target]) -> None:
        self._authority = authority
        self._targets = {name: target for target in targets for name in target.names}
        self._contexts = {name: self._context(name, target) for name, target in self._targets.items()}
        self.recorded: list[Recorded] = []

    def _context(self, name: str, target: Target) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        context.set_alpn_protocols(list(target.ALPN))
        return context

    def __enter__(self) -> "RecordingProxy":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self) -> None:
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for each in conversations:
            each.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            first = head.partition(b"\r\n")[0].decode()
            if first.startswith("CONNECT "):
                await self._tunnel(first.split(" ")[1], reader, writer)
            else:
                host = re.findall(r"(?i)http://([^/:\s]+)", first)[0]
                await self._relay(Recorded("plain", host), host, "", head, reader, writer)
        writer.close()

    async def _tunnel(self, authority: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = authority.rpartition(":")[0]
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if not self._targets[host].secure:
            await self._relay(Recorded("tunnel", authority), host, "", b"", reader, writer)
            return
        await writer.start_tls(self._contexts[host])
        spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol() or ""
        await self._relay(Recorded("h2" if spoken == "h2" else "tls", authority), host, spoken, b"", reader, writer)

    async def _relay(
        self,
        recorded: Recorded,
        host: str,
        spoken: str,
        first: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        target = self._targets[host]
        tls = ssl.create_default_context()
        self._authority.configure_trust(tls)
        if spoken:
            tls.set_alpn_protocols([spoken])
        there, here = await asyncio.open_connection(
            "127.0.0.1",
            target.port,
            ssl=tls if target.secure else None,
            server_hostname=host if target.secure else None,
        )
        self.recorded.append(recorded)

        async def to_target() -> None:
            data = first or await reader.read(2**16)
            while data:
                if recorded.answered and not (recorded.way == "h2" and recorded.turns):
                    recorded.turns.append(b"")
                recorded.answered = False
                recorded.turns[-1] += data
                here.write(data)
                data = await reader.read(2**16)
            # TLS has no half of a connection; whoever has sent everything has read what it wanted.
            here.write_eof() if here.can_write_eof() else here.close()

        async def to_client() -> None:
            while data := await there.read(2**16):
                recorded.answered = recorded.answered or not data.startswith(b"HTTP/1.1 100 ")
                writer.write(data)
            writer.close()

        try:
            await asyncio.gather(to_target(), to_client())
        finally:
            here.close()


# --- the clients ---------------------------------------------------------------------------------------

type Run = Callable[..., None]
"""Run a command with the proxy's environment; more variables by name."""

_GO = """package main
import ("io"; "net/http"; "os"; "strings")
func main() {
  for _, url := range os.Args[1:] {
    for _, method := range []string{"GET", "POST"} {
      var body io.Reader
      if method == "POST" { body = strings.NewReader(`{"from":"go"}`) }
      request, _ := http.NewRequest(method, url, body)
      answer, err := http.DefaultClient.Do(request)
      if err != nil { panic(err) }
      io.Copy(io.Discard, answer.Body); answer.Body.Close()
    }
  }
}
"""
_REQUESTS = """
import requests
with requests.Session() as s:
    s.get("https://origin.test/things?page=1&q=a%20b", headers={"Authorization": "Bearer made-up"})
    s.post("https://origin.test/things", json={"a": [1, 2]})
    s.put("https://origin.test/files/x", data=iter([b"part one, ", b"part two"]))
    s.post("https://origin.test/form", files={"f": ("x.txt", b"content")}, data={"a": "b"})
    s.delete("https://origin.test/things/7")
    s.head("https://origin.test/things")
"""
_HTTPX = """
import httpx
for http2, host in ((False, "origin.test"), (True, "h2.test")):
    with httpx.Client(http2=http2, verify=__import__("ssl").create_default_context()) as c:
        c.get(f"https://{host}/things", params={"q": "a b", "n": 1})
        c.post(f"https://{host}/things", json={"a": "\\u00e9"})
        c.put(f"https://{host}/files/x", content=iter([b"one", b"two"]))
        c.patch(f"https://{host}/things/7", json={}, headers={"Cookie": "a=b; c=d"})
"""
_BOTO3 = """
import boto3, botocore.config, botocore.exceptions
where = {"endpoint_url": "https://aws.test", "region_name": "us-east-1"}
once = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
s3 = boto3.client("s3", config=once, **where)
key = {"Bucket": "made-up", "Key": "a/b c"}
for call in (
    lambda: boto3.client("ec2", **where).describe_instances(MaxResults=5),
    lambda: s3.list_buckets(),
    lambda: s3.put_object(Body=b"content", **key),
    lambda: s3.get_object(**key),
    lambda: s3.delete_objects(Bucket="made-up", Delete={"Objects": [{"Key": "a/b c"}]}),
    lambda: boto3.client("dynamodb", **where).list_tables(),
    lambda: boto3.client("sts", **where).get_caller_identity(),
):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        print(error)  # what is asked is wanted, not what is answered
"""
_NODE = """
const https = require('node:https');
const ask = (method, path, body) => new Promise((done, failed) => {
  const asked = https.request('https://origin.test' + path, {method}, (a) => { a.resume(); a.on('end', done); });
  asked.on('error', failed); if (body) asked.write(body); asked.end();
});
(async () => {
  await ask('GET', '/things?a=1'); await ask('POST', '/things', '{"from":"node"}'); await ask('DELETE', '/things/7');
  await (await fetch('https://origin.test/fetched', {method: 'PUT', body: 'text'})).text();
})();
"""


def _curl(run: Run, folder: Path) -> None:
    (folder / "body").write_bytes(b"some content\n" * 20)
    https, body = "https://origin.test", f"@{folder / 'body'}"
    run("curl", "-sS", f"{https}/a%2Fb?q=x+y", f"{https}/things", "-H", "X-Empty;")
    run("curl", "-sS", "-d", '{"a":1}', "-H", "Content-Type: application/json", f"{https}/things")
    run("curl", "-sS", "-T", str(folder / "body"), "-H", "Expect: 100-continue", f"{https}/files/x")
    run("curl", "-sS", "-X", "POST", "-H", "Transfer-Encoding: chunked", "--data-binary", body, f"{https}/chunked")
    run("curl", "-sS", "-I", f"{https}/things")
    run("curl", "-sS", "-F", f"f={body}", "-b", "a=b; c=d", f"{https}/form")
    run("curl", "-sS", "http://plain.test/things", "http://plain.test/things?page=2", "-H", "User-Agent: curl")
    run("curl", "-sS", "--http1.0", "http://plain.test/old")
    run("curl", "-sS", "--proxytunnel", "http://plain.test/things", "--data", "a=b")
    run("curl", "-sS", "--http2", "-Z", "https://h2.test/one", "https://h2.test/two", "-d", "a=b")


def _git(run: Run, folder: Path) -> None:
    work = str(folder / "clone")
    identity = ["-c", "user.name=bot", "-c", "user.email=bot@acme.test"]
    run("git", "clone", "--quiet", "https://git.test/acme/shop.git", work)
    run("git", "-C", work, *identity, "commit", "--quiet", "--allow-empty", "-m", "one")
    run("git", "-C", work, "push", "--quiet", "origin", "HEAD:refs/heads/topic")
    run("git", "-C", work, "fetch", "--quiet")


def _kubectl(run: Run, folder: Path, api: KubernetesApi) -> None:
    config = str(api.kubeconfig(folder / "kubeconfig"))
    pods = "/api/v1/namespaces/default/pods?limit=1"
    for arguments in (["get", "pods"], ["get", "pods", "-o", "yaml"], ["get", "--raw", pods]):
        run("kubectl", *arguments, KUBECONFIG=config)


def _terraform(run: Run, folder: Path, state: TerraformState) -> None:
    (work := folder / "site").mkdir()
    state.write_configuration(work, "site")
    for arguments in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
        run("terraform", f"-chdir={work}", *arguments, CHECKPOINT_DISABLE="1")


def _go(run: Run, folder: Path) -> None:
    (folder / "main.go").write_text(_GO)
    cache = {"GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    run(
        "go",
        "run",
        str(folder / "main.go"),
        "https://origin.test/go?a=b",
        "https://h2.test/go",
        "http://plain.test/go",
        **cache,
    )


def _aws(run: Run, command: list[str]) -> None:
    made_up = {
        "AWS_ACCESS_KEY_ID": "AKIAMADEUPMADEUPMADE",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    run(*command, **made_up)


def record(names: list[str]) -> None:
    """Run clients and write a file for each."""
    FOLDER.mkdir(exist_ok=True)
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        api, state = KubernetesApi(authority), TerraformState(authority)
        targets: list[Target] = [
            *(Origin(authority), Origin(authority, "plain.test", secure=False), H2Origin(authority), api, state),
            *(GitServer(authority, folder / "git"), MotoAws(authority), Origin(authority, "api.github.com")),
        ]
        for target in targets:
            stack.enter_context(target)
        proxy = stack.enter_context(RecordingProxy(authority, targets))
        aws = ["aws", "--endpoint-url", "https://aws.test"]
        clients: dict[str, Callable[[Run, Path], None]] = {
            "curl": _curl,
            "git": _git,
            "kubectl": lambda run, home: _kubectl(run, home, api),
            "terraform": lambda run, home: _terraform(run, home, state),
            "gh": lambda run, _: run("gh", "api", "repos/acme/web", GH_TOKEN="ghp_madeup", GH_PROMPT_DISABLED="1"),
            "go": _go,
            "node": lambda run, _: run("node", "-e", _NODE),
            "requests": lambda run, _: run(sys.executable, "-c", _REQUESTS),
            "httpx": lambda run, _: run(sys.executable, "-c", _HTTPX),
            "boto3": lambda run, _: _aws(run, [sys.executable, "-c", _BOTO3]),
            "aws": lambda run, _: _aws(run, [*aws, "ec2", "describe-instances"]),
        }
        for name in names or clients:
            if name not in ("requests", "httpx", "boto3") and shutil.which(name) is None:
                print(f"{name}: not installed", file=sys.stderr)
                continue
            (home := folder / "homes" / name).mkdir(parents=True)
            proxy.recorded.clear()
            clients[name](_runner(home, proxy, authority), home)
            (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in _lines(proxy.recorded)))
            print(f"{name}: {len(proxy.recorded)} connections, {sum(len(each.turns) for each in proxy.recorded)} turns")


def _runner(home: Path, proxy: RecordingProxy, authority: trustme.CA) -> Run:
    (home / "wiring").mkdir()
    url = f"http://recorder:made-up@127.0.0.1:{proxy.port}"
    files = write_files(home / "wiring", authority.cert_pem.bytes(), url)
    wired = environment(url, files, agent="recorder", api_url="http://127.0.0.1:1", run_id="recorded")

    def run(*command: str, **more: str) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **wired, **more}
        done = subprocess.run(
            command, cwd=home, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)[:200]}: {done.returncode}\n{done.stdout}{done.stderr}")

    return run


_CREDENTIAL = re.compile(rb"(?i)Proxy-Authorization: Basic [^\r]*\r\n")


_KERNEL = re.compile(rb"os/linux#[^ ]+")
"""Of this machine, and nobody's business."""


def _lines(recorded: list[Recorded]) -> Iterator[str]:
    yield "# written by tools/record_clients.py; every credential is made up"
    for each in recorded:
        if each.turns:
            yield f"= {each.way} {each.authority}"
            turns = (_CREDENTIAL.sub(b"{auth}", _KERNEL.sub(b"os/linux#6.1", turn)) for turn in each.turns)
            yield from map(written, turns)


if __name__ == "__main__":
    record(sys.argv[1:])
