"""Each way to the target, as a process of its own: what is compared, started and stopped.

direct          no proxy at all
mitmdump        stock `mitmdump -q`, none of our code
squid           squid's `ssl_bump`, where it is installed (Debian: squid-openssl)
fast            `claiim serve` as it ships, with the fast engine: mapping, decision, durable Chron on
claiim, mitm    the same with `proxy.engine: mitmproxy`
fast, 2         the same with two workers, where the configuration has them
fast, no log    the same without the Chron (bench.unrecorded): benchmark only
"""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
import yaml

from bench.load import TOKEN
from policies import credential
from proxy.configfile import ProxySection

TOOLS = Path(__file__).parents[1]
_CLOCK_HZ = os.sysconf("SC_CLK_TCK")
_SPARE_DESCRIPTORS = 250
_RULES_A_FILE = 1000
_NOBODY = "nobody"
_SQUID_HELPERS = ("/usr/lib/squid/security_file_certgen", "/usr/lib64/squid/security_file_certgen")


@dataclass(frozen=True, slots=True)
class Proxy:
    """One way to the target."""

    name: str
    address: str
    ca: str
    process: subprocess.Popen[bytes] | None = None
    startup_s: float = 0.0

    def cpu_s(self) -> float:
        """Processor time so far, of the process and its children."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._tree()) / _CLOCK_HZ

    def rss_mb(self) -> float:
        """Resident memory, of the process and its children."""
        return sum(_rss_kb(pid) for pid in self._tree()) / 1024

    def _tree(self) -> set[int]:
        if self.process is None:
            return set()
        parents = {int(each.name): int(stat[1]) for each in Path("/proc").iterdir() if (stat := _stat(each.name))}
        tree = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
            tree |= more
        return tree


def _stat(pid: int | str) -> list[str]:
    """The fields of a process behind its name, which may hold blanks; [] when it is none or gone."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(") ")[2].split()
    except (ValueError, OSError):
        return []


def _rss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def descriptors() -> int:
    """How many files a process here may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of the benchmark."""
    return [sys.executable, "-m", f"bench.{name}", *arguments]


