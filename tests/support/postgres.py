"""A PostgreSQL server of one's own, on a socket in a temporary folder, with fsync on.

It is Debian's (`postgresql`), which `.ci/run` installs where it is missing. It does not run as root, so that a root
user's tests start it as `postgres` or `nobody`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from chron.postgres.connection import driver
from chron.postgres.structure import script

_USERS = ("postgres", "nobody")
_START_S = 60


class Database:
    """A database with the tables of the Chron, a role that writes, one that reads, and one that owns all."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def url(self, chain: str = "", role: str = "gate") -> str:
        """Where a chain is, for a role."""
        return f"postgresql://{role}@/{self.name}?host={self.folder}{f'&chain={chain}' if chain else ''}"

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run statements as the administrator, whom no guard stops who drops it first."""
        with driver().connect(self.url(role="admin"), autocommit=True) as connection:
            connection.execute("SET search_path = claiim")
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def make_roles(self) -> None:
        """Make the roles that log in, of which a server has each once."""
        for role, group in (("gate", "claiim_writer"), ("other", "claiim_writer"), ("auditor", "claiim_reader")):
            if not self.run("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                self.run(f"CREATE ROLE {role} LOGIN; GRANT {group} TO {role}")

    def harm(self, *statements: str) -> None:
        """Run statements with the guards down, and put them up again."""
        off, on = (f"ALTER TABLE {{}} {word} TRIGGER USER" for word in ("DISABLE", "ENABLE"))
        tables = ("records", "artefacts")
        for statement in (*map(off.format, tables), *statements, *map(on.format, tables)):
            self.run(statement)


class PostgresServer:
    """Runs between `start` and `stop`; may be killed in between and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="claiim-pg-", dir="/tmp"))  # a socket's path is short
        self._data = self.folder / "data"
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as = _other_user(self.folder)
        made = [_tool("initdb"), "-D", self._data, "-U", "admin", "--auth=trust", "-E", "UTF8", "--locale=C", "-N"]
        self._call(*made)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "60"}
        settings["autovacuum"] = "off"  # there is nothing to tidy up in a minute, and each database is looked at
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [*self._as, _tool("postgres"), "-D", str(self._data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        deadline_s = time.monotonic() + _START_S
        while self._call(_tool("pg_isready"), "-q", "-h", self.folder, check=False):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError((self.folder / "log").read_text())

    def kill(self) -> None:
        """End all of it at once, as a power cut does, but for what the disk has."""
        process = self._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # so that it does not tidy up after its children
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop it and remove everything."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once: what it would write is removed anyhow
            self._process.wait(_START_S)
        shutil.rmtree(self.folder)

    def database(self) -> Database:
        """A new database with the Chron's tables and three roles that may log in."""
        made = self.empty_database()
        made.run(script())
        made.make_roles()
        return made

    def empty_database(self) -> Database:
        """A new database with nothing in it."""
        made = Database(self.folder, f"d{next(self._numbers)}")
        with driver().connect(Database(self.folder, "postgres").url(role="admin"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made.name}")
        return made

    def _call(self, *command: object, check: bool = True) -> int:
        words = [*self._as, *map(str, command)]
        done = subprocess.run(words, cwd="/", capture_output=True, timeout=_START_S * 2, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{words}: {done.stderr.decode()}")
        return done.returncode


def tools() -> Path:
    """The folder of the programs that come with a server."""
    return Path(_tool("pg_dump")).parent


def _children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _other_user(folder: Path) -> list[str]:
    """What a command begins with that must not run as root."""
    if os.geteuid() != 0:
        return []
    user = next(entry for name in _USERS if (entry := _user(name)) is not None)
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def installed(name: str = "initdb") -> str | None:
    """Where one of the server's programs is."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def _tool(name: str) -> str:
    """Where a program is; without it the test ends here, and fails where nothing may be missing."""
    tool = installed(name)
    if tool is None:
        # A person without the server tests the rest; `.ci/run` installs it, so there it is missing for nobody.
        say = pytest.fail if os.environ.get("CLAIIM_CI") else pytest.skip
        say(f"{name} is not installed; this test runs a PostgreSQL server")
    return tool


@contextmanager
def served() -> Iterator[PostgresServer]:
    """A server, from start to stop."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of a worker."""
    with served() as server:
        yield server


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server for the tests of a module that kill it; each leaves it running."""
    with served() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    """A database of one's own."""
    return postgres.database()
