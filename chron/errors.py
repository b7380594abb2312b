"""The room's errors."""


class ChronError(Exception):
    """The Chron cannot record, or cannot be read; one line that ends with the remedy.

    Who asked for a record and gets this must act as if nothing was recorded: forward nothing.
    """


class ServerAwayError(ChronError):
    """A server cannot be reached, went away in the middle, or has no room: what only finishes something can wait."""


class NotOursError(ChronError):
    """What is read is there, and is not what a Chron writes."""


class FilterError(ChronError):
    """A question to the Chron cannot be understood or takes too much; whoever asked has to ask another one."""


def too_slow(most_s: float) -> FilterError:
    """An answer was given up after so many seconds."""
    return FilterError(f"the answer takes longer than {most_s:g} s; ask for less, by since= or agent=")


def refused(error: Exception) -> FilterError:
    """A statement of somebody's own is none that is run."""
    allowed = "the statement may only read chron, artefact, decisions and person"
    return FilterError(f'{allowed}: "{str(error).splitlines()[0]}"; write one SELECT')


NOT_TAKEN = "the log did not take what was written to it"
"""What is wrong when a statement or a commit says that it is done, and nothing was."""
