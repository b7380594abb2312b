"""The section `limits`: what one client may cost the gate, in bytes, counts and seconds.

How often an action may happen is not said here but in `limits` of a skill or policy; this is about the wire.

limits:
  head_fields: 200            # of one request
  head_s: 30                  # until a request's head is there
  each_agent: {requests: 500} # under way at a time
  agents: {ci-bot: {requests: 50, requests_per_s: 20}}

What goes over a limit is refused with a code: `wire.*` where the request itself is too large, `limit.*` where there is
too much at a time or it comes too slowly.
"""

from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mappings.canonical import MAX_QUERY_PARAMETERS

UNLIMITED = 0


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AgentLimits(_Section):
    """What one agent may have at a time, over all its connections."""

    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    requests: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Under way: from their head to the end of their answer, streams and what waits for humans included."""
    requests_per_s: Annotated[int, Field(ge=0, le=1_000_000)] = UNLIMITED
    """On average; as many again may come at once. 0: as many as come."""
    held_bytes: Annotated[int, Field(ge=2**16, le=2**40)] = 64 * 2**20
    """Of bodies that are being read to be judged."""


class OneAgent(_Section):
    """What differs for one agent."""

    connections: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    requests_per_s: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    held_bytes: Annotated[int, Field(ge=2**16, le=2**40)] | None = None


class Limits(_Section):
    """What a client may cost; read once, never changed."""

    head_bytes: Annotated[int, Field(ge=1024, le=2**20)] = 64 * 1024
    """A request's line and fields. nginx and Node allow 8 to 32 KiB, cloud tokens make long ones."""
    head_fields: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Envoy and Apache allow 100 (max_headers_count, LimitRequestFields)."""
    field_bytes: Annotated[int, Field(ge=256, le=2**20)] = 32 * 1024
    """The name and value of one."""
    target_bytes: Annotated[int, Field(ge=256, le=2**20)] = 64 * 1024
    """Path and query."""
    parameters: Annotated[int, Field(ge=0, le=MAX_QUERY_PARAMETERS)] = MAX_QUERY_PARAMETERS
    """In the query."""
    message_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 16 * 2**20
    """A WebSocket message, unpacked, in either direction: it is kept until its end has come."""
    http2_streams: Annotated[int, Field(ge=1, le=10_000)] = 100
    """At a time on one connection. RFC 9113, 6.5.2: not smaller than 100 without need."""
    http2_frames_per_s: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """That bring no request further, as pings and resets do; ten times as many may come at once."""
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    unproven_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """From one address, of clients that have not proven who they are."""
    unproven_records_per_min: Annotated[int, Field(ge=1, le=1_000_000)] = 120
    """Refusals of one address or of one agent's excess that get a record each; further ones are counted."""
    handshake_s: Annotated[int, Field(ge=1, le=600)] = 15
    """For TLS and SOCKS with the gate."""
    head_s: Annotated[int, Field(ge=1, le=600)] = 30
    """From the first byte of a head to its last; of a client that has proven nothing, from its connection."""
    body_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    """For a body that is read to be judged."""
    idle_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    """How long nothing may move on a connection, unless it waits for a verdict or for a target."""
    each_agent: AgentLimits = AgentLimits()
    agents: dict[str, OneAgent] = {}

    def of(self, agent: str) -> AgentLimits:
        """What an agent may have: what is said for it, else for each."""
        return self._of.get(agent, self.each_agent)

    def divided(self, processes: int) -> "Limits":
        """What each of so many processes holds to, so that they write no more into one log than one would."""
        return self.model_copy(update={"unproven_records_per_min": -(-self.unproven_records_per_min // processes)})

    @cached_property
    def _of(self) -> dict[str, AgentLimits]:
        return {
            agent: self.each_agent.model_copy(update=own.model_dump(exclude_none=True))
            for agent, own in self.agents.items()
        }


DEFAULTS = Limits()
