"""The operator's mapping file: what may be written, checked for shape; `mappings.compile` gives it meaning.

    version: 1
    bind:                                   # which pack reads the requests to a host, and what is known of it
      - {host: k8s.prod.acme.test, pack: kubernetes, facts: {cluster: prod-eu, env: production}}
      - {host: "*.svc.acme.test", pack: [http, health]}
      - {host: ops.acme.test, pack: argocd, prefix: /argocd}    # what stands before the API's own paths there
    env:                                    # classifiers; all that fire must agree
      - {value: staging, when: {namespace: [staging, "dev-*"]}}
    lookups:                                # what stands behind ids that say nothing
      workspaces:
        match: {host: app.terraform.io, method: POST, path: /api/v2/runs}
        key: "json:data.relationships.workspace.data.id"
        table:
          ws-9: {workspace: payments, env: production}
    tunnels:
      - {id: pinned-updates, host: updates.vendor.test}
    rules:
      - id: k8s-rollout
        match: {op: "kubernetes:{create,patch}:apps/{deployments,statefulsets}{,/scale}"}
        action: "deploy:${env}"
        target: "k8s/${cluster}/${namespace}/${name}"
      - id: tfc-destroy
        match: {host: app.terraform.io, method: POST, path: /api/v2/runs,
                json: {data.attributes.is-destroy: true}}
        action: "infra:destroy"
        target: "tfc/${workspace}"

**host** is a name, an address or ``*.suffix`` (one label or more, never the suffix itself). A rule without
``op`` and ``host`` holds on bound hosts only.

**op** names the operation a pack recognised: ``*`` within a segment, ``**`` across, ``{a,b}`` alternatives,
case folded.

**path** is a template: ``{x}`` one segment or part of one, ``{x+}`` one or more segments, ``{x:a|b}`` one
of these words, ``{x:web-*}`` a glob within the segment; there are no regular expressions. A trailing ``/`` makes
no difference. Where an identifier may hold an encoded ``%2F``, write ``{x+}``: with ``{x}`` the two ways to read
it differ and the request is refused.

**method** ``GET`` covers HEAD too; of two rules that are equal otherwise, the one that names HEAD wins.

**query, header, facts, json** map names to conditions. A condition is a text (a glob), a list of texts (any
of them), in ``json`` also a number or boolean, or one of ``{eq: v} {in: [v, ...]} {glob: text} {exists:
true|false}``; integers in ``json`` also ``{gt: n}``, ``{ge: n}``, ``{lt: n}``, ``{le: n}`` or a lower and an
upper bound together. ``json`` names are dotted: ``data.attributes.is-destroy``, digits index a list, ``\\.`` is
a dot within a name. **content_type** is one condition, on the media type without its parameters.

**facts** are what a pack captured, what is bound to the host, what a lookup adds, and what is known of the
operation itself: ``access`` (``read``, ``list``, ``write``, ``permissions`` or ``tagging``), ``executes: "true"``
where it sets something going that the request does not bound, ``mints: "true"`` where its answer holds a
credential, ``known: "false"`` where only the wire named it. These four cannot be bound or captured. An operation
whose access nobody knows satisfies no condition on it, and no ``not`` of one.

**lookups** turn an id that says nothing into facts: ``table`` holds a row of facts for each id, ``key`` says where
the id stands, as a fact or as ``json:a.b``; ``match`` says for which requests, and may be left out where the key
is a fact. A row's ``env`` counts as a classifier that fires. An id that is not in a table that tells
environments makes the environment ``unknown``. With a key in the body, whatever matches needs its body. A large
table may stand in a mapping file of its own.

**tunnels** are hosts whose connections are passed through unread, each with its ``ports`` (443 unless said otherwise)
and what it ``carries``: ``tls``, so that the hello must name the host, or ``anything``. Opening one is the action
``tunnel:open`` on ``host:port`` (`mappings.tunnels`).

**not** is a nested match that must not hold. Everything else in a match must hold.

**action, target** are templates over ``${env} ${host} ${method} ${path}``, facts, captures, ``${json:a.b}``
and, with ``each: NAME`` or ``each: json:items.*.id``, ``${each}``: one operation for each element. A name
that is missing is ``-`` in a target and ``unknown`` in an action.

Which rule wins when several match (file order never matters): the operator's over a pack's, then more
``json`` conditions, then more ``query``, ``header``, ``facts`` and ``content_type`` conditions, then exact ``op``
over glob over none, then more literal characters in path or op, then exact ``host`` over wildcard over none, then
a named method. Two rules that are equal, certainly meet in some request and say different things are a fault;
where that cannot be told beforehand, equals are all judged, and all must be allowed.

Faults, for example:

    mappings/site.yaml:4:14: host "*" would match everything; write "*.github.com"
    mappings/site.yaml:9:20: path "/a/%7eb" is not canonical; write "/a/~b"
    mappings/site.yaml:9:3: rule "b" and rule "a" (mappings/site.yaml:4:3) both name /a/b; make one more specific
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mappings.conditiontexts import JsonConditions, TextCondition, TextConditions, Words

Facts = dict[str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)


class MatchText(_Strict):
    """What a request or an operation must look like; every key given must hold."""

    op: Words | None = None
    host: Words | None = None
    method: Words | None = None
    path: Words | None = None
    query: TextConditions = {}
    header: TextConditions = {}
    facts: TextConditions = {}
    content_type: TextCondition | None = None
    json_: JsonConditions = Field(default={}, alias="json")
    not_: MatchText | None = Field(default=None, alias="not")


class RuleText(_Strict):
    """One rule: what matches is named with this action and target."""

    id: str
    match: MatchText
    each: str | None = None
    action: str
    target: str | None = None


class BindText(_Strict):
    """What is known about a host."""

    host: str
    pack: Words
    """Pack names; ``http`` is the pack that recognises nothing and leaves everything to rules."""
    prefix: str = ""
    """What stands before the API's own paths there: ``/argocd`` where a server shares a host."""
    facts: Facts = {}


class ClassifierText(_Strict):
    """One environment and the facts that show it."""

    value: str
    when: Mapping[str, Words]


class LookupText(_Strict):
    """What stands behind ids that say nothing."""

    match: MatchText | None = None
    key: str
    """A fact, or ``json:`` and a dotted name."""
    table: dict[str, Facts]
    """For each id the facts that it stands for."""


class TunnelText(_Strict):
    """A host whose connections are passed through unread."""

    id: str
    host: str
    """Exactly one; no pattern."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (443,)
    carries: Literal["tls", "anything"] = "tls"
    """``tls``: only TLS whose hello names the host passes. ``anything``: whatever comes."""
    facts: Facts = {}


class MappingFile(_Strict):
    """An operator's mapping file."""

    version: Literal[1]
    bind: tuple[BindText, ...] = ()
    env: tuple[ClassifierText, ...] = ()
    lookups: dict[str, LookupText] = {}
    tunnels: tuple[TunnelText, ...] = ()
    rules: tuple[RuleText, ...] = ()
