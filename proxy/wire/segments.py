"""How far an exchange is that goes on for long: told every so often, so that a stream of hours shows before it ends."""

from collections.abc import Callable

from proxy.timers import Handle, Later


class Segments:
    """Calls `tell` every so many seconds until it is cancelled."""

    def __init__(self, tell: Callable[[], None], every_s: float, later: Later) -> None:
        self._tell = tell
        self._every_s = every_s
        self._later = later
        self._timer: Handle = later(every_s, self._due)

    def cancel(self) -> None:
        """Tell no more."""
        self._timer.cancel()

    def _due(self) -> None:
        self._timer = self._later(self._every_s, self._due)
        self._tell()
