"""Puts rules in force in a running gate: loaded and recorded first, then swapped as a whole.

    reload   ->  the files as they are now          SIGHUP, POST /v1/reload
    obey     ->  the same with other versions       a human has activated them (`proxy.activating`)

On any fault the last good rules stay in force, the refusal is recorded, and `refused` says so until a load succeeds.
Only what the registry takes away counts at once (`policies.narrowing`): stopping somebody waits for no other file.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from chron import Chron, ChronError
from mappings import DocumentError
from policies.narrowing import NarrowedError
from policies.versions import History
from proxy.engines import Front
from proxy.pipeline import Gate
from proxy.questions import FieldValues
from proxy.records import refused_fields
from proxy.restoring import uses_of
from proxy.rulebooks import Rulebooks
from proxy.verdicts import Book


class Reloading:
    """Swaps the rules of one gate, one load after the other.

    `served` makes of a book what this gate obeys; `listener` reads the listener's certificate anew, and blocks.
    """

    def __init__(
        self,
        rulebooks: Rulebooks,
        book: Book,
        chron: Chron,
        gate: Gate,
        engine: Front,
        *,
        session: str,
        served: Callable[[Book], Book],
        listener: Callable[[], SSL.Context | None],
    ) -> None:
        self.refused = ""
        """Why the last reload was refused."""
        self._rulebooks = rulebooks
        self._book = book
        """What was loaded last, before `served`."""
        self._chron = chron
        self._gate = gate
        self._engine = engine
        self._session = session
        self._served = served
        self._listener = listener
        self._lock = asyncio.Lock()

    async def reload(self) -> str:
        """Swap in the rules as the files have them now; their digest. Raises DocumentError and keeps the old ones."""
        async with self._lock:
            try:
                book = await asyncio.to_thread(self._rulebooks.load)
                listener = await asyncio.to_thread(self._listener)
            except DocumentError as error:
                self.refused = str(error)
                self._gate.metrics.reloaded("refused")
                with contextlib.suppress(ChronError):
                    await self._chron.append("policy", refused_fields(self.refused, self._session))
                if await self._narrow():
                    raise NarrowedError(self.refused) from error
                raise
            await self._swap(book, listener)
            return book.digest

    async def _narrow(self) -> bool:
        """Take away what the registry's file takes away, though the rest of the rules cannot be loaded."""
        book, found = await asyncio.to_thread(self._rulebooks.narrow, self._book)
        if found:
            await self._rulebooks.record_narrowed(book, found)
            self._book = book
            self._gate.book = self._served(book)
            self._engine.sweep()
            await self._engine.spread()
        return bool(found)

    async def attempt(self, history: History) -> None:
        """Load the rules with other versions in force and keep their texts, without using them.

        Raises DocumentError; then it is the versions that were asked for, and the gate is as well as before.
        """
        await self._rulebooks.keep(await asyncio.to_thread(self._rulebooks.load, history))

    async def obey(self, history: History, records: Sequence[FieldValues]) -> None:
        """Load the rules with other versions in force, write down who wanted it, and only then use them."""
        async with self._lock:
            book = await asyncio.to_thread(self._rulebooks.load, history)
            listener = await asyncio.to_thread(self._listener)
            await self._swap(book, listener, records)

    async def _swap(self, book: Book, listener: SSL.Context | None, acts: Sequence[FieldValues] = ()) -> None:
        uses = await asyncio.to_thread(uses_of, self._chron.path, book, self._gate.now())
        await self._rulebooks.record(book, acts)
        self.refused = ""
        # Of limits that are new, calls still on their way to the disk are not counted.
        self._gate.uses.adopt(uses)
        self._book = book
        self._gate.book = self._served(book)
        self._engine.reload(listener)
        await self._engine.spread()
        self._gate.metrics.reloaded("loaded")
