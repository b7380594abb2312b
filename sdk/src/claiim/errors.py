"""What can go wrong between an agent and its gate; one class for each thing a caller does differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claiim.answer import CheckResult


class GateError(Exception):
    """Any failure to get permission; catching it and going on anyway is the one wrong thing to do."""


class GateMisconfigured(GateError):
    """The agent id, token, address or CA is missing or malformed; nothing was sent."""


class GateUnavailable(GateError):
    """The gate gave no answer that can be trusted: unreachable, too slow, failing, or malformed."""


class NotAuthenticated(GateError):
    """The gate does not accept this agent's token (401 or 403)."""


class ActionDenied(GateError):
    """The gate answered DENY, or HOLD: a human has to approve it first; raised by `require` only."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(result)
        self.result = result
        """The whole answer: reason, code and Chron id."""

    def __str__(self) -> str:
        answer = self.result
        what = "held" if answer.held else "denied"
        return f'"{answer.action}" on "{answer.target}" {what}: {answer.reason} ({answer.chron_id})'
