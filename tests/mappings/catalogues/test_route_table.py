"""The tree from method and path to entry: which comes first, what is captured, and what it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.catalogues import RouteTable
from mappings.paths import PathIndex
from mappings.pathtemplates import read_template

ROUTES = (
    "GET /flows",
    "GET /flows/{flow}",
    "POST /flows/validate",
    "GET /flows/validate",
    "GET /flows/{flow}/outputs",
    "GET /flows/start/{arn}",
    "GET /flows/{flow}:cancel",
    "GET /flows/{flow}:cancel-all",
    "GET /compare/{base}...{head}",
    "GET /compare/{basehead}",
    "GET /branches/{branch+}/protection",
    "GET /branches/{branch+}",
    "GET /spaced%20name/{x}",
    "DELETE /{anything+}",
)


@pytest.fixture(scope="module")
def table() -> RouteTable[str]:
    built: RouteTable[str] = RouteTable()
    for route in ROUTES:
        method, path = route.split(" ")
        built.add(method, path, route)
    return built


@pytest.mark.parametrize(
    ("name", "method", "path", "wanted", "captures"),
    [
        ("a literal", "GET", "flows", "GET /flows", {}),
        ("a literal before a parameter", "GET", "flows/validate", "GET /flows/validate", {}),
        ("a literal of another method is no way", "PUT", "flows/validate", None, {}),
        ("a parameter", "GET", "flows/f1", "GET /flows/{flow}", {"flow": "f1"}),
        ("the leftmost literal wins", "GET", "flows/start/outputs", "GET /flows/start/{arn}", {"arn": "outputs"}),
        ("a way that leads nowhere is taken back", "GET", "flows/stop/outputs", "GET /flows/{flow}/outputs", {}),
        ("text after a parameter", "GET", "flows/f1:cancel", "GET /flows/{flow}:cancel", {"flow": "f1"}),
        ("the longer text after it", "GET", "flows/f:cancel-all", "GET /flows/{flow}:cancel-all", {"flow": "f"}),
        ("unknown text belongs to the parameter", "GET", "flows/f1:stop", "GET /flows/{flow}", {"flow": "f1:stop"}),
        (
            "split where the text first stands",
            "GET",
            "compare/a...b...c",
            "GET /compare/{base}...{head}",
            {"base": "a"},
        ),
        ("no text, no split", "GET", "compare/a..b", "GET /compare/{basehead}", {"basehead": "a..b"}),
        ("as short as can be", "GET", "branches/a/protection", "GET /branches/{branch+}/protection", {"branch": "a"}),
        ("several segments", "GET", "branches/a/b", "GET /branches/{branch+}", {"branch": "a/b"}),
        ("several segments and a literal", "GET", "branches/a/b/protection", "GET /branches/{branch+}/protection", {}),
        ("a decoded literal", "GET", "spaced name/1", "GET /spaced%20name/{x}", {"x": "1"}),
        ("nothing there", "GET", "rivers", None, {}),
        ("too long", "GET", "flows/a/b", None, {}),
        ("too short", "GET", "compare", None, {}),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_the_closest_route_comes_first(
    table: RouteTable[str], name: str, method: str, path: str, wanted: str | None, captures: dict[str, str]
) -> None:
    """Literal before pattern before ``{x}`` before ``{x+}``, segment by segment, whatever the order of adding."""
    segments = tuple(path.split("/"))
    hit = next(iter(table.find(method, segments)), None)
    assert (hit and hit.entry) == wanted
    if hit:
        assert captures.items() <= hit.captures(segments).items()


SEGMENTS = st.sampled_from(
    ["flows", "validate", "start", "a", "b:cancel", "x...y", "branches", "compare", "protection"]
)


@given(st.sampled_from(["GET", "POST", "DELETE"]), st.lists(SEGMENTS, min_size=1, max_size=5))
def test_it_finds_what_the_index_of_rules_finds(method: str, path: list[str]) -> None:
    """The two matchers of the house agree on which templates fit a path."""
    table: RouteTable[str] = RouteTable()
    index: PathIndex[str] = PathIndex()
    for route in ROUTES:
        wanted, template = route.split(" ")
        if wanted == method:
            table.add(method, template, route)
            for each in read_template(template):
                index.add(each, route)
    segments = tuple(path)
    assert {hit.entry for hit in table.find(method, segments)} == {item for _, item, _ in index.find(segments)}


class _Counted(tuple[str, ...]):
    """Segments that count how often they are looked at."""

    looks = 0

    def __getitem__(self, at: object) -> object:  # type: ignore[override]
        _Counted.looks += 1
        return super().__getitem__(at)  # type: ignore[index]


def test_a_hostile_path_costs_no_more_than_the_ways_through_it() -> None:
    """Two ``{x+}`` and 200 segments: each place of the tree meets each segment once, not once for every way there."""
    table: RouteTable[int] = RouteTable()
    table.add("GET", "/{a+}/x/{b+}/y", 1)
    path = _Counted(("x",) * 200)
    assert list(table.find("GET", path)) == []
    assert 0 < _Counted.looks < 200 * 5
