"""The drill: copies of a log are attacked in every way that this package claims to notice, and what notices is told.

    for finding in drill(Path("state/chron.db"), folder, key=..., head=...): finding.caught, finding.by

The log itself is only read. Each attack has a name, what it does, and the catch that the documentation promises
(docs/evidence.md); another catch than that one is none. Some attacks show only against something that is kept outside
of the log, the public key or a checkpoint: without it they are told as not caught, which is what they are.
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chron.attacks import ATTACKS, Attack
from chron.copies import Copy, Stopped, copy_log
from chron.errors import ChronError
from chron.notes import VerifierKey
from chron.segments import known_folders
from chron.sources import Source
from chron.verification import Known, verify

LEAST_RECORDS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of an attack."""

    id: str
    what: str
    catch: str
    caught: bool
    by: str
    """What was said, or why nothing could be."""


def drill(
    path: Source,
    folder: Path,
    *,
    key: VerifierKey | None = None,
    head: str = "",
    chance: random.Random | None = None,
    attacks: Sequence[Attack] = ATTACKS,
) -> Iterator[Finding]:
    """Attack copies of a log in `folder`, one after the other, and yield what came of each; the log is only read.

    Raises ChronError when the log does not verify as it is, or is too young to be attacked.
    """
    whole = folder / "log.db"
    copy_log(path, whole)
    known = Known(key, head)
    segments = known_folders(path)
    found = verify(whole, known=known, segments=segments)
    if not found.ok:
        raise ChronError(f"the log does not verify as it is: {found.fault}; that is no drill")
    if found.records < LEAST_RECORDS or found.checkpoints < 2:
        raise ChronError("the log is too young for a drill: it needs some decisions and two checkpoints")
    for attack in attacks:
        yield attacked(attack, whole, folder, known, chance or random.Random(), segments)  # noqa: S311 -- no secret


def attacked(
    attack: Attack, whole: Path, folder: Path, known: Known, chance: random.Random, segments: Sequence[Path] = ()
) -> Finding:
    """Attack one copy."""
    path = folder / f"{attack.id}.db"
    shutil.copyfile(whole, path)
    try:
        wrong = attack.do(Copy(path, chance))
        found = verify(path, known=known, segments=segments)
    except Stopped as stopped:
        return _finding(attack, any(text in str(stopped) for text in attack.told), str(stopped))
    except ChronError as error:
        return _finding(attack, False, f"could not be tried: {error}")
    finally:
        for suffix in ("", "-wal", "-shm", ".lock"):
            with suppress(OSError):
                path.with_name(path.name + suffix).unlink()
    said = f"record {found.first_bad_seq}: {found.fault}" if found.first_bad_seq else found.fault
    if found.ok:
        remedy = {
            "key": "nobody gave the public key",
            "head": "no checkpoint is kept elsewhere",
            "": "it was not noticed",
        }
        return _finding(attack, False, remedy[attack.needs])
    right = any(text in found.fault for text in attack.told) and found.first_bad_seq in (wrong, None)
    return _finding(attack, right, said)


def _finding(attack: Attack, caught: bool, by: str) -> Finding:
    return Finding(attack.id, attack.what, attack.catch, caught, by)
