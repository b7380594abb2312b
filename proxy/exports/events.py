"""What every export knows of a record besides its own fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

type FieldValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Event:
    """A record on its way out."""

    seq: int
    id: str
    fields: Mapping[str, FieldValue]
    """Without fields when the body was erased."""
    leaf: str
    hash: str
    """Hexadecimal, both."""
    origin: str
    """Whose log it is."""

    def text(self, name: str) -> str:
        """A field as text, "" when there is none."""
        value = self.fields.get(name, "")
        return str(value).lower() if isinstance(value, bool) else str(value)

    def number(self, name: str) -> int | None:
        """A field that is a number; None when it is none."""
        value = self.fields.get(name)
        return value if type(value) is int else None

    @property
    def kind(self) -> str:
        """What sort of record it is."""
        return self.text("kind") or "erased"

    @property
    def milliseconds(self) -> int:
        """When it was written, in milliseconds since the epoch; 0 when nothing is left that says so."""
        written = self.text("ts")
        return int(datetime.fromisoformat(written).timestamp() * 1000) if written else 0


def without_empty(values: Mapping[str, object]) -> dict[str, object]:
    """The values that say something: not None, and no empty text, list or object."""
    return {name: value for name, value in values.items() if value is not None and value not in ("", [], {})}
