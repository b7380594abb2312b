"""The catalogues that are compiled from SDKs: how the sources are read, and what no compiled name may hide."""

import re
from pathlib import Path

import pytest
import yaml

from mappings import Request, canonical_action, canonical_target, load_mappings
from mappings.actions import is_pattern
from mappings.catalogues import shipped
from mappings.catalogues.routes import split_route
from mappings.operations import OperationSet, read_operations
from mappings.sources import Compiled, SourceError, cloudflare, datadog, openai, stripe
from mappings.sources import compiling as compiling_module
from mappings.sources.one_name import Named, one_name_each
from mappings.sources.stainless import Client

FAMILIES = ("anthropic", "cloudflare", "datadog", "openai", "stripe")
PACKS = Path(__file__).parents[3] / "mappings" / "packs"

MILD = frozenset(
    {
        *("deploy:unknown", "deploy:plan", "deploy:rollback-unknown", "infra:create", "infra:update", "ci:run"),
        *("data:read", "data:write", "secret:read", "secret:write", "health:check", "message:send", "cost:spend"),
    }
)
"""What may not stand for taking something away."""

READING = frozenset({"secret:read", "data:read", "health:check"})


@pytest.fixture(autouse=True)
def _no_corrections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the shipped corrections away from the small SDKs below."""
    monkeypatch.setattr(compiling_module, "OVERRIDES", tmp_path / "none")


def _package(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return folder


def _routes(compiled: Compiled) -> dict[str, list[str]]:
    rows = compiled.members["routes.json"]
    assert isinstance(rows, list)
    return {row[0]: row[3] for row in rows}


# --- SDKs that Stainless generates ---

CLIENT = """
from ._compat import cached_property
class Cloudflare(SyncAPIClient):
    @cached_property
    def things(self) -> ThingsResource:
        from .resources.things import ThingsResource
        return ThingsResource(self)
    @cached_property
    def with_raw_response(self) -> ThingsResource: ...
class AsyncCloudflare(AsyncAPIClient): ...
"""

THINGS = """
from . import parts_ as parts
from ..lib import helper
class ThingsResource(SyncAPIResource):
    @cached_property
    def parts(self) -> parts.PartsResource:
        return parts.PartsResource(self._client)
    def create(self, *, name):
        return self._post("/things", body={})
    def parse(self):
        return self._post("/things", body={})
    def get(self, thing_id):
        return cast(object, self._get(path_template("/things/{thing_id}", thing_id=thing_id)))
    def older(self, thing_id):
        return self._delete(f"/things/{thing_id}")
    def search(self):
        return self._get_api_list("/things/search", page=Page, method="post")
    def scoped(self, account_id=None, zone_id=None):
        if account_id:
            owner = "accounts"
            owner_id = account_id
        else:
            owner = "zones"
            owner_id = zone_id
        return self._put(path_template("/{owner}/{owner_id}/x", owner=owner, owner_id=owner_id))
    def results(self, thing_id):
        return self._get(path_template(batch.results_url, thing_id=thing_id))
class AsyncThingsResource(AsyncAPIResource):
    async def create(self):
        return await self._post("/asynchronous")
class ThingsResourceWithRawResponse:
    def __init__(self, things): self.create = to_raw_response_wrapper(things.create)
"""

PARTS = """
class PartsResource(_Parts):
    def list(self):
        return self._get_api_list("/parts")
    @typing_extensions.deprecated("use list")
    def all(self):
        return self._get("/parts")
