"""Who calls the control API: an agent, a human or the operator, each by a bearer token (RFC 6750).

A token says who calls and nothing else does. An agent is never taken for a human: their tokens are different, and
what humans do here (approving, granting, activating) is refused to every other token.
"""

import hashlib
import hmac

from aiohttp import web

from policies import Credential, Human, Outcome
from proxy.api.problems import problem
from proxy.identity import Unproven, agent_of_token
from proxy.pipeline import Gate


class Callers:
    """Tells callers apart."""

    def __init__(self, gate: Gate, operator_token: str) -> None:
        self._gate = gate
        self._operator_token = operator_token.encode()

    def agent(self, request: web.Request) -> Credential:
        """Whose token the request brings, known in whatever state; raises a 401 otherwise."""
        book = self._gate.book
        token = bearer(request).decode("utf-8", "surrogatepass")
        who = agent_of_token(token, book.issuers, book.policies, self._gate.now())
        if isinstance(who, Unproven):
            raise problem(401, who.code, who.message)
        return who

    def agent_in_good_standing(self, request: web.Request) -> Credential:
        """As `agent`, of one that may act at all; raises a 401 or 403 otherwise."""
        who = self.agent(request)
        denied = self._gate.book.policies.identify(who, self._gate.now())
        if denied is not None and denied.outcome is Outcome.DENY:
            raise problem(403, denied.code, denied.reason)
        return who

    def find_human(self, request: web.Request) -> Human | None:
        """The active human whose token the request brings; None when it is nobody's; a 401 when there is none."""
        token_sha256 = hashlib.sha256(bearer(request)).hexdigest()
        return self._gate.book.policies.identify_human(token_sha256, self._gate.now())

    def human(self, request: web.Request) -> Human:
        """The active human whose token the request brings; raises a 401 otherwise."""
        human = self.find_human(request)
        if human is None:
            raise problem(401, "human.unknown", "no active human has this token")
        return human

    def is_operator(self, request: web.Request) -> bool:
        """Whether the request brings the operator's token; raises a 401 when it brings none at all."""
        return hmac.compare_digest(bearer(request), self._operator_token)

    def require_operator(self, request: web.Request) -> None:
        """Raise a 403 for everybody else."""
        if not self.is_operator(request):
            raise problem(403, "operator.required", "send the operator's token")


def bearer(request: web.Request) -> bytes:
    """The bearer token of a request; raises a 401 when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:  # RFC 6750, 2.1
        raise problem(401, "agent.no-credentials", "send Authorization: Bearer TOKEN")
    # aiohttp reads bytes that are not UTF-8 as lone surrogates.
    return token.strip().encode("utf-8", "surrogatepass")
