"""Two versions, files or folders of texts, found and compared over every action that is known.

    "deploy-v2@2", "policies/deploy-v2.yaml"     one text on each side
    "policies", "drafts"                         all texts on each side, and what the agents of the registry may do

A version that no file has any more is taken from the Chron. Nothing is written, and no gate is asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mappings.documents import Document, Fault, Place, read_document
from policies import PolicyError, Sources, load_policies
from policies.choosing import ChoiceRefused, read_name
from policies.comparing import Difference, agent_speaker, compare, examples, text_speaker
from policies.loading import documents_in
from policies.rulebook import Candidate, Rulebook
from policies.rules import Rules, TextRules
from policies.schema import PolicyFile
from proxy.activations import kept_texts, known_versions, recorded, sources_of
from proxy.config import Config


class NotComparable(Exception):
    """There are no two things to compare; the message is for the one who named them."""


@dataclass(frozen=True, slots=True)
class Side:
    """One text, on one of the two sides."""

    candidate: Candidate
    rules: TextRules


@dataclass(frozen=True, slots=True)
class Compared:
    """Two texts, or what two sets of texts mean for some agents, and how they differ."""

    title: str
    """ "skill:deploy-v2@1 -> skill:deploy-v2@2", "agent deploy-bot, test-bot"."""
    notes: tuple[str, ...]
    """What differs of the texts as a whole."""
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Say whether nothing differs."""
        return not self.notes and not self.differences


type Sides = Mapping[tuple[str, str], Side]


def compare_texts(config: Config, before: str, after: str, known: list[str]) -> list[Compared]:
    """Return how two texts differ, each named by file or as "deploy-v2@2"; raise NotComparable or DocumentError."""
    old, new = _side(config, before), _side(config, after)
    one, other = old.candidate.ref, new.candidate.ref
    if one.kind != other.kind:
        raise NotComparable(f'"{one}" is a {one.kind} and "{other}" is a {other.kind}; compare two of a kind')
    return [_compared(f"{one.kind}:{one} -> {other.kind}:{other}", old, new, known)]


def compare_folders(config: Config, before: Path, after: Path, known: list[str]) -> list[Compared]:
    """Return how the texts of two folders differ, one by one, and then what the agents gain and lose.

    Raises DocumentError, also when the agents of the registry cannot do with one of the folders.
    """
    old, new = (_sides(folder, config.agents) for folder in (before, after))
    found = []
    for kind, name in sorted(old.keys() | new.keys()):
        sides = old.get((kind, name)), new.get((kind, name))
        versions = " -> ".join(str(side.candidate.ref.version) if side else "none" for side in sides)
        found.append(_compared(f"{kind}:{name} {versions}", *sides, known))
    if config.agents.exists():
        more = examples(side.rules for sides in (old, new) for side in sides.values())
        found.extend(_agents(config, before, after, [*known, *more]))
    return found


def _compared(title: str, before: Side | None, after: Side | None, known: list[str]) -> Compared:
    kind = next(side.candidate.ref.kind for side in (before, after) if side)
    old, new = (side.rules if side else None for side in (before, after))
    actions = dict.fromkeys([*known, *examples((old, new))])
    differences = compare(text_speaker(old, kind), text_speaker(new, kind), actions)
    return Compared(title, tuple(_notes(before, after)), tuple(differences))


def _agents(config: Config, before: Path, after: Path, actions: list[str]) -> Iterator[Compared]:
    """Yield what changes for the agents, those together for whom the same changes."""
    old, new = (load_policies(config.agents, Sources([folder])) for folder in (before, after))
    alike: dict[tuple[int, int], tuple[Rules, Rules, list[str]]] = {}
    for name in sorted(old.agents):
        rules, changed = old.standings[name].rules, new.standings[name].rules
        alike.setdefault((id(rules), id(changed)), (rules, changed, []))[2].append(name)
    for rules, changed, names in alike.values():
        differences = compare(agent_speaker(rules), agent_speaker(changed), dict.fromkeys(actions))
        yield Compared(f"agent {', '.join(names)}", (), tuple(differences))


