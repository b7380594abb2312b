"""Records and filters at random, for those who answer filters, and what a filter means."""

import re

from hypothesis import strategies as st

from chron.filtering import All, Compare, Filter, Not, Some, Word

SIGNS = ["<", "<=", ">", ">="]
WORDS = [
    "deploy-bot",
    "Deploy",
    "k8s:pods",
    "k8s:*",
    "*",
    "a[b]?",
    'say "x"',
    "\\",
    "é",
    "É",
    "DENY",
    "",
    "403",
    "true",
]
TIMES = [f"2026-03-01T00:{minute:02}:00.000000Z" for minute in range(12)]
values = st.sampled_from(WORDS) | st.text('ab:*?["\\{},é\n', max_size=4)
texts = st.sampled_from(["agent", "action", "target", "host", "outcome", "reason", "ref", "error"])
numbers = st.sampled_from(["status", "port", "custom"])
records = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("agent", "action", "target", "host", "reason", "ref", "error"), values),
        "outcome": st.sampled_from(["ALLOW", "DENY", "HOLD"]),
        "status": st.sampled_from([0, 7, 200, 403, 500]),
        "port": st.sampled_from([40, 403, 4030, -1]),
        "custom": values | st.booleans() | st.integers(-5, 5),
    },
)
leaves = (
    st.builds(Word, values.filter(bool))
    | st.builds(Compare, texts | numbers, st.sampled_from(["=", "~"]), st.tuples(values))
    | st.builds(Compare, texts, st.just("="), st.lists(values, min_size=1, max_size=3).map(tuple))
    | st.builds(Compare, texts, st.sampled_from(SIGNS), st.tuples(values))
    | st.builds(Compare, numbers, st.sampled_from(SIGNS), st.tuples(st.sampled_from(["-1", "0", "403", "5"])))
    | st.builds(Compare, st.just("seq"), st.sampled_from(["=", *SIGNS]), st.tuples(st.sampled_from(["1", "3", "-4"])))
    | st.builds(Compare, st.just("ts"), st.sampled_from(SIGNS), st.tuples(st.sampled_from(TIMES)))
    | st.builds(Compare, st.just("kind"), st.just("="), st.tuples(st.sampled_from(["decision", "lifecycle", "x"])))
)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Some, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def ascii_lower(text: str) -> str:
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


ORDER = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}


def holds(asked: Filter, fields: dict[str, object]) -> bool:
    """What a filter says of a record, told as plainly as can be."""
    match asked:
        case All():
            return all(holds(each, fields) for each in asked.inner)
        case Some():
            return any(holds(each, fields) for each in asked.inner)
        case Not():
            return not holds(asked.inner, fields)
        case Word():
            texts = [value for value in fields.values() if isinstance(value, str)]
            return any(ascii_lower(asked.text) in ascii_lower(text) for text in texts)
        case Compare():
            value, text = fields.get(asked.field), as_text(fields.get(asked.field))
            if text is None:
                return False
            if asked.sign == "=":
                return text in asked.values
            if asked.sign == "~":
                pattern = ".*".join(re.escape(part) for part in asked.values[0].split("*"))
                return re.fullmatch(pattern, text, re.DOTALL) is not None
            if asked.as_numbers:
                return type(value) is int and ORDER[asked.sign](value, int(asked.values[0]))
            return ORDER[asked.sign](text, asked.values[0])
