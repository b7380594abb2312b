"""A record before it has its place: checked, with its id and its time."""

import threading
from collections.abc import Callable

from chron.batch import Draft
from chron.body import Fields, checked
from chron.ids import Ids


class Drafting:
    """Makes drafts by one clock; may be asked from any thread."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._ids = Ids()
        self._gate = threading.Lock()

    def draft(self, kind: str, fields: Fields) -> Draft:
        """Check a record and give it its id and time; raises ChronError for what a body cannot hold."""
        checked_fields = checked(kind, fields)
        at_ns = self._clock_ns()
        with self._gate:
            return self._ids.next(at_ns), at_ns, kind, checked_fields
