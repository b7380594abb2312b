"""Writes docs/vocabulary.md: for each word that policies are written in, which operations lead to it.

Made from the shipped rules (mappings/packs/*.yaml), the shipped catalogues and mappings/vocabulary.py, and from nothing
else, so that the page says what the gate does. A test compares it with the file.

vocabulary.py           writes the page
vocabulary.py --check   exit 1 when the page is not current
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mappings.catalogues import shipped  # noqa: E402 - found by the line above
from mappings.inventory import Known, doors, keeps_its_name, known_operations, pack_of, written_rules  # noqa: E402
from mappings.loading import load_compiled  # noqa: E402
from mappings.vocabulary import OPERATORS_WORDS, VOCABULARY  # noqa: E402

PAGE = ROOT / "docs" / "vocabulary.md"
EXAMPLES = 8

HEAD = """# The vocabulary

The words that policies are written in, and the operations behind each. A policy that denies `infra:destroy` denies
every operation under that heading, whatever API it belongs to; an operation that no word describes fully keeps its own
name, such as `aws:cloudformation:CreateStack`, and a policy has to name it. `${env}` is an environment that your
mapping files give ([how](mappings.md#environments)), or `unknown`, or `conflict`.

This page is made from the shipped rules and catalogues by `tools/vocabulary.py`; the full list behind a word is
`claiim mappings list --action WORD`, and `claiim map` says what one request is. Your own rules go before these.

"A part of them" says for how many operations it hangs on the request: on its body, its query, where it goes. Families
"by rule" name requests by their form and list none; their patterns stand in place of examples.
"""


@dataclass(slots=True)
class Behind:
    """What leads to one word in one family."""

    always: list[str] = field(default_factory=list)
    sometimes: list[str] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    """Of a family that lists no operations."""
    rules: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Left:
    """The operations of one family that keep their own name."""

    operations: int = 0
    unworded: Counter[str] = field(default_factory=Counter)
    """By what makes them matter: "changes", "executes", "mints"."""
    examples: list[str] = field(default_factory=list)


type Doors = Mapping[str, Mapping[str, Behind]]
"""By action of a rule, by family."""


def gathered() -> tuple[Doors, Mapping[str, Left]]:
    """Return what leads where, and what leads nowhere, for everything that is shipped."""
    compiled, documents = load_compiled([])
    archives = shipped()
    found: dict[str, dict[str, Behind]] = defaultdict(lambda: defaultdict(Behind))
    left: dict[str, Left] = {}
    for name, pack in sorted(compiled.packs.items()):
        listed = known_operations(pack, archives.get(name))
        for known in listed or ():
            if known.name in VOCABULARY:
                found[known.name][name].always.append(known.name)
                continue
            open_doors = doors(compiled, known)
            for door in open_doors:
                behind = found[door.action][name]
                (behind.always if door.always else behind.sometimes).append(known.name)
                behind.rules[door.rule.ref.id] = None
            if keeps_its_name(open_doors):
                _leave(left.setdefault(name, Left()), known)
        if listed is None:
            for document in documents:
                for rule in written_rules(document) if pack_of(document) == name else ():
                    behind = found[rule.action][name]
                    behind.patterns += rule.patterns
                    behind.rules[rule.id] = None
        elif name in left:
            left[name].operations = len(listed)
    return found, left


def _leave(left: Left, known: Known) -> None:
    traits = [trait for trait in ("executes", "mints") if trait in known.attributes]
    if known.attributes.get("access", "write") not in ("read", "list"):
        traits.append("changes")
    left.unworded.update(traits)
    if "executes" in traits or "mints" in traits:
        left.examples.append(known.name)


def page() -> str:
    """Return the text of the page."""
    found, left = gathered()
    lines = [HEAD, "| word | what it says | families |", "|---|---|---|"]
    for word, meaning in VOCABULARY.items():
        families = ", ".join(found.get(word, {}))
        lines.append(f"| [`{word}`](#{_anchor(word)}) | {meaning} | {families} |")
    lines += [f"| [`{word}`](#{_anchor(word)}) | {meaning} | |" for word, meaning in OPERATORS_WORDS.items()]
    for word, meaning in VOCABULARY.items():
        lines += ["", f"## {word}", "", f"{meaning[0].upper()}{meaning[1:]}.", "", *_table(found.get(word, {}))]
    for word, meaning in OPERATORS_WORDS.items():
        lines += ["", f"## {word}", "", f"{meaning[0].upper()}{meaning[1:]}."]
    return "\n".join([*lines, "", *_rest(left)]) + "\n"


def _anchor(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum() or character in "-_")


def _table(behind: Mapping[str, Behind]) -> Iterator[str]:
    if not behind:
        yield "No shipped rule says it."
        return
    yield "| family | operations | a part of them | for example | rules |"
    yield "|---|---|---|---|---|"
    for family, each in sorted(behind.items()):
        rules = ", ".join(each.rules)
        if each.patterns:
            yield f"| {family} | by rule | | {_code(dict.fromkeys(each.patterns))} | {rules} |"
            continue
        # The same operation may come by two rules: once in every case, once only in some.
        always, some = dict.fromkeys(each.always), dict.fromkeys(each.sometimes)
        every = list(always | some)
        depending = f"{len(some.keys() - always.keys()):,}" if some.keys() - always.keys() else ""
        yield f"| {family} | {len(every):,} | {depending} | {_code(_spread(sorted(every)))} | {rules} |"


def _rest(left: Mapping[str, Left]) -> Iterator[str]:
    yield "## Operations that keep their own name"
    yield ""
    yield "No rule has a word for these, or only for some requests. Most of them read; the columns count the others."
    yield '"Execute" is to set something going whose effect the request does not bound, "mint" to hand out a credential'
    yield "or secret. An operation whose access level is not known counts as one that changes something."
    yield ""
    yield "| family | of its operations | change something | execute | mint | executing or minting, for example |"
    yield "|---|---|---|---|---|---|"
    for family, each in sorted(left.items()):
        counts = " | ".join(f"{each.unworded[word]:,}" for word in ("changes", "executes", "mints"))
        yield f"| {family} | {each.operations:,} | {counts} | {_code(_spread(each.examples))} |"


def _spread(names: Sequence[str]) -> list[str]:
    """Return some of the names, from all over the list."""
    if len(names) <= EXAMPLES:
        return list(names)
    return [names[at * len(names) // EXAMPLES] for at in range(EXAMPLES)]


def _code(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text("utf-8") != text:
            raise SystemExit(f"{PAGE.relative_to(ROOT)} is not current; run tools/vocabulary.py")
    else:
        PAGE.write_text(text, "utf-8")
        print(f"{PAGE.relative_to(ROOT)}: {len(VOCABULARY)} words")