class _Parts(SyncAPIResource):
    def restart(self, key_name):
        return self._post(path_template("/parts/{key_name}", key_name=key_name))
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small SDK."""
    return _package(
        tmp_path / "sdk",
        {
            "cloudflare/__init__.py": "",
            "cloudflare/_client.py": CLIENT,
            "cloudflare/resources/things/__init__.py": "from .things import ThingsResource",
            "cloudflare/resources/things/things.py": THINGS,
            "cloudflare/resources/things/parts_.py": PARTS,
            "cloudflare/lib/helper.py": 'def parse(resource):\n    return resource._post("/things")\n',
        },
    )


def test_a_name_is_the_way_from_the_client_to_the_method(small: Path) -> None:
    """Resources in resources, imported under other names, built on classes of the package: each method is found."""
    routes = _routes(cloudflare.compile_catalogue({"PyPI:cloudflare": small}))
    assert routes == {
        "things.create": ["POST /things"],
        "things.get": ["GET /things/{thing_id}"],
        "things.older": ["DELETE /things/{thing_id}"],
        "things.search": ["POST /things/search"],
        "things.scoped": ["PUT /accounts/{account_id}/x", "PUT /zones/{zone_id}/x"],
        "things.results": [],
        "things.parts.list": ["GET /parts"],
        "things.parts.restart": ["POST /parts/{key_name+}"],
    }


def test_what_a_compiler_leaves_out_is_said(small: Path) -> None:
    """Methods that send what others send, and paths that cannot be read, stand in the notes."""
    notes = cloudflare.compile_catalogue({"PyPI:cloudflare": small}).notes
    assert set(notes) == {
        "things.parse sends what things.create sends",
        "things.parts.all sends what things.parts.list sends",
        "no route: things.results",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param('def f(r):\n    return r._post("/elsewhere")\n', "POST '/elsewhere'", id="another route"),
        pytest.param("def f(r, p):\n    return r._delete(p)\n", "DELETE p", id="a path from elsewhere"),
        pytest.param('def f(r, x):\n    return r._get("/a/" + x)\n', "GET '/a/' + x", id="a path put together"),
        pytest.param('def f(r):\n    return r._get(f"/a/{r.x()}")\n', "GET f'/a/{r.x()}'", id="a call in a path"),
        pytest.param(
            'def f(r, x):\n    return r._get(path_template("/a/{b}", c=x))\n',
            "GET path_template('/a/{b}', c=x)",
            id="a parameter without a value",
        ),
    ],
)
def test_a_request_that_no_resource_accounts_for_is_found(small: Path, content: str, said: str) -> None:
    """Nothing that sends is passed over in silence: it is an operation, repeats one, or is reported."""
    _package(small, {"cloudflare/lib/more.py": content})
    client = Client(small, "cloudflare", "Cloudflare")
    (unread,) = client.unread(client.sent())
    assert unread == f"cloudflare.lib.more: line 2: f: {said}"


def test_a_client_that_is_not_there_is_an_error(small: Path) -> None:
    """A package that changed its shape does not compile to an empty catalogue."""
    with pytest.raises(SourceError, match='no class "OpenAI"'):
        Client(small, "cloudflare", "OpenAI")


def test_the_request_that_opens_a_websocket_is_an_operation(tmp_path: Path) -> None:
    """A GET that leads to a model is named like the method that sends it, with the parameters of its path."""
    folder = _package(
        tmp_path,
        {
            "openai/_client.py": """
from .resources.live import Live
class OpenAI(SyncAPIClient):
    @cached_property
    def live(self) -> Live: ...
""",
            "openai/resources/live.py": """
class Live(SyncAPIResource):
    def connect(self, session_id) -> LiveConnectionManager: ...
class LiveConnectionManager:
    def _prepare_url(self):
        merge_raw_path = (
            path.rstrip(b"/")
            + path_template("/live/{session_id}/fork", session_id=self.__session_id).encode("utf-8")
            + separator
            + query
        )
""",
        },
    )
    assert _routes(openai.compile_catalogue({"PyPI:openai": folder})) == {
        "live.connect": ["GET /live/{session_id}/fork"]
    }


def test_a_websocket_to_nowhere_is_an_error(tmp_path: Path) -> None:
    """When the client puts the address together in another way, compiling stops instead of losing the operation."""
    client = "from .live import Live\nclass OpenAI(C):\n    @cached_property\n    def live(self) -> Live: ...\n"
    live = "class Live(SyncAPIResource):\n    def connect(self) -> Manager: ...\nclass Manager:\n    x = 1\n"
    folder = _package(tmp_path, {"openai/_client.py": client, "openai/live.py": live})
    with pytest.raises(SourceError, match="no path to connect to"):
        openai.compile_catalogue({"PyPI:openai": folder})


# --- one name for each request ---


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        pytest.param(["beta.files.list", "files.list"], "files.list", id="not the beta twin"),
        pytest.param(["messages.parse", "messages.create"], "messages.create", id="a plain verb"),
        pytest.param(
            ["sources.detach", "customers.payment_sources.delete"],
            "customers.payment_sources.delete",
            id="the word for taking away",
        ),
        pytest.param(["a.b.get", "a.get"], "a.get", id="fewer parts"),
        pytest.param(["rules.list", "rules.get"], "rules.get", id="the shorter, then the alphabet"),
    ],
)
def test_of_several_names_one_is_kept(names: list[str], kept: str) -> None:
    """Whatever the order in the source, one request has one name, and the others are reported."""
    for order in (names, names[::-1]):
        routes, gone = one_name_each(Named(name, ("GET /x/{id}",)) for name in order)
        assert routes == {kept: ("GET /x/{id}",)}
        assert len(gone) == 1


def test_a_query_tells_apart_only_where_something_else_is_without_it() -> None:
    """``?beta=true`` is a condition for a twin, and no obstacle for what exists only in beta."""
    named = [Named("a", ("POST /a",)), Named("beta.a", ("POST /a?beta=true",)), Named("beta.b", ("GET /b?beta=true",))]
    assert one_name_each(named)[0] == {"a": ("POST /a",), "beta.a": ("POST /a?beta=true",), "beta.b": ("GET /b",)}


# --- Stripe and Datadog ---


V1 = """
_subservices = {"customers": ["stripe._customer_service", "CustomerService"]}
class V1Services(StripeService): ...
"""

V2 = """
_subservices = {"core": ["stripe._core_service", "CoreService"]}
class V2Services(StripeService): ...
"""

CUSTOMERS = """
class CustomerService(StripeService):
    def update(self, customer):
        return cast("C", self._request("post", "/v1/customers/{customer}".format(customer=sanitize_id(customer))))
    async def update_async(self, customer):
        return await self._request_async("post", "/v1/never")
