"""The commands of docs/postgresql.md, run as they stand there on a server of the test's."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from chron import find, verify
from support.clients import client_of
from support.forked import launcher
from support.gate import LiveGate
from support.postgres import PostgresServer, postgres, tools
from support.rules import ORIGIN_MAPPINGS
from support.serving import clean_environment
from support.targets import Origin

__all__ = ["postgres"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "postgresql.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(CONFIGURATION,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_page_does_what_it_says(
    postgres: PostgresServer, tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """Tables and roles are made, a gate records as configured there, people look, a dump verifies, a log moves."""
    make, roles, look, dump, restore, move = BLOCKS
    folder = tmp_path / "site"
    environ = clean_environment(tmp_path, PGHOST=str(postgres.folder))
    environ["PATH"] = os.pathsep.join([str(Path(launcher()).parent), str(tools()), environ["PATH"]])

    def here(text: str) -> str:
        # The server has no address, and its administrator another name.
        text = re.sub(r"-h db\.internal -U postgres", "-U admin", text)
        return text.replace("postgres@db.internal", "admin@").replace("@db.internal", "@")

    def run(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", here(script)]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    url = yaml.safe_load(here(CONFIGURATION))["chron"].replace("@/claiim?", f"@/claiim?host={postgres.folder}&")
    options = {"target_ca": target_ca_pem, "mappings": ORIGIN_MAPPINGS}
    gate = LiveGate(folder, origin, **options, config={"chron": url})
    run(make + roles)
    with gate, client_of(gate) as client:
        assert client.delete("https://origin.test/things/7").status_code == 403
        denied = client.delete("https://origin.test/things/8").headers["x-chron-id"]
        gate.settle()
        said = run(look)
        assert said.count(denied) == 2  # in the tail of the chain, and among the denials of all
        assert said.count("ok: ") == 2
    run(dump)
    assert "gate-1: " in run(restore)
    own = LiveGate(folder, origin, **options)
    with own, client_of(own) as client:
        assert client.delete("https://origin.test/things/9").status_code == 403
    assert "records verify, head " in run(move)
    assert verify(folder / "copy.db").head_hash == verify(own.config.chron).head_hash
    assert [record.text("outcome") for record in find(folder / "copy.db", kind="decision")] == ["DENY"]
