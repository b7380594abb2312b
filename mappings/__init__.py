"""What a request does: from the facts of an HTTP request to operations, actions, targets and environments.

Packs recognise the calls of an API, rules name their intent, classifiers their environment; all of it is
text that operators can read and change. It never decides whether anything is allowed, never opens a socket
and never writes.
"""

from mappings.actions import canonical_action, canonical_pattern, pattern_regex
from mappings.canonical import CanonicalError, Target, canonical_host, canonical_target, split_authority
from mappings.documents import (
    Document,
    DocumentError,
    Fault,
    PackError,
    Place,
    canonical_text,
    parse,
    read_document,
)
from mappings.loading import compile_mappings, load_mappings
from mappings.mapping import Considered, Mappings, Text
from mappings.recognition import NOT_RECOGNISED, Call, Pack, Recognition
from mappings.request import Request
from mappings.resolution import Operation, Problem, Resolution, RuleRef

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
