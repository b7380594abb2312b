"""96 MiB, or one GiB, through a gate that is a process of its own, whose memory stays where it was."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clients.memory import GROWTH_BYTES, Memory
from clients.tools import Gated, Ran, Served
from support.needed import needed
from support.targets import Origin
from support.targets.origin import CHUNK
from support.torture.numbers import how_many, tell

BODY_MB = how_many(96, 1024)
BODY_BYTES = BODY_MB * 2**20

type Curl = Callable[..., Ran]


@pytest.fixture(scope="module")
def body_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is sent and received, on disk."""
    path = tmp_path_factory.mktemp("body") / "body"
    with path.open("wb") as file:
        file.writelines(CHUNK for _ in range(BODY_BYTES // len(CHUNK)))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def body_sha256(body_file: Path) -> str:
    return _sha256(body_file)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def gate(served: Callable[..., Served], origin: Origin) -> Served:
    """A gate that has answered once, so that what it loads at first use is loaded."""
    gate = served(origin, anew=True)
    warmed = gate.run(needed("curl"), "-sS", "-f", f"{origin.url}/echo")
    assert warmed.code == 0, warmed.said
    origin.clear()
    return gate


@pytest.fixture(params=["http1.1", "http2"])
def curl(request: pytest.FixtureRequest, gate: Served) -> Curl:
    """Run curl in one version of HTTP; it prints the status and the version spoken, and fails on any other."""
    spoken = request.param.removeprefix("http")

    def run(*arguments: str) -> Ran:
        ran = gate.run(
            needed("curl"), "-sS", f"--{request.param}", "-w", "\n%{http_code} %{http_version}\n", *arguments
        )
        assert ran.code == 0, ran.said
        assert ran.out.splitlines()[-1] == f"200 {spoken}"
        return ran

    return run


def settled(gated: Gated, action: str) -> dict[str, object]:
    """The outcome of the one large exchange, once its gate has stopped."""
    assert isinstance(gated, Served)
    gated.stop()
    (decision,) = gated.decisions(action=action)[-1:]
    assert (decision["outcome"], decision["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
    return gated.outcome_of(decision)


def test_a_download_is_not_kept(gate: Served, curl: Curl, origin: Origin, tmp_path: Path, body_sha256: str) -> None:
    """Every byte arrives and passes through the gate without staying there."""
    memory = Memory(gate.pid)
    curl("-o", str(tmp_path / "received"), f"{origin.url}/download?mb={BODY_MB}")
    growth_bytes = memory.growth_bytes
    assert _sha256(tmp_path / "received") == body_sha256
    (tmp_path / "received").unlink()
    assert growth_bytes < GROWTH_BYTES
    tell(f"download: {BODY_MB} MiB, {growth_bytes / 2**20:.0f} MiB more memory")
    outcome = settled(gate, "data:read")
    assert (outcome["result"], outcome["response_bytes"]) == ("sent", BODY_BYTES)


FRAMINGS = {"with its length": (), "of unknown length": ("-H", "Transfer-Encoding: chunked")}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_upload_is_not_kept(
    gate: Served, curl: Curl, origin: Origin, body_file: Path, body_sha256: str, framing: str
) -> None:
    """A body that no rule reads goes through as it comes, whether or not its head says how long it is."""
    memory = Memory(gate.pid)
    ran = curl("-X", "POST", "-T", str(body_file), *FRAMINGS[framing], f"{origin.url}/upload")
    growth_bytes = memory.growth_bytes
    assert json.loads(ran.out.splitlines()[0]) == {"bytes": BODY_BYTES, "sha256": body_sha256}
    assert growth_bytes < GROWTH_BYTES
    (seen,) = origin.seen
    assert (seen.header("content-length") is None) is (framing == "of unknown length")
    tell(f"upload {framing}: {BODY_MB} MiB, {growth_bytes / 2**20:.0f} MiB more memory")
    outcome = settled(gate, "data:write")
    assert (outcome["result"], outcome["request_bytes"]) == ("sent", BODY_BYTES)
