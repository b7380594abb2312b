"""The head of a push: which refs it wants changed, and the options it comes with.

It reads pkt-lines up to the flush behind the last of them and nothing of the pack, keeps no objects, and obeys nothing.
The grammar stands in `mappings.packs.git`.

    old new refs/heads/main NUL capabilities, flush       an update of refs/heads/main
    "push-cert", a body that ends before the flush,       PushError
    a ref that receive-pack would refuse
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

COMMAND = re.compile(rb"(?P<old>[0-9a-f]{40}|[0-9a-f]{64}) (?P<new>[0-9a-f]{40}|[0-9a-f]{64}) (?P<ref>[^\0]+)")
"""SHA-1 or SHA-256 object names."""

REF_PART = re.compile(r"(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+(?<!\.)(?<!\.lock)")
"""git-check-ref-format, rules 1, 4, 5, 7 and 10, for what stands between two slashes."""

MAX_PKT_BYTES = 65_520
"""gitprotocol-common, "pkt-line Format"."""

MAX_OPTION_CHARS = 1_000
"""Of one push option; the longest that clients write is the description of a merge request."""

CUT = "the list of refs does not end within what was read of the push; push fewer refs at once"


@dataclass(frozen=True, slots=True)
class Command:
    """One ref that a push wants changed."""

    old: str
    new: str
    ref: str

    @property
    def change(self) -> str:
        """ "create", "delete" or "update", as the all-zero object name says."""
        # Of two of them receive-pack obeys the new one, and deletes whatever the ref then points to.
        if not self.new.strip("0"):
            return "delete"
        return "update" if self.old.strip("0") else "create"


@dataclass(frozen=True, slots=True)
class Push:
    """What stands at the head of a push."""

    commands: tuple[Command, ...] = ()
    options: tuple[str, ...] = ()


class PushError(ValueError):
    """The head of a push cannot be read; the text says why."""


def read_push(body: bytes, *, complete: bool = True) -> Push:
    """Return ref changes and options at the head of a push, none for the probe; PushError when it cannot be read.

    Nothing behind them changes them, so a body that is not `complete` will do when it holds both.
    """
    # Before a chunked push git asks with an empty one whether it would be let in (remote-curl.c, probe_rpc).
    if complete and body == b"0000":
        return Push()
    commands: list[Command] = []
    capabilities: set[bytes] = set()
    lines = _PktLines(body)
    for line in lines:
        if line.startswith(b"shallow "):
            continue
        text, _, said = line.partition(b"\0")
        match = COMMAND.fullmatch(text.removesuffix(b"\n"))
        if match is None:
            signed = line.startswith(b"push-cert")
            raise PushError("a signed push is not read; push without --signed" if signed else "not a ref command")
        commands.append(Command(match["old"].decode(), match["new"].decode(), _ref(match["ref"])))
        # receive-pack obeys those of every command, not only of the first.
        capabilities.update(said.split())
    if not commands:
        raise PushError("no ref command")
    options = tuple(map(_option, lines)) if b"push-options" in capabilities else ()
    return Push(tuple(commands), options)


def _option(raw: bytes) -> str:
    text = raw.removesuffix(b"\n").decode("utf-8", "replace")
    if not text.isprintable() or len(text) > MAX_OPTION_CHARS:
        raise PushError("a push option that is not plain text on one line")
    return text


def _ref(raw: bytes) -> str:
    """Return a ref name; PushError when receive-pack would refuse it: not under refs/, or badly formed."""
    try:
        ref = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PushError("a ref name that is not UTF-8") from None
    first, *parts = ref.split("/")
    if first != "refs" or not parts or ".." in ref or "@{" in ref or not all(map(REF_PART.fullmatch, parts)):
        raise PushError("a ref name that git does not allow")
    return ref


class _PktLines:
    """Payloads up to the next flush packet, and when asked again up to the one after it."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield payloads; PushError when the body ends or breaks before the flush."""
        while True:
            head = self._body[self._at : self._at + 4]
            if len(head) < 4:
                raise PushError(CUT)
            if not re.fullmatch(rb"[0-9a-f]{4}", head):
                raise PushError("the push does not start with pkt-lines")
            length = int(head, 16)
            if length == 0:
                self._at += 4
                return
            # 0001 and 0002 are protocol v2 delimiters, 0003 is undefined; in a push, git itself never sends them.
            if not 4 < length <= MAX_PKT_BYTES:
                raise PushError("the push does not start with pkt-lines")
            if self._at + length > len(self._body):
                raise PushError(CUT)
            line = self._body[self._at + 4 : self._at + length]
            self._at += length
            yield line
