"""What a gate and the writer of a shared Chron say to each other over a unix socket.

A frame is four bytes of length, big-endian, and so many bytes of JSON, one object:

    gate      {"hello": 1, "session": "01k...", "pid": 4711, "lost": ["chr_01k..."]}
    writer    {"welcome": 1, "head": 1204}
    gate      {"n": 7, "drafts": [["chr_01k...", "decision", {...}]]}
    writer    {"n": 7, "receipts": [[1205, "chr_01k...", "9f86..."]]}     it is on disk
    writer    {"n": 7, "error": "disk full ..."}                          nothing of it is
    writer    {"fault": "", "warning": "", "beside": {"anchors": "..."}, "head": 1205}   once a second
    gate      {"bye": 1}

`lost` are decisions of which the gate never heard that they are safe. Beside `drafts` may stand `texts`, `patient`,
`checkpoint`, `emptied`, `people` (as in `chron.batch.Entry`) and `again`: it was sent before and may be on disk.

No times are handed in: the writer's clock is the only one of the log. What waited for a writer that was away would
otherwise look like a clock that was set back.
"""

import json
import struct
from typing import Any

from chron.batch import Entry
from chron.body import checked
from chron.errors import ChronError

PROTOCOL = 1
MAX_FRAME_BYTES = 16 << 20
MAX_DRAFTS = 4096
MOST_LOST = 10_000
"""Decisions whose answer was lost with a connection, told at the next."""
_LENGTH = struct.Struct(">I")
HEADER_BYTES = _LENGTH.size

type Frame = dict[str, Any]


def packed(frame: Frame) -> bytes:
    """A frame as bytes."""
    data = json.dumps(frame, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_FRAME_BYTES:
        raise ChronError(f"{len(data)} bytes are too many for the writer at once; hand in fewer records")
    return _LENGTH.pack(len(data)) + data


def length(header: bytes | bytearray) -> int:
    """How many bytes follow; raises ChronError when that is too much."""
    (size,) = _LENGTH.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise ChronError(f"a frame of {size} bytes is too large; the other side speaks something else")
    return int(size)


def unpacked(data: bytes | bytearray) -> Frame:
    """The object of a frame; raises ChronError when it is none."""
    try:
        frame = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChronError("a frame is not JSON; the other side speaks something else") from error
    if not isinstance(frame, dict):
        raise ChronError("a frame is not an object; the other side speaks something else")
    return frame


def of_entry(number: int, entry: Entry, *, again: bool = False) -> Frame:
    """What a gate hands in, as a frame."""
    frame: Frame = {"n": number, "drafts": [[id_, kind, fields] for id_, _, kind, fields in entry.drafts]}
    if entry.texts:
        frame["texts"] = [list(text) for text in entry.texts]
    if entry.emptied is not None:
        frame["emptied"] = list(entry.emptied)
    if entry.people is not None:
        frame["people"] = dict(entry.people)
    for name, told in (("patient", entry.patient), ("checkpoint", entry.checkpoint), ("again", again)):
        if told:
            frame[name] = True
    return frame


def to_entry(frame: Frame, at_ns: int) -> Entry:
    """What was handed in at a time, checked as the Chron checks it; raises ChronError."""
    try:
        drafts = [_draft(at_ns, *draft) for draft in frame["drafts"]]
        texts = [tuple(map(str, text)) for text in frame.get("texts", ())]
        emptied = tuple(map(int, frame["emptied"])) if "emptied" in frame else None
        people = {str(id_): str(name) for id_, name in frame["people"].items()} if "people" in frame else None
    except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
        raise ChronError(f"a frame does not say what it hands in: {error}") from error
    wrong = texts and ([draft[2] for draft in drafts] != ["text"] * len(texts) or any(len(text) != 5 for text in texts))
    if wrong or len(drafts) > MAX_DRAFTS or (emptied and len(emptied) != 2):
        raise ChronError("a frame hands in what no gate does")
    checkpoint = frame.get("checkpoint") is True
    if not (drafts or checkpoint or emptied or people is not None):
        raise ChronError("a frame hands in nothing")
    return Entry(
        drafts,
        texts=texts,  # type: ignore[arg-type]
        patient=frame.get("patient") is True,
        checkpoint=checkpoint,
        emptied=emptied,  # type: ignore[arg-type]
        people=people,
    )


def _draft(at_ns: int, id_: object, kind: object, fields: object) -> tuple[str, int, str, dict[str, Any]]:
    if not (isinstance(id_, str) and isinstance(kind, str) and isinstance(fields, dict)):
        raise ChronError("a draft is not id, kind and fields")
    return id_, at_ns, kind, checked(kind, fields)
