"""The examples in the docstrings that define the languages load as they stand."""

import textwrap

from mappings import compile_mappings, packformat, read_document, rules


def _example(docstring: str | None, first: str) -> str:
    assert docstring is not None
    lines = docstring.splitlines()
    start = next(at for at, line in enumerate(lines) if line.strip().startswith(first))
    end = next(at for at in range(start, len(lines)) if lines[at] and not lines[at].startswith("    "))
    return textwrap.dedent("\n".join(lines[start:end]))


def test_the_example_of_the_operators_file() -> None:
    """The file shown in `mappings.rules` is a mapping file."""
    text = _example(rules.__doc__, "version: 1")
    health = 'version: 1\npack: health\noperations: {check: ["GET /healthz"]}'
    assert compile_mappings([read_document(text, "site.yaml"), read_document(health, "health.yaml")]).packs


def test_the_example_of_a_pack() -> None:
    """The pack shown in `mappings.packformat` is a pack; its rule names an operation that is left out there."""
    text = _example(packformat.__doc__, "pack: github").replace("{pulls/merge,repos/merge}", "pulls/merge")
    # Without the shipped packs: one of them has that name, and much more.
    assert compile_mappings([read_document(text, "github.yaml")], ()).packs == ("github",)
