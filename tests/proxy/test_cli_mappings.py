"""`claiim mappings list` says what can be named, and `coverage` what was done without a word for it."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from chron import Chron
from mappings import load_mappings
from mappings.catalogues import Archive, Header, Source, read_folder, write_catalogue
from mappings.catalogues.age import age_days, older, too_old, warnings
from proxy.cli.main import main
from support.gate import LiveGate

ROWS = [
    ["keys.create", "w", "m", ["POST /keys"]],
    ["orders.create", "w", "", ["POST /orders"]],
    ["orders.delete", "w", "", ["DELETE /orders/{order}"]],
    ["orders.list", "l", "", ["GET /orders"]],
    ["runs.start", "w", "x", ["POST /runs"]],
]

SITE = """version: 1
bind:
  - {host: orders.acme.test, pack: acme}
rules:
  - id: delete
    match: {op: "acme:orders.delete"}
    action: "infra:destroy"
  - id: dry
    match: {op: "acme:orders.create", query: {dry: "1"}}
    action: "deploy:plan"
  - id: reads
    match: {op: "acme:*", facts: {access: [read, list]}}
    action: "data:read"
  - id: ship
    match: {op: "acme:runs.start"}
    action: "deploy:${env}"
  - id: ship-back
    match: {op: "acme:runs.start", query: {back: "1"}}
    action: "deploy:rollback-${env}"
"""

type Claiim = Callable[..., Result]


def catalogue(folder: Path, published: date, version: str = "1.2.0", family: str = "acme") -> Archive:
    """Write a catalogue into a folder."""
    source = Source("acme-sdk", "PyPI", version, published.isoformat(), "MIT")
    header = Header(family, "", "", len(ROWS), (source,), hosts=("api.acme.test",))
    write_catalogue(folder, header, {"routes.json": ROWS})
    return read_folder(folder)[family]


@pytest.fixture
def today() -> date:
    """The day the tests run on: what is said of age counts from there."""
    return datetime.now(UTC).date()


@pytest.fixture
def site(tmp_path: Path, today: date) -> Path:
    """A configuration with one catalogue of its own, ten days old."""
    (tmp_path / "site.yaml").write_text(SITE)
    catalogue(tmp_path / "own", today - timedelta(days=10))
    path = tmp_path / "claiim.yaml"
    path.write_text("version: 1\nmappings: [site.yaml]\npolicies: []\ncatalogues: own\n")
    return path


@pytest.fixture
def claiim(site: Path) -> Claiim:
    """Runs `claiim mappings ...` with that configuration."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["mappings", *arguments, "-c", str(site)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


# --- list ---


def test_families(claiim: Claiim, today: date) -> None:
    """Each with its count, where it comes from, how old that is, and its hosts, the operator's among them."""
    rows = {row["family"]: row for row in json.loads(claiim("list", "--json").stdout)}
    assert rows["acme"] == {
        "family": "acme",
        "operations": 5,
        "sources": ["PyPI:acme-sdk 1.2.0"],
        "date": (today - timedelta(days=10)).isoformat(),
        "age_days": 10,
        "hosts": ["api.acme.test", "orders.acme.test"],
    }
    assert rows["kubernetes"]["operations"] is None
    assert rows["kubernetes"]["sources"] == []
    shown = claiim("list").stdout.splitlines()
    assert shown[0].split() == ["family", "operations", "age", "source", "hosts"]
    (line,) = [line for line in shown if line.startswith("acme ")]
    assert line.endswith("  api.acme.test, orders.acme.test")
    assert any("by rule" in line for line in shown if line.startswith("kubernetes"))


def test_operations_of_a_family(claiim: Claiim) -> None:
    """Each with its access level, its traits, and every action that rules may give it, the most specific first."""
    result = claiim("list", "acme")
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "operation           access  traits    action",
        "acme:keys.create    write   mints     -",
        "acme:orders.create  write             deploy:plan or -",
        "acme:orders.delete  write             infra:destroy",
        "acme:orders.list    list              data:read",
        "acme:runs.start     write   executes  deploy:rollback-${env} or deploy:${env}",
    ]
    assert result.stderr.startswith("5 operations\n")
    created = json.loads(claiim("list", "acme", "--grep", "ORDERS.C", "--json").stdout)
    assert created == [
        {
            "operation": "acme:orders.create",
            "access": "write",
            "executes": False,
            "mints": False,
            "actions": [{"action": "deploy:plan", "rule": "dry", "pack": "", "always": False}],
            "keeps_name": True,
        }
    ]


