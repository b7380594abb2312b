"""Writes organisations and the grants between them into the registry.

agents.yaml:4:7: organisation "acme" exists already; "claiim org list" shows it
agents.yaml:9:5: "acme" has no grant into "globex"; "claiim org list" shows those there are
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mappings.documents import Document
from policies.deciding import Policies
from policies.loading import PolicyPaths
from policies.registryfile import change, find, new, stop
from policies.roundtrip import Tree, append, drop, sequence
from policies.values import State, written_moment


def add_organisations(
    path: Path, policy_paths: PolicyPaths, names: Sequence[str], *, title: str = "", owns: Sequence[str] = ()
) -> Policies:
    """Add organisations. Raises PolicyError.

    Several at once, because with the first one written down all that agents and humans name must be.
    """

    def edit(tree: Tree, document: Document) -> None:
        for name in names:
            new(tree, document, "organisations", name, '"claiim org list" shows it')
            entry: dict[str, str | Tree] = {"id": name, "name": title, "state": State.ACTIVE.value}
            append(tree, "organisations", entry | ({"owns": sequence(owns)} if owns else {}))

    return change(path, policy_paths, edit)


def add_grant(
    path: Path,
    policy_paths: PolicyPaths,
    of: str,
    into: str,
    *,
    agents: Sequence[str] = (),
    actions: Sequence[str] = (),
    until: datetime | None = None,
) -> Policies:
    """Let agents of one organisation act in another: all or those named, all actions or those named."""

    def edit(tree: Tree, document: Document) -> None:
        for name in (of, into) if tree.get("organisations") else ():
            find(tree, document, "organisations", name)
        entry: dict[str, str | Tree] = {"of": of, "into": into}
        entry |= {"agents": sequence(agents)} if agents else {}
        entry |= {"actions": sequence(actions)} if actions else {}
        append(tree, "cross_grants", entry | {"until": written_moment(until)})

    return change(path, policy_paths, edit)


def remove_grants(path: Path, policy_paths: PolicyPaths, of: str, into: str) -> Policies:
    """Take back every grant of one organisation into another. Raises PolicyError when there is none."""

    def edit(tree: Tree, document: Document) -> None:
        grants = tree.get("cross_grants") or []
        found = [index for index, grant in enumerate(grants) if (grant.get("of"), grant.get("into")) == (of, into)]
        if not found:
            remedy = '"claiim org list" shows those there are'
            stop(document.place(["cross_grants"]), f'"{of}" has no grant into "{into}"; {remedy}')
        for index in reversed(found):
            drop(tree, "cross_grants", index)

    return change(path, policy_paths, edit)