"""

CORE = """
class CoreService(StripeService):
    def list(self):
        return self._request("get", "/v2/core", base_address="api")
    def odd(self):
        return self._request("get", self.url)
"""

OAUTH = """
class OAuth:
    def token(self):
        return self._requestor.request("post", "/oauth/token")
"""

CHARGES = """
class Charge:
    @classmethod
    def list_refunds(cls, charge):
        return cls._static_request("get", "/v1/charges/{charge}/refunds".format(charge=charge))
    def modify(cls):
        return cls._static_request("post", "/v1/customers/{id}".format(id=1))
"""


def test_a_service_is_found_through_the_lists_of_sub_services(tmp_path: Path) -> None:
    """Version 1 has no prefix, version 2 has; what only older classes and OAuth send is there too."""
    files = {
        "_v1_services": V1,
        "_v2_services": V2,
        "_customer_service": CUSTOMERS,
        "_core_service": CORE,
        "_oauth": OAUTH,
        "_charge": CHARGES,
    }
    folder = _package(tmp_path, {f"stripe/{name}.py": content for name, content in files.items()})
    compiled = stripe.compile_catalogue({"PyPI:stripe": folder})
    assert _routes(compiled) == {
        "customers.update": ["POST /v1/customers/{customer}"],
        "v2.core.list": ["GET /v2/core"],
        "oauth.token": ["POST /oauth/token"],
        "charges.list_refunds": ["GET /v1/charges/{charge}/refunds"],
    }
    assert [note.partition(":")[0] for note in compiled.notes] == ["not read"]


def _endpoint(operation: str, method: str, path: str, version: str, servers: str = "") -> str:
    return (
        f'x = _Endpoint(settings={{"response_type": (X,), "endpoint_path": "{path}", "operation_id": "{operation}", '
        f'"http_method": "{method}", "version": "{version}"{servers}}}, params_map={{}})\n'
    )


SETTINGS = """
def get_host_settings(self):
    return [{"url": "https://{subdomain}.{site}", "variables": {
        "site": {"default_value": "datadoghq.com", "enum_values": ["datadoghq.com", "datadoghq.eu"]},
        "subdomain": {"default_value": "api"}}}]