ACTIONS = {
    "a word": ("infra:destroy", ["acme:orders.delete"]),
    "in capitals": ("Infra:Destroy", ["acme:orders.delete"]),
    "in some environment": ("deploy:staging", ["acme:runs.start"]),
    "the closer of two": ("deploy:rollback-staging", ["acme:runs.start"]),
    "as the rule writes it": ("deploy:${env}", ["acme:runs.start"]),
    "its own name": ("acme:keys.create", ["acme:keys.create"]),
}


@pytest.mark.parametrize(("word", "operations"), ACTIONS.values(), ids=ACTIONS)
def test_what_is_behind_a_word(claiim: Claiim, word: str, operations: list[str]) -> None:
    """The word of a rule, one that a rule makes in some environment, or an operation that has none."""
    found = json.loads(claiim("list", "acme", "--action", word, "--json").stdout)
    assert [row["operation"] for row in found] == operations


def test_a_family_that_lists_nothing(claiim: Claiim) -> None:
    """Its rules' patterns stand in place of operations."""
    found = json.loads(claiim("list", "kubernetes", "--action", "secret:read", "--json").stdout)
    assert any(row["operation"].endswith(":secrets") for row in found)
    assert {row["access"] for row in found} == {""}
    assert {action["action"] for row in found for action in row["actions"]} == {"secret:read"}


NOTHING = {
    "no such family": (("list", "acmee"), 'no pack is called "acmee"; known: '),
    "no such operation": (("list", "acme", "--grep", "zebra"), "nothing fits; "),
    "no such word": (("list", "acme", "--action", "no:such"), "nothing fits; "),
    "a pattern": (("list", "acme", "--action", "(a+)+$"), "nothing fits; "),
}


