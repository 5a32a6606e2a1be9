"""Statements that Postgres plans once a connection rather than once a call.

Planning over a partitioned table costs more than running the hot statements does (measured: 2.4 ms against 0.5 ms
for a claim), and psycopg2 does not prepare by itself.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, event

# A colon that is not half of a cast.
PARAMETER = re.compile(r"(?<!:):([a-z_]+)")

# What SQLAlchemy writes for psycopg2.
PLACEHOLDER = re.compile(r"%\((\w+)\)s")

INFO_KEY = "torchqueue_prepared"


class PreparedStatement:
    """A statement with named parameters that is prepared the first time that a connection runs it.

    Args:
        name: Unique among the statements of a connection.
        sql: Text with `:name` parameters, whose types Postgres must be able to infer.
    """

    def __init__(self, name: str, sql: str) -> None:
        names = list(dict.fromkeys(PARAMETER.findall(sql)))
        numbered = PARAMETER.sub(lambda match: f"${names.index(match.group(1)) + 1}", sql)
        self._name = name
        # A literal percent sign would be read as a placeholder by psycopg2.
        self._prepare = f"PREPARE {name} AS {numbered}".replace("%", "%%")
        values = ", ".join(f"%({parameter})s" for parameter in names)
        self._execute = f"EXECUTE {name}({values})" if names else f"EXECUTE {name}"

    def run(self, connection: Connection, **parameters: Any) -> CursorResult[Any]:
        """Run it. What is prepared is noted on the DBAPI connection, so that a pooled one keeps it."""
        prepared: set[str] = connection.info.setdefault(INFO_KEY, set())
        if self._name not in prepared:
            connection.exec_driver_sql(self._prepare)
            prepared.add(self._name)
        return connection.exec_driver_sql(self._execute, parameters)


def use_prepared(database: Engine) -> None:
    """Let an engine prepare every statement that is executed with the option `prepared=True`.

    For statements that SQLAlchemy writes: they read as any other, and the server plans them once a connection. Their
    text must not vary with their parameters, and a LIMIT must be in it as a number, since a plan that knows no limit
    is made for reading everything.
    """
    event.listen(database, "before_cursor_execute", _execute_prepared, retval=True)


def _execute_prepared(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, _many: bool
) -> tuple[str, Any]:
    if context is None or not context.execution_options.get("prepared"):
        return statement, parameters
    rewritten = _rewrite(statement)
    prepared: set[str] = connection.info.setdefault(INFO_KEY, set())
    if rewritten.name not in prepared:
        cursor.execute(rewritten.prepare)
        prepared.add(rewritten.name)
    return rewritten.execute, parameters


@dataclass(frozen=True)
class _Rewritten:
    name: str
    prepare: str
    execute: str


@lru_cache(maxsize=512)
def _rewrite(statement: str) -> _Rewritten:
    """Turn psycopg2's named placeholders into those of a prepared statement, named after its text."""
    names = list(dict.fromkeys(PLACEHOLDER.findall(statement)))
    numbered = PLACEHOLDER.sub(lambda match: f"${names.index(match.group(1)) + 1}", statement)
    name = f"select_{sha256(statement.encode()).hexdigest()[:16]}"
    values = ", ".join(f"%({parameter})s" for parameter in names)
    # Without parameters psycopg2 leaves the text as it is, so a percent sign must not be doubled any more.
    return _Rewritten(
        name,
        f"PREPARE {name} AS {numbered}".replace("%%", "%"),
        f"EXECUTE {name}({values})" if names else f"EXECUTE {name}",
    )
