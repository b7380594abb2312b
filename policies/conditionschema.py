"""What may stand under ``when`` and ``unless`` of a rule, and how times and texts are written in policies.

when:
  time: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00", zone: Europe/Berlin}
  client: ["10.20.0.0/16"]
  target: ["github/acme/*"]
  environment: [staging]
  access: [read, list]
  header: {x-ticket: "OPS-*"}

policies/a.yaml:7:12: zone "Berlin" is not known; write a name of the IANA database such as "Europe/Berlin"
policies/a.yaml:8:9: "10.20.0.1/16" is not a network (... has host bits set); write e.g. "10.20.0.0/16"
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Sized
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

MAX_ALTERNATIVES = 256
"""Texts or networks in one condition."""

_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, 5.6.2, in lower case
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-amz-security-token"})


class Entry(BaseModel):
    """A mapping in a file: nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_OF_THE_MACHINE = frozenset({"localtime", "posixrules"})
"""Zones that are another one on each machine: the same question would have two answers."""


def _zone(text: str) -> str:
    try:
        if text in _OF_THE_MACHINE:
            raise ValueError(text)
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f'zone "{text}" is not known; write a name of the IANA database such as "Europe/Berlin"'
        ) from None
    return text


def _clock(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise ValueError(
            f'"{text}" is not a time of day; write for example "09:00" (or "24:00" for the end of the day)'
        )
    return text


def clock_minutes(text: str) -> int:
    """Return the minutes since midnight of "09:30"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a network ({error}); write e.g. "10.20.0.0/16"') from None
    if getattr(network.network_address, "ipv4_mapped", None) is not None:
        raise ValueError(f'"{text}" is met by nobody: clients are compared as IPv4; write e.g. "10.20.0.0/16"')
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f'"{text}" is not a header name in lower case; write for example "x-ticket"')
    if text in _SECRET_HEADERS:
        raise ValueError(f'header "{text}" holds a secret, and what rules read is recorded; name another')
    return text


def moment(text: str) -> datetime:
    """Return the aware time that "2026-12-31" (its beginning, UTC) or RFC 3339 text means; ValueError otherwise."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or (at.tzinfo is None and len(text) != len("2026-12-31")):
        raise ValueError(f'"{text}" is not a time; write "2026-12-31" or "2026-12-31T18:00:00Z", in quotes')
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('expected a time; write "2026-12-31" or "2026-12-31T18:00:00Z", in quotes')
    moment(value)
    return value


def one_or_many(value: Any) -> Any:
    """Return a list, or the one text that may stand for it, as the strict model wants what a function gave it."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _some[C: Sized](values: C) -> C:
    if not values:
        raise ValueError("an empty list is met by nothing; name some, or remove the key")
    if len(values) > MAX_ALTERNATIVES:
        raise ValueError(f"more than {MAX_ALTERNATIVES} alternatives; use a wildcard or several rules")
    return values


type Moment = Annotated[str, BeforeValidator(_moment)]
"""Kept as it is written; `moment` reads it."""
type HeaderName = Annotated[str, AfterValidator(_header)]
type OneOrMany[T] = T | list[T]
"""For the schemas of editors, which see what is written, not what becomes of it."""
type _Text = Annotated[str, Field(min_length=1, max_length=512)]
type Texts = Annotated[tuple[_Text, ...], BeforeValidator(one_or_many, json_schema_input_type=OneOrMany[_Text])]
"""Globs: one, or a list of them."""
type SomeTexts = Annotated[Texts, AfterValidator(_some)]
type Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...],
    BeforeValidator(one_or_many, json_schema_input_type=OneOrMany[str]),
    AfterValidator(_some),
]
type _AccessLevel = Literal["read", "list", "write", "permissions", "tagging"]
type Access = Annotated[
    tuple[_AccessLevel, ...],
    BeforeValidator(one_or_many, json_schema_input_type=OneOrMany[_AccessLevel]),
    AfterValidator(_some),
]
type Headers = Annotated[dict[HeaderName, SomeTexts], AfterValidator(_some)]
type Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
type Clock = Annotated[str, AfterValidator(_clock)]


class TimeWindow(Entry):
    """Days of the week and a span of each, on the clocks of one zone; a span over midnight belongs to its first day."""

    days: Annotated[tuple[Day, ...], AfterValidator(_some)] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    from_: Annotated[Clock, Field(alias="from")] = "00:00"
    to: Clock = "24:00"
    zone: Annotated[str, AfterValidator(_zone)]

    @model_validator(mode="after")
    def _has_a_span(self) -> Self:
        if self.from_ == self.to or self.from_ == "24:00":
            raise ValueError(
                'a window from its end to itself can be read two ways; leave out "from" and "to" for the whole day'
            )
        return self


class Conditions(Entry):
    """What must hold of a question; everything that is given must."""

    time: TimeWindow | None = None
    client: Networks | None = None
    target: SomeTexts | None = None
    environment: SomeTexts | None = None
    method: SomeTexts | None = None
    scheme: Literal["http", "https"] | None = None
    host: SomeTexts | None = None
    access: Access | None = None
    executes: bool | None = None
    mints: bool | None = None
    header: Headers | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("no condition is written here; write one, or remove the key")
        return self


__all__ = ["Conditions", "Entry", "HeaderName", "Moment", "SomeTexts", "Texts", "TimeWindow", "clock_minutes", "moment"]
