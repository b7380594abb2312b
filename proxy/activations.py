"""Which versions of skills and policies count: the pointer stands in the Chron, and is read from here by everybody.

The gate, and every command that asks the files without a gate, load the same texts: `sources_of` says where they
are and which of their versions are in force. Nothing here writes.
"""

from collections.abc import Iterable, Mapping

import chron
from chron import ChronError
from chron.sources import Source
from mappings.documents import Fault
from policies import Policies, Sources, TextRef, load_policies
from policies.choosing import KEPT
from policies.loading import documents_in
from policies.rulebook import Rulebook, TextKey
from policies.versions import History, read_history
from proxy.bundles import signed_sources
from proxy.config import Config

KINDS = ("skill", "policy")


def recorded(path: Source) -> History:
    """What the Chron says of activations; nothing where there is no Chron yet. Raises ChronError. Blocks."""
    if not chron.is_there(path):
        return History()
    return read_history(record.fields for record in chron.find(path, kind="policy"))


def kept_texts(path: Source) -> dict[TextKey, str]:
    """The skills and policies that the Chron kept, by version. Blocks."""
    if not chron.is_there(path):
        return {}
    texts = {kind: chron.kept_texts(path, kind) for kind in KINDS}
    return {key: texts[key[0]][digest] for key, digest in chron.seen(path).items() if key[0] in texts}


def sources_of(config: Config, history: History | None = None) -> Sources:
    """Where skills and policies come from and which versions of them count; `history` instead of the recorded one."""
    history = recorded(config.chron) if history is None else history
    texts = kept_texts(config.chron) if history.activations else {}
    return signed_sources(config, history.in_force(required=config.activation.required, texts=texts))


def load_in_force(
    config: Config, *, history: History | None = None, seen: Mapping[TextKey, str] | None = None
) -> Policies:
    """The policies as a gate with this configuration would load them now; raises DocumentError with every fault."""
    return load_policies(config.agents, sources_of(config, history), seen=seen)


def known_versions(config: Config, history: History) -> dict[TextKey, tuple[TextRef, str]]:
    """Every version that there is a text of, with the place of it: a file's, or "chron:..." when only the Chron has it.

    The texts need not make a set that loads: this serves to find the way out of one that does not.
    """
    faults: list[Fault] = []
    sources = sources_of(config, history)
    book = Rulebook({}, complete=False)
    for document in (*documents_in(sources.paths, config.agents, faults), *sources.documents):
        book.add(document)
    known: dict[TextKey, tuple[TextRef, str]] = {
        (ref.kind, ref.id, ref.version): (ref, book.candidates[ref.kind, ref.id][ref.version].document.source)
        for ref in book.refs
    }
    for (kind, name, version), digest in (chron.seen(config.chron) if chron.is_there(config.chron) else {}).items():
        if kind in KINDS:
            ref = TextRef("skill" if kind == "skill" else "policy", name, version, digest)
            known.setdefault((kind, name, version), (ref, f"{KEPT}{kind}:{name}@{version}"))
    return known


def registry_sources(config: Config) -> Sources:
    """The sources by which a change of the registry is checked, also for a user who may not read the Chron.

    Then every text counts as never activated; the gate looks again when it loads the change.
    """
    try:
        return sources_of(config)
    except ChronError:
        return signed_sources(config)


def not_activated(policies: Policies, history: History) -> list[str]:
    """Say which loaded versions are newer than what is in force and were never activated, one line each."""
    return list(_not_activated(policies, history.in_force(required=False).approved))


def _not_activated(policies: Policies, approved: Iterable[tuple[str, str, int, str]]) -> Iterable[str]:
    for text in policies.texts:
        if text.kind == "agents" or (text.kind, text.id, int(text.version), text.digest) in approved:
            continue
        current = policies.in_force.get((text.kind, text.id))
        if current is None or int(text.version) > current.version:
            counts = "no version is" if current is None else f"version {current.version} is"
            yield f"{text.kind}:{text.id}@{text.version} is not in force, {counts}"
