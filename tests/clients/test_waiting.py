"""Tools whose call waits for a person: they fail with the reason, come back, and pass over signs of life."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clients.test_aws import REFUSED, SIGNED
from clients.test_git import IDENTITY, local, packs
from clients.tools import MAPPINGS, TIMEOUT_S, Ran
from proxy.wire.signs import SignsOfLife
from support.gate import running
from support.needed import needed
from support.targets import GitServer, KubernetesApi, MotoAws, Origin, Target
from support.waiting import WAIT_S, WaitingGate

SKILLS = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["kubernetes:get:**", "kubernetes:list:**", "aws:ec2:describeinstances", "repo:push", "data:read"],
        "approve": ["infra:destroy", "repo:push-main", "data:write"],
    }
}
APPROVAL = re.compile(r"apr_[0-9a-z]{26}")

type Behind = Callable[..., WaitingGate]
type Command = Callable[[Path], list[str]]
"""A client's command line, less the URL; it may need a folder."""


@pytest.fixture
def behind(tmp_path: Path, target_ca_pem: Path) -> Iterator[Behind]:
    """Put targets behind a gate whose agent needs a person for nearly everything."""
    with ExitStack() as stack:

        def started(*targets: Target, **approvals: int) -> WaitingGate:
            (tmp_path / "work").mkdir()
            live = WaitingGate(
                tmp_path / "gate",
                *targets,
                target_ca=target_ca_pem,
                mappings=MAPPINGS,
                skills=SKILLS,
                approvals={"wait_s": 0, **approvals},
            )
            (live.folder / "wiring").mkdir()
            return stack.enter_context(running(live))

        yield started


