"""A refusal as Kubernetes clients show it: a Status, but for what they look around with.

    GET /api, /apis/apps/v1, ...   text       kubectl: couldn't get current server API group list: <reason> ...
    all else                       Status     kubectl: Error from server (Forbidden): <reason> ...

Of discovery client-go does not decode an error; it prints the body of one that is text, and "unknown" of any other
(k8s.io/client-go, rest/request.go, newUnstructuredResponseError).
"""

import re

from mappings import Request
from proxy.asjson import as_json
from proxy.refusals import Answer, Refusal, made
from proxy.shapes import word

_DISCOVERY = re.compile("/api(?:/[^/]+)?|/apis(?:/[^/]+){0,2}|/version|/openapi/.*")
"""https://kubernetes.io/docs/concepts/overview/kubernetes-api/, "Discovery API" and "OpenAPI interface definition"."""


def kubernetes_answer(refusal: Refusal, request: Request) -> Answer:
    """The refusal as the error of an API server."""
    status = refusal.error_status
    if request.method == "GET" and _DISCOVERY.fullmatch(request.path.rstrip("/")):
        text = refusal.sentence.encode("utf-8", "replace")
        # Of 503 and 504 it says words of its own instead (k8s.io/apimachinery, NewGenericServerResponse).
        return made(refusal, min(status, 500), "text/plain; charset=utf-8", text)
    # https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    said = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.sentence,
        "reason": word(status),
        "details": {"causes": [{"reason": refusal.code, "message": refusal.reason}]},
        "code": status,
    }
    return made(refusal, status, "application/json", as_json(said))
