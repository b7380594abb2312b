"""The targets answer the real tools, without any gate between."""

import asyncio
import hashlib
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
import trustme

from support.fixtures import *  # noqa: F403
from support.needed import needed
from support.targets import GitServer, H2Origin, KubernetesApi, MotoAws, Origin, TerraformState

PLAIN = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=PLAIN | more)


def test_a_request_is_recorded_as_it_was_sent(origin: Origin, target_ca_pem: Path) -> None:
    """Raw path, header order and the body's digest are what the client sent."""
    answer = httpx.post(
        origin.direct_url + "/a%2Fb?x=1&x=2",
        content=b"hello",
        headers={"X-One": "1"},
        verify=ssl.create_default_context(cafile=str(target_ca_pem)),
    )
    assert answer.json()["path"] == "/a%2Fb?x=1&x=2"
    (seen,) = origin.seen
    assert (seen.method, seen.path, seen.header("x-one")) == ("POST", "/a%2Fb?x=1&x=2", "1")
    assert (seen.body, seen.body_bytes, seen.complete) == (b"hello", 5, True)
    assert seen.body_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert origin.connections == 1


def test_its_port_is_free_afterwards(target_ca: trustme.CA) -> None:
    """A target that was left listens no more, even with a request still open."""
    with Origin(target_ca, secure=False) as target:
        client = socket.create_connection(("127.0.0.1", target.port))
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        target.wait_seen()
        port = target.port
    client.close()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


def test_the_last_event_waits_for_its_release(plain_origin: Origin) -> None:
    """An event stream sends its first event at once and its last when the test says so."""
    with httpx.stream("GET", plain_origin.direct_url + "/sse", trust_env=False) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: first"
        plain_origin.release()
        assert [line for line in lines if line] == ["data: last"]


def test_a_download_has_the_size_asked_for(plain_origin: Origin) -> None:
    """Both kinds of framing deliver every byte."""
    for query in ("mb=3", "mb=3&chunked=1"):
        answer = httpx.get(f"{plain_origin.direct_url}/download?{query}", trust_env=False)
        assert len(answer.content) == 3 * 2**20, query
        assert ("content-length" in answer.headers) == ("chunked" not in query)


def test_an_upload_is_counted(plain_origin: Origin) -> None:
    """A body larger than what is kept is counted and hashed whole."""
    body = bytes(3 * 2**20)
    answer = requests.put(plain_origin.direct_url + "/upload", data=body, timeout=30).json()
    assert answer == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert len(plain_origin.seen[0].body) == 2**20


@pytest.mark.parametrize("status", [200, 204, 304, 418, 503])
def test_a_status_is_answered(plain_origin: Origin, status: int) -> None:
    """/status/NNN answers NNN."""
    assert httpx.get(f"{plain_origin.direct_url}/status/{status}", trust_env=False).status_code == status


@pytest.mark.parametrize("path", ["reset", "truncated"])
def test_a_cut_connection_is_an_error(plain_origin: Origin, path: str) -> None:
    """The client sees a broken exchange, not an answer."""
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{plain_origin.direct_url}/{path}", trust_env=False)


async def test_a_websocket_says_back_what_it_hears(plain_origin: Origin) -> None:
    """Text and binary come back as they went."""
    # Without TLS: aiohttp does not wait for the end of an upgraded TLS connection, whose socket the collector
    # would then find, and report, in some later test.
    async with aiohttp.ClientSession() as session, session.ws_connect(plain_origin.direct_url + "/ws") as ws:
        await ws.send_str("ping")
        assert await ws.receive_str() == "ping"
        await ws.send_bytes(b"\x00\x01")
        assert await ws.receive_bytes() == b"\x00\x01"


async def test_http2_is_spoken(h2_origin: H2Origin, target_ca_pem: Path) -> None:
    """Bodies larger than a flow-control window pass both ways, side by side on one connection."""
    context = ssl.create_default_context(cafile=str(target_ca_pem))
    body = bytes(200_000)
    async with httpx.AsyncClient(http2=True, http1=False, verify=context, trust_env=False) as client:
        answers = await asyncio.gather(
            client.get(h2_origin.direct_url + "/one?x=1"),
            client.post(h2_origin.direct_url + "/two", content=body),
            client.get(h2_origin.direct_url + "/three?pad=300000"),
        )
    assert [answer.http_version for answer in answers] == ["HTTP/2"] * 3
    assert answers[1].json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert sorted(seen.path for seen in h2_origin.seen) == ["/one?x=1", "/three?pad=300000", "/two"]
    assert len(answers[2].json()["pad"]) == 300_000
    assert h2_origin.connections == 1


