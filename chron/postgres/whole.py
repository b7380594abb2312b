"""Every chain of a database and their directory, verified together.

Whole(chains={"directory": Verification(ok=True, ...), "gate-1": Verification(...)}, fault="", notices=())
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from chron.postgres.connection import connected, driver, explained
from chron.postgres.directory import DIRECTORY, Told, compare
from chron.postgres.place import Place
from chron.verification import Verification, verify


@dataclass(frozen=True, slots=True)
class Whole:
    """What verifying found in a database."""

    chains: Mapping[str, Verification]
    """By chain, the directory first."""
    fault: str
    """How the chains and the directory contradict each other; "" when they do not."""
    notices: tuple[str, ...]
    """What is no fault by itself and somebody should know."""

    @property
    def ok(self) -> bool:
        """Whether every chain holds and none is hidden."""
        return not self.fault and all(found.ok for found in self.chains.values())


def verify_whole(source: str, now_ns: int, *, lint: bool = False, indexes: bool = True) -> Whole:
    """Verify each chain, and that the directory knows them all; blocks. Raises ChronError when it cannot be read."""
    place = Place.read(source)
    with closing(connected(source)) as connection:
        try:
            told = compare(connection.raw, now_ns)
        except driver().Error as error:
            raise explained(source, error) from error
    # Those that have records, whatever the list of chains says; what was begun since then comes next time.
    names = sorted(told.chains, key=lambda name: (name != DIRECTORY, name))
    found = {name: verify(place.with_chain(name), lint=lint, indexes=indexes) for name in names}
    return Whole(found, _fault(told), told.notices)


def _fault(told: Told) -> str:
    return told.fault or ("" if told.chains else "there is no chain in it")
