"""What a pack says about a request: which calls of its API the request makes.

A code pack is an object with the attributes of `Pack`; `mappings.packs.shipped_packs` lists them. A pack reads
one API's wire form and nothing else: it names calls (``kubernetes:delete:apps/deployments``) and decides
neither action nor environment nor whether anything is allowed. It is pure, keeps no state between requests
and raises nothing; should it raise all the same, the request is refused.

Three answers, never mixed up:

    Recognition((Call(...),))            these calls; all of them are judged
    NOT_RECOGNISED                       no request of this API that the pack knows
    unreadable("..."), conflict("...")   cannot be told: unreadable body, two readings

Captures are facts for rules, templates and environment classifiers. A classifier reads only the captures
named in `Call.trusted` (none unless the pack says so). A pack names there what decides *where* the call takes
effect: parts of the path and the host, an account from a signature; never headers, labels, free text or body
fields that the agent may vary while the effect stays in the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

ACCESS = ("read", "list", "write", "permissions", "tagging")
"""What an operation does to what it reaches, in the five words of the AWS service authorization reference."""

_NO_LISTS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API."""

    name: str
    """The canonical operation, in the grammar of `mappings.actions` and the API's own case:
    ``aws:ec2:TerminateInstances``. Compared case-folded; a name outside the grammar is refused."""
    captures: Mapping[str, str]
    """Facts by name; a name is letters, digits and "_". Empty text counts as missing."""
    lists: Mapping[str, tuple[str, ...]] = field(default=_NO_LISTS)
    """Facts that hold several values, for ``each:``, such as the instance ids of one AWS call."""
    trusted: frozenset[str] = frozenset()
    """The captures that environment classifiers may read."""
    target: str = ""
    """The target when no rule gives one; "" lets the core write host and path."""
    path: str = ""
    """The path in the one spelling that rules and targets see, where the API takes several; "" is the path sent."""
    access: str = ""
    """A word of `ACCESS`; "" when the pack cannot tell, which counts as no permission to take it for a read."""
    executes: bool = False
    """Whether it sets something going whose effect the request does not bound: a script, a template, a shell."""
    mints: bool = False
    """Whether its answer holds a credential or a secret, however much it looks like a read."""
    known: bool = True
    """False when only the wire named it, and the pack's list has no such operation."""

    @property
    def attributes(self) -> dict[str, str]:
        """What is known of the operation itself, for rules and records; only what is there has a key."""
        found = {"access": self.access} if self.access else {}
        if self.executes:
            found["executes"] = "true"
        if self.mints:
            found["mints"] = "true"
        if not self.known:
            found["known"] = "false"
        return found


@dataclass(frozen=True, slots=True)
class Recognition:
    """The calls of one request, or a problem; neither means that the pack does not know the request."""

    calls: tuple[Call, ...]
    problem: Problem | None = None


NOT_RECOGNISED = Recognition(())


def unreadable(message: str) -> Recognition:
    """Return the answer for a request whose meaning hangs on something that cannot be read."""
    return Recognition((), Problem(UNREADABLE, message))


def conflict(message: str) -> Recognition:
    """Return the answer for a request that two parsers would read differently."""
    return Recognition((), Problem(CONFLICT, message))


class Pack(Protocol):
    """What a code pack offers.

    It may also have ``operations``, the names of all its operations, when there is an end to them, and
    ``keeps_encoded_slashes = True`` when its servers never take ``%2F`` for a "/" of the path.
    """

    @property
    def name(self) -> str:
        """The word operators bind hosts to: ``kubernetes``."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host patterns bound to the pack without being asked; () when the operator must bind."""

    @property
    def family(self) -> str:
        """The shape callers expect a refusal in: ``kubernetes``, ``aws``, ``github``, ``git``, ``http``..."""

    @property
    def reads_prefix(self) -> bool:
        """Whether the first bytes of a longer body can do; to every other pack such a body is one not read."""

    def needs_body(self, request: Request) -> bool:
        """Say whether naming a request with this head takes its body; ``request.body`` is None."""

    def recognise(self, request: Request) -> Recognition:
        """Return the calls the request makes."""
