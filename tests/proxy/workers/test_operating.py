"""What operators run against a gate with workers: one gate for all of this file."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

import proxy.cli.attack
from proxy.attack.owngate import RUNNING_HOSTS
from proxy.cli.main import main
from proxy.configloading import ENGINE
from proxy.wiring import environment, write_files
from support.gate import AGENTS, SKILLS, TOKEN
from support.serving import assert_sound
from support.targets import Origin
from support.workers import Workers, workers_site

pytestmark = pytest.mark.engines("fast")

URL = "https://origin.test/things"


def claiim(*arguments: str) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Where the attack's target listens, with TLS and without: nowhere else's, other tests may run beside."""
    secure, plain = free_ports(2)
    return secure, plain


@pytest.fixture(scope="module")
def gate(
    target_ca: trustme.CA, target_ca_pem: Path, tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]
) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("operated")
    prepared = folder / "attack"
    with pytest.MonkeyPatch.context() as patched, Origin(target_ca) as origin:
        patched.setenv(ENGINE, "fast")
        for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG"):
            patched.delenv(name, raising=False)
        patched.setattr(proxy.cli.attack, "PORTS", ports)
        assert claiim("attack", "--prepare", str(prepared)).exit_code == 0
        resolve = {
            **{name: {"address": origin.address, "ca": str(target_ca_pem)} for name in origin.names},
            **{
                host: {"address": f"127.0.0.1:{ports[0]}", "ca": str(prepared / "target-ca.pem")}
                for host in RUNNING_HOSTS
            },
            "plain.attack.test": {"address": f"127.0.0.1:{ports[1]}"},
        }
        site = workers_site(
            folder / "gate", origin, ca=target_ca_pem, skills=SKILLS,
            agents={**AGENTS, "agents": [{**AGENTS["agents"][0], "skill": "attack-v1"}, AGENTS["agents"][1]]},
            config={
                "resolve": resolve,
                "mappings": ["mappings", str(prepared / "mappings")],
                "policies": ["policies", str(prepared / "policies")],
            },
        )  # fmt: skip
        with Workers(site) as serving:
            patched.setenv("CLAIIM_API_LISTEN", serving.api_address)
            yield serving
        assert serving.wait_exit() == 0
        assert_sound(site)


def test_it_is_attacked(gate: Workers) -> None:
    """`claiim attack --gate`: its own agent and the log that the coordinator writes are used, and all is caught."""
    prepared, configuration = gate.folder.parent / "attack", gate.folder / "claiim.yaml"
    url = f"http://deploy-bot:{TOKEN}@{gate.proxy_address}"
    result = claiim("attack", "B35", "--prepare", str(prepared), "--gate", url, "-c", str(configuration))
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "29 of 29 caught" in result.stdout


def test_doctor_finds_its_canaries_in_the_log(gate: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever worker they came to."""
    url, ca = f"http://deploy-bot:{TOKEN}@{gate.proxy_address}", gate.folder / "state" / "ca.pem"
    folder = gate.folder / "wiring"
    folder.mkdir()
    files = write_files(folder, ca.read_bytes(), url)
    wired = environment(url, files, agent="deploy-bot", api_url=f"http://{gate.api_address}", run_id="test")
    for name, value in wired.items():
        monkeypatch.setenv(name, value)
    for name in ("CLAIIM_TOKEN", "CLAIIM_TOKEN_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    done = claiim("doctor", "--json", "--to", "127.0.0.1:1", "--dns", "127.0.0.1:1", "--timeout", "2")
    checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 0, done.output
    for name in ("canary", "trust"):
        assert checks[name]["said"] == "denied and in the Chron, as deploy-bot"
        (record,) = gate.records(id=checks[name]["chron_id"])
        assert (record["outcome"], record["host"].endswith(".canary.invalid")) == ("DENY", True)


COMMANDS = {
    "chron checkpoint --now": "claiim/chr_",
    "chron key rotate": "claiim/chr_",
    "chron seal": "chron-1-",
    "chron backup {backup}": "records verify",
    "chron archive --older-than 0h": "chron-1-",
    "chron segments": "archived",
    "chron verify": "1 segments verify",
    "policy simulate": "decided again: 0 flip",
}
"""What operators do with a log that a gate writes, and what each says."""


def test_the_log_is_kept_while_the_workers_write(gate: Workers, tmp_path: Path) -> None:
    """Signed, sealed, backed up, archived and verified between decisions of each worker; none of which fails."""
    with gate.one_client_each(URL, status=403) as clients:
        for command, told in COMMANDS.items():
            words = command.format(backup=tmp_path / "backup").split()
            result = claiim(*words, "-c", str(gate.folder / "claiim.yaml"))
            assert (result.exit_code, told in result.output) == (0, True), f"{command}: {result.output}"
            assert [client.get(URL).status_code for client in clients] == [403, 403]


def test_metrics_are_of_all_processes_in_a_form_that_is_read(gate: Workers) -> None:
    """What each worker has counted is told once, and buckets grow."""
    with gate.one_client_each(URL, status=403) as clients:
        before = counted(gate)
        for client in clients * 3:
            assert client.get(URL).status_code == 403
        after = counted(gate)
    told = {name: after[name] - before.get(name, 0) for name in after}
    assert told["claiim_decisions_total"] == told["claiim_decision_seconds_count"] == 6
    assert after["claiim_connections"] == 2
    buckets = [sample.value for sample in samples(gate) if sample.name == "claiim_decision_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == after["claiim_decision_seconds_count"]


def samples(gate: Workers) -> list[Sample]:
    """What Prometheus reads."""
    families = text_string_to_metric_families(gate.api("/metrics").text)
    return [sample for family in families for sample in family.samples]


def counted(gate: Workers) -> Counter[str]:
    """The sum of each metric over its labels."""
    found = Counter[str]()
    for sample in samples(gate):
        found[sample.name] += sample.value  # type: ignore[assignment]
    return found
