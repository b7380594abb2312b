"""Whether a human may speak for what an agent does: active, and of its organisation or one it was let into.

Asked when somebody approves, refuses or grants, and again when what they said is used: who was suspended meanwhile
has said nothing.
"""

from datetime import datetime

from policies import Policies, State


def may_speak(policies: Policies, human: str, agent: str, at: datetime) -> bool:
    """Say whether the human's word on this agent's doings counts at a time."""
    person, one = policies.humans.get(human), policies.agents.get(agent)
    if person is None or one is None or person.state_at(at) is not State.ACTIVE:
        return False
    organisation = policies.organisations.get(person.org)
    if organisation is not None and organisation.state is not State.ACTIVE:
        return False
    return person.org == one.org or policies.boundaries.may_cross(one, person.org, None, at) is True
