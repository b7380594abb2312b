"""Where the SDK takes its settings from, and which it refuses before sending anything."""

import ast
from pathlib import Path

import pytest

from claiim import AsyncGate, Gate, GateMisconfigured
from sdk.loopback_gate import LoopbackGate

QUESTION = {"action": "deploy:staging", "target": "api-v2"}


def test_everything_from_the_environment(served: LoopbackGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Gate()` alone works where the environment says who asks and where."""
    monkeypatch.setenv("CLAIIM_AGENT", "deploy-bot")
    monkeypatch.setenv("CLAIIM_TOKEN", "from-environment")
    monkeypatch.setenv("CLAIIM_URL", served.url)
    assert Gate().check(**QUESTION).allowed
    assert served.asked[0][1]["Authorization"] == "Bearer from-environment"


def test_a_token_file(served: LoopbackGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token may lie in a file; the line end is not part of it."""
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("CLAIIM_TOKEN_FILE", str(file))
    Gate(agent_id="deploy-bot", url=served.url).check(**QUESTION)
    assert served.asked[0][1]["Authorization"] == "Bearer from-file"


def test_arguments_come_before_the_environment(served: LoopbackGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code says wins over what the environment says."""
    monkeypatch.setenv("CLAIIM_AGENT", "other-bot")
    monkeypatch.setenv("CLAIIM_TOKEN", "other-token")
    monkeypatch.setenv("CLAIIM_URL", "http://127.0.0.1:1")
    Gate("deploy-bot", "argument", served.url).check(**QUESTION)
    [(_, headers, body)] = served.asked
    assert headers["Authorization"] == "Bearer argument"
    assert body["subject"] == {"type": "agent", "id": "deploy-bot"}


def test_the_default_address() -> None:
    """Without an address the gate is on this machine, port 8181; the token is not in the repr."""
    assert repr(Gate("deploy-bot", "secret")) == (
        "Gate(agent='deploy-bot', url='http://127.0.0.1:8181', timeout_s=5.0)"
    )
    assert "secret" not in repr(AsyncGate("deploy-bot", "secret"))


ADDRESSES = {
    "http://gate.internal": "http://gate.internal:80",
    "https://gate.internal": "https://gate.internal:443",
    "http://[::1]:8181": "http://[::1]:8181",
    "http://127.0.0.1:8181/": "http://127.0.0.1:8181",
    "https://ops.internal/claiim/": "https://ops.internal:443/claiim",
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_that_work(url: str) -> None:
    """Names, IPv6 and a path before the API are addresses; the port is the scheme's when none is given."""
    assert repr(ADDRESSES[url]) in repr(Gate("deploy-bot", "secret", url))


REFUSED = {
    "no agent": ({"agent_id": None}, "no agent id; pass agent_id= or set CLAIIM_AGENT"),
    "a line break in the agent": ({"agent_id": "a\nb"}, "characters no agent has"),
    "no token": ({"token": None}, "no token; pass token="),
    "an empty token": ({"token": ""}, "no token; pass token="),
    "a header in the token": ({"token": "x\r\nX-Evil: y"}, "characters no token has"),
    "another scheme": ({"url": "ftp://gate"}, "not http or https"),
    "no scheme": ({"url": "127.0.0.1:8181"}, "not http or https"),
    "no host": ({"url": "http://"}, "no usable host"),
    "a port that is none": ({"url": "http://gate:99999"}, "write http://host:port"),
    "port zero": ({"url": "http://gate:0"}, "no usable host or port"),
    "a password in it": ({"url": "http://me:secret@gate"}, "pass the token as token="),
    "a query": ({"url": "http://gate?x=1"}, "holds more than a path"),
    "a fragment": ({"url": "http://gate#x"}, "holds more than a path"),
    "a blank in the path": ({"url": "http://gate/a b"}, "holds more than a path"),
    "no time": ({"timeout_s": 0}, "give seconds between"),
    "time that is none": ({"timeout_s": float("nan")}, "give seconds between"),
    "a CA that is not there": ({"url": "https://gate", "ca": "/nonexistent.pem"}, "cannot read the CA file"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_bad_settings_are_refused_at_once(name: str, kind: type[Gate | AsyncGate]) -> None:
    """A setting that cannot work is refused when the gate is made, with the remedy, and no secret in it."""
    wrong, message = REFUSED[name]
    given = {"agent_id": "deploy-bot", "token": "secret", **wrong}
    with pytest.raises(GateMisconfigured, match=message) as caught:
        kind(**given)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert "Evil" not in str(caught.value)


def test_a_token_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing token file is named; it does not become an empty token."""
    monkeypatch.setenv("CLAIIM_TOKEN_FILE", str(tmp_path / "gone"))
    with pytest.raises(GateMisconfigured, match=r'cannot read the token file ".*gone"'):
        Gate("deploy-bot")


def test_the_library_is_python_3_10_and_imports_nothing_of_ours() -> None:
    """An agent's environment needs Python 3.10 and nothing else."""
    import claiim

    allowed = {"claiim", "_typeshed"}
    for file in sorted(Path(claiim.__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text(), feature_version=(3, 10))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in allowed or top in STANDARD, f"{file.name} imports {name}"


STANDARD = {
    "__future__", "asyncio", "collections", "contextlib", "dataclasses", "http", "io", "json", "os",
    "pathlib", "re", "socket", "ssl", "time", "typing", "urllib",
}  # fmt: skip
