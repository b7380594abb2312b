"""A child that does not end by itself."""

import signal


def run() -> None:
    """Wait for a signal that kills."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