@pytest.mark.parametrize(("arguments", "said"), NOTHING.values(), ids=NOTHING)
def test_nothing_found(claiim: Claiim, arguments: tuple[str, ...], said: str) -> None:
    """Exit 1, and a word on what can be asked."""
    result = claiim(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_catalogue_that_is_not_the_one_its_index_names(claiim: Claiim, site: Path) -> None:
    """It is bad configuration: nothing is listed from it."""
    (site.parent / "own" / "acme.zip").write_bytes(b"PK")
    result = claiim("list", "acme")
    assert result.exit_code == 78
    assert "is not the file its index names" in result.stderr


def test_an_index_that_cannot_be_read(claiim: Claiim, site: Path) -> None:
    """So is a broken index, whatever is asked."""
    (site.parent / "own" / "index.json").write_text('{"acme": []}')
    result = claiim("list")
    assert result.exit_code == 78
    assert "is no index of catalogues" in result.stderr


# --- age ---


def test_age_is_said_and_warned_of(claiim: Claiim, site: Path, today: date) -> None:
    """Over 90 days, in one line on stderr; a day before, not."""
    catalogue(site.parent / "own", today - timedelta(days=90))
    assert "acme (" not in claiim("list").stderr
    catalogue(site.parent / "own", today - timedelta(days=91))
    result = claiim("list", "acme")
    assert result.exit_code == 0
    assert "catalogues over 90 days old: " in result.stderr
    assert "acme (91 days)" in result.stderr


def test_check_warns_and_finds_no_fault(site: Path, today: date) -> None:
    """An old catalogue keeps no gate from starting."""
    catalogue(site.parent / "own", today - timedelta(days=400))
    (site.parent / "agents.yaml").write_text("version: 1\nhumans: []\nagents: []\n")
    result = CliRunner().invoke(main, ["check", "-c", str(site), "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"], told["faults"]) == (0, True, [])
    assert any("acme (400 days)" in warning for warning in told["warnings"])
    assert "warning: catalogues over 90 days old" in CliRunner().invoke(main, ["check", "-c", str(site)]).stderr


def test_age_counts_from_the_package_of_the_operations(tmp_path: Path) -> None:
    """From the first source, not the oldest; a date ahead of ours is no age."""
    first = Source("a", "PyPI", "2", "2026-01-31", "MIT")
    second = Source("b", "npm", "1", "2020-01-01", "MIT")
    header = Header("acme", "", "", 0, (first, second))
    assert age_days(header, date(2026, 2, 2)) == 2
    assert age_days(header, date(2026, 1, 1)) == 0
    assert too_old([header], date(2026, 5, 1)) == ""
    assert "acme (91 days)" in too_old([header], date(2026, 5, 2))


def test_an_own_catalogue_older_than_the_one_that_came(tmp_path: Path) -> None:
    """After an upgrade of the gate the operator's own may be the older one; that is said."""
    own = catalogue(tmp_path / "own", date(2026, 1, 1), "1.9.0")
    came = catalogue(tmp_path / "came", date(2026, 1, 1), "1.10.0")
    (said,) = warnings({"acme": own}, {"acme": came}, date(2026, 1, 2))
    assert said.startswith('catalogue "acme" is of acme-sdk 1.9.0, and the gate came with 1.10.0; ')
    assert warnings({"acme": came}, {"acme": own}, date(2026, 1, 2)) == []
    assert warnings({"acme": own}, {}, date(2026, 1, 2)) == []


VERSIONS = {
    "numbers, not text": ("1.9.0", "1.10.0", True),
    "the same": ("1.9.0", "1.9.0", False),
    "newer": ("2.0", "1.99.99", False),
    "a day in it": ("0.21.202608011", "0.21.202609261", True),
    "longer": ("1.9", "1.9.1", True),
}


@pytest.mark.parametrize(("version", "than", "before"), VERSIONS.values(), ids=VERSIONS)
def test_versions(version: str, than: str, before: bool) -> None:
    """Compared by their numbers."""
    assert older(version, than) is before


# --- coverage ---

WIRE: Mapping[str, Any] = {"channel": "wire", "host": "orders.acme.test", "agent": "bot", "code": "skill.allowed"}


def decisions(path: Path, *records: Mapping[str, Any], age: timedelta = timedelta()) -> None:
    """Write decisions into a Chron, as the gate would."""
    at_ns = time.time_ns() - int(age.total_seconds() * 1e9)
    chron = Chron.open(path, low_water_bytes=0, clock_ns=lambda: at_ns)

    async def write() -> None:
        for record in records:
            await chron.append("decision", {**WIRE, **record})

    asyncio.run(write())
    chron.close()


def named(operation: str, rule: str = "", **more: Any) -> dict[str, Any]:
    """Return what a record says of an operation."""
    said = {"operation": operation, "action": operation.lower()}
    return {**said, **({"mapping_rule": rule, "mapping_pack": ""} if rule else {}), **more}


def test_what_was_done_without_a_word(claiim: Claiim, tmp_path: Path) -> None:
    """Changes first, then what hands out secrets, then the frequent; rules that named nothing; hosts without names."""
    chron = tmp_path / "chron.db"
    decisions(chron, named("acme:orders.create"), age=timedelta(days=40))
    decisions(
        chron,
        *[named("acme:orders.list")] * 3,
        named("acme:orders.create", agent="bot-2"),
        *[named("acme:keys.create")] * 2,
        named("http:GET", host="x.test"),
        named("acme:orders.delete", "delete"),
        {"action": "unmapped", "code": "mapping.unmapped", "host": "evil.test"},
        {"action": "unmapped", "code": "mapping.conflict", "host": "evil.test", "agent": "bot-2"},
        {"action": "acme:orders.create", "channel": "api"},
        {"action": "unmapped", "code": "agent.unknown"},
    )
    told = json.loads(claiim("coverage", "--chron", str(chron), "--json").stdout)
    assert (told["decisions"], told["worded"]) == (11, 1)
    assert [(each["operation"], each["access"], each["count"]) for each in told["unworded"]] == [
        ("acme:keys.create", "write", 2),
        ("acme:orders.create", "write", 1),
        ("http:GET", "", 1),
        ("acme:orders.list", "list", 3),
    ]
    assert told["unworded"][0]["mints"] is True
    assert told["unworded"][1]["agents"] == ["bot-2"]
    assert told["unnamed"] == [
        {
            "host": "evil.test",
            "count": 2,
            "codes": {"mapping.unmapped": 1, "mapping.conflict": 1},
            "agents": ["bot", "bot-2"],
        }
    ]
    assert [each["rule"] for each in told["dead_rules"]] == ["dry", "reads", "ship", "ship-back"]
    assert told["dead_rules"][0]["place"].endswith("site.yaml:8:5")


def test_rules_of_an_own_pack(claiim: Claiim, site: Path, tmp_path: Path) -> None:
    """They are the operator's too; a shipped rule of the same name is another one."""
    (tmp_path / "shop.yaml").write_text(
        'pack: shop\nhosts: [shop.test]\noperations: {buy: ["POST /buy"]}\n'
        'rules: [{id: merge, match: {op: "shop:buy"}, action: "cost:spend"}]\n'
    )
    site.write_text(site.read_text().replace("[site.yaml]", "[shop.yaml]"))
    chron = tmp_path / "chron.db"
    decisions(chron, named("github:pulls/merge", "merge", mapping_pack="github"))
    told = json.loads(claiim("coverage", "--chron", str(chron), "--json").stdout)
    assert [each["rule"] for each in told["dead_rules"]] == ["merge"]
    decisions(chron, named("shop:buy", "merge", mapping_pack="shop"))
    assert json.loads(claiim("coverage", "--chron", str(chron), "--json").stdout)["dead_rules"] == []


def test_the_period(claiim: Claiim, tmp_path: Path) -> None:
    """Only what happened in it counts, for operations and for rules."""
    chron = tmp_path / "chron.db"
    decisions(chron, named("acme:keys.create"), named("acme:orders.delete", "delete"), age=timedelta(days=3))
    for since, count in {"2d": 0, "4d": 2}.items():
        told = json.loads(claiim("coverage", "--chron", str(chron), "--since", since, "--json").stdout)
        assert told["decisions"] == count
        assert ("delete" in [each["rule"] for each in told["dead_rules"]]) is (count == 0)


def test_coverage_for_people(claiim: Claiim, tmp_path: Path) -> None:
    """Three short tables, and nothing about what is not there."""
    chron = tmp_path / "chron.db"
    decisions(chron, named("acme:keys.create"), {"action": "unmapped", "code": "mapping.unmapped", "host": "evil.test"})
    shown = claiim("coverage", "--chron", str(chron)).stdout.splitlines()
    assert shown[0] == "2 decisions, 0 with a rule's word"
    assert "acme:keys.create  write mints  1      bot" in shown
    assert "evil.test  1      mapping.unmapped 1  bot" in shown
    decisions(chron.with_name("other.db"), named("acme:orders.delete", "delete"))
    assert "not named at all" not in claiim("coverage", "--chron", str(chron.with_name("other.db"))).stdout


def test_coverage_without_a_chron(claiim: Claiim, tmp_path: Path) -> None:
    """Exit 2, and the remedy."""
    result = claiim("coverage", "--chron", str(tmp_path / "none.db"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith('there is no Chron at "')


def test_coverage_of_what_a_gate_recorded(gate: LiveGate, client: httpx.Client) -> None:
    """What a real gate writes down is what is counted: a rule's word, and a request that nothing names."""
    client.get("https://origin.test/echo")
    client.request("PURGE", "https://origin.test/echo")
    gate.settle()
    result = CliRunner().invoke(main, ["mappings", "coverage", "-c", str(gate.folder / "claiim.yaml"), "--json"])
    told = json.loads(result.stdout)
    assert (told["decisions"], told["worded"]) == (2, 1)
    assert [(each["host"], each["codes"]) for each in told["unnamed"]] == [("origin.test", {"mapping.unmapped": 1})]
    assert "read" not in [each["rule"] for each in told["dead_rules"]]
    assert "delete" in [each["rule"] for each in told["dead_rules"]]


@pytest.mark.parametrize("kind", ["mapping", "pack"])
def test_schemas(kind: str) -> None:
    """An editor gets them without a network."""
    result = CliRunner().invoke(main, ["mappings", "schema", kind])
    assert result.exit_code == 0
    assert "rules" in json.loads(result.stdout)["properties"]


# --- the page ---

PAGE = Path(__file__).parents[2] / "docs" / "mappings.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_file_on_the_page_loads(tmp_path: Path, block: str) -> None:
    """What a reader copies is a mapping file as it stands."""
    (tmp_path / "site.yaml").write_text(block)
    assert load_mappings([tmp_path / "site.yaml"]).packs


def test_the_line_of_recorded_traffic_on_the_page(tmp_path: Path) -> None:
    """It is what the command prints for that request."""
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    wanted = json.loads(shown)
    request = {"method": wanted["method"], "url": wanted["url"]}
    (tmp_path / "t.har").write_text(json.dumps({"log": {"entries": [{"request": request}]}}))
    result = CliRunner().invoke(main, ["map", "--har", str(tmp_path / "t.har"), "--json"], env={"HOME": str(tmp_path)})
    assert json.loads(result.stdout) == wanted
