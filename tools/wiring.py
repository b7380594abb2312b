"""Writes docs/wiring.md: what each tool is given, whether that is enough, and what has to be done by hand.

Made from the tables that the environment is made from (proxy/wiring/given.py, proxy/wiring/tools.py), and from nothing
else. A test compares it with the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from proxy.wiring.given import BASE_URLS, REMOVED, VARIABLES  # noqa: E402 - found by the line above
from proxy.wiring.tools import TOOLS  # noqa: E402

PAGE = ROOT / "docs" / "wiring.md"

HEAD = """# Wiring: which tools go through the gate by themselves

`claiim run -- COMMAND` and `eval "$(claiim env)"` give a tool an environment in which it goes through the gate and trusts
its certificates. Here is what each tool does with it. `claiim help wiring` prints the same.

**Variables ask; they do not confine.** A program that does not read them, or an agent that unsets them, goes around the
gate. What is said here to go around does: [shut the network](enclosure.md), and have `claiim doctor` prove it.

This page is made from the code by `make wiring`. Each tool was driven for real, the version that
stands there, on Debian 12, x86-64, in November 2026: through a gate that opens TLS, with one call that is allowed,
arrives and is recorded as the agent's, and one that is refused. Where its call would go without a gate something
listened, and nothing came, although the home and the shell of the owner were set against it: another proxy in
`.curlrc`, `.wgetrc`, `.gitconfig`, `.npmrc`, `pip.conf`, the kubeconfig and the inherited variables, `NO_PROXY=*`,
other roots. `make drives` does that with each tool that it finds, by `claiim env` and by `claiim run`, and skips the
others; `make test` does it with those that start fast. macOS and Windows were not tried.

## Tools

"by hand" and "cannot" say what to do, and what happens when it is not done.
"""

ENV = """
## With `claiim env` and with `claiim run`

Both set the variables below, and write the files that they name into a folder: `claiim env` into the user's cache or
`--files DIR`, readable for all, with no secret in them; `claiim run` into one of its own, gone when the command ends.
`claiim run` also writes a kubeconfig before yours (see kubectl), readable for you alone: the token is in it.

Whatever else the shell has that ends in `_PROXY`, in any case, is removed: `claiim env` prints `unset` for what it finds.
An inherited `NO_PROXY` is never kept. `--no-proxy HOSTS` of `claiim env` sets one; what is in it goes around the gate, and
[tools read it differently](ways-in.md#what-tools-make-of-no_proxy).

## Variables

Most tools replace their roots by the file that they are given, so `bundle.pem` has the system's roots, too.
"""

LISTENERS = """
## By another listener

`claiim env --listener NAME` is for what comes by one of the [other ways in](ways-in.md):

| mode of the listener | what changes |
|---|---|
| `proxy` | the proxy is that one; without agent and token in its URL, if the listener `proves` who comes. For tools that cannot bring credentials |
| `socks5` | `ALL_PROXY` and `all_proxy` are `socks5h://`, for what knows no other; `HTTPS_PROXY` and the rest stay. httpx then wants its extra `socks` |
| `transparent` | no proxy at all: trust alone |
| `reverse` | the base URL of the API behind it, for the clients below, if the listener `proves` who comes; its host stands in `NO_PROXY`, so that all on that host is reached directly |
"""

REVERSE = """
Other clients take `http://HOST:PORT` of the listener as their base URL, if they can be told one. Not `AWS_ENDPOINT_URL`:
the signature covers the host. Not `GH_HOST`: gh speaks https alone, and to a name.

## What is removed

Whatever these say would win over the variables above.
"""


def page() -> str:
    """The whole page."""
    rows = ([t.name, t.works.value, t.tried or "", _names(t.reads), _by_hand(t.hand, t.note)] for t in TOOLS)
    variables = ([f"`{v.name}`", v.words or v.value.value, v.source] for v in VARIABLES)
    bases = (
        [f"`{base.variable}`", f"`{base.host}`", f"the listener{base.path and f', `{base.path}`'}"]
        for base in BASE_URLS
    )
    removed = ([f"`{name}`", why] for name, why in REMOVED.items())
    return "".join(
        (
            HEAD,
            *_table(("tool", "goes through", "tried", "goes by", "what to know"), rows),
            ENV,
            *_table(("variable", "is", "read according to"), variables),
            LISTENERS,
            *_table(("variable", "API", "is"), bases),
            REVERSE,
            *_table(("variable", "because"), removed),
        )
    )


def _names(reads: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in reads)


def _by_hand(hand: str, note: str) -> str:
    return " ".join(filter(None, (hand, note)))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield "\n" + _row(head) + _row(["---"] * len(head)).replace(" ", "")
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
