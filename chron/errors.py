"""The room's one error."""


class ChronError(Exception):
    """The Chron cannot record, or cannot be read; one line that ends with the remedy.

    Who asked for a record and gets this must act as if nothing was recorded: forward nothing.
    """
