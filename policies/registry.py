"""Writes the registry of agents, humans and organisations; nothing else writes it.

Each function is one change, loaded before it is written (`policies.registryfile`). Only the SHA-256 of a token is
ever written.

    agents.yaml:12:7: agent "deploy-bot" exists already; choose another name, or "claiim agent rotate" it
    agents.yaml:17:12: agent "old-bot" is revoked, which is final; add a new agent instead
    agents.yaml:6:3: human "bob@acme.test" is suspended; choose somebody who can answer for it
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from mappings.documents import Document, Place
from policies.conditionschema import moment
from policies.deciding import Policies
from policies.loading import PolicyPaths
from policies.registryfile import NOUNS, Kind, change, find, ids, narrow, new, stop
from policies.roundtrip import Tree, append, clear, mapping, put, sequence
from policies.values import Mode, State, Token, written_moment

TOKEN_PREFIX = "clm_"  # noqa: S105 -- lets secret scanners find a leaked token
HUMAN_TOKEN_PREFIX = "clh_"  # noqa: S105 -- as above
_TOKEN_BYTES = 32  # 256 bits; shorter ones could be guessed against a stolen registry

NEVER = "never"
"""In the place of an end: there is none."""

_INSTEAD: Mapping[Kind, str] = {
    "agents": "add a new agent instead",
    "humans": "give their agents to somebody else",
    "organisations": "add a new one instead",
}


def new_token(prefix: str = TOKEN_PREFIX) -> str:
    """Return a fresh token; it is shown once and kept only as its digest."""
    return prefix + secrets.token_urlsafe(_TOKEN_BYTES)


def add_agent(
    path: Path,
    policy_paths: PolicyPaths,
    *,
    agent: str,
    anchor: str,
    org: str,
    skill: str | None,
    mode: Mode,
    token_sha256: str,
    created: str,
    new_anchor: str | None = None,
    expires: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    identities: Sequence[str] = (),
) -> Policies:
    """Add an active agent, and its human too when `new_anchor` gives the person's name.

    An empty `org` means the human's own; without a `token_sha256` it has none. Returns what now holds; on PolicyError
    nothing was written.
    """

    def edit(tree: Tree, document: Document) -> None:
        new(tree, document, "agents", agent, 'choose another name, or "claiim agent rotate" it')
        if anchor not in ids(tree, "humans"):
            if new_anchor is None:
                remedy = 'give --new-anchor "NAME" to add this person'
                stop(document.place(["humans"]), f'anchor "{anchor}" is not among the humans; {remedy}')
            append(tree, "humans", {"id": anchor, "name": new_anchor, "org": org, "state": State.ACTIVE.value})
        home = org or str(tree["humans"][ids(tree, "humans").index(anchor)].get("org", ""))
        entry: dict[str, str | Tree] = {"id": agent, "anchor": anchor, "org": home, "state": State.ACTIVE.value}
        entry |= {"skill": skill or "", "mode": mode.value, "created": created, "expires": written_moment(expires)}
        entry |= {"labels": mapping(labels, flow=True)} if labels else {}
        entry |= {"identities": sequence(identities)} if identities else {}
        append(tree, "agents", {**entry, "tokens": sequence([token_sha256] if token_sha256 else [])})

    return change(path, policy_paths, edit)


def add_human(
    path: Path,
    policy_paths: PolicyPaths,
    *,
    human: str,
    name: str,
    org: str,
    token: Token | None = None,
    expires: datetime | None = None,
) -> Policies:
    """Add an active human, with a token to approve with or without one. Raises PolicyError."""

    def edit(tree: Tree, document: Document) -> None:
        new(tree, document, "humans", human, 'another one needs another id, or "claiim human rotate" the token')
        entry = {"id": human, "name": name, "org": org, "state": State.ACTIVE.value, "expires": written_moment(expires)}
        tokens = {} if token is None else {"tokens": sequence([_token(token)])}
        append(tree, "humans", entry | tokens)

    return change(path, policy_paths, edit)


def set_state(
    path: Path,
    policy_paths: PolicyPaths,
    name: str,
    state: State,
    *,
    kind: Kind = "agents",
    expires: datetime | str | None = None,
) -> Policies | None:
    """Suspend, resume or revoke; revoking removes the tokens and is final. Raises PolicyError.

    With `expires` the end changes too; `NEVER` takes it away. None when other files are at fault, which keeps
    nobody from being suspended or revoked.
    """

    def edit(tree: Tree, document: Document) -> None:
        entry, place = find(tree, document, kind, name)
        if state is not State.REVOKED:
            _unless_revoked(entry, place, kind, name)
        put(entry, "state", state.value)
        if expires == NEVER:
            clear(entry, "expires")
        elif isinstance(expires, datetime):
            put(entry, "expires", written_moment(expires))
        if state is State.REVOKED and "tokens" in entry:
            put(entry, "tokens", sequence([]))

    stops = state in (State.SUSPENDED, State.REVOKED) and expires is None
    return (narrow if stops else change)(path, policy_paths, edit)


def set_token(
    path: Path,
    policy_paths: PolicyPaths,
    name: str,
    token: Token | str,
    *,
    kind: Kind = "agents",
    keep_newest_old: bool = False,
    old_until: datetime | None = None,
) -> Policies:
    """Give somebody another token in place of all they had, or of all but the newest. Raises PolicyError.

    With `old_until` that one ends then, or earlier where it had an earlier end.
    """

    def edit(tree: Tree, document: Document) -> None:
        entry, place = find(tree, document, kind, name)
        _unless_revoked(entry, place, kind, name)
        kept = list(entry.get("tokens") or ())[:1] if keep_newest_old or old_until else []
        fresh = _token(token if isinstance(token, Token) else Token(token))
        put(entry, "tokens", sequence([fresh, *(_ending(each, old_until) for each in kept)]))

    return change(path, policy_paths, edit)


def transfer_agent(path: Path, policy_paths: PolicyPaths, agent: str, human: str) -> Policies:
    """Let another human answer for an agent: somebody active, of its organisation or one it may act in."""

    def edit(tree: Tree, document: Document) -> None:
        entry, place = find(tree, document, "agents", agent)
        _unless_revoked(entry, place, "agents", agent)
        person, standing = find(tree, document, "humans", human)
        if person.get("state") != State.ACTIVE.value:
            stop(standing, f'human "{human}" is {person.get("state")}; choose somebody who can answer for it')
        of, into = str(entry.get("org")), str(person.get("org"))
        granted = [(str(grant.get("of")), str(grant.get("into"))) for grant in tree.get("cross_grants") or ()]
        if of != into and (of, into) not in granted:
            remedy = f'"claiim org grant {of} {into}" first, or choose somebody else'
            stop(standing, f'human "{human}" is of organisation "{into}", the agent of "{of}"; {remedy}')
        put(entry, "anchor", human)

    return change(path, policy_paths, edit)


def set_identity(path: Path, policy_paths: PolicyPaths, agent: str, identity: str, *, present: bool) -> Policies:
    """Add or remove a proof of who an agent is that is no token. Raises PolicyError."""

    def edit(tree: Tree, document: Document) -> None:
        entry, place = find(tree, document, "agents", agent, "identities")
        _unless_revoked(entry, place, "agents", agent)
        old = [str(each) for each in entry.get("identities") or ()]
        if (identity in old) is present:
            has, remedy = ("has", "nothing to add") if present else ("does not have", '"claiim agent show" lists them')
            stop(place, f'agent "{agent}" {has} the identity "{identity}"; {remedy}')
        kept = [each for each in old if each != identity]
        put(entry, "identities", sequence([*kept, identity] if present else kept))

    return change(path, policy_paths, edit)


def _unless_revoked(entry: Tree, place: Place, kind: Kind, name: str) -> None:
    if entry.get("state") == State.REVOKED.value:
        stop(place, f'{NOUNS[kind]} "{name}" is revoked, which is final; {_INSTEAD[kind]}')


def _token(token: Token) -> str | Tree:
    """Return a token as it is written: its digest, or a mapping when there is more to say."""
    if token.expires is None and not token.created:
        return token.sha256
    fields = {"sha256": token.sha256, "expires": written_moment(token.expires), "created": token.created}
    return mapping(fields, flow=True)


def _ending(entry: str | Tree, until: datetime | None) -> str | Tree:
    """Return a token that is there already, with an end that is not later than it was."""
    known = entry if isinstance(entry, Mapping) else {"sha256": str(entry)}
    before = moment(str(known["expires"])) if known.get("expires") else None
    ends = [end for end in (before, until) if end is not None]
    return _token(Token(str(known["sha256"]), min(ends, default=None), str(known.get("created", ""))))
