"""Rows for every table of a database at any revision, made from what the database says of itself."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from store.partitions import ensure_partitions, is_partition_name, least_id

#: Ids are of now: they decide into which partition a row goes.
MOMENT = datetime.now(UTC)

#: Rows a table gets. Row number N refers to row number N everywhere, so that every foreign key holds.
ROWS = (1, 2)

COLUMNS = """
    SELECT c.relname AS "table", a.attname AS name, t.typname AS type, a.attgenerated <> '' AS generated
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
    ORDER BY c.relname, a.attnum
"""

# What a check allows in a column of words.
CHECKS = """
    SELECT conrelid::regclass::text AS "table", pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""
ALLOWED = re.compile(r"\(?(\w+) = ANY \(ARRAY\['(\w+)'::text")

#: A table that holds one row at most.
SINGLE = "CHECK ((id = 1))"

#: The first partition of tables that are partitioned by a list of ids.
LIST_PARTITIONS = """
    SELECT partrelid::regclass::text FROM pg_partitioned_table WHERE partstrat = 'l'
"""

Row = Mapping[str, Any]


def fill(connection: Connection) -> None:
    """Put rows into every table that has none."""
    if connection.execute(text("SELECT to_regclass('predictions') IS NOT NULL")).scalar_one():
        ensure_partitions(connection)
    columns = _columns(connection)
    for table in connection.execute(text(LIST_PARTITIONS)).scalars().all():
        values = ", ".join(map(str, ROWS))
        connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}_1 PARTITION OF {table} FOR VALUES IN ({values})"))
    checks = [(check.table, check.definition) for check in connection.execute(text(CHECKS))]
    allowed = {(table, match[1]): match[2] for table, check in checks for match in ALLOWED.finditer(check)}
    single = {table for table, check in checks if check == SINGLE}
    # Tables point at each other in circles, and our triggers would do their work on rows that are not real.
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    for table, types in columns.items():
        if connection.execute(text(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one():
            continue
        for number in ROWS[:1] if table in single else ROWS:
            row = {name: allowed.get((table, name)) or _value(kind, number) for name, kind in types.items()}
            _insert(connection, table, row)
    connection.execute(text("SET LOCAL session_replication_role = origin"))


def contents(connection: Connection) -> dict[str, list[Row]]:
    """Read every table whole, as JSON, in an order that does not depend on where the rows lie."""
    return {
        table: sorted(connection.execute(text(f"SELECT to_jsonb(t) FROM {table} t")).scalars(), key=json.dumps)
        for table in _columns(connection)
    }


def lost(before: Mapping[str, Iterable[Row]], after: Mapping[str, Iterable[Row]]) -> dict[str, list[Row]]:
    """Return the rows of tables in both that are not there afterwards, compared by the columns that are in both."""
    gone: dict[str, list[Row]] = {}
    for table in before.keys() & after.keys():
        rows = list(after[table])
        common = set(rows[0]) if rows else set()
        missing = [
            row
            for row in before[table]
            if not any(all(found[name] == row[name] for name in common & row.keys()) for found in rows)
        ]
        if missing:
            gone[table] = missing
    return gone


def _columns(connection: Connection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for column in connection.execute(text(COLUMNS)):
        if not is_partition_name(column.table) and not column.generated:
            found.setdefault(column.table, {})[column.name] = column.type
    return found


def _insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    names, places = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({places})"), dict(row))


def _value(kind: str, number: int) -> Any:
    values: dict[str, Any] = {
        "bool": False,
        "int2": number,
        "int4": number,
        "int8": number,
        "float4": number / 2,
        "float8": number / 2,
        "text": f"text-{number}",
        "uuid": str(UUID(int=least_id(MOMENT).int + number)),
        "timestamptz": f"2026-01-0{number}T00:00:00Z",
        "date": f"2026-01-0{number}",
        "interval": f"{number} days",
        "jsonb": json.dumps({"number": number}),
        "bytea": bytes([number]),
        "inet": f"192.0.2.{number}",
        "_text": [f"text-{number}"],
        "_int4": [number],
        "_int8": [number],
        "_float8": [number / 2],
        "_uuid": [],
        "vector": f"[{number}, 0]",
    }
    assert kind in values, f"no value for columns of type {kind}: add one"
    return values[kind]
