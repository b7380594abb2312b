"""The section `retention`: when a segment is sealed, how long bodies stay in the log, and how long at all.

retention:
  folder: state/segments      # where sealed segments go
  seal_days: 30               # a segment at least so often, when there is anything new
  seal_bytes: 1073741824      # and when so much was written since the last one
  archive_days: 90            # then a segment alone has the bodies; 0: the log keeps them
  archive_folder: /mnt/log    # and is moved there, to another disk
  least_days: 365             # nothing younger is ever pruned
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RetentionSection(BaseModel):
    """As it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    folder: str | None = None
    seal_days: Annotated[int, Field(ge=1, le=3650)] = 30
    seal_bytes: Annotated[int, Field(ge=1 << 20)] = 1 << 30
    archive_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    archive_folder: str | None = None
    # PCI DSS 4.0.1, 10.5.1: audit logs are kept for at least 12 months, three of them at hand.
    least_days: Annotated[int, Field(ge=1, le=36_500)] = 365


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How the log is kept."""

    folder: Path
    seal_every: timedelta = timedelta(days=30)
    seal_bytes: int = 1 << 30
    archive_after: timedelta | None = None
    """None: the log keeps all bodies."""
    archive_folder: Path | None = None
    """Where segments are moved that are archived; None: they stay."""
    least: timedelta = timedelta(days=365)


def compile_retention(section: RetentionSection, folder: Path, state: Path) -> RetentionConfig:
    """The settings that the section means for files in `folder`."""
    return RetentionConfig(
        folder=folder / section.folder if section.folder else state / "segments",
        seal_every=timedelta(days=section.seal_days),
        seal_bytes=section.seal_bytes,
        archive_after=timedelta(days=section.archive_days) if section.archive_days else None,
        archive_folder=folder / section.archive_folder if section.archive_folder else None,
        least=timedelta(days=section.least_days),
    )
