"""The commands of docs/evidence.md, run as they stand there."""

import os
import re
import subprocess
from pathlib import Path

import chron
from support.clients import client_of
from support.forked import launcher
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.serving import clean_environment
from support.targets import Origin

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
RECORD = "chr_01k9z3v5xq8w7e6r5t4y3u2i1p"
ASKED = re.findall(r"^\| [^|]+ \|[^|]*\| [^|]+ \| (`claiim .+`) \|$", PAGE.read_text(), re.MULTILINE)
"""The commands in the table of what auditors ask."""
SHOWN = f"claiim chron show {RECORD}"
"""Which text decided, word for word."""


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Key, head, proof, verifier without us, change of keys, anchors: on the log of a gate that ran, all exit 0."""
    config = {"checkpoints": {"every_records": 2, "anchors": [{"file": str(tmp_path / "notes")}]}}
    gate = LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, config=config)
    with gate, client_of(gate) as client:
        assert client.delete("https://origin.test/things/7").status_code == 403
        assert client.delete("https://origin.test/things/8").status_code == 403
    denied, _ = chron.find(gate.config.chron, kind="decision")
    environ = clean_environment(tmp_path)
    environ["PATH"] = f"{Path(launcher()).parent}{os.pathsep}{environ['PATH']}"
    assert len(BLOCKS) == 7

    def run(script: str, code: int = 0) -> str:
        script = script.replace(RECORD, denied.id).replace("FILE", "decision.tlog-proof")
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=gate.folder, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, (script, done.stdout, done.stderr)
        return done.stdout

    said = "".join(run(block) for block in BLOCKS)
    assert f"proved: record {denied.seq} of log claiim/chr_" in said
    assert f"good: record {denied.seq} of " in said
    assert "records verify, the first " in said
    assert said.count("\ncaught  ") + said.startswith("caught  ") == 16
    assert f"file {tmp_path / 'notes'}  covers " in said
    assert len(ASKED) == 18
    commands = dict.fromkeys(command for cell in ASKED for command in re.findall(r"`(claiim [^`]+)`", cell))
    # The key was changed since the head was kept, so there are records that it does not cover.
    answers = {command: run(command, 11 if "--head" in command else 0) for command in commands}
    assert re.search(r"^skill deploy-v2@1, .+\n(?: .+\n)* > +\d+ \| - infra:destroy$", answers[SHOWN], re.MULTILINE)
    assert chron.verify(gate.config.chron).ok
