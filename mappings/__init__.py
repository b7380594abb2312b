"""What a request does: from the facts of an HTTP request to operations, actions, targets and environments.

Packs recognise the calls of an API, rules name their intent, classifiers their environment; all of it is
text that operators can read and change. It never decides whether anything is allowed, never opens a socket
and never writes.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mappings.actions import canonical_action, canonical_pattern, pattern_regex
    from mappings.canonical import CanonicalError, Target, canonical_host, canonical_target, split_authority
    from mappings.documents import canonical_text, parse, read_document
    from mappings.loading import compile_mappings, load_mappings
    from mappings.mapping import Considered, Mappings, Text
    from mappings.places import Document, DocumentError, Fault, PackError, Place
    from mappings.recognition import NOT_RECOGNISED, Call, Pack, Recognition
    from mappings.request import Request
    from mappings.resolution import Operation, Problem, Resolution, RuleRef

_HOMES = {
    "mappings.actions": ("canonical_action", "canonical_pattern", "pattern_regex"),
    "mappings.canonical": ("CanonicalError", "Target", "canonical_host", "canonical_target", "split_authority"),
    "mappings.documents": ("canonical_text", "parse", "read_document"),
    "mappings.loading": ("compile_mappings", "load_mappings"),
    "mappings.mapping": ("Considered", "Mappings", "Text"),
    "mappings.places": ("Document", "DocumentError", "Fault", "PackError", "Place"),
    "mappings.recognition": ("NOT_RECOGNISED", "Call", "Pack", "Recognition"),
    "mappings.request": ("Request",),
    "mappings.resolution": ("Operation", "Problem", "Resolution", "RuleRef"),
}
"""Imported on first use: catching a `DocumentError` must not cost the start of pydantic and YAML (0.2 s)."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "NOT_RECOGNISED",
    "Call",
    "CanonicalError",
    "Considered",
    "Document",
    "DocumentError",
    "Fault",
    "Mappings",
    "Operation",
    "Pack",
    "PackError",
    "Place",
    "Problem",
    "Recognition",
    "Request",
    "Resolution",
    "RuleRef",
    "Target",
    "Text",
    "canonical_action",
    "canonical_host",
    "canonical_pattern",
    "canonical_target",
    "canonical_text",
    "compile_mappings",
    "load_mappings",
    "parse",
    "pattern_regex",
    "read_document",
    "split_authority",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f'module "mappings" has no name "{name}"')
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
