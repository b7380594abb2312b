"""`claiim mappings import openapi` makes a pack that the gate loads as it stands."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

OPERATIONS: dict[str, Any] = {
    "/orders": {"get": {"operationId": "listOrders"}, "post": {"operationId": "createOrder"}},
    "/orders/{order}": {"delete": {"operationId": "deleteOrder"}},
}


def spec(tmp_path: Path, paths: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Write a description and return its path."""
    path = tmp_path / "orders.json"
    found = {"openapi": "3.1.0", "info": {"title": "Orders"}, "paths": OPERATIONS if paths is None else paths, **more}
    path.write_text(json.dumps(found))
    return str(path)


def openapi(*arguments: str, content: bytes | None = None) -> Result:
    """Run the command."""
    result = CliRunner().invoke(main, ["mappings", "import", "openapi", *arguments], input=content)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_the_pack_names_requests(tmp_path: Path) -> None:
    """Put beside the rules, it is in force: the operation comes out under the name of the description."""
    pack = tmp_path / "mappings" / "orders.yaml"
    pack.parent.mkdir()
    done = openapi(spec(tmp_path), "--host", "orders.acme.test", "--prefix", "/v2", "-o", str(pack))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith('pack "orders": 3 operations; each came back under its own name\n')
    config = tmp_path / "claiim.yaml"
    config.write_text("version: 1\npolicies: []\n")
    mapped = CliRunner().invoke(main, ["map", "DELETE", "https://orders.acme.test/v2/orders/7", "-c", str(config)])
    assert "operation    orders:deleteOrder" in mapped.stdout
    listed = CliRunner().invoke(main, ["mappings", "list", "orders", "--json", "-c", str(config)])
    assert [row["operation"] for row in json.loads(listed.stdout)] == [
        "orders:createOrder",
        "orders:deleteOrder",
        "orders:listOrders",
    ]


def test_the_pack_on_stdout_and_the_description_on_stdin(tmp_path: Path) -> None:
    """Data there, talk on stderr."""
    content = b"\xef\xbb\xbf" + Path(spec(tmp_path)).read_bytes()
    done = openapi("-", "--host", "api.shop.test", content=content)
    assert done.exit_code == 0
    assert "\npack: shop\n" in done.stdout
    assert "operations" not in done.stderr.replace("3 operations; each came back", "")


def test_a_pack_with_problems_is_made_and_told(tmp_path: Path) -> None:
    """Exit 1; what is right is there, what nothing tells apart is named."""
    paths = {**OPERATIONS, "/orders/{id}": {"delete": {"operationId": "removeOrder"}}}
    done = openapi(spec(tmp_path, paths), "--host", "orders.acme.test")
    assert done.exit_code == 1
    assert "listOrders" in done.stdout
    (problem,) = [line for line in done.stderr.splitlines() if line.startswith("problem: ")]
    assert "deleteOrder" in problem
    assert "removeOrder" in problem


NAMES = {
    "the first label": ("orders.acme.test", "orders"),
    "api says nothing": ("api.shop.test", "shop"),
    "a wildcard": ("*.shop.test", "shop"),
    "in capitals": ("Orders.acme.test", "orders"),
}


@pytest.mark.parametrize(("host", "name"), NAMES.values(), ids=NAMES)
def test_the_name_comes_from_the_host(tmp_path: Path, host: str, name: str) -> None:
    """Unless one is given."""
    assert f"\npack: {name}\n" in openapi(spec(tmp_path), "--host", host).stdout
    assert "\npack: mine\n" in openapi(spec(tmp_path), "--host", host, "--name", "mine").stdout


REFUSED = {
    "no host": (("SPEC",), 2, "Missing option '--host'"),
    "no such file": (("none.json", "--host", "a.test"), 2, "cannot read: no such file"),
    "a host that is none": (("SPEC", "--host", "*", "--name", "x"), 1, 'host "*" would match everything'),
    "a name that came with the gate": (("SPEC", "--host", "github.acme.test"), 2, 'pack "github" came with the gate'),
    "the pack that recognises nothing": (("SPEC", "--host", "a.test", "--name", "http"), 2, 'pack "http" came with'),
    "a name that is none": (("SPEC", "--host", "a.test", "--name", "A b"), 1, 'pack "A b" is no name'),
    "no description": (("TEXT", "--host", "a.test"), 1, "text.json: "),
    "no text": (("BYTES", "--host", "a.test"), 1, "not UTF-8 text; save it as UTF-8"),
    "a file that is there": (("SPEC", "--host", "a.test", "-o", "TEXT"), 2, "already there; give another file"),
    "no such folder": (("SPEC", "--host", "a.test", "-o", "FOLDER"), 2, "cannot write: "),
}


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One line on what to write; nothing on stdout, and no file is touched."""
    text, binary = tmp_path / "text.json", tmp_path / "bytes.json"
    text.write_text('{"swagger": "1.0"}')
    binary.write_bytes(b"\xff\xfe{")
    folder = tmp_path / "none" / "pack.yaml"
    files = {"SPEC": spec(tmp_path), "TEXT": str(text), "BYTES": str(binary), "FOLDER": str(folder)}
    done = openapi(*(files.get(argument, argument) for argument in arguments))
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert text.read_text() == '{"swagger": "1.0"}'
