"""What the disk may hold after the power went: the calls of a recorded run, and which of them counted.

A write is safe once its file was synced after it. At each cut everything safe is there; of what is not, the disk may
hold nothing, all, all but the end of the last write, or any part in any order (`DAMAGES`). Names are made and removed
the same way: a removal counts once the folder was synced, a new name with the first sync of its file, as ext4 and XFS
have it. The shared memory file is left out: SQLite makes it anew when nobody has the log open.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.torture.tracing import Call

CALLS = ("openat", "pwrite64", "ftruncate", "unlink", "link", "linkat", "fdatasync", "fsync", "write")
SECTOR_BYTES = 512
"""What a disk writes whole (SQLite assumes no more: https://www.sqlite.org/atomiccommit.html, 2.0)."""
DAMAGES = ("none", "all", "torn", "some", "others")


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a file that the disk may not hold yet; without bytes it cuts the file to `at`."""

    at: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Make the change."""
        if self.data is None:
            del content[self.at :]
        end = self.at + len(self.data or b"")
        content.extend(bytes(max(0, end - len(content))))
        if self.data is not None:
            content[self.at : end] = self.data

    def torn(self, chance: random.Random) -> "Write":
        """The same write with its end missing."""
        if self.data is None or len(self.data) <= SECTOR_BYTES:
            return self
        sectors = chance.randrange(1, -(-len(self.data) // SECTOR_BYTES))
        return Write(self.at, self.data[: sectors * SECTOR_BYTES])


@dataclass(slots=True)
class File:
    """What of a file is safe, and what is not."""

    safe: bytearray = field(default_factory=bytearray)
    unsynced: list[Write] = field(default_factory=list)
    written: int = 0
    """How far calls that name no place have written it."""

    def sync(self) -> None:
        """Make all of it safe."""
        for write in self.unsynced:
            write.apply(self.safe)
        self.unsynced.clear()

    def append(self, data: bytes) -> None:
        """Write behind what was written before."""
        self.unsynced.append(Write(self.written, data))
        self.written += len(data)

    def damaged(self, damage: str, chance: random.Random) -> bytes:
        """What the disk may hold of it."""
        content = bytearray(self.safe)
        for write in _chosen(self.unsynced, damage, chance):
            write.apply(content)
        return bytes(content)


def _chosen(unsynced: Sequence[Write], damage: str, chance: random.Random) -> list[Write]:
    if damage == "none" or not unsynced:
        return []
    if damage == "all":
        return list(unsynced)
    if damage == "torn":
        return [*unsynced[:-1], unsynced[-1].torn(chance)]
    # Each apart, and in any order: a disk with a cache of its own keeps none.
    return chance.sample(unsynced, chance.randint(0, len(unsynced)))


@dataclass(slots=True)
class Disk:
    """The files of one folder as a run has left them so far."""

    folder: Path
    told: str
    """The name of the file in which the target says what it got; it stands outside of the power cut."""
    files: dict[str, File] = field(default_factory=dict)
    safe_names: dict[str, File] = field(default_factory=dict)
    """As the disk has the folder for certain."""
    lines: list[str] = field(default_factory=list)

    def play(self, call: Call) -> bool:
        """Do what a call did; whether a cut right after it is another than one before it."""
        path, *rest = call.arguments
        if call.name == "openat":
            path = _text(rest[0])
        place = Path(_text(path))
        if place == self.folder:
            return self._sync_names(call.name)
        if place.parent != self.folder or place.name.endswith(("-shm", ".lock")):
            return False
        if place.name == self.told:
            if call.name == "write":
                self.lines.append(_text(rest[0]).strip())
            return call.name == "write"
        return self._play(call.name, place.name, rest)

    def _play(self, call: str, name: str, rest: list[str | bytes | int]) -> bool:
        match call, rest:
            case "openat", [_, flags, *_] if "O_CREAT" in str(flags) and name not in self.files:
                self.files[name] = File()
            case "pwrite64", [bytes(data), int(length), int(at)]:
                assert len(data) == length, "the recording cut the bytes"
                self.files[name].unsynced.append(Write(at, data))
            case "write", [bytes(data), *_]:
                self.files[name].append(data)
            case "ftruncate", [int(length)]:
                self.files[name].unsynced.append(Write(length, None))
            case "unlink", _:
                del self.files[name]
            case (("link" | "linkat"), [*_, bytes(other)] | [*_, bytes(other), int()]):
                self.files[Path(_text(other)).name] = self.files[name]
            case (("fdatasync" | "fsync"), _):
                self._sync(self.files[name])
            case _:
                return False
        return True

    def _sync(self, file: File) -> None:
        file.sync()
        self.safe_names |= {name: each for name, each in self.files.items() if each is file}

    def _sync_names(self, call: str) -> bool:
        if call not in ("fsync", "fdatasync"):
            return False
        self.safe_names = dict(self.files)
        return True

    def damaged(self, damage: str, chance: random.Random) -> dict[str, bytes]:
        """The files that may be found after a cut here."""
        found = {}
        for name in sorted({*self.files, *self.safe_names}):
            now = damage == "all" or (damage != "none" and chance.random() < 0.5)
            if file := (self.files if now else self.safe_names).get(name):
                found[name] = file.damaged(damage, chance)
        return found


def cuts(calls: Sequence[Call], folder: Path, told: str) -> Iterator[Disk]:
    """The disk after each call that changed it, and after each word of the target; always the same object."""
    disk = Disk(folder, told)
    for call in calls:
        if disk.play(call):
            yield disk


def _text(value: str | bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
