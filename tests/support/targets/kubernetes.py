"""Enough of a Kubernetes API server for kubectl: discovery, pods, and deployments that can be changed.

    kubectl get pods
    kubectl delete deployment web
    kubectl scale deployment web --replicas=3
    kubectl exec web-1 -- echo hello            what happens in pods: `support.targets.pods`
    kubectl logs -f web-1                       a line, and after `release()` another

Discovery is the unaggregated kind (/api, /apis, one list per group), which kubectl falls back to; OpenAPI
is 404.
"""

import asyncio
import copy
import json
import re
from pathlib import Path
from typing import Any

from aiohttp import web

from support.targets.base import Seen, Target, read_body
from support.targets.pods import STREAMED, is_upgrade, upgraded

_NAMESPACE = re.compile(r"/(?:api/v1|apis/apps/v1)/namespaces/([^/]+)/(.+)")
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def _resource(name: str, kind: str, *, short: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "name": name,
        "singularName": kind.lower() if "/" not in name else "",
        "namespaced": True,
        "kind": kind,
        "verbs": _VERBS,
        **({"shortNames": list(short)} if short else {}),
    }


_DISCOVERY: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4", "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "apps",
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
            }
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [_resource("pods", "Pod", short=("po",)), _resource("secrets", "Secret")],
    },
    "/apis/apps/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "apps/v1",
        "resources": [
            _resource("deployments", "Deployment", short=("deploy",)),
            _resource("deployments/scale", "Scale") | {"group": "autoscaling", "version": "v1"},
        ],
    },
}


def deployment(name: str, namespace: str = "default", replicas: int = 1) -> dict[str, Any]:
    """A Deployment as the API returns it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name, namespace),
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}},
        "status": {"replicas": replicas, "readyReplicas": replicas},
    }


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }


def _pod(name: str, namespace: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(name, namespace),
        "spec": {"containers": [{"name": "main", "image": "web:1"}]},
        "status": {"phase": "Running"},
    }


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return web.json_response(body | {"code": code, "metadata": {}}, status=code)


class KubernetesApi(Target):
    NAMES = ("api.k8s.test",)

    async def on_start(self) -> None:
        self.deployments = {("default", "web"): deployment("web"), ("prod", "web"): deployment("web", "prod")}
        self.pods = [_pod("web-1"), _pod("web-2")]
        self._released = asyncio.Event()

    async def on_stop(self) -> None:
        self._released.set()

    def release(self) -> None:
        """Let a log that is followed come to its end."""
        self.submit(self._released.set)

    def replicas(self, name: str = "web", namespace: str = "default") -> int | None:
        """How many it has now; None when the deployment is gone."""
        found = self.deployments.get((namespace, name))
        return None if found is None else int(found["spec"]["replicas"])

    def kubeconfig(self, path: Path, ca_pem: Path | None = None, *, direct: bool = False) -> Path:
        """Write a kubeconfig for it; without `ca_pem` kubectl trusts what its environment says."""
        cluster = {"server": self.direct_url if direct else self.url}
        if ca_pem is not None:
            cluster["certificate-authority"] = str(ca_pem)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": "kubernetes-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = await read_body(request, seen)
        if found := _DISCOVERY.get(request.path):
            return web.json_response(found)
        if match := _NAMESPACE.fullmatch(request.path):
            parts = match[2].split("/")
            if parts[0] == "pods" and parts[-1] in STREAMED and is_upgrade(request):
                return await upgraded(request, parts[-1])
            if parts[0] == "pods" and parts[-1] == "log":
                return await self._log(request)
            return self._namespaced(request, match[1], parts, body)
        return web.Response(status=404, text="404 page not found\n")

    async def _log(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        await answer.write(b"first\n")
        if request.query.get("follow") == "true":
            await self._released.wait()
        await answer.write(b"last\n")
        await answer.write_eof()
        return answer

    def _namespaced(self, request: web.Request, namespace: str, parts: list[str], body: bytes) -> web.Response:
        match request.method, parts:
            case "GET", ["pods"]:
                items = [pod for pod in self.pods if pod["metadata"]["namespace"] == namespace]
                return web.json_response(_list("PodList", "v1", items))
            case "GET", ["pods", name]:
                found = [pod for pod in self.pods if pod["metadata"]["name"] == name]
                missing = _status(404, "NotFound", f'pods "{name}" not found')
                return web.json_response(found[0]) if found else missing
            case "GET", ["deployments"]:
                items = [item for (space, _), item in self.deployments.items() if space == namespace]
                return web.json_response(_list("DeploymentList", "apps/v1", items))
            case "DELETE", ["deployments"]:
                for key in [key for key in self.deployments if key[0] == namespace]:
                    del self.deployments[key]
                return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})
            case method, ["deployments", name, *rest]:
                if (namespace, name) not in self.deployments:
                    return _status(404, "NotFound", f'deployments.apps "{name}" not found')
                return self._deployment(method, namespace, name, rest, body)
            case _:
                return _status(404, "NotFound", "the server could not find the requested resource")

    def _deployment(self, method: str, namespace: str, name: str, rest: list[str], body: bytes) -> web.Response:
        found = self.deployments[namespace, name]
        match method, rest:
            case "GET", []:
                return web.json_response(found)
            case "DELETE", []:
                del self.deployments[namespace, name]
                details = {
                    "name": name,
                    "group": "apps",
                    "kind": "deployments",
                    "uid": found["metadata"]["uid"],
                }
                status = {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}
                return web.json_response(status)
            case "PATCH", []:
                self.deployments[namespace, name] = changed = _merged(found, json.loads(body))
                return web.json_response(changed)
            case "GET", ["scale"]:
                return web.json_response(_scale(found))
            case (("PUT" | "PATCH"), ["scale"]):
                found["spec"]["replicas"] = json.loads(body)["spec"]["replicas"]
                return web.json_response(_scale(found))
            case _:
                return _status(405, "MethodNotAllowed", "the server does not allow this method on the resource")


def _list(kind: str, version: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}


def _scale(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": found["metadata"],
        "spec": {"replicas": found["spec"]["replicas"]},
        "status": {"replicas": found["spec"]["replicas"]},
    }


def _merged(value: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396 (JSON Merge Patch); near enough to a strategic patch for scalars."""
    merged = copy.deepcopy(value)
    for key, new in patch.items():
        if new is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key, {}), new) if isinstance(new, dict) else new
    return merged
