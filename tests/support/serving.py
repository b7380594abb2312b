"""`claiim serve` as operators run it: a process of its own, watched by what it prints and records."""

import contextlib
import os
import re
import resource
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

import chron
from chron.sources import Source
from proxy.configloading import ENGINE
from support.forked import launcher, start
from support.gate import TOKEN

DEADLINE_S = 60
_LISTENING = re.compile(r"proxy on (\S+), control API on (\S+)")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without proxies and without settings of another gate, but for the engine that a run is about."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", ENGINE) if name in os.environ}
    return {**kept, "HOME": str(home), **more}


def claiim(*arguments: str, cwd: Path, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in a process of its own (`support.forked`)."""
    return subprocess.run(
        [launcher(), *arguments],
        cwd=cwd,
        env=clean_environment(cwd, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


class Serving:
    """A running `claiim serve` between enter and exit; on exit it is stopped by TERM unless it is gone.

    It is forked from a process that has imported it (`support.forked`), unless it is `anew` or behind a prefix.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        anew: bool = False,
    ) -> None:
        self.folder = folder
        self.printed: list[str] = []
        self._news = threading.Condition()
        self._prefix, self._anew = prefix, anew
        self._environ = clean_environment(folder, **(environ or {}))

    def __enter__(self) -> Self:
        self.process = start("serve", folder=self.folder, environ=self._environ, prefix=self._prefix, anew=self._anew)
        self._reader = threading.Thread(target=self._read, name="serving")
        self._reader.start()
        try:
            found = _LISTENING.search(self.wait_line("proxy on "))
            assert found is not None
            self.proxy_address, self.api_address = found.groups()
            self.wait_line("agents trust ")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            finally:
                self._reader.join()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._news:
                    self.printed.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.printed.append("")
            self._news.notify_all()

    def wait_line(self, text: str, times: int = 1) -> str:
        """Block until a line with `text` has been printed that many times; the last of them."""

        def enough() -> bool:
            return sum(text in line for line in self.printed) >= times or self.printed[-1:] == [""]

        with self._news:
            assert self._news.wait_for(enough, DEADLINE_S), f'no "{text}" in {self.printed}'
            found = [line for line in self.printed if text in line]
            assert len(found) >= times, f'no "{text}" in {self.printed}'
            return found[times - 1]

    def wait_exit(self) -> int:
        """Block until the process has ended; its exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def limit_files(self, most_bytes: int | None) -> None:
        """Let the process write no file beyond this size, as a full disk would; None lifts it again."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = resource.RLIM_INFINITY if most_bytes is None else most_bytes
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    @property
    def log(self) -> Source:
        """Where its Chron is."""
        return self.folder / "state" / "chron.db"

    # --- talking to it -------------------------------------------------------------------------------

    def client(
        self, *, agent: str = "deploy-bot", token: str = TOKEN, trusted: ssl.SSLContext | None = None
    ) -> httpx.Client:
        """An unmodified client that is sent through the gate, and trusts its CA where nothing else is given."""
        trusted = trusted or ssl.create_default_context(cafile=str(self.folder / "state" / "ca.pem"))
        proxy = f"http://{agent}:{token}@{self.proxy_address}"
        return httpx.Client(proxy=proxy, verify=trusted, trust_env=False, timeout=DEADLINE_S)

    def api(self, path: str, *, method: str = "GET", **more: Any) -> httpx.Response:
        """Ask the control API."""
        with httpx.Client(trust_env=False, timeout=DEADLINE_S) as client:
            return client.request(method, f"http://{self.api_address}{path}", **more)

    def wait_ready(self, check: str, failing: bool) -> None:
        """Poll /readyz until the named check fails, or no longer fails; there is no event to wait for."""
        end_s = time.monotonic() + DEADLINE_S
        while (check in self.api("/readyz").json()["faults"]) is not failing:
            assert time.monotonic() < end_s, f"{check} is not {'failing' if failing else 'well'} in time"
            threading.Event().wait(0.05)

    def records(self, kind: str = "decision", **wanted: Any) -> list[dict[str, Any]]:
        """The records of one kind whose fields are as wanted, oldest first."""
        found = [dict(record.fields) for record in chron.find(self.log, kind=kind)]
        return [fields for fields in found if all(fields.get(name) == value for name, value in wanted.items())]


def assert_sound(folder: Path) -> None:
    """The Chron verifies and every wire decision in it has its outcome."""
    path = folder / "state" / "chron.db"
    assert chron.verify(path).ok
    decisions = [record.id for record in chron.find(path, kind="decision") if record.text("channel") == "wire"]
    assert sorted(decisions) == sorted(record.text("ref") for record in chron.find(path, kind="outcome"))


@contextlib.contextmanager
def in_thread(work: Any) -> Any:
    """Run `work` beside the test; what it returned or raised is in the yielded list when it has ended."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(work())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run, name="beside")
    thread.start()
    try:
        yield ended
    finally:
        thread.join(DEADLINE_S)