def run(gate: WaitingGate, *command: str, **more: str) -> Ran:
    """Run a tool as the agent."""
    home = gate.folder.parent / "work"
    wired = {name: value for name, value in gate.environment().items() if os.environ.get(name) != value}
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **wired, **more}
    done = subprocess.run(
        command, cwd=home, env=environ, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def waits(gate: WaitingGate, ran: Ran) -> dict[str, Any]:
    """The approval that the tool failed for; it has shown its name and the reason."""
    (shown,) = gate.pending()
    assert APPROVAL.findall(ran.said)[:1] == [shown["approval"]], ran.said
    assert shown["reason"] in ran.said
    return shown


# --- in the tool's own words ---------------------------------------------------------------------------


def test_kubectl_fails_and_comes_back(behind: Behind, kubernetes_api: KubernetesApi) -> None:
    """Forbidden with reason and approval, and not "deleted"; the same command deletes once it is approved."""
    gate = behind(kubernetes_api)
    config = str(kubernetes_api.kubeconfig(gate.folder.parent / "work" / "kubeconfig"))
    command = (needed("kubectl"), "delete", "deployment", "web", "--wait=false")
    first = run(gate, *command, KUBECONFIG=config)
    assert first.code == 1, first.said
    assert first.err.startswith("Error from server (Forbidden): skill:deploy-v2 -- action needs approval")
    assert kubernetes_api.replicas() == 1
    gate.approve(waits(gate, first))
    second = run(gate, *command, KUBECONFIG=config)
    assert second.code == 0, second.said
    assert gate.records("approval", event="used")


KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def terminate(ask_moto: Callable[..., str]) -> list[str]:
    """A command that terminates an instance."""
    started = ask_moto("RunInstances", ImageId="ami-12c6146b", MinCount="1", MaxCount="1")
    (instance,) = re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", started)
    return [needed("aws"), "ec2", "terminate-instances", "--instance-ids", instance]


def test_aws_fails_and_comes_back(behind: Behind, moto_aws: MotoAws, terminate: list[str]) -> None:
    """UnauthorizedOperation with reason and approval; the same command, signed anew, goes through when approved."""
    gate = behind(moto_aws)
    first = run(gate, *terminate, **KEYS)
    assert first.code in REFUSED, first.said
    assert "(UnauthorizedOperation)" in first.err
    gate.approve(waits(gate, first))
    second = run(gate, *terminate, **KEYS)
    assert second.code == 0, second.said
    assert "shutting-down" in second.out


def test_aws_passes_over_signs_of_life(behind: Behind, moto_aws: MotoAws, terminate: list[str]) -> None:
    """It waits for a person, is sent interim responses meanwhile, and then does what it was asked to do."""
    gate = behind(moto_aws, wait_s=WAIT_S, keep_alive_s=15)
    with ThreadPoolExecutor(1) as beside:
        ran = beside.submit(lambda: run(gate, *terminate, **KEYS))
        gate.wait_parked()
        for _ in range(3):
            gate.pass_(15)
        gate.approve(gate.pending()[0])
        done = ran.result(60)
    assert done.code == 0, done.said
    assert "shutting-down" in done.out


@pytest.fixture
def ask_moto(moto_aws: MotoAws) -> Callable[..., str]:
    """Ask moto around the gate."""
    import httpx

    def asked(action: str, **fields: str) -> str:
        form = {"Action": action, "Version": "2016-11-15", **fields}
        headers = {"Authorization": SIGNED}
        answer = httpx.post(moto_aws.direct_url, data=form, headers=headers, verify=False, trust_env=False, timeout=60)
        moto_aws.clear()
        return answer.raise_for_status().text

    return asked


def test_git_push_fails_and_comes_back(behind: Behind, git_server: GitServer) -> None:
    """The push is rejected with reason and approval; the same push arrives when it is approved."""
    gate, git = behind(git_server), needed("git")
    work = gate.folder.parent / "work"
    local(work, "init", "--quiet", "--initial-branch=main", ".")
    local(work, "commit", "--quiet", "--allow-empty", "--message=first")
    first = run(gate, git, "push", git_server.remote, "main", **IDENTITY)
    assert first.code != 0, first.said
    assert packs(git_server) == []
    gate.approve(waits(gate, first))
    second = run(gate, git, "push", git_server.remote, "main", **IDENTITY)
    assert second.code == 0, second.said
    assert git_server.head() == local(work, "rev-parse", "HEAD")


# --- signs of life -------------------------------------------------------------------------------------

PYTHON = {
    "urllib": "import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], b'one'), timeout=90).status)",
    "requests": "import sys, requests as r; print(r.post(sys.argv[1], data=b'one', timeout=90).status_code)",
    "httpx": "import sys, httpx; print(httpx.post(sys.argv[1], content=b'one', timeout=90).status_code)",
}
NODE = "fetch(process.argv[1], {method: 'POST', body: 'one'}).then(answer => console.log(answer.status))"
JAVA = """
import java.net.*;
import java.net.http.*;

class Post {
    static PasswordAuthentication pair() {
        String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":", 2);
        return new PasswordAuthentication(pair[0], pair[1].toCharArray());
    }
    public static void main(String[] given) throws Exception {
        Authenticator who = new Authenticator() {
            @Override protected PasswordAuthentication getPasswordAuthentication() { return pair(); }
        };
        URI url = URI.create(given[1]);
        if (given[0].equals("old")) {
            Authenticator.setDefault(who);
            HttpURLConnection asked = (HttpURLConnection) url.toURL().openConnection();
            asked.setDoOutput(true);
            asked.getOutputStream().write("one".getBytes());
            System.out.println(asked.getResponseCode());
        } else {
            var client = HttpClient.newBuilder().authenticator(who).proxy(ProxySelector.getDefault())
                .version(HttpClient.Version.HTTP_1_1).build();
            var request = HttpRequest.newBuilder(url).POST(HttpRequest.BodyPublishers.ofString("one")).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
    }
}
"""


def curl(_: Path) -> list[str]:
    return [needed("curl"), "-s", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", "-d", "one"]


def node(_: Path) -> list[str]:
    return [needed("node"), "-e", NODE]


def java(folder: Path, which: str) -> list[str]:
    (folder / "Post.java").write_text(JAVA)
    subprocess.run([needed("javac"), "-d", str(folder), str(folder / "Post.java")], check=True, timeout=120)
    return [needed("java"), "-Djdk.http.auth.tunneling.disabledSchemes=", "-cp", str(folder), "Post", which]


def python(code: str) -> Command:
    return lambda _: [sys.executable, "-c", code]


CLIENTS: dict[str, tuple[int, Command]] = {
    "curl": (3, curl),
    **{name: (3, python(code)) for name, code in PYTHON.items()},
    "java HttpURLConnection": (3, lambda folder: java(folder, "old")),
    "java HttpClient": (3, lambda folder: java(folder, "new")),
    "node fetch": (0, node),
}
"""How many signs of life each is sent, and how it is run."""


@pytest.mark.parametrize(("signs", "client"), CLIENTS.values(), ids=CLIENTS)
def test_a_client_passes_over_signs_of_life(
    behind: Behind, origin: Origin, tmp_path: Path, signs: int, client: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interim responses that it did not ask for, then the real one: the client sees only that.

    Node takes an interim response that it did not ask for as a broken one, so it is sent none.
    """
    sent: list[SignsOfLife] = []
    due = SignsOfLife._due

    def counted(signs: SignsOfLife) -> None:
        sent.append(signs)
        due(signs)

    monkeypatch.setattr(SignsOfLife, "_due", counted)
    gate = behind(origin, wait_s=WAIT_S, keep_alive_s=15)
    command = client(tmp_path)
    with ThreadPoolExecutor(1) as beside:
        ran = beside.submit(run, gate, *command, f"{origin.url}/things")
        gate.wait_parked()
        for _ in range(3):
            gate.pass_(15)
        gate.approve(gate.pending()[0])
        done = ran.result(60)
    assert (done.code, done.out.strip()) == (0, "200"), done.said
    assert len(sent) == signs
    assert [seen.body for seen in origin.seen] == [b"one"]
