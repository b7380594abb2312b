"""The JSON in which APIs tell a caller that it may not: one small function for each family of callers.

An SDK that finds its own shape raises its own "permission denied" with our reason as the message; of anything else it
says "could not parse", and the reason is lost. A shape holds one sentence (reason, record id, what a person can do)
and, where there is room, the stable code of the refusal and the record's id; it invents nothing. Beside the status of
its answer it names what that status is called there, for what is refused is not always for want of a permission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from proxy.grpcanswers import grpc_status

if TYPE_CHECKING:
    from proxy.refusals import Refusal

type Shape = Callable[[Refusal], Any]
"""From a refusal to a JSON value."""


def word(status: int) -> str:
    """What a status is called, as one word: "ServiceUnavailable"."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _github(refusal: Refusal) -> Any:
    # https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
    return {
        "message": refusal.sentence,
        "status": str(refusal.error_status),
        "code": refusal.code,
        "chron_id": refusal.chron_id,
    }


_GOOGLE = {
    **dict.fromkeys((400, 414, 431), "INVALID_ARGUMENT"),
    403: "PERMISSION_DENIED",
    407: "UNAUTHENTICATED",
    **dict.fromkeys((408, 504), "DEADLINE_EXCEEDED"),
    429: "RESOURCE_EXHAUSTED",
}
"""https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto; all else is UNAVAILABLE."""


def _google(refusal: Refusal) -> Any:
    # https://cloud.google.com/apis/design/errors, "HTTP mapping", with ErrorInfo as the one detail
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": refusal.code,
        "domain": "claiim",
        "metadata": {"chron_id": refusal.chron_id},
    }
    status = refusal.error_status
    named = _GOOGLE.get(status, "UNAVAILABLE")
    return {"error": {"code": status, "message": refusal.sentence, "status": named, "details": [info]}}


def _azure(refusal: Refusal) -> Any:
    # https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found, shape of an error
    code = "AuthorizationFailed" if refusal.error_status == 403 else word(refusal.error_status)
    details = [{"code": refusal.code, "message": refusal.chron_id}]
    return {"error": {"code": code, "message": refusal.sentence, "details": details}}


def _cloudflare(refusal: Refusal) -> Any:
    # https://developers.cloudflare.com/fundamentals/api/troubleshooting/; 10000 is its "authentication error"
    return {
        "success": False,
        "errors": [{"code": 10000, "message": refusal.sentence}],
        "messages": [refusal.code],
        "result": None,
    }


def _message(refusal: Refusal) -> Any:
    # docs.gitlab.com/api/rest/troubleshooting and docs.docker.com/reference/api/engine, "Errors"
    return {"message": refusal.sentence, "code": refusal.code, "chron_id": refusal.chron_id}


def _argocd(refusal: Refusal) -> Any:
    # https://grpc-ecosystem.github.io/grpc-gateway/docs/mapping/customizing_your_gateway/, with a status of gRPC
    return {"error": refusal.sentence, "message": refusal.sentence, "code": grpc_status(refusal.error_status)}


def _errors(refusal: Refusal) -> Any:
    # developer.hashicorp.com/vault/api-docs, "Error response"; docs.datadoghq.com/api, v1 and v2
    return {"errors": [refusal.sentence]}


def _json_api(refusal: Refusal) -> Any:
    # https://jsonapi.org/format/#error-objects, which HCP Terraform keeps to
    return {
        "errors": [
            {
                "id": refusal.chron_id,
                "status": str(refusal.error_status),
                "code": refusal.code,
                "title": HTTPStatus(refusal.error_status).phrase.lower(),
                "detail": refusal.sentence,
            }
        ]
    }


def _registry(refusal: Refusal) -> Any:
    # https://github.com/opencontainers/distribution-spec/blob/main/spec.md, "Error Codes"
    code = {403: "DENIED", 429: "TOOMANYREQUESTS"}.get(refusal.error_status, "UNAVAILABLE")
    return {"errors": [{"code": code, "message": refusal.sentence, "detail": {"chron_id": refusal.chron_id}}]}


_TYPED = {
    **dict.fromkeys((400, 414, 431), "invalid_request_error"),
    403: "permission_error",
    429: "rate_limit_error",
}


def _typed(refusal: Refusal) -> Any:
    # platform.openai.com/docs/guides/error-codes; docs.claude.com/en/api/errors; docs.stripe.com/api/errors
    kind = _TYPED.get(refusal.error_status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": refusal.sentence, "code": refusal.code, "param": None},
    }


def _slack(refusal: Refusal) -> Any:
    # https://docs.slack.dev/apis/web-api, "Evaluating responses"
    error = {403: "access_denied", 429: "ratelimited"}.get(refusal.error_status, "service_unavailable")
    return {"ok": False, "error": error, "response_metadata": {"messages": [refusal.sentence]}}


def _pagerduty(refusal: Refusal) -> Any:
    # https://developer.pagerduty.com/docs/errors; 2010 is its "access denied"
    return {"error": {"message": refusal.sentence, "code": 2010, "errors": [refusal.code]}}


SHAPES: Mapping[str, Shape] = {
    "anthropic": _typed,
    "argocd": _argocd,
    "azure": _azure,
    "cloudflare": _cloudflare,
    "datadog": _errors,
    "docker": _message,
    "github": _github,
    "gitlab": _message,
    "google": _google,
    "openai": _typed,
    "pagerduty": _pagerduty,
    "registry": _registry,
    "slack": _slack,
    "stripe": _typed,
    "terraform": _json_api,
    "vault": _errors,
}
"""By family of the pack that the host is bound to."""
