"""The section `checkpoints` of claiim.yaml: with which key the Chron is signed, how often, where its heads are kept.

checkpoints:
  key: /etc/claiim/chron-key.pem
  anchors:
  - {file: /mnt/worm/claiim.notes}
  - {syslog: "udp://logs.acme.test:514"}
  - {http: "https://s3.acme.test/claiim", credentials_file: s3.credentials, lock_days: 400}
  require: 2

claiim.yaml:4:5: give exactly one of "file", "syslog" and "http"
claiim.yaml:6:3: "require" is 3, and there are 2 anchors
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

type AnchorKind = Literal["file", "syslog", "http"]

KINDS: tuple[AnchorKind, ...] = ("file", "syslog", "http")

_HTTP = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")  # RFC 3986, 3; no query: names are put behind the path
_SYSLOG = re.compile(r"udp://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})|unix:(/\S+)")


def _is_http(text: str) -> str:
    if not _HTTP.fullmatch(text):
        raise ValueError(f'"{text}" is not a web address; write for example "https://objects.acme.test/claiim"')
    return text


def _is_syslog(text: str) -> str:
    found = _SYSLOG.fullmatch(text)
    if not found or not 0 < int(found[2] or 514) <= 65535:
        raise ValueError(f'"{text}" is not a syslog; write "udp://logs.acme.test:514" or "unix:/dev/log"')
    return text


def _is_one(entry: "AnchorEntry") -> "AnchorEntry":
    given = [kind for kind in KINDS if getattr(entry, kind) is not None]
    if len(given) != 1:
        raise ValueError('give exactly one of "file", "syslog" and "http"')
    if given != ["http"] and (entry.headers_file or entry.credentials_file or entry.lock_days):
        raise ValueError('"headers_file", "credentials_file" and "lock_days" belong to "http"')
    return entry


def has_enough(section: "CheckpointsSection") -> "CheckpointsSection":
    """Refuse to require more anchors than there are."""
    if (section.require or 0) > len(section.anchors):
        raise ValueError(f'"require" is {section.require}, and there are {len(section.anchors)} anchors')
    return section


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AnchorEntry(_Section):
    """One place outside the log where heads are kept."""

    file: str | None = None
    syslog: Annotated[str, AfterValidator(_is_syslog)] | None = None
    http: Annotated[str, AfterValidator(_is_http)] | None = None
    headers_file: str | None = None
    credentials_file: str | None = None
    lock_days: Annotated[int, Field(ge=0, le=36_500)] = 0


class CheckpointsSection(_Section):
    """As it stands in the file."""

    key: str | None = None
    ml_dsa_key: str | None = None
    every_records: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    every_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    anchors: list[Annotated[AnchorEntry, AfterValidator(_is_one)]] = []
    require: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True, slots=True)
class AnchorConfig:
    """One place outside the log where heads are kept."""

    kind: AnchorKind
    place: str
    headers: Path | None = None
    """HTTP headers to send, one a line."""
    credentials: Path | None = None
    """What to sign requests with, where the store is S3 or speaks like it."""
    lock_days: int = 0
    """How long an S3-compatible store is to refuse to change or delete what it was given; 0 for its own rule."""


@dataclass(frozen=True, slots=True)
class CheckpointsConfig:
    """How the log is signed."""

    key: Path
    ml_dsa_key: Path | None = None
    every_records: int = 1000
    every_s: int = 60
    anchors: tuple[AnchorConfig, ...] = ()
    require: int = 0
    """How many anchors must hold a checkpoint before it counts as anchored, and be readable at the start."""


def compile_checkpoints(section: CheckpointsSection, folder: Path, state: Path) -> CheckpointsConfig:
    """The settings that the section means for files in `folder`."""
    return CheckpointsConfig(
        key=folder / section.key if section.key else state / "chron-key.pem",
        ml_dsa_key=folder / section.ml_dsa_key if section.ml_dsa_key else None,
        every_records=section.every_records,
        every_s=section.every_s,
        anchors=tuple(_anchor(entry, folder) for entry in section.anchors),
        require=min(1, len(section.anchors)) if section.require is None else section.require,
    )


def _anchor(entry: AnchorEntry, folder: Path) -> AnchorConfig:
    headers, credentials = (folder / name if name else None for name in (entry.headers_file, entry.credentials_file))
    if entry.file is not None:
        return AnchorConfig("file", str(folder / entry.file))
    if entry.syslog is not None:
        return AnchorConfig("syslog", entry.syslog)
    return AnchorConfig("http", str(entry.http).rstrip("/"), headers, credentials, entry.lock_days)
