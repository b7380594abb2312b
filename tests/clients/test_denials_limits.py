"""The gate's own limits, as kubectl and aws print them: what is too much or too large is told in their words."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clients.tools import AGENTS, MAPPINGS, SKILLS, TOKENS, ByEnvironment
from support.gate import LiveGate
from support.needed import needed
from support.raw import authorization, connect
from support.targets import KubernetesApi, Origin
from support.until import until

LONG = "a" * 3000
LIMITS: dict[str, dict[str, Any]] = {
    "limit.requests": {"agents": {"deploy-bot": {"requests": 1}}},
    "wire.target-too-long": {"target_bytes": 1000},
}
TOOLS: dict[str, dict[str, tuple[str, ...]]] = {
    "limit.requests": {
        "kubectl": ("kubectl", "get", "--raw", "/api/v1/namespaces/default/pods"),
        "aws": ("aws", "dynamodb", "list-tables"),
        "aws s3": ("aws", "s3api", "list-objects-v2", "--bucket", "shop"),
        "aws iam": ("aws", "iam", "list-users"),
    },
    "wire.target-too-long": {
        "kubectl": ("kubectl", "get", "--raw", f"/api/v1/namespaces/default/pods?labelSelector={LONG}"),
        "aws": ("aws", "lambda", "get-function", "--function-name", "f", "--qualifier", LONG[:128] + "," + LONG),
        "aws s3": ("aws", "s3api", "list-objects-v2", "--bucket", "shop", "--prefix", LONG),
    },
}
SHOWN = {"limit.requests": {"kubectl": "TooManyRequests", "aws": "Throttling", "aws s3": "SlowDown"}}
"""What each calls it, where it says so."""


@pytest.fixture
def limited(tmp_path: Path, target_ca_pem: Path, origin: Origin) -> Iterator[Callable[..., ByEnvironment]]:
    """A gate with limits, and for that of requests one of its agent's that does not end."""
    with ExitStack() as stack:

        def start(code: str, *targets: KubernetesApi) -> ByEnvironment:
            config = {"limits": LIMITS[code]}
            live = LiveGate(
                tmp_path / "gate", origin, *targets,
                target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS, agents=AGENTS, config=config,
            )  # fmt: skip
            (tmp_path / "work").mkdir()
            gated = stack.enter_context(ByEnvironment(live, tmp_path / "work"))
            if code == "limit.requests":
                head = authorization("deploy-bot", TOKENS["deploy-bot"])
                held = stack.enter_context(connect(live, "origin.test:80", head))
                held.sendall(b"POST /runs HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 10\r\n\r\n{")
                until(lambda: len(live.service.gate.quotas) > 1)
            return gated

        yield start


@pytest.mark.parametrize(("code", "tool"), [(code, tool) for code, tools in TOOLS.items() for tool in tools])
def test_a_limit_is_told_in_the_tools_words(
    limited: Callable[..., ByEnvironment], kubernetes_api: KubernetesApi, tmp_path: Path, code: str, tool: str
) -> None:
    """The reason and the record's id, in the place where it prints its own errors; nothing arrives."""
    gated = limited(code, kubernetes_api)
    command, *arguments = TOOLS[code][tool]
    given = {
        "KUBECONFIG": str(kubernetes_api.kubeconfig(tmp_path / "kubeconfig")),
        "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    ran = gated.run(needed(command), *arguments, **given)
    denied = [each for each in gated.decisions(outcome="DENY") if each["code"] == code]
    assert ran.code != 0
    assert denied, ran.said
    assert denied[-1]["reason"] in ran.said, ran.said
    assert any(each["id"] in ran.said for each in denied), ran.said
    assert SHOWN.get(code, {}).get(tool, "") in ran.said
    assert [seen.path for seen in kubernetes_api.seen if "pods" in seen.path] == []
