"""Path templates, and an index that finds every template a path fits.

    /repos/{owner}/{repo}/pulls       {x}          one segment
    /contents/{path+}                 {x+}         one segment or more
    /{probe:healthz|livez}            {x:a|b}      one of these words
    /apps/{app:web-*}                 {x:web-*}    a glob within the segment
    /compare/{base}...{head}          parts of a segment, split where the text between first stands

A path is split at "/" and each segment percent-decoded afterwards, so "%2F" never separates here; whoever
asks also asks about the other reading. A trailing "/" makes no difference, an empty segment fits nothing.
Words are expanded when a template is read, so "literal" is always a matter of looking up, and no text of a
template reaches the regular expression engine unescaped.

Faults, for example:

    path "/a%2fb" is not canonical; write "/a%2Fb"
    path "/{a}{b}" has no text between "{a}" and "{b}"; put a character between them
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from mappings.canonical import CanonicalError, canonical_path
from mappings.globs import glob_source

MAX_SEGMENTS = 256
"""Longer paths fit no template, which bounds the work a request can cause."""
MAX_EXPANSIONS = 64
MAX_PLUS = 2
"""Of ``{x+}`` in one template; each costs another walk over the path."""

_PARAMETER = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<plus>\+)|:(?P<spec>[^{}/]+))?")
_SPEC = re.compile(r"[A-Za-z0-9._~@:%|*-]*")


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    plus: bool
    words: tuple[str, ...]
    glob: str


_Piece = _Literal | _Parameter


@dataclass(frozen=True, slots=True)
class Template:
    """One way to read a template: words chosen, segments ready for the index."""

    steps: tuple[str | re.Pattern[str] | None, ...]
    """Per segment: literal text, a pattern with a group per capture, None for ``{x}``, PLUS for ``{x+}``."""
    names: tuple[str, ...]
    """Of the captures, in order."""
    chosen: tuple[tuple[str, str], ...]
    """Captures already settled by ``{x:a|b}``."""
    literal_chars: int


PLUS = "\0+"


def read_template(text: str) -> tuple[Template, ...]:
    """Return every reading of a path template; raise ValueError with the remedy when it is none."""
    if not text.startswith("/"):
        raise ValueError(f'path "{text}" does not start with "/"; write "/{text}"')
    stripped = text[1:].removesuffix("/")
    segments = [_pieces(segment, text) for segment in stripped.split("/")] if stripped else []
    _check_names(segments, text)
    _check_canonical(segments, text)
    alternatives = [
        [_Literal(word) for word in piece.words] if isinstance(piece, _Parameter) and piece.words else [piece]
        for segment in segments
        for piece in segment
    ]
    count = 1
    for alternative in alternatives:
        count *= len(alternative)
    if count > MAX_EXPANSIONS:
        raise ValueError(f'path "{text}" has more than {MAX_EXPANSIONS} combinations of words; use several rules')
    return tuple(_template(segments, list(choice)) for choice in itertools.product(*alternatives))


def _pieces(segment: str, text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    for part in re.split(r"(\{[^{}]*\})", segment):
        if part.startswith("{"):
            pieces.append(_parameter(part, text))
        elif "{" in part or "}" in part:
            raise ValueError(f'path "{text}" has a brace without its pair; write {{name}}')
        elif "*" in part:
            raise ValueError(f'path "{text}" holds "*"; write {{name}} for one segment, {{name+}} for more')
        elif part:
            pieces.append(_Literal(part))
    for first, second in itertools.pairwise(pieces):
        if isinstance(first, _Parameter) and isinstance(second, _Parameter):
            raise ValueError(
                f'path "{text}" has no text between "{{{first.name}}}" and "{{{second.name}}}"; '
                "put a character between them"
            )
    if len(pieces) > 1 and any(isinstance(piece, _Parameter) and piece.plus for piece in pieces):
        raise ValueError(f'path "{text}" has a "+" parameter within a segment; give it the whole segment')
    return pieces


def _parameter(part: str, text: str) -> _Parameter:
    match = _PARAMETER.fullmatch(part[1:-1])
    if not match:
        raise ValueError(f'path "{text}": "{part}" is no parameter; write {{name}}, {{name+}} or {{name:a|b}}')
    spec = match["spec"] or ""
    if not _SPEC.fullmatch(spec):
        raise ValueError(f'path "{text}": "{spec}" is no word; write {{name:a|b}} or {{name:a-*}}, no expressions')
    if "*" in spec:
        if "|" in spec:
            raise ValueError(f'path "{text}": "{part}" mixes "|" and "*"; use two rules')
        return _Parameter(match["name"], False, (), spec)
    words = tuple(spec.split("|")) if spec else ()
    if "" in words and spec:
        raise ValueError(f'path "{text}": "{part}" has an empty word; remove a "|"')
    return _Parameter(match["name"], bool(match["plus"]), words, "")


def _check_names(segments: Sequence[Sequence[_Piece]], text: str) -> None:
    parameters = [piece for segment in segments for piece in segment if isinstance(piece, _Parameter)]
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'path "{text}" names "{name}" twice; give each its own name')
    if sum(parameter.plus for parameter in parameters) > MAX_PLUS:
        raise ValueError(f'path "{text}" has more than {MAX_PLUS} "+" parameters; write segments out')


def _check_canonical(segments: Sequence[Sequence[_Piece]], text: str) -> None:
    """One normaliser for rules and requests: text that no canonical request holds would never match."""
    texts = [[_sample(piece) for piece in segment] for segment in segments]
    for variant in range(max((len(options) for segment in texts for options in segment), default=1)):
        sample = "/" + "/".join(
            "".join(options[min(variant, len(options) - 1)] for options in segment) for segment in texts
        )
        try:
            canonical = canonical_path(sample)
        except CanonicalError as wrong:
            raise ValueError(str(wrong)) from None
        if canonical != sample:
            raise ValueError(f'path "{text}" is not canonical; write "{canonical}"')
        if "%2F" in sample:
            raise ValueError(f'path "{text}" holds "%2F", which has two readings; write {{name+}} there')


def _sample(piece: _Piece) -> tuple[str, ...]:
    if isinstance(piece, _Literal):
        return (piece.text,)
    return piece.words or (piece.glob.replace("*", "x"),) if piece.words or piece.glob else ("x",)


def _template(segments: Sequence[Sequence[_Piece]], choice: list[_Piece]) -> Template:
    pieces = iter(choice)
    steps: list[str | re.Pattern[str] | None] = []
    names: list[str] = []
    chosen: list[tuple[str, str]] = []
    literal_chars = 0
    for segment in segments:
        taken = [next(pieces) for _ in segment]
        for original, piece in zip(segment, taken, strict=True):
            literal_chars += _literal_chars(piece)
            if isinstance(piece, _Parameter):
                names.append(piece.name)
            elif isinstance(original, _Parameter):
                chosen.append((original.name, unquote(piece.text)))
        steps.append(_step(taken))
        literal_chars += 1
    return Template(tuple(steps), tuple(names), tuple(chosen), literal_chars)


def _literal_chars(piece: _Piece) -> int:
    return len(piece.text) if isinstance(piece, _Literal) else len(piece.glob.replace("*", ""))


def _step(pieces: Sequence[_Piece]) -> str | re.Pattern[str] | None:
    if all(isinstance(piece, _Literal) for piece in pieces):
        return unquote("".join(piece.text for piece in pieces if isinstance(piece, _Literal)))
    first = pieces[0]
    if len(pieces) == 1 and isinstance(first, _Parameter) and not first.glob:
        return PLUS if first.plus else None
    source = ""
    for at, piece in enumerate(pieces):
        if isinstance(piece, _Parameter):
            source += _group(piece, pieces[at + 1 :])
        elif not (at and isinstance(pieces[at - 1], _Parameter)):
            source += re.escape(unquote(piece.text))
    return re.compile(source, re.DOTALL)


def _group(parameter: _Parameter, after: Sequence[_Piece]) -> str:
    """Return the source for one parameter and the literal text after it."""
    inner = glob_source(unquote(parameter.glob)) if parameter.glob else ".+"
    if not after:
        return f"({inner})"
    # Two parameters never touch, so what comes next is literal.
    literal = re.escape(unquote(after[0].text)) if isinstance(after[0], _Literal) else ""
    if len(after) == 1 or parameter.glob:
        return f"({inner}){literal}"
    # Atomic: with the first place of the literal taken for good, a hostile segment costs linear time.
    return f"(?>(.+?){literal})"


def split_path(path: str) -> tuple[str, ...] | None:
    """Return the decoded segments of a path; None when it can fit no template."""
    text = path[1:-1] if len(path) > 1 and path.endswith("/") else path[1:]
    if not text:
        return ()
    segments = text.split("/")
    if len(segments) > MAX_SEGMENTS or "" in segments:
        return None
    if "%" in text:
        return tuple(unquote(segment, errors="replace") if "%" in segment else segment for segment in segments)
    return tuple(segments)


@dataclass(slots=True)
class _Node[T]:
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    patterns: dict[str, tuple[re.Pattern[str], _Node[T]]] = field(default_factory=dict)
    single: _Node[T] | None = None
    plus: _Node[T] | None = None
    items: list[tuple[Template, T]] = field(default_factory=list)

    def after(self, step: str | re.Pattern[str] | None) -> _Node[T]:
        """Return the node that `step` leads to, made when there is none."""
        if step is None:
            self.single = self.single or _Node()
            return self.single
        if step is PLUS:
            self.plus = self.plus or _Node()
            return self.plus
        if isinstance(step, str):
            return self.literals.setdefault(step, _Node())
        return self.patterns.setdefault(step.pattern, (step, _Node()))[1]


class PathIndex[T]:
    """Items by path template: a tree over segments, walked once per path."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, template: Template, item: T) -> None:
        """File an item under one reading of a template."""
        node = self._root
        for step in template.steps:
            node = node.after(step)
        node.items.append((template, item))

    def find(self, segments: tuple[str, ...]) -> list[tuple[Template, T, dict[str, str]]]:
        """Return every template that fits, its item, and the captures; each ``{x+}`` as short as can be."""
        found: list[tuple[Template, T, dict[str, str]]] = []
        count = len(segments)
        stack: list[tuple[_Node[T], int, _Captured]] = [(self._root, 0, ())]
        # Two "{x+}" reach one place in many ways. The first is the reading, and without this memory a path of
        # many segments would cost their square.
        seen: set[tuple[int, int]] = set()
        while stack:
            node, at, captured = stack.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            if at == count:
                found.extend((template, item, _named(template, captured, segments)) for template, item in node.items)
                continue
            segment = segments[at]
            if node.plus is not None:
                # Pushed longest first, so that the shortest is tried first.
                stack.extend((node.plus, end, (*captured, (at, end))) for end in range(count, at, -1))
            if node.single is not None:
                stack.append((node.single, at + 1, (*captured, segment)))
            for pattern, after in node.patterns.values():
                match = pattern.fullmatch(segment)
                if match:
                    stack.append((after, at + 1, captured + match.groups()))
            literal = node.literals.get(segment)
            if literal is not None:
                stack.append((literal, at + 1, captured))
        return found


_Captured = tuple[str | tuple[int, int], ...]
"""Texts, and spans of segments for ``{x+}``: joined only for templates that fit."""


def _named(template: Template, captured: _Captured, segments: tuple[str, ...]) -> dict[str, str]:
    texts = (text if isinstance(text, str) else "/".join(segments[text[0] : text[1]]) for text in captured)
    captures = dict(zip(template.names, texts, strict=True))
    captures.update(template.chosen)
    return captures
