"""Text from requests, made safe to look at.

A record keeps what an agent sent; a terminal obeys what it is sent. Control characters (ANSI escapes, CR, LF, C1),
bidirectional overrides and line separators are shown as escapes, so that a record stays one line and says what it is.

    printable("GET\r\nDENY")       -> "GET\\r\\nDENY"
    printable("\x1b[2Jdeploy")     -> "\\x1b[2Jdeploy"
"""

import re

# Unicode 15 general categories Cc, and of Cf, Zl, Zp those that move or hide text (Unicode TR 36, 3.1).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey written as an escape."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