# --- the texts as a whole ---


def _notes(before: Side | None, after: Side | None) -> Iterator[str]:
    if before is None or after is None:
        yield "added" if before is None else "removed"
        return
    old, new = _whole(before), _whole(after)
    for key in old:
        if old[key] != new[key]:
            yield f"{key}: {old[key] or 'none'} -> {new[key] or 'none'}"


def _whole(side: Side) -> dict[str, str]:
    file = side.candidate.file
    whole = {"until": file.until or ""}
    if isinstance(file, PolicyFile):
        about = file.applies_to.model_dump(mode="json", exclude_defaults=True)
        whole |= {"mode": file.mode.value, "applies_to": _flat(about)}
    return whole


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(each)}" for key, each in sorted(value.items()))
    return " ".join(sorted(map(str, value))) if isinstance(value, list | tuple) else str(value)


# --- finding them ---


def _side(config: Config, named: str) -> Side:
    if Path(named).is_file():
        return _of_file(config, Path(named))
    known = known_versions(config, recorded(config.chron))
    try:
        (kind, name), version = read_name(named, known)
    except ChoiceRefused as refused:
        raise NotComparable(f"{refused}; nor is there such a file") from None
    sources = sources_of(config)
    texts = replace(sources.activations, texts=kept_texts(config.chron))
    book = Rulebook({}, complete=True, activations=texts)
    _fill(book, [*_read(sources, config), *sources.documents])
    if version:
        book.recall(kind, name, version)
    _finish(book)
    found = book.candidates.get((kind, name), {}).get(version) if version else book.in_force(kind, name)
    if found is None:
        listed = ", ".join(str(ref.version) for ref, _ in known.values() if (ref.kind, ref.id) == (kind, name))
        which = f"no version {version}" if version else "no version in force"
        raise NotComparable(f'{kind} "{name}" has {which}; known: {listed}')
    return Side(found, book.rules(found))


def _of_file(config: Config, path: Path) -> Side:
    """Return the text of a file, which may extend texts of the site."""
    faults: list[Fault] = []
    document = _document(path)
    own = Rulebook({}, complete=False)
    _fill(own, [document])
    if own.faults:
        raise PolicyError(own.faults)
    (ref,) = own.refs
    site, book = Rulebook({}, complete=False), Rulebook({}, complete=True)
    _fill(site, documents_in(sources_of(config).paths, config.agents, faults))
    others = [each for versions in site.candidates.values() for each in versions.values()]
    key = ref.kind, ref.id, ref.version
    _fill(book, [each.document for each in others if (each.ref.kind, each.ref.id, each.ref.version) != key])
    _fill(book, [document])
    _finish(book)
    found = book.candidates[ref.kind, ref.id][ref.version]
    return Side(found, book.rules(found))


def _sides(folder: Path, agents_file: Path) -> Sides:
    faults: list[Fault] = []
    book = Rulebook({}, complete=True)
    _fill(book, documents_in([folder], agents_file, faults))
    if faults:
        raise PolicyError(faults)
    _finish(book)
    in_force = {key: found for key in book.candidates if (found := book.in_force(*key)) is not None}
    return {key: Side(found, book.rules(found)) for key, found in in_force.items()}


def _read(sources: Sources, config: Config) -> list[Document]:
    faults: list[Fault] = []
    documents = documents_in(sources.paths, config.agents, faults)
    if faults:
        raise PolicyError(faults)
    return documents


def _document(path: Path) -> Document:
    try:
        return read_document(path.read_bytes().decode("utf-8"), str(path), error=PolicyError)
    except (UnicodeDecodeError, OSError):
        raise PolicyError([Fault(Place(str(path), 1, 1), "cannot be read as UTF-8 text")]) from None


def _fill(book: Rulebook, documents: list[Document]) -> None:
    for document in documents:
        book.add(document)


def _finish(book: Rulebook) -> None:
    book.finish()
    if book.faults:
        raise PolicyError(book.faults)