def environ() -> dict[str, str]:
    """In which the benchmark's modules and ours are found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLAIIM_")}
    return {**kept, "PYTHONPATH": os.pathsep.join((str(TOOLS), str(TOOLS.parent)))}


class Site:
    """The target, its certificates, and the proxies in front of it, below one folder."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        authority = trustme.CA()
        self._ca = folder / "target-ca.pem"
        authority.cert_pem.write_to_path(str(self._ca))
        certificate = folder / "target.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self.port = free_port()
        self.target = self._started(
            "target", self.port, module("target", str(certificate), str(self.port)), str(self._ca)
        )

    def direct(self) -> Proxy:
        """No proxy."""
        return Proxy("direct", "", str(self._ca))

    def all(self) -> list[Proxy]:
        """Everything that can be had here; what cannot is said."""
        found = [self.direct(), self.mitmdump()]
        if (squid := self.squid()) is not None:
            found.append(squid)
        found += [self.claiim("claiim, mitm", engine="mitmproxy"), self.claiim("fast")]
        if "workers" in ProxySection.model_fields:
            found.append(self.claiim("fast, 2", workers=2))
        else:
            print("  no row for two workers: this version has no `proxy.workers`")
        return [*found, self.claiim("fast, no log", recorded=False)]

    def _started(self, name: str, port: int, command: list[str], ca: str, **how: Any) -> Proxy:
        began = time.monotonic()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environ(), **quiet, **how)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return Proxy(name, f"127.0.0.1:{port}", ca, process, time.monotonic() - began)
            if process.poll() is not None:
                raise SystemExit(f"a server did not start: {command!r}")
            time.sleep(0.005)  # a process of somebody else's tells nobody that it listens

    def mitmdump(self) -> Proxy:
        """Stock."""
        port, home = free_port(), self._folder / "mitm"
        command = [
            *(str(Path(sys.executable).with_name("mitmdump")), "-q", "--listen-host", "127.0.0.1"),
            *("--listen-port", str(port), "--set", f"confdir={home}"),
            *("--set", f"ssl_verify_upstream_trusted_ca={self._ca}"),
        ]
        return self._started("mitmdump", port, command, str(home / "mitmproxy-ca-cert.pem"))

    def squid(self) -> Proxy | None:
        """It takes everything apart, asks nobody and keeps nothing; one process, as it comes."""
        place = shutil.which("squid", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
        helper = next(filter(os.path.exists, _SQUID_HELPERS), None)
        if place is None or helper is None:
            print("  no row for squid: it is not installed with ssl_bump (Debian: squid-openssl)")
            return None
        home, port = self._folder / "squid", free_port()
        home.mkdir()
        authority = trustme.CA()
        (home / "ca.pem").write_bytes(authority.cert_pem.bytes() + authority.private_key_pem.bytes())
        authority.cert_pem.write_to_path(str(home / "ca-cert.pem"))
        subprocess.run([helper, "-c", "-s", str(home / "certificates"), "-M", "4MB"], check=True, capture_output=True)
        settings = [
            f"http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on tls-cert={home / 'ca.pem'}",
            f"sslcrtd_program {helper} -s {home / 'certificates'} -M 4MB",
            f"tls_outgoing_options cafile={self._ca}",
            *("http_access allow all", "ssl_bump bump all", "cache deny all", "cache_mem 0 MB", "access_log none"),
            *(
                "cache_log /dev/null",
                f"max_filedescriptors {descriptors()}",
                "visible_hostname bench",
                "shutdown_lifetime 1 seconds",
            ),
            *(f"pid_filename {home / 'pid'}", f"coredump_dir {home}"),
        ]
        (home / "squid.conf").write_text("".join(f"{line}\n" for line in settings))
        how: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            how = {"user": _NOBODY, "group": "nogroup", "extra_groups": []}
            self._folder.chmod(0o755)
            for each in (home, *home.rglob("*")):
                shutil.chown(each, _NOBODY)
        # Of its own name, for it leaves shared memory of that name behind when it is killed.
        command = [place, "-N", "-n", f"bench{os.getpid()}", "-f", str(home / "squid.conf")]
        return self._started("squid", port, command, str(home / "ca-cert.pem"), **how)

    def claiim(
        self,
        name: str,
        *,
        engine: str = "fast",
        workers: int = 1,
        recorded: bool = True,
        rules: int = 1,
        agents: int = 1,
    ) -> Proxy:
        """A gate with so many rules and agents, of which one is asked for."""
        port, home = free_port(), self._folder / name.replace(" ", "-").replace(",", "")
        for each in (home / "policies", home / "mappings"):
            each.mkdir(parents=True)
        served = {"engine": engine, **({"workers": workers} if workers > 1 else {})}
        most = descriptors() // 2 - _SPARE_DESCRIPTORS
        many = {"connections": most, "requests": most}
        _write(home / "claiim.yaml", {
            "version": 1,
            "proxy": {"listen": f"127.0.0.1:{port}", "allowed_ports": [self.port], **served},
            "api": {"listen": f"127.0.0.1:{free_port()}"},
            "resolve": {"localhost": {"address": f"127.0.0.1:{self.port}", "ca": str(self._ca)}},
            "limits": {"connections": most, "unproven_connections": most, "each_agent": many},
        })  # fmt: skip
        _write(home / "agents.yaml", {
            "version": 1,
            "humans": [{"id": "alice@acme.test", "name": "Alice", "org": "acme", "state": "active"}],
            "agents": [_agent(number) for number in range(agents)],
        })  # fmt: skip
        _write(home / "policies" / "reader.yaml", {"skill": "reader", "allow": ["data:read"], "deny": ["infra:**"]})
        for first in range(0, rules, _RULES_A_FILE):
            some = range(first, min(rules, first + _RULES_A_FILE))
            _write(home / "mappings" / f"{first:06}.yaml", {"version": 1, "rules": [_rule(number) for number in some]})
        config = str(home / "claiim.yaml")
        command = [sys.executable, "-m", "claiim_gate", "serve", "-c", config]
        return self._started(
            name, port, command if recorded else module("unrecorded", config), str(home / "state" / "ca.pem")
        )


def _agent(number: int) -> Mapping[str, Any]:
    name, token = ("bench", TOKEN) if not number else (f"bench-{number}", f"{TOKEN}{number}")
    return {
        "id": name,
        "anchor": "alice@acme.test",
        "org": "acme",
        "state": "active",
        "skill": "reader",
        "tokens": [credential(name, token).token_sha256],
    }


def _rule(number: int) -> Mapping[str, Any]:
    return {
        "id": f"read-{number}",
        "match": {"host": "localhost", "method": ["GET", "POST"], "path": f"/things{number or ''}/{{id}}"},
        "action": "data:read",
        "target": "things/${id}",
    }


def _write(path: Path, value: object) -> None:
    path.write_text(yaml.dump(value, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The target is up, and whatever was started is stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield Site(folder, stack)
