"""Reads agents, skills and policies from disk: the only module here that opens a rule file.

`policies` may name files and folders. In a folder every `*.yaml` counts, also in folders inside it, except
names that begin with a dot, the agents file itself, and `*.test.yaml`, which hold tests (`policies.testing`).
A `*.yml`, a link to a folder, or a policy in a file of tests, is a fault and not skipped: a deny that nobody reads
allows.

    policies/no-prod.yml:1:1: only "*.yaml" is read; rename it to "no-prod.yaml"
    policies/no-prod.test.yaml:1:1: holds a policy and is called a file of tests; take the ".test" out of its name
    agents.yaml:1:1: cannot be read: no such file; create it with "claiim agent add" or "claiim init"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mappings.documents import Document, DocumentError, Fault, Place, read_document
from policies.compiling import compile_what_is_there
from policies.deciding import Policies
from policies.rulebook import Activations, Seen
from policies.testschema import CasesError
from policies.values import PolicyError

REGISTRY_TIMES_LARGER = 32
"""The registry may be this much larger than a text: commands write it, for some ten thousands of agents."""

TESTS = ".test.yaml"
"""How the name of a file of tests ends."""

BUNDLE_SUFFIX = ".claiim"
"""Of files that hold signed texts (`policies.bundles`)."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the skills and policies are, and which of their versions count."""

    paths: Sequence[Path] = ()
    """Files and folders."""
    documents: Sequence[Document] = ()
    """What was read already: the texts of signed bundles."""
    bundles: Sequence[str] = ()
    """Which bundles those are: "id:digest:key"."""
    activations: Activations = field(default_factory=Activations)


type PolicyPaths = Sequence[Path] | Sources
"""Paths alone mean: of every text its highest version."""


def load_policies(agents_file: Path, policy_paths: PolicyPaths, *, seen: Seen | None = None) -> Policies:
    """Return what these files say; raise PolicyError with every fault in all of them. Blocks on the disk."""
    faults: list[Fault] = []
    agents = _registry(agents_file, faults)
    return _compiled(agents, agents_file, policy_paths, seen, faults)


def load_with_agents(text: str, agents_file: Path, policy_paths: PolicyPaths) -> Policies:
    """Return what these files would say if `text` were the agents file; raise PolicyError."""
    faults: list[Fault] = []
    try:
        agents = read_document(text, str(agents_file), error=PolicyError, times_larger=REGISTRY_TIMES_LARGER)
    except DocumentError as wrong:
        agents, faults = None, list(wrong.faults)
    return _compiled(agents, agents_file, policy_paths, None, faults)


def read_texts(agents_file: Path | None, policy_paths: PolicyPaths) -> tuple[Document | None, list[Document]]:
    """Return the registry, when a file is named, and the texts, read and not compiled; raise PolicyError."""
    faults: list[Fault] = []
    sources = _sources(policy_paths)
    agents = _registry(agents_file, faults) if agents_file else None
    rules = documents_in(sources.paths, agents_file, faults)
    if faults:
        raise PolicyError(faults)
    return agents, [*rules, *sources.documents]


def read_tests(paths: Sequence[Path]) -> list[Document]:
    """Return the files of tests among files and folders, read and not checked; raise CasesError."""
    faults: list[Fault] = []
    found = [_document(path, faults, "check the path") for path in files_of_tests(paths)]
    if faults:
        raise CasesError(faults)
    return [document for document in found if document]


def files_of_tests(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of tests in folders, sorted, and every file that is named itself."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.name.lower().endswith(TESTS) and not hidden:
                yield file


def documents_in(policy_paths: Sequence[Path], agents_file: Path | None, faults: list[Fault]) -> list[Document]:
    """Return the documents in these files and folders; what cannot be read goes to `faults`."""
    read = [_document(path, faults, "check the path") for path in _files(policy_paths, agents_file, faults)]
    return [document for document in read if document]


def _compiled(
    agents: Document | None,
    agents_file: Path,
    policy_paths: PolicyPaths,
    seen: Seen | None,
    faults: list[Fault],
) -> Policies:
    sources = _sources(policy_paths)
    before = len(faults)
    rules = documents_in(sources.paths, agents_file, faults)
    policies, found = compile_what_is_there(
        agents,
        [*rules, *sources.documents],
        seen=seen,
        complete=len(faults) == before,
        activations=sources.activations,
    )
    faults.extend(found)
    if policies is None or faults:
        raise PolicyError(faults)
    return policies


def read_registry(path: Path) -> Document:
    """Return the registry's file as a document; raise PolicyError."""
    faults: list[Fault] = []
    document = _registry(path, faults)
    if document is None:
        raise PolicyError(faults)
    return document


def _sources(policy_paths: PolicyPaths) -> Sources:
    return policy_paths if isinstance(policy_paths, Sources) else Sources(policy_paths)


def read_text(path: Path) -> Document:
    """Return one file as a document; raise PolicyError."""
    faults: list[Fault] = []
    document = _document(path, faults, "check the path")
    if document is None:
        raise PolicyError(faults)
    return document


def _files(paths: Sequence[Path], agents_file: Path | None, faults: list[Fault]) -> Iterator[Path]:
    read = {agents_file.resolve()} if agents_file else set()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            inside = file.relative_to(path).parts if file != path else ()
            if any(part.startswith(".") for part in inside) or file.resolve() in read:
                continue
            if file != path and file.is_symlink() and file.is_dir():
                _fault(faults, file, 'is a link to a folder, which is not followed; name that folder in "policies"')
            elif file != path and file.name.lower().endswith(TESTS):
                _look_for_rules(file, faults)
            elif file.suffix.lower() == ".yaml" or file == path:
                read.add(file.resolve())
                yield file
            elif file.suffix.lower() == ".yml":
                _fault(faults, file, f'only "*.yaml" is read; rename it to "{file.stem}.yaml"')
            elif file.suffix.lower() == BUNDLE_SUFFIX:
                _fault(faults, file, 'is a bundle, which is not looked for in folders; name it in "policies"')


def _registry(path: Path, faults: list[Fault]) -> Document | None:
    missing = 'create it with "claiim agent add" or "claiim init"'
    return _document(path, faults, missing, times_larger=REGISTRY_TIMES_LARGER)


def _look_for_rules(file: Path, faults: list[Fault]) -> None:
    document = _document(file, [], "")  # whatever else is wrong with tests, the gate needs none of them
    keys = document.value.keys() if document and isinstance(document.value, dict) else ()
    kind = next((key for key in ("skill", "policy") if key in keys), None)
    if kind:
        _fault(faults, file, f'holds a {kind} and is called a file of tests; take the ".test" out of its name')


def _document(path: Path, faults: list[Fault], remedy: str, *, times_larger: int = 1) -> Document | None:
    try:
        text = path.read_bytes().decode("utf-8")
        return read_document(text, str(path), error=PolicyError, times_larger=times_larger)
    except UnicodeDecodeError:
        _fault(faults, path, "is not UTF-8 text; save it as UTF-8")
    except OSError as error:
        _fault(faults, path, f"cannot be read: {(error.strerror or type(error).__name__).lower()}; {remedy}")
    except DocumentError as wrong:
        faults.extend(wrong.faults)
    return None


def _fault(faults: list[Fault], path: Path, message: str) -> None:
    faults.append(Fault(Place(str(path), 1, 1), message))
