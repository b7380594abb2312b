"""The strict YAML reader takes one reading or none, and says where it stopped."""

import pydantic
import pytest

from mappings import DocumentError, Fault, PackError, Place, canonical_text, parse, read_document


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(_Strict):
    id: str
    action: str = ""


class Plan(_Strict):
    version: int
    steps: tuple[Step, ...] = ()
    allow: tuple[str, ...] = ()
    names: dict[str, str] = {}


def _faults(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(read_document(text, "f.yaml"), Plan)
    return str(caught.value).split("\n")


REFUSED = {
    "duplicate key": ("a: 1\na: 2\n", 'f.yaml:2:1: key "a" stands twice (first on line 1); keep one'),
    "duplicate key in flow": (
        "a: {b: 1, b: 2}\n",
        'f.yaml:1:11: key "b" stands twice (first on line 1); keep one',
    ),
    "anchor": ("a: &x 1\n", 'f.yaml:1:4: anchor "&x" is not supported; remove it and repeat the value'),
    "alias": ("a: *x\n", 'f.yaml:1:4: alias "*x" is not supported; write the value out, or quote it'),
    "pattern": ("- *:read\n", 'f.yaml:1:4: "*" cannot start a plain text; quote it'),
    "pattern alone": ("allow:\n  - *\n", 'f.yaml:2:6: "*" cannot start a plain text; quote it'),
    "pattern of segments": ("- **:read\n", 'f.yaml:1:4: "*" cannot start a plain text; quote it'),
    "pattern in flow": ("allow: [a, *:read, b]\n", 'f.yaml:1:13: "*" cannot start a plain text; quote it'),
    "pattern like an alias": (
        "- *read\n",
        'f.yaml:1:3: alias "*read" is not supported; write the value out, or quote it',
    ),
    "at sign": ("- @x\n", 'f.yaml:1:3: "@" cannot start a plain text; quote it'),
    "backtick": ("a: `x`\n", 'f.yaml:1:4: "`" cannot start a plain text; quote it'),
    "ampersand": ("- &:x\n", 'f.yaml:1:4: "&" cannot start a plain text; quote it'),
    "tag": ("a: !!str 5\n", 'f.yaml:1:4: tag "tag:yaml.org,2002:str" is not supported; remove it'),
    "python tag": (
        "a: !!python/object/apply:os.system [x]\n",
        'f.yaml:1:4: tag "tag:yaml.org,2002:python/object/apply:os.system" is not supported; remove it',
    ),
    "merge key": ("<<: {}\n", 'f.yaml:1:1: merge key "<<" is not supported; write the entries out'),
    "number as key": ("1: x\n", "f.yaml:1:1: key 1 is not text; quote it"),
    "list as key": ("? [a]\n: b\n", "f.yaml:1:3: key a list is not text; quote it"),
    "float": ("v: 1.10\n", "f.yaml:1:4: 1.10 would be read as a number; quote it"),
    "exponent": ("v: 1e5\n", "f.yaml:1:4: 1e5 would be read as a number; quote it"),
    "octal": ("v: 0777\n", "f.yaml:1:4: 0777 would be read as a number; quote it"),
    "hexadecimal": ("v: 0x1f\n", "f.yaml:1:4: 0x1f would be read as a number; quote it"),
    "sexagesimal": ("v: 22:22\n", "f.yaml:1:4: 22:22 would be read as a number; quote it"),
    "long integer": (
        "v: 1234567890123456\n",
        "f.yaml:1:4: 1234567890123456 would be read as a number; quote it",
    ),
    "underscore in a number": ("v: -_1\n", "f.yaml:1:4: -_1 would be read as a number; quote it"),
    "underscore in a fraction": ("v: ._5\n", "f.yaml:1:4: ._5 would be read as a number; quote it"),
    "underscore in a base": ("v: 0_x1\n", "f.yaml:1:4: 0_x1 would be read as a number; quote it"),
    "underscores in an exponent": ("v: 1e_5\n", "f.yaml:1:4: 1e_5 would be read as a number; quote it"),
    "underscores alone": ("v: -__\n", "f.yaml:1:4: -__ would be read as a number; quote it"),
    "zero and underscores": ("v: 0__\n", "f.yaml:1:4: 0__ would be read as a number; quote it"),
    "underscore before a base": ("v: -_0x1\n", "f.yaml:1:4: -_0x1 would be read as a number; quote it"),
    "base in capitals": ("v: 0X1F\n", "f.yaml:1:4: 0X1F would be read as a number; quote it"),
    "not a number": ("v: .nan\n", "f.yaml:1:4: .nan would be read as a number; quote it"),
    "date": ("v: 2020-01-01\n", "f.yaml:1:4: 2020-01-01 would be read as a date; quote it"),
    "time": ("v: 2020-01-01T00:00:00Z\n", "f.yaml:1:4: 2020-01-01T00:00:00Z would be read as a date; quote it"),
    "the Norway problem": (
        "v: no\n",
        "f.yaml:1:4: no would be read as a boolean by some; write true or false, or quote it",
    ),
    "on as key": (
        "on: 1\n",
        "f.yaml:1:1: on would be read as a boolean by some; write true or false, or quote it",
    ),
    "True": ("v: True\n", "f.yaml:1:4: True would be read as a boolean by some; write true or false, or quote it"),
    "second document": (
        "a: 1\n---\nb: 2\n",
        "f.yaml:2:1: a second document starts here; use one file for each",
    ),
    "version of YAML": ("%YAML 1.1\n---\na: y\n", 'f.yaml:1:1: directive "%YAML" is not supported; remove it'),
    "prefix of tags": ("%TAG ! x:\n---\na: y\n", 'f.yaml:1:1: directive "%TAG" is not supported; remove it'),
    "block alone": (
        ">\n#x\n",
        "f.yaml:1:1: a block of text cannot be the whole document; write it under a key",
    ),
    "unclosed": ("a: [\n", "f.yaml:2:1: did not find expected node content"),
    "tab": ("a:\n\tb: 1\n", "f.yaml:2:1: a tab cannot stand here; use spaces"),
    "hidden line": (
        "# ok\u2028a: 1\n",
        "f.yaml:1:5: character U+2028 is invisible but changes what is read; remove it",
    ),
    "bidirectional": (
        "a: x\u202e\n",
        "f.yaml:1:5: character U+202E is invisible but changes what is read; remove it",
    ),
    "two marks": (
        "\ufeff\ufeffa: 1\n",
        "f.yaml:1:2: character U+FEFF is invisible but changes what is read; remove it",
    ),
    "depth": ("[" * 50, "f.yaml:1:34: nested deeper than 32 levels"),
    "size": ("a" * (1 << 20), "f.yaml:1:1: larger than 1048576 characters; split the file"),
    "empty": ("", "f.yaml:1:1: the file is empty"),
    "only a comment": ("# nothing\n", "f.yaml:1:1: the file is empty"),
    "wrong top": ("[1]\n", "f.yaml:1:1: expected a mapping, found a list"),
    "unknown key": ("version: 1\nalow: []\n", 'f.yaml:2:1: unknown key "alow"; did you mean "allow"'),
    "unknown key, nested": (
        "version: 1\nsteps:\n  - {id: a, acton: b}\n",
        'f.yaml:3:13: unknown key "acton"; did you mean "action"',
    ),
    "unknown key, nothing near": (
        "version: 1\nzzz: 1\n",
        'f.yaml:2:1: unknown key "zzz"; known here: version, steps, allow, names',
    ),
    "missing key": ("version: 1\nsteps:\n  - action: b\n", 'f.yaml:3:5: key "id" is missing'),
    "number for text": ("version: 1\nallow: [5]\n", "f.yaml:2:9: expected text, found 5; quote it"),
    "text for number": ('version: "1"\n', 'f.yaml:1:10: expected a whole number, found "1"'),
    "mapping for text": (
        "version: 1\nallow:\n- health: check\n",
        "f.yaml:3:3: expected text, found a mapping",
    ),
    "nothing for a list": ("version: 1\nallow:\n", "f.yaml:2:7: expected a list, found nothing"),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, fault: str) -> None:
    """What some YAML reader would take differently is refused, in one line with place and remedy."""
    assert fault in _faults(text)


def test_every_fault_at_once() -> None:
    """A writer sees all faults in one run, in the order they stand."""
    assert _faults("v: 1.5\nw: yes\nv: 2\n") == [
        "f.yaml:1:4: 1.5 would be read as a number; quote it",
        "f.yaml:2:4: yes would be read as a boolean by some; write true or false, or quote it",
        'f.yaml:3:1: key "v" stands twice (first on line 1); keep one',
    ]


TAKEN = {
    "integer": ("12", 12),
    "negative": ("-3", -3),
    "true": ("true", True),
    "null": ("null", None),
    "tilde": ("~", None),
    "quoted number": ('"1.10"', "1.10"),
    "quoted word": ("'yes'", "yes"),
    "colon without blank": ("deploy:staging", "deploy:staging"),
    "address": ("127.0.0.1:8080", "127.0.0.1:8080"),
    "network": ("10.0.0.0/8", "10.0.0.0/8"),
    "quoted merge word": ('"<<"', "<<"),
    "underscore before digits": ("_1", "_1"),
    "sign before letters": ("-_x", "-_x"),
    "block text": ("|\n  a\n  b\n", "a\nb\n"),
}


@pytest.mark.parametrize(("written", "value"), TAKEN.values(), ids=TAKEN)
def test_taken(written: str, value: object) -> None:
    """Plain values mean what they look like."""
    document = read_document(f"k: {written}\n", "f.yaml")
    assert document.value == {"k": value}
    assert type(document.value["k"]) is type(value)  # type: ignore[index]


QUOTED = {
    "line break": ("a\\nf.yaml:9:9: all is well", r"a\nf.yaml:9:9: all is well"),
    "escape sequence": ("\\e[2J", r"\x1b[2J"),
    "right to left": ("a\\u202Eb", r"a\u202eb"),
    "separator": ("a\\u2028b", r"a\u2028b"),
    "tag character": ("\\U000E0041", r"\U000e0041"),
    "letters of any language": ("żółw 亀", "żółw 亀"),
}


@pytest.mark.parametrize(("key", "shown"), QUOTED.values(), ids=QUOTED)
def test_a_fault_is_one_line_of_what_can_be_seen(key: str, shown: str) -> None:
    """A fault that quotes the file neither begins a line of its own nor moves what a terminal shows."""
    assert _faults(f'version: 1\n"{key}": 1\n') == [
        f'f.yaml:2:1: unknown key "{shown}"; known here: version, steps, allow, names'
    ]


def test_digest_covers_the_canonical_text() -> None:
    """Line ends, trailing blanks and a BOM do not make another version; anything else does."""
    plain = read_document("a: 1\nb: 2\n", "f.yaml")
    assert read_document("\ufeffa: 1  \r\nb: 2\r\n\r\n\r\n", "g.yaml").digest == plain.digest
    assert read_document("a: 1\nb: 3\n", "f.yaml").digest != plain.digest
    assert plain.text == "a: 1\nb: 2\n"


@pytest.mark.parametrize(
    ("text", "canonical"), [("\ufeff a\t\r\rb", " a\n\nb\n"), ("\ufeff\ufeffa", "\ufeff\ufeffa\n"), ("", "\n")]
)
def test_canonical_text_is_stable(text: str, canonical: str) -> None:
    """What is canonical stays as it is."""
    assert canonical_text(text) == canonical
    assert canonical_text(canonical) == canonical


def test_place_of_a_value_and_of_what_is_missing() -> None:
    """A place is the value's own, or that of the nearest thing around it."""
    document = read_document("a:\n  - b: 1\n", "f.yaml")
    assert document.place(("a", 0, "b")) == Place("f.yaml", 2, 8)
    assert document.place(("a", 0, "c")) == Place("f.yaml", 2, 5)
    assert document.key_place(("a", 0, "b")) == Place("f.yaml", 2, 5)


def test_the_caller_chooses_the_error() -> None:
    """Each room raises its own error, faults and all."""
    with pytest.raises(PackError) as caught:
        read_document("a: 1.5\n", "f.yaml", error=PackError)
    assert caught.value.faults == (Fault(Place("f.yaml", 1, 4), "1.5 would be read as a number; quote it"),)


def test_hundred_thousand_values_are_enough() -> None:
    """A document of endless values is refused before it fills the memory."""
    text = "a: [" + "[]," * 100_001 + "]\n"
    with pytest.raises(DocumentError, match="more than 100000 values"):
        read_document(text, "f.yaml")
