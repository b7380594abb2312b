"""A gate of several processes: `claiim serve` with `proxy.workers`, and clients that reach each of them."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

import chron
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving
from support.targets.base import Target
from support.until import until
from support.waiting import human_token

MOST_CLIENTS = 200
"""Connections are dealt out by a hash; that so many come to one of two workers does not happen."""


def workers_site(folder: Path, *targets: Target, ca: Path, workers: int = 2, **more: Any) -> Path:
    """A configured folder for a gate with workers; nothing runs yet."""
    config = dict(more.pop("config", {}))
    proxy = {"engine": "fast", "workers": workers, "drain_timeout_s": 20, **config.pop("proxy", {})}
    settings = {"mappings": ORIGIN_MAPPINGS, **more}
    return LiveGate(folder, *targets, target_ca=ca, config={"proxy": proxy, **config}, **settings).folder


class Workers(Serving):
    """A running gate with workers."""

    @property
    def children(self) -> set[int]:
        """The processes of the gate but the one that was started."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in listed.read_text().split()} if listed.exists() else set()

    @property
    def coordinator(self) -> int:
        """The process that writes the log."""
        return int((self.folder / "state" / "chron.db.lock").read_text())

    @property
    def workers(self) -> set[int]:
        """The processes that serve."""
        return self.children - {self.coordinator}

    def kill(self, pid: int) -> None:
        """End a process as a crash does, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self.children)

    def ask(self, who: str, path: str, body: Any = None, method: str = "POST") -> httpx.Response:
        """What a human asks of the control API."""
        return self.api(path, method=method, headers={"Authorization": f"Bearer {human_token(who)}"}, json=body)

    @property
    def operator(self) -> dict[str, str]:
        """What makes a request to the control API the operator's."""
        token = (self.folder / "state" / "operator.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def wait_whole(self) -> None:
        """Wait until every worker is there."""
        until(lambda: self._well())

    def _well(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = self.api("/readyz")
            return answer.status_code == 200 and "warnings" not in answer.json()
        return False

    @contextlib.contextmanager
    def one_client_each(
        self, url: str, workers: int = 2, status: int = 200, **who: str
    ) -> Iterator[list[httpx.Client]]:
        """A client with an open connection to each worker; a get of `url` is answered with that status."""
        with contextlib.ExitStack() as stack:
            found: dict[str, httpx.Client] = {}
            for _ in range(MOST_CLIENTS):
                client = stack.enter_context(self.client(**who))
                answer = client.get(url)
                assert answer.status_code == status, answer.text
                if (session := self.session_of(answer)) in found:
                    client.close()
                    continue
                found[session] = client
                if len(found) == workers:
                    yield list(found.values())
                    return
            raise AssertionError(f"{len(found)} of {workers} workers were reached")

    def place(self, listener: str) -> str:
        """Where a further listener is."""
        found = re.search(r" on (\S+)$", self.wait_line(f"listener {listener} "))
        assert found is not None
        return found[1]

    def session_of(self, answer: httpx.Response) -> str:
        """Which process recorded the decision of an answer."""
        shown = chron.show(self.log, answer.headers["x-chron-id"])
        assert shown is not None
        return shown.record.text("session")
