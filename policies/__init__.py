"""Decides whether an agent may do an action, from agents, skills and organisation policies.

It compiles the texts into a set that answers in microseconds and says which line decided. It keeps the
registry of agents and is the only writer of it. It never looks at a clock, the network or the request itself,
and every unknown is a DENY.
"""

from policies.compiling import compile_policies
from policies.deciding import Policies
from policies.decisions import shown_name
from policies.loading import PolicyPaths, Sources, load_policies
from policies.rulebook import Activations
from policies.values import (
    Agent,
    BreakGlass,
    Credential,
    Decision,
    Explanation,
    Hold,
    Human,
    Limit,
    Mode,
    Organisation,
    Outcome,
    PolicyError,
    Question,
    Stage,
    State,
    Text,
    TextRef,
    credential,
    token_digest,
)

__all__ = [
    "Activations",
    "Agent",
    "BreakGlass",
    "Credential",
    "Decision",
    "Explanation",
    "Hold",
    "Human",
    "Limit",
    "Mode",
    "Organisation",
    "Outcome",
    "Policies",
    "PolicyError",
    "PolicyPaths",
    "Question",
    "Sources",
    "Stage",
    "State",
    "Text",
    "TextRef",
    "compile_policies",
    "credential",
    "load_policies",
    "shown_name",
    "token_digest",
]
