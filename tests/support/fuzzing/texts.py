"""Texts of operators: what our strict reader takes, every reader of YAML takes for the same, and no text breaks us."""

import contextlib
import json
import re
import warnings
from collections.abc import Iterator
from functools import cache

import pydantic
import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mappings.documents import DocumentError, canonical_text, parse, read_document
from mappings.loading import compile_mappings
from mappings.places import Document, PackError
from mappings.recognition import Pack
from policies.compiling import compile_policies
from policies.printing import printed
from policies.reading import read_file
from policies.schema import AgentsFile, PolicyFile, SkillFile
from policies.testschema import CasesFile
from policies.values import PolicyError
from support.fuzzing.harness import Harness, text_of

_AGENTS = """
version: 1
humans: [{id: alice@acme.test, org: acme, state: active}]
agents: [{id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}]
"""


def document(data: bytes) -> str:
    """The whole input is a YAML document."""
    text = text_of(data)
    canonical = canonical_text(text)
    assert canonical_text(canonical) == canonical
    try:
        read = read_document(text, "x.yaml")
    except DocumentError as error:
        _faults(error, canonical)
        return "refused"
    assert read.text == canonical
    assert read_document(read.text, "x.yaml") == read
    value = json.dumps(read.value, ensure_ascii=False)
    for other in _others(canonical):
        assert json.dumps(other, ensure_ascii=False) == value
    # What was read, written by somebody else as JSON, which is YAML, is read as the same.
    written = json.dumps(read.value, ensure_ascii=False, indent=1)
    if not re.search("[\u0085\u2028\u2029\x7f-\x9f\ufffe\uffff]", written):
        assert read_document(written, "x.yaml").value == read.value
    return "read"


def _others(text: str) -> Iterator[object]:
    """What others read: YAML 1.1 by two parsers of one library, and 1.2. Who refuses a text is not misled by it."""
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        with contextlib.suppress(yaml.YAMLError):
            yield yaml.load(text, loader)
    with warnings.catch_warnings(), contextlib.suppress(YAMLError):
        warnings.simplefilter("error")
        yield YAML(typ="safe", pure=True).load(text)


def _faults(error: DocumentError, canonical: str) -> None:
    assert error.faults
    lines = canonical.split("\n")
    for fault in error.faults:
        # What a text names and nobody has is a fault of the registry beside it.
        assert 1 <= fault.place.line <= len(lines) + 1 or fault.place.file != "x.yaml"
        assert fault.place.column >= 1
        assert str(fault).isprintable()
        assert fault.message


def mapping(data: bytes) -> str:
    """The whole input is a mapping file of an operator, compiled without packs."""
    return _compiled(data, PackError, lambda read: compile_mappings([read], _no_packs()))


@cache
def _no_packs() -> tuple[Pack, ...]:
    return ()


def policy(data: bytes) -> str:
    """The whole input is a skill or a policy: compiled beside a registry, printed and read again."""

    def build(read: Document) -> object:
        agents = read_document(_AGENTS, "agents.yaml")
        made = compile_policies(agents, [read])
        model: type[SkillFile | PolicyFile] = SkillFile if "skill" in dict(read.value) else PolicyFile  # type: ignore[call-overload]
        file = read_file(read, model)
        again = read_file(read_document(printed(file), "x.yaml"), model)
        assert again == file
        assert printed(again) == printed(file)
        return made

    return _compiled(data, PolicyError, build)


def registry(data: bytes) -> str:
    """The whole input is a registry of agents, or a file of tests."""

    def build(read: Document) -> object:
        try:
            parse(read, CasesFile, error=PolicyError)
        except DocumentError as error:
            _faults(error, read.text)
        parse(read, AgentsFile, error=PolicyError)
        return compile_policies(read, [])

    return _compiled(data, PolicyError, build)


def _compiled(data: bytes, error_kind: type[DocumentError], build) -> str:  # type: ignore[no-untyped-def]
    text = text_of(data)
    try:
        read = read_document(text, "x.yaml", error=error_kind)
        build(read)
    except DocumentError as error:
        _faults(error, canonical_text(text))
        return "refused"
    return "compiled"


assert pydantic  # what parse() imports when it is first called belongs to what is instrumented

_YAML = (
    b": ",
    b"\n- ",
    b"\n  ",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"'",
    b"|",
    b">",
    b"&a",
    b"*a",
    b"!!",
    b"---\n",
    b"#",
    b"~",
)
HARNESSES = (
    Harness(
        "yaml",
        document,
        (*_YAML, b"0x1", b"1_0", b"yes", b"12:30", b"2026-01-01", b"<<", b"\xef\xbb\xbf", b"%YAML 1.1\n---\n"),
        512,
    ),
    Harness(
        "mapping-text",
        mapping,
        (
            *_YAML,
            *b"version: 1|rules|match|host|path|op|json|not|action|target|${|bind|env|when|value|each".split(b"|"),
            *b"facts|query|header|method|id|pack".split(b"|"),
        ),
        1024,
    ),
    Harness(
        "policy-text",
        policy,
        (
            *_YAML,
            *b"skill: |policy: |allow|deny|approve|require|limits|redact|when|unless|extends|until|action".split(b"|"),
            *b"approvers|time|client|most|per|mode|applies_to".split(b"|"),
        ),
        1024,
    ),
    Harness(
        "registry-text",
        registry,
        (
            *_YAML,
            *b"version: 1|agents|humans|id|anchor|org|state|skill|tokens|tests".split(b"|"),
        ),
        1024,
    ),
)
