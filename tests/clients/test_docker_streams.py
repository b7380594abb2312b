"""docker exec: decided at the upgrade, then whatever is said passes, to the end of what is said to it."""

import subprocess
from pathlib import Path

import pytest
import trustme

from support.gate import SKILLS, LiveGate, running
from support.needed import needed
from support.targets.hijacking import Hijacking
from support.ways import registry

pytestmark = [pytest.mark.needs("docker"), pytest.mark.engines]

MAPPINGS = {"version": 1, "bind": [{"host": "docker.test", "pack": "docker"}]}
LISTENERS = {
    "docker": {"mode": "reverse", "listen": "127.0.0.1:0", "target": "https://docker.test", "proves": "listener"}
}
"""The way there: for what it hijacks docker dials by itself, whatever proxy its environment names."""


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "denied"])
def test_a_command_runs_in_a_container(
    tmp_path: Path, target_ca: trustme.CA, target_ca_pem: Path, allowed: bool
) -> None:
    """What it is given on its input comes out of it, or the reason for which it did not run."""
    allow = ["health:check", "docker:**", "data:read", *(["code:execute"] if allowed else [])]
    with Hijacking(target_ca) as docker:
        gate = LiveGate(
            tmp_path / "gate",
            docker,
            target_ca=target_ca_pem,
            mappings=MAPPINGS,
            skills={**SKILLS, "deploy-v2": {"skill": "deploy-v2", "allow": allow}},
            agents=registry(deploy_bot="listener:docker"),
            config={"listeners": LISTENERS},
        )
        with running(gate):
            command = [needed("docker"), "-H", f"tcp://{gate.service.listener_addresses['docker']}"]
            ran = subprocess.run(
                [*command, "exec", "-i", "web", "cat"], input=b"hello\n", capture_output=True, timeout=60, check=False
            )
            decisions = gate.records(action="code:execute")
        if allowed:
            assert (ran.returncode, ran.stdout) == (0, b"hello\n"), ran.stderr
            assert [each["operation"] for each in decisions] == ["docker:ContainerExec", "docker:ExecStart"]
            outcome = gate.outcome_of(decisions[1])
            assert (outcome["result"], outcome["status"]) == ("sent", 101)
        else:
            (decision,) = decisions
            assert ran.returncode != 0
            assert decision["reason"] in ran.stderr.decode()
            assert decision["id"] in ran.stderr.decode()
            assert [seen.path for seen in docker.seen if "exec" in seen.path] == []
