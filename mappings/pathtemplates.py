"""Path templates, as routes and rules write them.

    /repos/{owner}/{repo}/pulls       {x}          one segment
    /contents/{path+}                 {x+}         one segment or more
    /{probe:healthz|livez}            {x:a|b}      one of these words
    /apps/{app:web-*}                 {x:web-*}    a glob within the segment
    /compare/{base}...{head}          parts of a segment, split where the text between first stands
    /{app:web-*}-{stage:p*}           the same with globs: of "web-a-p" the app is "web-a", and "web-a-b-p" does not fit

A trailing "/" makes no difference. Words are expanded when a template is read, so "literal" is always a matter
of looking up, and no text of a template reaches the regular expression engine unescaped. There is no ``{x:regex}``
on purpose: an expression that a person writes can be made to take exponential time by what an agent sends, and
what it lets through is hard to see in review; words and globs say nearly always what was meant.

Faults, for example:

    path "/a%2fb" is not canonical; write "/a%2Fb"
    path "/{a}{b}" has no text between "{a}" and "{b}"; put a character between them
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from mappings.canonical import CanonicalError, canonical_path
from mappings.globs import Glob, glob_source

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
class SegmentPattern:
    """A segment that is text and parameters mixed."""

    expression: re.Pattern[str]
    """With a group for each capture; matched in full."""
    glob: Glob
    """What the expression fits, this glob fits too: for looking up."""


Step = str | SegmentPattern | None


@dataclass(frozen=True, slots=True)
class Template:
    """One way to read a template: words chosen, segments ready for the index."""

    steps: tuple[Step, ...]
    """Per segment: literal text, a pattern with a group per capture, None for ``{x}``, PLUS for ``{x+}``."""
    names: tuple[str, ...]
    """Of the captures, in order."""
    chosen: tuple[tuple[str, str], ...]
    """Captures already settled by ``{x:a|b}``."""
    literal_chars: int

    @property
    def captures(self) -> tuple[str, ...]:
        """Every name it captures."""
        return (*self.names, *(name for name, _ in self.chosen))


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
    steps: list[Step] = []
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


def _step(pieces: Sequence[_Piece]) -> Step:
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
    return SegmentPattern(re.compile(source, re.DOTALL), _around(pieces))


def _around(pieces: Sequence[_Piece]) -> Glob:
    texts = [""]
    for piece in pieces:
        own = (unquote(piece.text),) if isinstance(piece, _Literal) else unquote(piece.glob or "*").split("*")
        texts[-1] += own[0]
        texts.extend(own[1:])
    return Glob(tuple(texts))


def _group(parameter: _Parameter, after: Sequence[_Piece]) -> str:
    """Return the source for one parameter and the literal text after it."""
    # Two parameters never touch, so what comes next is literal.
    literal = re.escape(unquote(after[0].text)) if after and isinstance(after[0], _Literal) else ""
    if len(after) < 2:
        return f"({glob_source(unquote(parameter.glob)) if parameter.glob else '.+'}){literal}"
    # Atomic: with the first place of the literal taken for good, a hostile segment costs linear time. Without that,
    # four globs in one segment of a kilobyte take a minute to fail.
    return f"(?>({glob_source(unquote(parameter.glob), shortest=True) if parameter.glob else '.+?'}){literal})"
