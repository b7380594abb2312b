"""Calls every endpoint of Datadog's client, on one site and on another. Argument: paths."""

from __future__ import annotations

import datetime
import importlib
import io
import pkgutil
import uuid
import warnings
from typing import Any

from capture import VALUE, Stopped, paths, refuse, write

paths()
client = importlib.import_module("datadog_api_client")
rest = importlib.import_module("datadog_api_client.rest")

_PLAIN: dict[Any, Any] = {
    bool: True,
    int: 7,
    float: 7.0,
    str: VALUE,
    uuid.UUID: uuid.UUID(int=7),
    datetime.datetime: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
}
_SITES = ("datadoghq.com", "datadoghq.eu")


def stop(_self: object, method: str, url: str, **_: object) -> None:
    """Stand in for the sending of a request."""
    raise Stopped(method, url)


def value(parameter: dict[str, Any]) -> Any:
    """Return a value of the first type a parameter takes."""
    kind = parameter["openapi_types"][0]
    if parameter["location"] == "body":
        return {}
    if isinstance(kind, (list, tuple)):
        return []
    if kind is io.IOBase:
        file = io.BytesIO(VALUE.encode())
        file.name = f"{VALUE}.txt"  # type: ignore[attr-defined]
        return file
    if kind in _PLAIN:
        return _PLAIN[kind]
    choices = getattr(kind, "allowed_values", None)
    if choices:
        return kind(next(iter(sorted(choices))))
    return VALUE


def sites(servers: list[dict[str, Any]] | None) -> tuple[str, ...]:
    """Return two sites that serve an endpoint."""
    own = servers[0]["variables"]["site"].get("enum_values", ()) if servers else ()
    return _SITES if set(_SITES) <= set(own) or not own else tuple(own[:2])


def call(name: str, endpoint: Any) -> None:
    """Call an endpoint on each site, and write out what it sends."""
    needed = {key: each for key, each in endpoint.params_map.items() if each.get("required")}
    for site in sites(endpoint.settings.get("servers")):
        endpoint.api_client.configuration.server_variables["site"] = site
        try:
            endpoint.call_with_http_info(**{key: value(each) for key, each in needed.items()})
        except Stopped as sent:
            write(name, sent.method, sent.url)
        except Exception as error:  # noqa: BLE001 - whatever a client says of made-up arguments is reported
            refuse(name, error)


def main() -> None:
    """Call everything."""
    warnings.simplefilter("ignore")
    rest.RESTClientObject.request = stop
    configuration = client.Configuration(api_key={"apiKeyAuth": VALUE, "appKeyAuth": VALUE})
    configuration.enable_retry = False
    configuration.check_input_type = False
    configuration.unstable_operations.values = dict.fromkeys(configuration.unstable_operations.values, True)
    for version in ("v1", "v2"):
        package = importlib.import_module(f"datadog_api_client.{version}.api")
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            for offered in vars(module).values():
                if isinstance(offered, type) and offered.__module__ == module.__name__:
                    endpoints(version, found.name, offered, configuration)


def endpoints(version: str, chapter: str, offered: type, configuration: Any) -> None:
    """Call the endpoints of one class."""
    api = offered(client.ApiClient(configuration))
    for attribute, endpoint in vars(api).items():
        if attribute.endswith("_endpoint"):
            operation = endpoint.settings["operation_id"]
            call(f"{version}/{chapter}/{operation}", endpoint)


main()