@pytest.mark.needs("kubectl")
def test_kubectl_reads_scales_and_deletes(kubernetes_api: KubernetesApi, target_ca_pem: Path, tmp_path: Path) -> None:
    """The real kubectl takes it for a cluster."""
    config = kubernetes_api.kubeconfig(tmp_path / "config", target_ca_pem, direct=True)
    home = {"HOME": str(tmp_path), "KUBECONFIG": str(config)}

    pods = run("kubectl", "get", "pods", **home)
    assert (pods.returncode, "web-1" in pods.stdout) == (0, True), pods.stderr
    scaled = run("kubectl", "scale", "deployment", "web", "--replicas=3", **home)
    assert (scaled.returncode, kubernetes_api.replicas()) == (0, 3), scaled.stderr
    deleted = run("kubectl", "delete", "deployment", "web", **home)
    assert (deleted.returncode, kubernetes_api.replicas()) == (0, None), deleted.stderr
    assert kubernetes_api.replicas(namespace="prod") == 1
    again = run("kubectl", "delete", "deployment", "web", **home)
    assert again.stderr.strip() == 'Error from server (NotFound): deployments.apps "web" not found'


@pytest.mark.needs("git")
def test_git_pushes_and_clones(git_server: GitServer, target_ca_pem: Path, tmp_path: Path) -> None:
    """A push over smart HTTP arrives and can be cloned again."""
    environment = {
        "HOME": str(tmp_path), "GIT_SSL_CAINFO": str(target_ca_pem), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@acme.test",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@acme.test",
    }  # fmt: skip
    work = tmp_path / "work"
    remote = git_server.direct_url + "/" + git_server.repository
    for command in (
        ["init", "--quiet", "--initial-branch=main", str(work)],
        ["-C", str(work), "commit", "--quiet", "--allow-empty", "-m", "first"],
        ["-C", str(work), "push", "--quiet", remote, "main"],
        ["clone", "--quiet", remote, str(tmp_path / "clone")],
    ):
        done = run("git", *command, **environment)
        assert done.returncode == 0, done.stderr
    assert git_server.head() == run("git", "-C", str(work), "rev-parse", "HEAD", **environment).stdout.strip()
    assert any(seen.path.endswith("/git-receive-pack") for seen in git_server.seen)


@pytest.mark.needs("terraform")
def test_terraform_keeps_its_state_there(terraform_state: TerraformState, target_ca_pem: Path, tmp_path: Path) -> None:
    """`init` and `apply` lock, write and unlock; a held lock is respected."""
    terraform_state.write_configuration(tmp_path, direct=True)
    environment = {"SSL_CERT_FILE": str(target_ca_pem), "CHECKPOINT_DISABLE": "1", "HOME": str(tmp_path)}
    folder = f"-chdir={tmp_path}"
    for command in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
        done = run("terraform", folder, *command, **environment)
        assert done.returncode == 0, done.stderr
    state = json.loads(terraform_state.states["/state/prod"])
    assert state["outputs"]["site"]["value"] == "v1"
    assert {seen.method for seen in terraform_state.seen} == {"GET", "LOCK", "POST", "UNLOCK"}
    assert terraform_state.locks == {}


def test_moto_starts_and_terminates_an_instance(moto_aws: MotoAws, target_ca_pem: Path) -> None:
    """The real AWS CLI starts an instance in it and terminates it."""
    aws = needed("aws")
    environment = moto_aws.credentials() | {"AWS_CA_BUNDLE": str(target_ca_pem)}

    def ec2(*arguments: str) -> dict[str, object]:
        endpoint = ("--endpoint-url", moto_aws.direct_url, "--output", "json")
        done = run(aws, "ec2", *arguments, *endpoint, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    started = ec2("run-instances", "--image-id", "ami-12c6146b", "--count", "1")
    (instance,) = started["Instances"]
    ended = ec2("terminate-instances", "--instance-ids", instance["InstanceId"])
    assert ended["TerminatingInstances"][0]["CurrentState"]["Name"] in ("shutting-down", "terminated")
    assert [seen.body.split(b"&")[0] for seen in moto_aws.seen] == [
        b"Action=RunInstances",
        b"Action=TerminateInstances",
    ]
