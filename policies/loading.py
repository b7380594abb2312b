"""Reads agents, skills and policies from disk: the only module here that opens a rule file.

`policies` may name files and folders. In a folder every `*.yaml` counts, also in folders inside it, except
names that begin with a dot and the agents file itself. A `*.yml`, or a link to a folder, is a fault and not
skipped: a deny that nobody reads allows.

    policies/no-prod.yml:1:1: only "*.yaml" is read; rename it to "no-prod.yaml"
    agents.yaml:1:1: cannot be read: no such file; create it with "claiim agent add" or "claiim init"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mappings.documents import Document, DocumentError, Fault, Place, read_document
from policies.compiling import compile_what_is_there
from policies.deciding import Policies
from policies.rulebook import Activations, Seen
from policies.values import PolicyError

REGISTRY_TIMES_LARGER = 32
"""The registry may be this much larger than a text: commands write it, for some ten thousands of agents."""


def load_policies(
    agents_file: Path,
    policy_paths: Sequence[Path],
    *,
    seen: Seen | None = None,
    activations: Activations | None = None,
) -> Policies:
    """Return what these files say; raise PolicyError with every fault in all of them. Blocks on the disk."""
    faults: list[Fault] = []
    missing = 'create it with "claiim agent add" or "claiim init"'
    agents = _document(agents_file, faults, missing, times_larger=REGISTRY_TIMES_LARGER)
    policies, found = _compile(agents, agents_file, policy_paths, seen, faults, activations)
    if policies is None or found:
        raise PolicyError(found)
    return policies


def load_with_agents(text: str, agents_file: Path, policy_paths: Sequence[Path]) -> Policies:
    """Return what these files would say if `text` were the agents file; raise PolicyError."""
    faults: list[Fault] = []
    try:
        agents = read_document(text, str(agents_file), error=PolicyError, times_larger=REGISTRY_TIMES_LARGER)
    except DocumentError as wrong:
        agents, faults = None, list(wrong.faults)
    policies, found = _compile(agents, agents_file, policy_paths, None, faults)
    if policies is None or found:
        raise PolicyError(found)
    return policies


def _compile(
    agents: Document | None,
    agents_file: Path,
    policy_paths: Sequence[Path],
    seen: Seen | None,
    faults: list[Fault],
    activations: Activations | None = None,
) -> tuple[Policies | None, list[Fault]]:
    before = len(faults)
    rules = [_document(path, faults, "check the path") for path in _files(policy_paths, agents_file, faults)]
    policies, found = compile_what_is_there(
        agents,
        [document for document in rules if document],
        seen=seen,
        complete=len(faults) == before,
        activations=activations,
    )
    return policies, faults + found


def _files(paths: Sequence[Path], agents_file: Path, faults: list[Fault]) -> Iterator[Path]:
    read = {agents_file.resolve()}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            inside = file.relative_to(path).parts if file != path else ()
            if any(part.startswith(".") for part in inside) or file.resolve() in read:
                continue
            if file != path and file.is_symlink() and file.is_dir():
                _fault(faults, file, 'is a link to a folder, which is not followed; name that folder in "policies"')
            elif file.suffix.lower() == ".yaml" or file == path:
                read.add(file.resolve())
                yield file
            elif file.suffix.lower() == ".yml":
                _fault(faults, file, f'only "*.yaml" is read; rename it to "{file.stem}.yaml"')


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
