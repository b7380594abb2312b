"""kubectl against a small API server, whose namespaces say which environment they are."""

from collections.abc import Callable

import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, Gated, Ran, in_both_ways
from support.needed import needed
from support.targets import KubernetesApi

type Kubectl = Callable[..., Ran]


@pytest.fixture
def gated(behind: Behind, kubernetes_api: KubernetesApi) -> Gated:
    return behind(kubernetes_api)


@pytest.fixture
def kubectl(gated: Gated, kubernetes_api: KubernetesApi) -> Kubectl:
    """Run kubectl with a kubeconfig that names the server and no CA."""
    tool = needed("kubectl")
    config = str(kubernetes_api.kubeconfig(gated.folder / "kubeconfig"))
    return lambda *arguments: gated.run(tool, *arguments, KUBECONFIG=config)


def changes(api: KubernetesApi) -> list[tuple[str, str]]:
    """The requests that reached the server and were no reads."""
    return [(seen.method, seen.path.partition("?")[0]) for seen in api.seen if seen.method != "GET"]


def test_it_lists_pods(gated: Gated, kubectl: Kubectl, kubernetes_api: KubernetesApi) -> None:
    """Discovery and the list itself are reads under their own names."""
    ran = kubectl("get", "pods")
    assert ran.code == 0, ran.said
    assert [line.split()[0] for line in ran.out.splitlines()] == ["NAME", "web-1", "web-2"]
    listed = gated.only(action="kubernetes:list:pods")
    assert (listed["outcome"], listed["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
    assert listed["environment"] == "staging"
    assert gated.decisions(outcome="DENY") == []
    assert kubernetes_api.seen[-1].header("authorization") == "Bearer kubernetes-token"
    assert {seen.header("proxy-authorization") for seen in kubernetes_api.seen} == {None}


@in_both_ways
def test_it_may_not_delete(gated: Gated, kubectl: Kubectl, kubernetes_api: KubernetesApi) -> None:
    """kubectl prints our reason and record as the server's own refusal; the deployment stays."""
    ran = kubectl("delete", "deployment", "web")
    assert ran.code == 1, ran.said
    denied = gated.denied(ran)
    refused = f"Error from server (Forbidden): skill:deploy-v2 -- {IN_DENY_LIST} [{denied['id']}]; "
    assert ran.err.startswith(refused), ran.err
    assert (denied["action"], denied["operation"]) == ("infra:destroy", "kubernetes:delete:apps/deployments")
    assert denied["target"] == "k8s/test/default/deployments/web"
    assert changes(kubernetes_api) == []
    assert kubernetes_api.replicas() == 1


def test_it_may_scale_in_staging(gated: Gated, kubectl: Kubectl, kubernetes_api: KubernetesApi) -> None:
    """The namespace shows the environment, and the environment makes the action."""
    ran = kubectl("scale", "deployment", "web", "--replicas=3")
    assert ran.code == 0, ran.said
    assert ran.out == "deployment.apps/web scaled\n"
    scaled = gated.only(action="deploy:staging")
    assert (scaled["outcome"], scaled["environment"]) == ("ALLOW", "staging")
    assert scaled["reason"] == "skill:deploy-v2 -- action in allow list"
    assert gated.outcome_of(scaled)["status"] == 200
    assert kubernetes_api.replicas() == 3


def test_it_may_not_scale_in_production(gated: Gated, kubectl: Kubectl, kubernetes_api: KubernetesApi) -> None:
    """The same command in the other namespace is another action."""
    ran = kubectl("scale", "deployment", "web", "--replicas=3", "--namespace=prod")
    assert (ran.code, "(Forbidden)" in ran.err) == (1, True), ran.said
    denied = gated.denied(ran)
    assert (denied["action"], denied["environment"]) == ("deploy:production", "production")
    assert denied["reason"] == f"skill:deploy-v2 -- {IN_DENY_LIST}"
    assert changes(kubernetes_api) == []
    assert kubernetes_api.replicas(namespace="prod") == 1
