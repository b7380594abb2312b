"""Calls every method of Stripe's client, and of the older classes that send what it does not. Argument: paths."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from capture import VALUE, Stopped, made_up, paths, refuse, write

paths()
stripe = importlib.import_module("stripe")


class Keeps(stripe.HTTPClient):  # type: ignore[misc]
    """Stops at every request."""

    name = "keeps"

    def request(self, method: str, url: str, *_: object, **_named: object) -> Any:
        """Raise with the request's method and URL."""
        raise Stopped(method, url)

    request_stream = request


def call(name: str, method: Any) -> None:
    """Call a method and write out what it sends."""
    required = [
        {} if each.name == "params" else made_up(each.annotation)
        for each in inspect.signature(method).parameters.values()
        if each.default is each.empty
    ]
    try:
        method(*required)
        refuse(name, ValueError("sent nothing"))
    except Stopped as sent:
        write(name, sent.method, sent.url)
    except Exception as error:  # noqa: BLE001 - whatever a client says of made-up arguments is reported
        refuse(name, error)


def below(service: Any, way: str) -> None:
    """Call the methods of a service and of its sub-services."""
    for name, function in inspect.getmembers(type(service), inspect.isfunction):
        if not name.startswith("_") and not inspect.iscoroutinefunction(function):
            call(way + name, getattr(service, name))
    listed = importlib.import_module(type(service).__module__)
    for name in getattr(listed, "_subservices", {}):
        below(getattr(service, name), f"{way}{name}.")


def main() -> None:
    """Call everything."""
    client = stripe.StripeClient(VALUE, http_client=Keeps(), max_network_retries=0)
    below(client.v1, "")
    below(client.v2, "v2.")
    call("oauth.token", lambda: client.oauth.token({"grant_type": "refresh_token"}))
    call("oauth.deauthorize", lambda: client.oauth.deauthorize({"client_id": VALUE, "stripe_user_id": VALUE}))
    stripe.api_key, stripe.default_http_client = VALUE, Keeps()
    call("charges.list_refunds", lambda: stripe.Charge.list_refunds(VALUE))
    call("charges.retrieve_refund", lambda: stripe.Charge.retrieve_refund(VALUE, VALUE))


main()
