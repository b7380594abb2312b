"""From a document to a checked file: the models of `policies.schema`, and what no model can tell.

A key with nothing after it takes away the end, or the condition, that somebody began to write:

    policies/a.yaml:4:37: nothing is written after "until"; write a value, or remove the key
"""

from __future__ import annotations

from collections.abc import Iterator

from mappings.documents import Document, Fault, parse
from policies.conditionschema import Entry
from policies.values import PolicyError


def read_file[M: Entry](document: Document, model: type[M]) -> M:
    """Return a document as the file it is; raise PolicyError with every fault."""
    file = parse(document, model, error=PolicyError)
    if faults := list(_unwritten(document, document.value, ())):
        raise PolicyError(faults)
    return file


def _unwritten(document: Document, value: object, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if isinstance(value, dict):
        for key, each in value.items():
            if each is None:
                message = f'nothing is written after "{key}"; write a value, or remove the key'
                yield Fault(document.key_place((*path, key)), message)
            yield from _unwritten(document, each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unwritten(document, each, (*path, index))
