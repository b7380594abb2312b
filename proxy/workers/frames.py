"""What a worker and the coordinator say to each other over a unix socket.

A frame is two lengths of four bytes, big-endian, then so much JSON (one object), then so many bytes beside it:

    worker         {"hello": 1, "session": "01k..."}
    coordinator    {"state": 3}                          beside it: what is in force, pickled
    worker         {"obeyed": 3}                         it decides by that, and by nothing older
    worker         {"judge": 7, "inbound": {...}, "who": {...}, ...}     beside it: the body
    worker         {"gone": 7}, {"cancel": 7}            the agent has gone away; nobody waits any more
    coordinator    {"verdict": 7, "facts": true}         beside it: the verdict, pickled
    coordinator    {"failed": 7, "why": "..."}           nothing may be forwarded
    worker         {"counted": [...]}                    its metrics, once a second and when asked: {"count": 1}

Pickled is only what the coordinator sends: a worker reads what agents send, so nothing of what it says is unpickled
where the log is written and its key is held.
"""

import asyncio
import functools
import io
import json
import pickle
import struct
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chron import ChronError
from chron.frames import unpacked
from policies import Credential
from proxy.facts import Inbound

PROTOCOL = 1
MAX_HEAD_BYTES = 64 * 2**20
MAX_BESIDE_BYTES = 2**30
_SIZES = struct.Struct(">II")
SIZES_BYTES = _SIZES.size

type Head = dict[str, Any]


def packed(head: Head, beside: bytes = b"") -> bytes:
    """A frame as bytes; raises ChronError for one that is too large."""
    data = json.dumps(head, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_HEAD_BYTES or len(beside) > MAX_BESIDE_BYTES:
        raise ChronError(f"{len(data) + len(beside)} bytes are too many for one frame between a gate's processes")
    return _SIZES.pack(len(data), len(beside)) + data + beside


async def read(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """The next frame; raises ChronError or EOFError when there is none."""
    head_bytes, beside_bytes = _SIZES.unpack(await reader.readexactly(SIZES_BYTES))
    if head_bytes > MAX_HEAD_BYTES or beside_bytes > MAX_BESIDE_BYTES:
        raise ChronError("a frame is too large; the other side speaks something else")
    head = unpacked(await reader.readexactly(head_bytes))
    return head, await reader.readexactly(beside_bytes)


# --- what a worker says of a request ---


def of_request(inbound: Inbound, who: Credential) -> Head:
    """A request's head and who sent it, as JSON has them: bytes as Latin-1, one character each."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in inbound.fields]
    return {
        "inbound": {**asdict(inbound), "fields": fields, "glimpse": inbound.glimpse.decode("latin-1")},
        "who": {**asdict(who), "expires": who.expires.isoformat() if who.expires else None},
    }


def to_request(head: Head) -> tuple[Inbound, Credential]:
    """What `of_request` was made of; raises ValueError, TypeError or KeyError for anything else."""
    said, who = dict(head["inbound"]), dict(head["who"])
    said["fields"] = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in said["fields"])
    said["glimpse"] = said["glimpse"].encode("latin-1")
    said["tunnel"] = tuple(said["tunnel"]) if said["tunnel"] else None
    who["identities"] = tuple(who["identities"])
    who["expires"] = datetime.fromisoformat(who["expires"]) if who["expires"] else None
    return Inbound(**said), Credential(**who)


# --- what the coordinator says ---


class _Pickler(pickle.Pickler):
    """Pickles rules: the answers that a method of theirs keeps at hand are left behind, and made anew over there."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, functools._lru_cache_wrapper) or _found_by_name(value):
            return NotImplemented
        return _cached, (value.__wrapped__, value.cache_parameters()["maxsize"])


def _found_by_name(value: Any) -> bool:
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _cached(function: Any, size: int | None) -> Any:
    return functools.lru_cache(size)(function)


def pickled(value: object) -> bytes:
    """What the coordinator says, as bytes."""
    written = io.BytesIO()
    _Pickler(written, pickle.HIGHEST_PROTOCOL).dump(value)
    return written.getvalue()


def unpickled(data: bytes) -> Any:
    """What the coordinator said. Only ever of the coordinator's own connection."""
    return pickle.loads(data)  # noqa: S301 -- written by a process of this gate that is trusted with more than this one
