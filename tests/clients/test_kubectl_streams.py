"""kubectl exec, attach, cp and port-forward: decided at the upgrade, then whatever is said passes; and logs -f."""

import re
import socket
import subprocess
from pathlib import Path

import pytest

from clients.conftest import Behind
from clients.tools import NOT_ALLOWED, ByEnvironment
from support.children import child
from support.needed import needed
from support.targets import KubernetesApi
from support.targets.pods import SAID

WEBSOCKET_OFF = {"exec": "KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "portforward": "KUBECTL_PORT_FORWARD_WEBSOCKETS"}
"""Variables that make kubectl speak SPDY at once; without them it does when WebSocket is refused."""

PROTOCOLS = pytest.mark.parametrize("protocol", ["websocket", "spdy"])


@pytest.fixture
def gated(behind: Behind, kubernetes_api: KubernetesApi) -> ByEnvironment:
    gated = behind(kubernetes_api)
    assert isinstance(gated, ByEnvironment)
    return gated


def settings(gated: ByEnvironment, api: KubernetesApi, protocol: str) -> dict[str, str]:
    """The environment of a kubectl that begins with a protocol."""
    config = str(api.kubeconfig(gated.folder / "kubeconfig"))
    return {"KUBECONFIG": config} | dict.fromkeys(WEBSOCKET_OFF.values(), str(protocol == "websocket").lower())


def upgrades(api: KubernetesApi) -> list[str | None]:
    """The upgrades that reached the server."""
    return [seen.header("upgrade") for seen in api.seen if seen.header("upgrade")]


@PROTOCOLS
def test_a_command_runs_in_a_pod(gated: ByEnvironment, kubernetes_api: KubernetesApi, protocol: str) -> None:
    """One decision, code:execute on that pod; its outcome says how much was said after it."""
    tool, more = needed("kubectl"), settings(gated, kubernetes_api, protocol)
    ran = gated.run(tool, "exec", "web-1", "--", "echo", "hello", agent="operations-bot", **more)
    assert (ran.code, ran.out) == (0, "ran echo hello\n"), ran.said
    allowed = gated.only(action="code:execute")
    assert (allowed["outcome"], allowed["operation"]) == ("ALLOW", "kubernetes:execute:pods/exec")
    assert allowed["reason"] == "skill:operations-v1 -- action in allow list"
    assert allowed["target"] == "k8s/test/default/pods/web-1"
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["status"]) == ("sent", 101)
    assert outcome["response_bytes"] > len("ran echo hello\n")
    assert upgrades(kubernetes_api) == ["websocket" if protocol == "websocket" else "spdy/3.1"]


@PROTOCOLS
def test_what_runs_in_a_pod_is_attached_to(gated: ByEnvironment, kubernetes_api: KubernetesApi, protocol: str) -> None:
    """It is as much as a command of one's own: code:execute on that pod."""
    tool, more = needed("kubectl"), settings(gated, kubernetes_api, protocol)
    ran = gated.run(tool, "attach", "web-1", agent="operations-bot", **more)
    assert (ran.code, ran.out) == (0, SAID), ran.said
    allowed = gated.only(action="code:execute")
    assert (allowed["outcome"], allowed["operation"]) == ("ALLOW", "kubernetes:execute:pods/attach")
    assert allowed["target"] == "k8s/test/default/pods/web-1"
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["status"]) == ("sent", 101)
    assert outcome["response_bytes"] > len(SAID)
    assert upgrades(kubernetes_api) == ["websocket" if protocol == "websocket" else "spdy/3.1"]


