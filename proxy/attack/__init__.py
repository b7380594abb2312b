"""Attacks on a gate, over real sockets: what every gate of this kind has been talked around with, as one table.

`ATTACKS` is every row; `UNSEEN` is what a proxy cannot see, each with its reason. Rows are sent to a gate in front
of a target of ours that writes down what reaches it; nothing here sends anything to anybody else.
"""

from proxy.attack.table import ATTACKS, SOURCES, UNSEEN

__all__ = ["ATTACKS", "SOURCES", "UNSEEN"]
