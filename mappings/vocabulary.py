"""The small vocabulary that policies are written in: every word a shipped rule may say, and what it means.

An operation that none of these words describes fully keeps its own name; a word never makes it sound milder. The
words are ordered from the harmless to the grave within each family, and docs/vocabulary.md is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from mappings.tunnels import TUNNEL_OPEN

VOCABULARY: Mapping[str, str] = {
    "health:check": "ask whether something is well",
    "deploy:plan": "compute what a deployment would do; the server changes nothing",
    "deploy:${env}": "ship a version of something that runs",
    "deploy:rollback-${env}": "put an earlier version of something that runs back",
    "infra:create": "make a resource that was not there",
    "infra:update": "change a resource in a way that its name bounds",
    "infra:apply": "carry out a template or plan that stands elsewhere: it may create, change or destroy anything",
    "infra:destroy": "take a resource away, or make it unusable",
    "code:execute": "run code or open a shell: what happens then is not in the request",
    "ci:run": "start a pipeline whose steps stand elsewhere",
    "pr:comment": "say something on a pull or merge request",
    "pr:approve": "approve a pull or merge request",
    "pr:merge": "merge, by whatever door, or arrange that it will be merged",
    "repo:push": "write commits or refs",
    "repo:force-push": "move a ref to where it could not be reached by adding commits",
    "repo:delete-ref": "delete a branch or tag",
    "repo:delete": "delete, archive or give away a repository",
    "data:read": "read what is stored",
    "data:write": "write what is stored",
    "data:delete": "delete what is stored, or run a statement that may",
    "secret:read": "read or mint a credential or a secret",
    "secret:write": "store or replace a credential or a secret",
    "iam:change": "change who may do what, or what stands in an agent's way",
    "cost:spend": "buy, reserve or call what is paid by use",
    "money:move": "pay, pay out, refund or transfer money",
    "message:send": "send something that people receive",
}
"""Meaning by action; ``${env}`` is an environment, or ``unknown``, or ``conflict``."""

OPERATORS_WORDS: Mapping[str, str] = {
    TUNNEL_OPEN: "pass a connection through unread, to a host and port that stand under `tunnels` in a mapping file",
}
"""Meaning by action, of what nothing shipped ever says."""

WORDS: Mapping[str, str] = {**VOCABULARY, **OPERATORS_WORDS}
"""All that stands in policies beside the names of operations."""
