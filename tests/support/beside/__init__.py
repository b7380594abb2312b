"""Both engines, fed the same streams of bytes in front of one origin, and what is different between them."""

from support.beside.differences import DIFFERENCES, explained
from support.beside.gates import Beside
from support.beside.told import Told, differing

__all__ = ["DIFFERENCES", "Beside", "Told", "differing", "explained"]
