"""Whether the guards and computed columns in a database are as they were written, so that no query misses a record.

Looked at: that each guard is there and switched on, that the functions behind guards and columns have their text, that
each column of each record says what the body says. Indexes are the server's own: `pg_amcheck` looks at those.
"""

import re
from functools import cache
from importlib import resources

from chron.postgres.connection import ServerConnection
from chron.schema import COMPUTED
from chron.sources import Connection

_TRIGGERS = """
SELECT t.tgname, p.proname, t.tgenabled FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE c.relnamespace = 'claiim'::regnamespace AND NOT t.tgisinternal"""
_FUNCTIONS = "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'claiim'::regnamespace"
_WANTED = re.compile(r"CREATE OR REPLACE TRIGGER (\w+) .* EXECUTE FUNCTION (\w+)\(\);")
_WRITTEN = re.compile(r"CREATE OR REPLACE FUNCTION (\w+)\([^$]*AS \$\$(.*?)\$\$;", re.DOTALL)
_ROWS_PER_LOOK = 20_000
_VIEW = (
    "SELECT seq, id, body, leaf, hash, "  # noqa: S608 -- compared with, never run
    + ", ".join(f"claiim.field(body, '{name}'::text) AS {name}" for name in COMPUTED)
    + " FROM claiim.records WHERE (chain = current_setting('claiim.chain'::text, true));"
)
"""What the server makes of the view in the script."""
_OF_DECISIONS = """
d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, d.target, d.environment, d.host, d.method, d.path,
d.reason, d.code, o.result, o.status FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome'
WHERE d.kind = 'decision'"""
_DECISIONS = (
    "SELECT d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, d.target, d.environment, d.host, "
    "d.method, d.path, d.reason, d.code, o.result, o.status FROM (claiim.chron d LEFT JOIN claiim.chron o "
    "ON (((o.ref = d.id) AND (o.kind = 'outcome'::text)))) WHERE (d.kind = 'decision'::text);"
)
_OTHERS = f"""
SELECT min(seq) FROM (
  (SELECT {_OF_DECISIONS} EXCEPT ALL SELECT * FROM decisions)
  UNION ALL (SELECT * FROM decisions EXCEPT ALL SELECT {_OF_DECISIONS})) AS others"""  # noqa: S608 -- ours
_FOREIGN = """
SELECT 'rule', r.rulename FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
WHERE c.relnamespace = 'claiim'::regnamespace AND c.relkind IN ('r', 'p')
UNION ALL SELECT 'policy', p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
WHERE c.relnamespace = 'claiim'::regnamespace ORDER BY 2"""


@cache
def script() -> str:
    """The text that makes the tables."""
    return resources.files("chron.postgres").joinpath("schema.sql").read_text("utf-8")


def guard_fault(connection: Connection) -> str:
    """What is wrong with the guards, "" when nothing is."""
    on = {name: function for name, function, state in connection.execute(_TRIGGERS) if _text(state) in "OA"}
    for name, function in _WANTED.findall(script()):
        if on.pop(name, "") != function:
            return f'guard "{name}" is missing, off or another'
    if on:
        return f'trigger "{min(on)}" is not ours'
    for what, name in connection.execute(_FOREIGN):
        return f'{_text(what)} "{_text(name)}" is not ours'
    found = dict(connection.execute(_FUNCTIONS).fetchall())
    for name, text in _WRITTEN.findall(script()):
        if found.get(name) != text:
            return f'function "{name}" was altered'
    return ""


def fault(connection: ServerConnection, *, whole: bool) -> str:
    """What is wrong with what stands around the records, "" when nothing is."""
    if wrong := guard_fault(connection):
        return f"{wrong}: the tables or their guards are not as they were written"
    # The functions are as they were written, and so are the columns that use them: no value needs to be looked at.
    wrong = _column_fault(connection) if whole and not _view_as_written(connection) else ""
    return wrong or (_decision_fault(connection) if whole else "")


def _decision_fault(connection: ServerConnection) -> str:
    if _view_as_written(connection, "decisions", _DECISIONS):
        return ""
    (seq,) = connection.execute(_OTHERS).fetchone()
    return "" if seq is None else f"the view of decisions does not say what record {seq} says"


def _view_as_written(connection: ServerConnection, name: str = "chron", written: str = _VIEW) -> bool:
    """Whether readers see what the script says; when the server tells it in other words, this cannot know."""
    with connection.raw.transaction():
        connection.raw.execute("SET LOCAL search_path = ''")  # so that every name says whose it is
        row = connection.raw.execute("SELECT pg_get_viewdef(%s::regclass)", (f"claiim.{name}",)).fetchone()
    # Since PostgreSQL 16 the only table of a query is not named with each of its columns.
    told = re.sub(r"\s+", " ", str(row[0] if row else "")).strip()
    return told.replace(" records.", " ").replace("(records.", "(") == written


def _column_fault(connection: ServerConnection) -> str:
    # Computed here by the server's own function, and not by ours that the columns use.
    pairs = ((f"(r.{name})", f"(r.body::json ->> '{name}')") for name in COMPUTED)
    differs = " OR ".join(f"{column} IS DISTINCT FROM {told}" for column, told in pairs)
    statement = f"SELECT min(seq) FROM chron AS r WHERE seq > ? AND seq <= ? AND ({differs})"  # noqa: S608 -- ours
    last = connection.execute("SELECT max(seq) FROM chron").fetchone()[0] or 0
    for start in range(0, last, _ROWS_PER_LOOK):
        (seq,) = connection.execute(statement, (start, start + _ROWS_PER_LOOK)).fetchone()
        if seq is not None:
            return f"a column of record {seq} does not say what its body says"
    return ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
