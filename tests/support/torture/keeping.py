"""One life of a log that is lived with: some requests, a segment, a new key, and old bodies moved out.

What was acknowledged stands in the file `told`, written without a buffer: it survives the child's death.
"""

import asyncio
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from chron import Chron
from chron.living import archive, seal
from chron.segments import default_folder
from support.torture.failpoints import plant
from support.torture.small_gate import PATH, TOLD, opened

ALL = datetime(2999, 1, 1, tzinfo=UTC)
REQUESTS = 8


def run(folder: str, places: list[tuple[str, str, int]]) -> None:
    """Live, with what is planted once the log is open."""
    logging.disable()
    path = Path(folder, PATH)
    with opened(path) as chron:
        for place in places:
            plant(*place)
        asyncio.run(_requests(chron, path.with_name(TOLD)))
        segments = default_folder(path)
        seal(chron, segments)
        chron.rotate_key()
        archive(chron, [segments], ALL)


async def _requests(chron: Chron, told: Path) -> None:
    fields = {"channel": "wire", "agent": "bot", "outcome": "DENY"}
    receipts = await chron.append_many([("decision", fields)] * REQUESTS)
    await chron.append_many([("outcome", {"ref": each.id, "result": "blocked"}) for each in receipts])
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, "".join(f"{each.id}\n" for each in receipts).encode())
    os.close(descriptor)
