"""Host patterns, and an index that finds what is filed under the patterns covering a host.

api.github.com      that host
*.github.com        one label or more before it: api.github.com, a.b.github.com
                    not github.com, and never evilgithub.com: a suffix begins at a label
*                   refused: host "*" would match everything; write "*.github.com"
"""

from __future__ import annotations

from collections.abc import Iterator

from mappings.canonical import canonical_host

EXACT = 1_000
"""Specificity of an exact host; a wildcard counts the labels it names, no host at all counts 0."""


def host_pattern(text: str) -> str:
    """Return the pattern in canonical form; raise ValueError with the remedy otherwise."""
    if text == "*":
        raise ValueError('host "*" would match everything; write "*.github.com"')
    if "*" not in text:
        return canonical_host(text)
    suffix = text.removeprefix("*.")
    if "*" in suffix or suffix == text:
        raise ValueError(f'host "{text}" has a "*" that is not a leading label; write "*.github.com"')
    return "*." + canonical_host(suffix)


def covers(pattern: str, host: str) -> bool:
    """Say whether a canonical pattern covers a host."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def specificity(pattern: str) -> int:
    """Return how closely a pattern names a host it covers."""
    return pattern.count(".") if pattern.startswith("*.") else EXACT


def host_rank(patterns: tuple[str, ...], host: str) -> int | None:
    """Return how closely the closest of some patterns names a host: 0 without any, None when none covers it."""
    if not patterns:
        return 0
    return max((specificity(pattern) for pattern in patterns if covers(pattern, host)), default=None)


class HostIndex[T]:
    """Items by host pattern."""

    def __init__(self) -> None:
        self._exact: dict[str, T] = {}
        self._suffix: dict[str, T] = {}

    def get(self, pattern: str) -> T | None:
        """Return what is filed under exactly this canonical pattern."""
        if pattern.startswith("*."):
            return self._suffix.get(pattern[2:])
        return self._exact.get(pattern)

    def put(self, pattern: str, item: T) -> None:
        """File an item under a canonical pattern, in place of an earlier one."""
        if pattern.startswith("*."):
            self._suffix[pattern[2:]] = item
        else:
            self._exact[pattern] = item

    def find(self, host: str) -> Iterator[tuple[int, T]]:
        """Yield specificity and item of every pattern covering `host`, the most specific first."""
        exact = self._exact.get(host)
        if exact is not None:
            yield EXACT, exact
        if not self._suffix:
            return
        dot = host.find(".")
        while dot >= 0:
            suffix = host[dot + 1 :]
            item = self._suffix.get(suffix)
            if item is not None:
                yield suffix.count(".") + 1, item
            dot = host.find(".", dot + 1)