"""


def test_an_id_of_both_versions_is_one_operation_unless_it_means_two_things(tmp_path: Path) -> None:
    """One chapter: one name with both routes. Two chapters, or a read and a write: two names."""
    own = (
        ', "servers": [{"url": "https://{name}", "variables": {"name": {"default_value": "ip-ranges.datadoghq.com"}}}]'
    )
    folder = _package(
        tmp_path,
        {
            "datadog_api_client/configuration.py": SETTINGS,
            "datadog_api_client/v1/api/users_api.py": _endpoint("update_user", "PUT", "/api/v1/user/{user}", "v1")
            + _endpoint("check", "GET", "/api/v1/check", "v1"),
            "datadog_api_client/v2/api/users_api.py": _endpoint("update_user", "PATCH", "/api/v2/users/{id}", "v2")
            + _endpoint("check", "POST", "/api/v2/check", "v2"),
            "datadog_api_client/v1/api/metrics_api.py": _endpoint("list_metrics", "GET", "/api/v1/search", "v1"),
            "datadog_api_client/v2/api/experiments_api.py": _endpoint("list_metrics", "GET", "/api/v2/exp", "v2"),
            "datadog_api_client/v1/api/ip_api.py": _endpoint("get_ip_ranges", "GET", "/", "v1", own),
        },
    )
    compiled = datadog.compile_catalogue({"PyPI:datadog-api-client": folder})
    assert _routes(compiled) == {
        "update_user": ["PUT /api/v1/user/{user}", "PATCH /api/v2/users/{id}"],
        "v1.check": ["GET /api/v1/check"],
        "v2.check": ["POST /api/v2/check"],
        "v1.list_metrics": ["GET /api/v1/search"],
        "v2.list_metrics": ["GET /api/v2/exp"],
        "get_ip_ranges": ["GET ip-ranges.datadoghq.com/"],
    }
    assert compiled.hosts == ("api.datadoghq.com", "api.datadoghq.eu", "ip-ranges.datadoghq.com")


def test_an_endpoint_that_is_not_written_out_is_an_error(tmp_path: Path) -> None:
    """An operation whose path stands elsewhere does not vanish."""
    api = 'x = _Endpoint(settings={"operation_id": "a", "http_method": GET, "endpoint_path": "/a", "version": "v1"})\n'
    folder = _package(tmp_path, {"datadog_api_client/v1/api/a_api.py": api})
    with pytest.raises(SourceError, match="line 1: an endpoint without"):
        datadog.compile_catalogue({"PyPI:datadog-api-client": folder})


# --- what is shipped ---

MAPPINGS = load_mappings([])
ROWS = {family: shipped()[family].read("routes.json") for family in FAMILIES}


def _resolved(family: str, route: str) -> str:
    """Return the action of a request to a route."""
    header = shipped()[family].header
    method, host, path, query = split_route(route)
    prefix = "" if host else header.prefixes[0]
    asked = "&".join(f"{key}={value}" for key, value in query)
    filled = re.sub(r"\{\w+\+?\}", "x1", path)
    target = canonical_target(f"{prefix}{filled}?{asked}" if asked else f"{prefix}{filled}")
    request = Request(method, "https", host or header.hosts[0], 443, target.path, target.query, (), b"")
    (operation,) = MAPPINGS.resolve(request).operations
    return operation.action


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operation_can_be_reached(family: str) -> None:
    """No operation of a shipped catalogue is without a route."""
    assert [row[0] for row in ROWS[family] if not row[3]] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_deleting_never_has_a_mild_name(family: str) -> None:
    """No DELETE is named by a word that sounds as if nothing were lost, though the answer held a secret."""
    deletes = [route for row in ROWS[family] for route in row[3] if route.startswith("DELETE ")]
    assert deletes
    assert [(route, action) for route in deletes if (action := _resolved(family, route)) in MILD] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_read_that_leaks_a_secret_is_called_so(family: str) -> None:
    """Every read keeps its own name or has a word for reading; one whose answer holds a secret says so."""
    wrong = []
    for name, letter, traits, routes in ROWS[family]:
        for route in routes if letter == "r" else ():
            action = _resolved(family, route)
            wanted = {"secret:read"} if "m" in traits else {*READING, canonical_action(f"{family}:{name}")}
            wrong += [(name, action)] * (action not in wanted)
    assert wrong == []


@pytest.mark.parametrize("family", FAMILIES)
def test_what_hands_out_a_secret_is_never_only_a_change(family: str) -> None:
    """An operation that mints is secret:read, or something graver than that."""
    graver = {"secret:read", "code:execute", "iam:change", "infra:destroy"}
    minting = [row for row in ROWS[family] if "m" in row[2]]
    assert minting
    assert [row[0] for row in minting for route in row[3] if _resolved(family, route) not in graver] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pattern_of_a_rule_names_something(family: str) -> None:
    """No rule waits for an operation that the catalogue does not have."""
    known = {canonical_action(f"{family}:{row[0]}") for row in ROWS[family]}
    for rule in yaml.safe_load((PACKS / f"{family}.yaml").read_text("utf-8"))["rules"]:
        written = rule["match"]["op"]
        for text in [written] if isinstance(written, str) else written:
            for pattern in read_operations(text):
                fits = OperationSet([pattern])
                assert any(name in fits for name in known) if is_pattern(pattern) else pattern in known, (
                    rule["id"],
                    pattern,
                )


def test_async_and_raw_twins_are_not_counted_twice() -> None:
    """The number of operations is the number of different requests; a jump means that a reader went wrong."""
    counts = {family: shipped()[family].header.operations for family in FAMILIES}
    for family, rows in ROWS.items():
        routes = [route for row in rows for route in row[3]]
        assert len(routes) == len(set(routes)), family
        assert counts[family] == len(rows)
