"""One stream of bytes, read by eight servers of other people: do they all see the same requests?

After the HTTP Garden (github.com/narfindustries/http-garden), of which the method is taken and nothing else.
"""

from support.garden.garden import READERS, Garden, disagreements, refused_by_some
from support.garden.reading import END_TARGET, Read, Reading, leaves

__all__ = ["END_TARGET", "READERS", "Garden", "Read", "Reading", "disagreements", "leaves", "refused_by_some"]
