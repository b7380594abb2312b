"""Globs over plain text: "*" is any run of characters, also none; everything else stands for itself.

The expressions built here run in linear time: between two stars the first place a literal is found is as
good as any later one, so each try is atomic and never taken back.
"""

from __future__ import annotations

import re
from functools import lru_cache


def glob_source(glob: str, any_character: str = ".") -> str:
    """Return regular expression source for a glob, to be matched in full."""
    first, *rest = (re.escape(part) for part in glob.split("*"))
    if not rest:
        return first
    middle = "".join(f"(?>{any_character}*?{part})" for part in rest[:-1] if part)
    return f"{first}{middle}{any_character}*{rest[-1]}"


@lru_cache(maxsize=8192)
def compile_glob(glob: str) -> re.Pattern[str]:
    """Return the compiled glob; only texts of rules come here, never of requests."""
    return re.compile(glob_source(glob), re.DOTALL)
