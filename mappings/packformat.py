"""The format of a YAML pack: a route table that names an API's operations, and rules that name their intent.

    pack: github                            # operation names start with it; operators bind hosts to it
    family: github                          # the shape of refusals; default: the pack's name
    hosts: [api.github.com, uploads.github.com]     # bound without being asked; may be left out
    prefixes: ["", /api/v3]                 # what may stand before the path of a route without a host; default [""]
    fold: [owner, repo]                     # captures that the API takes in any case; default none
    operations:
      pulls/merge:                          # the operation "github:pulls/merge"
        - PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge
      repos/upload-release-asset:
        - POST uploads.github.com/repos/{owner}/{repo}/releases/{release_id}/assets?name
      repos/get-content: [ "GET /repos/{owner}/{repo}/contents/{path+}" ]
    rules:                                  # as in the operator's file (`mappings.rules`); they lose to his
      - id: merge
        match: {op: "github:{pulls/merge,repos/merge}"}
        action: "pr:merge"
        target: "github/${owner}/${repo}#${pull_number}"

A **route** is one text, ``METHOD [host]/path/{template}[?key[=value][&key[=value]...]]``: the path is a
template as in a rule (``{x}``, ``{x+}``, ``{x:a|b}``, ``{x:web-*}``; ``{base}...{head}`` splits a segment);
each ``?key`` must be present, each ``?key=value`` must have that value; other query parameters make no
difference. ``METHOD`` may be a list, ``GET|PUT``; GET covers HEAD too. Without a host a route holds on
every host bound to the pack.

Several routes may match; the most specific one names the operation: more query conditions, then more of
them with a value, then more literal characters in the path, then exact host over wildcard over none, then a
named method over HEAD by way of GET. Equals of different operations are all recognised. The same route
twice is a fault.

Path captures become the call's captures, percent-decoded, and environment classifiers may read all of them.
Those listed in **fold** become lower case, in captures and in the path that targets show, so that
``/repos/Acme/Web`` and ``/repos/acme/web`` are one thing. An operator's rule by ``path`` on such a host writes
them in lower case.

A pack whose name is that of a code pack (``kubernetes``, ``aws``, ``git``) may hold only ``rules``: it adds
intent to what the code recognises. A rule of a pack holds only on hosts bound to that pack.

Faults, for example:

    pack:github:7:9: route "PUT repos" is not "METHOD /path" or "METHOD host/path"
    pack:github:9:5: character " " cannot stand in an action; use letters, digits or ._/@+-
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mappings.conditiontexts import Words
from mappings.rules import RuleText


class PackFile(BaseModel):
    """A YAML pack."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    pack: str
    description: str = ""
    family: str | None = None
    hosts: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    fold: tuple[str, ...] = ()
    operations: dict[str, Words] = {}
    rules: tuple[RuleText, ...] = ()
