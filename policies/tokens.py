"""Whether a presented token is one of somebody's; the same work for everybody, so that time tells nothing.

It knows digests only, and of whom a digest is; whether its owner may act is asked elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from policies.schema import REMOVED_TOKEN
from policies.values import Token

_NO_TOKEN = b"\xff" * 64  # not UTF-8, so nothing presented can equal it


class Tokens:
    """The tokens of everybody of one kind, compared in the same time for all."""

    def __init__(self, tokens: Mapping[str, Sequence[Token]]) -> None:
        most = max((len(each) for each in tokens.values()), default=1)
        self._stored = {name: _stored(each, most) for name, each in tokens.items()}
        self._none = _stored((), most)
        self.owner = {
            token.sha256: name for name, each in tokens.items() for token in each if token.sha256 != REMOVED_TOKEN
        }

    def presented(self, name: str, token_sha256: str, at: datetime) -> tuple[bool, bool]:
        """Say whether a token is one of somebody's, and whether it still counts."""
        given = token_sha256.encode("utf-8", "surrogatepass")
        known = right = False
        # Every stored digest is compared, and as many for somebody who does not exist: how long the answer
        # takes says neither who exists nor how much of a digest was right.
        for stored, expires in self._stored.get(name, self._none):
            same = hmac.compare_digest(stored, given)
            known |= same
            right |= same and (expires is None or at < expires)
        return known, right

    def proves(self, name: str, token_sha256: str, at: datetime) -> bool:
        """Say whether a token is one of somebody's and counts."""
        return self.presented(name, token_sha256, at)[1]


def _stored(tokens: Sequence[Token], most: int) -> tuple[tuple[bytes, datetime | None], ...]:
    """Return token digests, padded to the same number for everybody so that each look takes equal work."""
    digests = [
        (_NO_TOKEN if token.sha256 == REMOVED_TOKEN else token.sha256.encode(), token.expires) for token in tokens
    ]
    return tuple(digests + [(_NO_TOKEN, None)] * (most - len(digests)))
