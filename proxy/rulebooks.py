"""The rules of a gate, from files to records: loads them as one book, keeps their texts, says what is in force.

A book is whole or it is none: mappings, policies, agents and issuers are read together, and every fault is told at
once. What is in force is on record before it is obeyed, and each text is kept by its digest, so that any decision can
be decided again. Nothing here puts rules in force (`proxy.reloading` does).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import batched

from chron import Chron
from mappings import DocumentError, load_mappings
from policies import Policies, load_policies
from policies.changes import Change, changes
from policies.loading import read_registry
from policies.narrowing import narrowed
from policies.versions import History
from proxy import manifests
from proxy.activations import sources_of
from proxy.config import Config, ConfigError
from proxy.identity import load_issuers
from proxy.lifecycle import change_records, since_last_run
from proxy.questions import FieldValues
from proxy.records import Origin, loaded_fields, narrowed_fields
from proxy.verdicts import Book

_RECORDS_AT_ONCE = 1000
"""Of changes in the registry: a first load of ten thousand agents must leave room for decisions."""


class Rulebooks:
    """Loads and records the rules of one run of a gate."""

    def __init__(self, config: Config, chron: Chron, origin: Origin) -> None:
        self._config = config
        self._chron = chron
        self._origin = origin
        self._registry: Policies | None = None
        """As it was last recorded."""

    def load(self, history: History | None = None) -> Book:
        """Read mappings, policies, agents and issuers; raises DocumentError with every fault. Blocks.

        Which versions are in force says `history`, else what the Chron has recorded.
        """
        config, faults = self._config, list[str]()
        mappings = policies = sources = issuers = None
        try:
            mappings = load_mappings(config.mappings, config.catalogues)
        except DocumentError as error:
            faults.append(str(error))
        try:
            sources = sources_of(config, history)
            policies = load_policies(config.agents, sources, seen=self._chron.seen())
        except DocumentError as error:
            faults.append(str(error))
        try:
            issuers = load_issuers(config.issuers)
        except DocumentError as error:
            faults.append(str(error))
        if mappings is None or policies is None or sources is None or issuers is None:
            raise ConfigError.plain("\n".join(faults))
        digest = manifests.digest_of_rules(mappings.digest, policies.digest)
        return Book(mappings, policies, digest, issuers, tuple(sources.bundles))

    def narrow(self, book: Book) -> tuple[Book, list[Change]]:
        """Return a book with what the registry's file takes away, and what that is; the same book when it is nothing.

        For a file that cannot be read there is nothing to take away. Blocks.
        """
        try:
            registry = read_registry(self._config.agents)
            policies = narrowed(book.policies, registry)
        except DocumentError:
            return book, []
        found = changes(book.policies, policies)
        if not found:
            return book, []
        digest = manifests.digest_of_rules(book.mappings.digest, policies.digest)
        return replace(book, policies=policies, digest=digest), found

    async def record_narrowed(self, book: Book, found: Sequence[Change]) -> None:
        """Keep the registry that took away, and write down what was taken away, before it counts."""
        await self.keep(book)
        narrowed_to = narrowed_fields(book.mappings, book.policies, book.digest, self._origin.session)
        await self._append([*change_records(list(found), self._origin.session), ("policy", narrowed_to)])
        self._registry = book.policies

    async def record(self, book: Book, acts: Sequence[FieldValues] = ()) -> None:
        """Keep every rule text, tell what happened to the registry since the last load, and say what is in force.

        `acts` are what humans did to have it so; they stand before it.
        """
        if self._registry is None:
            changed = await asyncio.to_thread(since_last_run, self._config.chron, book.policies)
        else:
            changed = await asyncio.to_thread(changes, self._registry, book.policies)
        await self.keep(book)
        loaded = loaded_fields(book.mappings, book.policies, book.digest, self._origin, book.bundles)
        done = [("policy", fields) for fields in acts]
        await self._append([*done, *change_records(changed, self._origin.session), ("policy", loaded)])
        self._registry = book.policies

    async def _append(self, records: Sequence[tuple[str, FieldValues]]) -> None:
        for batch in batched(records, _RECORDS_AT_ONCE):
            await self._chron.append_many(batch)

    async def keep(self, book: Book) -> None:
        """Keep every rule text by its digest, so that any decision can be decided again, and the names of humans."""
        texts: list[tuple[str, str, str, str, str]] = [
            *((text.kind, text.id, text.version, text.digest, text.text) for text in book.mappings.texts),
            *((text.kind, text.id, text.version, text.digest, text.text) for text in book.policies.texts),
            *((text.kind, text.id, text.version, text.digest, text.text) for text in book.policies.narrowed_by),
        ]
        manifest = manifests.written(book.mappings, book.policies)
        texts.append((manifests.KIND, "rules", "", manifests.digest_of(manifest), manifest))
        await asyncio.to_thread(self._chron.keep, texts)
        await asyncio.to_thread(self._chron.name, {human.id: human.name for human in book.policies.humans.values()})
