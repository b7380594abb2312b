"""The JSON in which APIs tell a caller that it may not: one small function for each family of callers.

An SDK that finds its own shape raises its own "permission denied" with our reason as the message; of anything else it
says "could not parse", and the reason is lost. A shape holds one sentence (reason, record id, what a person can do)
and, where there is room, the stable code of the refusal and the record's id; it invents nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.answers import Refusal

type Shape = Callable[[Refusal], Any]
"""From a refusal to a JSON value."""


def _github(refusal: Refusal) -> Any:
    # https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
    return {
        "message": refusal.sentence,
        "documentation_url": "",
        "status": "403",
        "code": refusal.code,
        "chron_id": refusal.chron_id,
    }


def _google(refusal: Refusal) -> Any:
    # https://cloud.google.com/apis/design/errors, "HTTP mapping", with ErrorInfo as the one detail
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": refusal.code,
        "domain": "claiim",
        "metadata": {"chron_id": refusal.chron_id},
    }
    return {"error": {"code": 403, "message": refusal.sentence, "status": "PERMISSION_DENIED", "details": [info]}}


def _azure(refusal: Refusal) -> Any:
    # https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found, shape of an error
    details = [{"code": refusal.code, "message": refusal.chron_id}]
    return {"error": {"code": "AuthorizationFailed", "message": refusal.sentence, "details": details}}


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


def _errors(refusal: Refusal) -> Any:
    # developer.hashicorp.com/vault/api-docs, "Error response"; docs.datadoghq.com/api, v1 and v2
    return {"errors": [refusal.sentence]}


def _json_api(refusal: Refusal) -> Any:
    # https://jsonapi.org/format/#error-objects, which HCP Terraform keeps to
    return {
        "errors": [
            {
                "id": refusal.chron_id,
                "status": "403",
                "code": refusal.code,
                "title": "forbidden",
                "detail": refusal.sentence,
            }
        ]
    }


def _typed(refusal: Refusal) -> Any:
    # platform.openai.com/docs/guides/error-codes; docs.claude.com/en/api/errors; docs.stripe.com/api/errors
    return {
        "type": "error",
        "error": {"type": "permission_error", "message": refusal.sentence, "code": refusal.code, "param": None},
    }


def _slack(refusal: Refusal) -> Any:
    # https://docs.slack.dev/apis/web-api, "Evaluating responses"
    return {"ok": False, "error": "access_denied", "response_metadata": {"messages": [refusal.sentence]}}


def _pagerduty(refusal: Refusal) -> Any:
    # https://developer.pagerduty.com/docs/errors; 2010 is its "access denied"
    return {"error": {"message": refusal.sentence, "code": 2010, "errors": [refusal.code]}}


SHAPES: Mapping[str, Shape] = {
    "anthropic": _typed,
    "azure": _azure,
    "cloudflare": _cloudflare,
    "datadog": _errors,
    "docker": _message,
    "github": _github,
    "gitlab": _message,
    "google": _google,
    "openai": _typed,
    "pagerduty": _pagerduty,
    "slack": _slack,
    "stripe": _typed,
    "terraform": _json_api,
    "vault": _errors,
}
"""By family of the pack that the host is bound to."""
