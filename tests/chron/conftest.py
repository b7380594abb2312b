"""A Chron in a temporary folder, and ways to look at it and to harm it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chron import Chron
from chron.chain import chain_hash, leaf_hash
from support.daemon import Daemon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chron.db"


@pytest.fixture
def open_chron(path: Path) -> Iterator[Callable[..., Chron]]:
    """Opens the Chron; closes at the end what the test left open."""
    opened: list[Chron] = []

    def opens(**options: object) -> Chron:
        chron = Chron.open(path, **{"low_water_bytes": 0, **options})
        opened.append(chron)
        return chron

    yield opens
    for chron in opened:
        if not chron._writer.finished():
            chron.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A running writer of a shared Chron."""
    with Daemon(tmp_path) as running:
        yield running


@pytest.fixture
def rows(path: Path) -> Callable[..., list[tuple[object, ...]]]:
    """Reads the file with a connection of its own."""

    def reads(statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(statement, values).fetchall()

    return reads


@pytest.fixture
def harm(path: Path) -> Callable[..., None]:
    """What the file's owner can do: drops the guards, runs the statements, puts the guards back."""

    def harms(*statements: str, guards: bool = True) -> None:
        from chron.schema import GUARDS

        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for name in GUARDS:
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)
            for text in GUARDS.values() if guards else ():
                connection.execute(text)

    return harms


@pytest.fixture
def rehash(harm, rows) -> Callable[..., None]:
    """What the file's owner can do who has no key: changes bodies and hashes everything behind them anew."""

    def rehashes(change: Callable[[int, str], str]) -> None:
        statements: list[str] = []
        before = b""
        for seq, body, hash_ in rows("SELECT seq, body, hash FROM chron ORDER BY seq"):
            new = change(seq, body)
            if statements or new != body:
                leaf = leaf_hash(new.encode())
                hash_ = chain_hash(before, leaf)
                text = new.replace("'", "''")
                statements.append(
                    f"UPDATE chron SET body = '{text}', leaf = x'{leaf.hex()}', hash = x'{hash_.hex()}' "
                    f"WHERE seq = {seq}"
                )
            before = hash_
        harm(*statements)

    return rehashes


@pytest.fixture
def filled(open_chron: Callable[..., Chron], path: Path) -> Path:
    """A closed Chron: opening, a kept text, twenty decisions from seq 3 on, a close."""

    async def fill() -> None:
        chron = open_chron()
        chron.keep([("skill", "deploy-v2", 1, "d1", "skill: deploy-v2\nallow:\n- deploy:staging\n")])
        await chron.append_many([("decision", decision(n)) for n in range(20)])
        chron.close()

    import asyncio

    asyncio.run(fill())
    return path


def decision(number: int = 0, **fields: object) -> dict[str, object]:
    return {
        "channel": "api",
        "agent": "deploy-bot",
        "anchor": "alice@acme.test",
        "action": "deploy:staging",
        "target": f"api-{number}",
        "outcome": "DENY" if number % 4 == 0 else "ALLOW",
        "reason": "skill:deploy-v2 -- action not in allow list",
        **fields,
    }
