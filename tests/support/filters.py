"""Records and filters at random, for those who answer filters."""

from hypothesis import strategies as st

from chron.filtering import All, Compare, Not, Some, Word

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
