"""Decides whether an agent may do an action, from agents, skills and organisation policies.

It compiles the texts into a set that answers in microseconds and says which line decided. It keeps the
registry of agents and is the only writer of it. It never looks at a clock, the network or the request itself,
and every unknown is a DENY.
"""

from policies.compiling import compile_policies
from policies.deciding import Policies
from policies.loading import load_policies
from policies.values import (
    Agent,
    Credential,
    Decision,
    Explanation,
    Human,
    Mode,
    Outcome,
    PolicyError,
    Question,
    Stage,
    State,
    Text,
    TextRef,
    credential,
)

__all__ = [
    "Agent",
    "Credential",
    "Decision",
    "Explanation",
    "Human",
    "Mode",
    "Outcome",
    "Policies",
    "PolicyError",
    "Question",
    "Stage",
    "State",
    "Text",
    "TextRef",
    "compile_policies",
    "credential",
    "load_policies",
]
