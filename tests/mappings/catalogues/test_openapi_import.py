"""Importing an OpenAPI description: the pack it becomes, what is reported, and what is refused."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mappings import Request, compile_mappings, read_document
from mappings.canonical import canonical_target
from mappings.mapping import Mappings
from mappings.sources.compiling import SourceError
from mappings.sources.openapi import Imported, import_openapi
from mappings.sources.openapi_overlaps import overlaps

SPECS = Path(__file__).parent / "specs"


def imported(name: str, **given: Any) -> Imported:
    return import_openapi((SPECS / name).read_text("utf-8"), name, **{"pack": "it", "hosts": ["api.shop.test"]} | given)


def described(paths: dict[str, Any], **more: Any) -> Imported:
    text = json.dumps({"openapi": "3.0.0", "paths": paths, **more})
    return import_openapi(text, "spec.json", pack="it", hosts=["api.shop.test"])


def at_work(made: Imported) -> Mappings:
    return compile_mappings([read_document(made.text, "pack:it")], [])


def named(made: Imported, method: str, target: str, host: str = "api.shop.test") -> str:
    place = canonical_target(target)
    resolution = at_work(made).resolve(Request(method, "https", host, 443, place.path, place.query, (), b""))
    if resolution.problem is not None:
        return resolution.problem.code
    return " ".join(sorted(operation.name for operation in resolution.operations))


# --- names ---

ROWS = [
    ("cluster.json", "GET", "/api/v1/namespaces/shop/pods", "it:listCoreV1NamespacedPod"),
    ("cluster.json", "DELETE", "/api/v1/namespaces/shop/pods", "it:deleteCoreV1CollectionNamespacedPod"),
    ("cluster.json", "DELETE", "/api/v1/namespaces/shop/pods/web", "it:deleteCoreV1NamespacedPod"),
    ("cluster.json", "GET", "/api/v1/namespaces/a/pods/b/proxy/x/y", "it:connectCoreV1GetNamespacedPodProxyWithPath"),
    ("cluster.json", "GET", "/version", "it:get/version"),
    ("cluster.json", "POST", "/version", "mapping.unmapped"),
    ("engine.yaml", "POST", "/v1.44/containers/create", "it:ContainerCreate"),
    ("engine.yaml", "HEAD", "/v1.44/containers/c1/archive", "it:ContainerArchiveInfo"),
    ("engine.yaml", "GET", "/v1.44/containers/c1/archive?path=/etc", "it:ContainerArchive"),
    ("engine.yaml", "POST", "/containers/create", "mapping.unmapped"),
    ("engine.yaml", "GET", "/v1.44/images/get", "it:ImageGetAll"),
    ("delivery.json", "PUT", "/api/v1/applications/web", "it:ApplicationService_Update"),
    ("delivery.json", "GET", "/api/v1/applications/web", "it:ApplicationService_Get"),
    ("delivery.json", "POST", "/api/v1/applications/web/sync", "it:ApplicationService_Sync"),
    ("delivery.json", "POST", "/api/v1/projects/p1/rollouts", "it:RolloutService_Create"),
    ("shop.yaml", "GET", "/v2/pets", "it:listPets"),
    ("shop.yaml", "POST", "/v2/pets", "it:create-pet"),
    ("shop.yaml", "PATCH", "/v2/pets/7", "it:patch/pets/+pet_id"),
    ("shop.yaml", "POST", "/v2/pets/7/photos?kind=photo", "it:addPhoto"),
    ("shop.yaml", "POST", "/v2/pets/7/photos?kind=film", "it:addFilm"),
    ("shop.yaml", "POST", "/v2/pets/7/photos", "mapping.unmapped"),
    ("shop.yaml", "POST", "/v2/pets/7/photos?kind=photo&kind=film", "mapping.conflict"),
    ("shop.yaml", "PUT", "/v2/files/a/b/c.txt", "it:writeFile"),
    ("shop.yaml", "POST", "/u/uploads", "it:upload"),
    ("shop.yaml", "POST", "/v2/uploads", "mapping.unmapped"),
]


@pytest.mark.parametrize(("spec", "method", "target", "wanted"), ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_an_operation_is_named_as_its_description_calls_it(spec: str, method: str, target: str, wanted: str) -> None:
    """A request is the operation whose path, method and required query it has, and nothing else is recognised."""
    assert named(imported(spec), method, target) == wanted


def test_the_pack_is_a_file_that_loads_beside_others() -> None:
    """What is imported is YAML that the strict reader takes, with hosts, prefixes and one line an operation."""
    made = imported("shop.yaml", hosts=["api.shop.test", "*.eu.shop.test"])
    value = yaml.safe_load(made.text)
    assert value["pack"] == "it"
    assert value["hosts"] == ["api.shop.test", "*.eu.shop.test"]
    assert value["prefixes"] == ["/v2"]
    assert len(value["operations"]) == made.operations == 11
    assert named(made, "GET", "/v2/pets", "a.eu.shop.test") == "it:listPets"


def test_the_same_description_gives_the_same_file() -> None:
    """An import can be repeated and compared."""
    assert imported("shop.yaml") == imported("shop.yaml")


def test_a_prefix_stands_in_for_what_servers_say() -> None:
    """Behind a gateway the operator says where the API begins."""
    made = imported("shop.yaml", prefix="/shop/api")
    assert named(made, "GET", "/shop/api/pets") == "it:listPets"
    assert named(made, "GET", "/v2/pets") == "mapping.unmapped"


def test_names_that_hold_slashes_can_be_listed() -> None:
    """Where the description does not say that a parameter holds slashes, the operator can."""
    assert named(imported("engine.yaml"), "GET", "/v1.44/images/library/nginx/json") == "mapping.unmapped"
    made = imported("engine.yaml", slashed=["name"])
    assert named(made, "GET", "/v1.44/images/library/nginx/json") == "it:ImageInspect"


# --- what is reported ---


def test_what_cannot_be_told_apart_is_reported_with_both_names() -> None:
    """Of two operations on one route the first stays, and the report names both."""
    made = imported("shop.yaml")
    assert [problem for problem in made.problems if "one route" in problem] == [
        'DELETE /orders/{number}: "removeOrder" and "cancelOrder" are one route; give one of them a required query '
        'parameter; "cancelOrder" is left out'
    ]
    assert named(made, "DELETE", "/v2/orders/7") == "it:removeOrder"


def test_operations_without_an_id_are_reported() -> None:
    """What is called by method and path because nobody gave it a name is said, in one line however many there are."""
    paths: dict[str, object] = {f"/things{number}/{{id}}": {"get": {}} for number in range(7)}
    made = described({**paths, "/named": {"get": {"operationId": "named"}}})
    assert [note for note in made.notes if "operationId" in note] == [
        "7 without an operationId, called by method and path: GET /things0/{id}, GET /things1/{id}, "
        "GET /things2/{id}, GET /things3/{id}, GET /things4/{id}, ..."
    ]
    assert named(made, "GET", "/things6/a") == "it:get/things6/+id"


def test_overlaps_are_reported_with_both_names() -> None:
    """Two routes that one path fits are named with that path and with what it is taken for."""
    assert any(
        note.startswith('GET /pets/adopted/toys: "listToys"') and '"getAdopted"' in note and "taken for" in note
        for note in imported("shop.yaml").notes
    )


def test_overlaps_that_nothing_decides_are_problems() -> None:
    """A path that two routes fit with as much literal text is named by both, and said to be."""
    made = described({"/ab/{x}": {"get": {"operationId": "one"}}, "/{y}/cd": {"get": {"operationId": "two"}}})
    assert [problem for problem in made.problems if '"one"' in problem and '"two"' in problem]
    assert named(made, "GET", "/ab/cd") == "it:one it:two"


def test_operations_of_one_name_get_another_and_are_reported() -> None:
    """Two operations never come out under one name, whatever the case of its letters."""
    made = described({"/a": {"get": {"operationId": "list"}}, "/b": {"get": {"operationId": "List"}}})
    assert named(made, "GET", "/a") == "it:list"
    assert named(made, "GET", "/b") == "it:get/b"
    assert len(made.problems) == 1
    assert "called like" in made.problems[0]


UNWRITABLE = {
    "an escape that is none": "/a%zz",
    "two parameters that touch": "/a/{x}{y}",
    "a fragment": "/a#b",
    "no slash at the start": "a",
    "a dot segment": "/a/../b",
    "three that hold slashes": "/{a+}/{b+}/{c+}",
    "a brace without its pair": "/a/{b",
    "a word of our own": "/zz1zz/{x}",
    "a control character": "/a\x07",
    "a query with blanks": "/a?b c",
    "more segments than any request": "/a" * 300,
}


@pytest.mark.parametrize("path", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_a_path_that_cannot_be_a_route_is_left_out_and_reported(path: str) -> None:
    """A path without one safe reading becomes no route, and the others stay."""
    made = described({"/fine": {"get": {"operationId": "fine"}}, path: {"get": {"operationId": "odd"}}})
    assert made.operations == 1
    assert len(made.problems) == 1
    assert "left out" in made.problems[0]


def test_an_operation_that_is_not_named_by_itself_is_reported() -> None:
    """The trial finds what reading cannot: a path that servers may take for another by its suffix."""
    made = described({"/a": {"get": {"operationId": "page"}}, "/a.json": {"get": {"operationId": "data"}}})
    assert any('"data"' in problem and "sample values" in problem for problem in made.problems)


def test_names_are_made_of_what_an_action_may_hold() -> None:
    """Odd, long and empty operationIds become names of the action grammar."""
    odd = {"/a": {"get": {"operationId": "läs: *"}}, "/b": {"get": {"operationId": "x" * 900}}, "/c/{d}": {"put": {}}}
    names = list(yaml.safe_load(described(odd).text)["operations"])
    assert "l-s" in names
    assert "put/c/+d" in names
    assert max(len(name) for name in names) < 220


def test_no_report_reaches_a_terminal_as_more_than_text() -> None:
    """Names of the description are shown on one line, without what a terminal would obey."""
    odd = "\x1b[31mevil\nname" + "x" * 5_000
    made = described({"/a/{x}": {"get": {"operationId": odd}}, "/a/{y}": {"get": {"operationId": odd}}})
    assert made.problems
    assert all(problem.isprintable() and len(problem) <= 600 for problem in made.problems)
    with pytest.raises(SourceError) as refusal:
        described({"/a": {"$ref": odd}})
    assert str(refusal.value).isprintable()


# --- what is refused ---

BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))

REFUSED = {
    "nothing": ("", "holds no mapping"),
    "a list": ("[1]", "holds no mapping"),
    "another format": ('{"raml": "1.0"}', "is neither"),
    "a version that is none": ('{"openapi": "4.0.0", "paths": {"/a": {}}}', "is neither"),
    "no paths": ('{"openapi": "3.0.0", "paths": {}}', "there are none"),
    "broken JSON": ('{"openapi": "3.0.0",', "is no JSON"),
    "broken YAML": ("openapi: 3.0.0\n  paths: [", "spec.yaml:2:"),
    "a path twice": ('{"openapi":"3.0.0","paths":{"/a":{},"/a":{}}}', '"/a" stands twice'),
    "a key twice in YAML": ("openapi: 3.0.0\npaths: {/a: {}, /a: {}}", 'key "/a" stands twice'),
    "aliases that multiply": (BOMB, 'alias "*a" is not supported; write the value out'),
    "two documents": ("openapi: 3.0.0\n---\nx: 1", "a second document"),
    "a tag that makes an object": ('openapi: !!python/object/apply:os.system ["x"]', "is neither"),
    "another file": ('{"openapi":"3.0.0","paths":{"/a":{"$ref":"other.yaml#/a"}}}', "bundle them into one"),
    "an address": ('{"openapi":"3.0.0","paths":{"/a":{"$ref":"https://evil.test/a"}}}', "bundle them into one"),
    "a path that is itself": ('{"openapi":"3.0.0","paths":{"/a":{"$ref":"#/paths/~1a"}}}', "leads back to itself"),
    "a reference to nothing": ('{"openapi":"3.0.0","paths":{"/a":{"$ref":"#/x/9999999999999"}}}', "leads to nothing"),
    "deep JSON": ('{"openapi":"3.0.0","x":' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
    "deep YAML": ("openapi: 3.0.0\nx: " + "[" * 300 + "]" * 300, "nested deeper"),
    "a prefix with a parameter": ('{"openapi":"3.0.0","servers":[{"url":"/{a}/{b}"}],"paths":{"/a":{}}}', ""),
    "a base path that climbs": ('{"swagger":"2.0","basePath":"/a/../b","paths":{"/a":{}}}', "cannot stand before"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_description_that_cannot_be_read_safely_is_refused(text: str, says: str) -> None:
    """A hostile or broken description is refused on one line, with its place, at once."""
    started = time.monotonic()
    if not says:
        assert import_openapi(text, "spec.yaml", pack="it", hosts=["a.test"]).operations == 0
        return
    with pytest.raises(SourceError) as refusal:
        import_openapi(text, "spec.yaml", pack="it", hosts=["a.test"])
    assert says in str(refusal.value)
    assert str(refusal.value).startswith("spec.yaml")
    assert "\n" not in str(refusal.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"hosts": ["*"]}, 'host "*" would match everything'),
        ({"hosts": []}, "no host is named"),
        ({"pack": "My Pack"}, "is no name"),
        ({"prefix": "/a/{b}"}, "cannot stand before a path"),
    ],
)
def test_what_the_operator_says_is_checked(given: dict[str, Any], says: str) -> None:
    """A host, name or prefix that is none is refused before the description is used."""
    with pytest.raises(SourceError, match=says.replace("*", r"\*")):
        imported("shop.yaml", **given)


def test_a_reference_that_goes_on_for_long_is_refused() -> None:
    """A chain of references ends, even where it never comes back to where it was."""
    chain = {f"p{number}": {"$ref": f"#/x/p{number + 1}"} for number in range(5_000)}
    with pytest.raises(SourceError, match="leads back to itself"):
        described({"/a": {"$ref": "#/x/p0"}}, x=chain)


def test_many_routes_that_overlap_cost_no_more_than_their_limit() -> None:
    """A description made to overlap everywhere is imported in seconds."""
    spelt = [[f"{{x{at}}}" if number >> at & 1 else f"s{number % 3}" for at in range(10)] for number in range(1, 800)]
    paths = {f"/{'/'.join(segments)}": {"get": {}} for segments in spelt}
    started = time.monotonic()
    made = described(paths)
    assert made.operations > 100
    assert any("are not all" in problem for problem in made.problems)
    assert time.monotonic() - started < 30


# --- overlaps by themselves ---


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("/a/{x}/c", "/a/b/{y}", "/a/b/c"),
        ("/a/{x}", "/a/b", None),
        ("/a/{x+}", "/a/{y}/c", None),
        ("/a/{x+}/c", "/a/b/{y}", "/a/b/c"),
        ("/a/{x}:stop", "/a/{y}", None),
        ("/a/{x}/c", "/b/{y}/c", None),
        ("/{x+}/a", "/b/{y+}", "/b/a"),
    ],
)
def test_an_overlap_has_a_path_of_its_own(one: str, other: str, wanted: str | None) -> None:
    """Two routes overlap when a path fits both and neither holds wherever the other does."""
    assert overlaps([("GET", one), ("GET", other)]) == ([(0, 1, wanted)] if wanted else [], True)
    assert overlaps([("GET", one), ("PUT", other)]) == ([], True)
