"""docs/wiring.md is the tables, the tables are what is set, and every tool in them is driven for real."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clients.wiring.drives import AROUND, DRIVES
from proxy.wiring.given import REMOVED, VARIABLES, Value, overriding
from proxy.wiring.stores import Files
from proxy.wiring.tools import TOOLS, Tool, Works
from proxy.wiring.variables import environment

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    """A generator, which lies outside the packages."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module, path = importlib.util.module_from_spec(spec), list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


def test_the_page_is_current() -> None:
    """`make wiring` would change nothing."""
    assert (ROOT / "docs" / "wiring.md").read_text() == tool("wiring").page(), "run make wiring"


def test_what_is_set_is_what_the_table_says() -> None:
    """No variable is set that is not in the table, and none is in it that is not set."""
    files = Files.of(Path("/s"))
    given = dict.fromkeys(("JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "GIT_CONFIG_PARAMETERS"), "x")
    wired = environment("https://a:t@gate.test:1", files, agent="a", api_url="http://x", run_id="r", inherited=given)
    named = {re.sub(r"^(GIT_CONFIG_(?:KEY|VALUE))_\d+$", r"\1_n", name) for name in wired}
    ours = {"CLAIIM_URL", "CLAIIM_AGENT", "CLAIIM_RUN_ID"}
    assert named - ours == {variable.name for variable in VARIABLES}
    assert not {variable.name for variable in VARIABLES} & set(REMOVED)


@pytest.mark.parametrize("one", TOOLS, ids=lambda one: one.name)
def test_a_tool_is_driven(one: Tool) -> None:
    """Its drives exist; what wants a hand is also known to go wrong without; what cannot has no drive that works."""
    assert one.drives
    assert one.tried
    for name in one.drives:
        assert name in DRIVES or name in AROUND
    assert (one.works is Works.CANNOT) == (not set(one.drives) & set(DRIVES))
    assert bool(one.hand) == (one.works is not Works.UNATTENDED)
    known = {variable.name for variable in VARIABLES} | {"*_PROXY", "CLAIIM_AGENT", "CLAIIM_TOKEN"}
    assert set(one.reads) <= known


def test_every_drive_and_every_variable_is_a_tool_s() -> None:
    """Nothing is driven that the page does not say, and nothing is set that nobody is known to read."""
    driven = [name for one in TOOLS for name in one.drives]
    assert sorted(driven) == sorted([*DRIVES, *AROUND])
    read = {name for one in TOOLS for name in one.reads}
    common = {variable.name for variable in VARIABLES if variable.value in (Value.PROXY, Value.EXCEPTIONS)}
    assert {
        variable.name.replace("_KEY_n", "_COUNT").replace("_VALUE_n", "_COUNT") for variable in VARIABLES
    } - common <= read


def test_inherited_proxies_of_any_name_are_removed() -> None:
    """In any case of letters; what only looks like one stays."""
    names = [
        "Https_Proxy",
        "GLOBAL_AGENT_HTTP_PROXY",
        "grpc_proxy",
        "No_Proxy",
        "GOPROXY",
        "PROXY",
        "PATH",
        "SSL_CERT_DIR",
    ]
    assert overriding(names) == {"Https_Proxy", "GLOBAL_AGENT_HTTP_PROXY", "grpc_proxy", "No_Proxy", "SSL_CERT_DIR"}


@pytest.mark.needs("javac")
@pytest.mark.needs("javap")
def test_the_java_agent_is_its_source(tmp_path: Path) -> None:
    """What is in credentials.jar is what the source beside it compiles to, instruction by instruction."""
    import subprocess
    import zipfile

    java = tool("javaagent")
    classes = java.compiled(tmp_path)
    shipped = tmp_path / "shipped"
    with zipfile.ZipFile(java.JAR) as jar:
        assert set(jar.namelist()) == {"META-INF/MANIFEST.MF", *classes}
        assert jar.read("META-INF/MANIFEST.MF").decode() == java.MANIFEST
        jar.extractall(shipped)

    def code(folder: Path) -> str:
        command = ["javap", "-p", "-c", *(str(folder / name) for name in classes)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "javax" not in code(shipped)
    assert code(shipped) == code(tmp_path)
