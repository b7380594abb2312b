"""Ask the gate before acting: may this agent do this action to this target?

Holds no policy and decides nothing: it carries a question to the gate and the gate's answer back.
Whatever is not a well-formed answer to exactly this question raises; nothing here can turn into an ALLOW.
"""

from claiim.answer import CheckResult
from claiim.errors import ActionDenied, GateError, GateMisconfigured, GateUnavailable, NotAuthenticated
from claiim.gate import AsyncGate, Gate

__all__ = [
    "ActionDenied",
    "AsyncGate",
    "CheckResult",
    "Gate",
    "GateError",
    "GateMisconfigured",
    "GateUnavailable",
    "NotAuthenticated",
]