@PROTOCOLS
def test_files_are_copied_into_a_pod_and_out_of_it(
    gated: ByEnvironment, kubernetes_api: KubernetesApi, tmp_path: Path, protocol: str
) -> None:
    """By commands that run tar there, each decided on as the command it is."""
    tool, more = needed("kubectl"), settings(gated, kubernetes_api, protocol)
    pod = tmp_path / "pod"
    pod.mkdir()
    content = bytes(range(256)) * 512
    (gated.folder / "here").write_bytes(content)
    for way in (("here", f"web-1:{pod}/there"), (f"web-1:{pod}/there", "back")):
        ran = gated.run(tool, "cp", *way, agent="operations-bot", **more)
        assert ran.code == 0, ran.said
    assert (pod / "there").read_bytes() == (gated.folder / "back").read_bytes() == content
    allowed = gated.decisions(action="code:execute")
    assert {(each["outcome"], each["operation"]) for each in allowed} == {("ALLOW", "kubernetes:execute:pods/exec")}
    outcomes = [gated.outcome_of(each) for each in allowed]
    assert {(each["result"], each["status"]) for each in outcomes} == {("sent", 101)}
    assert max(each["request_bytes"] for each in outcomes) > len(content)
    assert outcomes[-1]["response_bytes"] > len(content)
    spoken = upgrades(kubernetes_api)
    assert (set(spoken), len(spoken)) == ({"websocket" if protocol == "websocket" else "spdy/3.1"}, len(allowed))


def test_a_log_is_followed(gated: ByEnvironment, kubernetes_api: KubernetesApi) -> None:
    """Its lines pass as they come, the first while the server still holds the last one back."""
    command = [needed("kubectl"), "logs", "--follow", "web-1"]
    config = {"KUBECONFIG": str(kubernetes_api.kubeconfig(gated.folder / "kubeconfig"))}
    with child(*command, stdout=subprocess.PIPE, env=gated.environment() | config) as kubectl:
        try:
            assert kubectl.stdout is not None
            assert kubectl.stdout.readline() == "first\n"
        finally:
            kubernetes_api.release()
        assert kubectl.stdout.read() == "last\n"
    assert kubectl.returncode == 0
    allowed = gated.only(operation="kubernetes:get:pods/log")
    assert (allowed["outcome"], allowed["target"]) == ("ALLOW", "api.k8s.test/default/pods/web-1/log")
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["response_bytes"]) == ("sent", len("first\nlast\n"))


@PROTOCOLS
def test_a_port_is_forwarded(gated: ByEnvironment, kubernetes_api: KubernetesApi, protocol: str) -> None:
    """What goes into the local port comes out of the pod, and back."""
    tool, more = needed("kubectl"), settings(gated, kubernetes_api, protocol)
    command = [tool, "port-forward", "pod/web-1", ":80", "--address=127.0.0.1"]
    with child(*command, stdout=subprocess.PIPE, env=gated.environment("operations-bot") | more) as kubectl:
        assert kubectl.stdout is not None
        said = kubectl.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+) -> 80", said)
        assert match, said
        with socket.create_connection(("127.0.0.1", int(match[1])), timeout=30) as connection:
            connection.sendall(b"into the pod")
            heard = b""
            while len(heard) < len(b"into the pod"):
                heard += connection.recv(64)
        assert heard == b"into the pod"
        kubectl.terminate()
        kubectl.stdout.read()
    allowed = gated.only(action="code:execute")
    assert (allowed["outcome"], allowed["operation"]) == ("ALLOW", "kubernetes:execute:pods/portforward")
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["status"]) == ("sent", 101)
    assert min(outcome["request_bytes"], outcome["response_bytes"]) >= len(heard)


@PROTOCOLS
@pytest.mark.parametrize(
    "command",
    [
        ("exec", "web-1", "--", "id"),
        ("attach", "web-1"),
        ("cp", "web-1:/etc/hostname", "hostname"),
        ("port-forward", "pod/web-1", ":80"),
    ],
    ids=lambda command: command[0],
)
def test_without_the_right_nothing_is_opened(
    gated: ByEnvironment, kubernetes_api: KubernetesApi, protocol: str, command: tuple[str, ...]
) -> None:
    """kubectl prints our reason and the record; the server sees no upgrade."""
    ran = gated.run(needed("kubectl"), *command, **settings(gated, kubernetes_api, protocol))
    assert ran.code == 1, ran.said
    denied = gated.decisions(outcome="DENY")
    # Where WebSocket is refused kubectl tries SPDY, which is refused as well; it shows the last.
    assert len(denied) == (2 if protocol == "websocket" else 1)
    assert {record["action"] for record in denied} == {"code:execute"}
    assert f"skill:deploy-v2 -- {NOT_ALLOWED} [{denied[-1]['id']}]" in ran.err, ran.said
    assert upgrades(kubernetes_api) == []
