"""How fast feedback comes in by the file, and accuracy out of it: `python -m benchmarks.feedback`.

Fills a Postgres of its own with answered predictions, then imports feedback on all of them as the API does, from the
bytes of a file to the commit: first words, the same again, other words, and by item. Only the transport is left out.
Then it reads the accuracy of a version from all of it.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import Connection, Engine, text

from benchmarks.servers import migrated_database, running_postgres
from store.accuracy import read_accuracy
from store.database import open_session
from store.models import ServedVersion, resolve
from webapp.feedback_import import import_feedback
from webapp.feedback_lines import NDJSON, read_lines

#: A file of so many lines is near the largest body that the API takes.
FILE_LINES = 100_000

TENANT = 1

ADD_ITEMS = text("""
    INSERT INTO items (catalog, external_id, last_seen_at)
    SELECT 'shop', 'item-' || i, now() FROM generate_series(1, :count) i
""")

# Ids as the web processes make them, spread over the last day.
ADD_PREDICTIONS = text("""
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input, claim_order, run_after, attempt,
        result, created_at, started_at, finished_at)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7' || left(hash, 3) || '8'
            || substr(hash, 4, 15) AS uuid),
        :tenant, :model, :version, item.id, 'succeeded', 'normal', '[0, 1]', at, at, 1,
        jsonb_build_object('label', CAST(i % 2 AS text), 'score', 0.9), at, at, at
    FROM (
        SELECT i, md5(CAST(i AS text)) AS hash,
            now() - interval '1 day' * (1 - CAST(i AS double precision) / :count) AS at
        FROM generate_series(1, CAST(:count AS integer)) i) made
    JOIN items item ON item.catalog = 'shop' AND item.external_id = 'item-' || i
""")


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one import was."""

    name: str
    rows: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def measure(database: Engine, rows: int) -> list[Rate]:
    """Import feedback on so many predictions, in four ways."""
    version = _fill(database, rows)
    with database.connect() as connection:
        ids = list(connection.execute(text("SELECT CAST(id AS text) FROM predictions ORDER BY id")).scalars())
    first, other = ([_line(f'"prediction": "{each}"', label) for each in ids] for label in "10")
    items = [_line(f'"catalog": "shop", "external_id": "item-{number}"', "1") for number in range(1, rows + 1)]
    imports = {"first words": first, "the same again": first, "other words": other, "by item, other words": items}
    return [_import(database, version, name, lines) for name, lines in imports.items()]


def measure_accuracy(database: Engine) -> tuple[int, float]:
    """Return how much feedback there is, and how long its accuracy takes to read, seconds."""
    until = datetime.now(UTC)
    with open_session(database) as session:
        version = resolve(session, "xor").model_version_id
        session.connection().execute(text("SELECT 1"))
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            found = read_accuracy(
                session.connection(), [version], since=until - timedelta(days=2), until=until, steps=48
            )
            seconds.append(time.perf_counter() - started)
    return sum(tally.feedback for tally in found[version].values()), min(seconds)


def _fill(database: Engine, rows: int) -> ServedVersion:
    with open_session(database) as session:
        version = resolve(session, "xor")
    with database.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(ADD_ITEMS, {"count": rows})
        connection.execute(text("ANALYZE items"))
        _add_predictions(connection, version, rows)
        connection.execute(text("VACUUM (ANALYZE) predictions"))
    return version


def _add_predictions(connection: Connection, version: ServedVersion, rows: int) -> None:
    connection.execute(
        ADD_PREDICTIONS,
        {"tenant": TENANT, "model": version.model_id, "version": version.model_version_id, "count": rows},
    )


def _line(name: str, label: str) -> bytes:
    return f'{{{name}, "label": "{label}", "source": "returns desk"}}'.encode()


def _import(database: Engine, version: ServedVersion, name: str, lines: list[bytes]) -> Rate:
    started, stored = time.perf_counter(), 0
    for first in range(0, len(lines), FILE_LINES):
        body = b"\n".join(lines[first : first + FILE_LINES])
        report = import_feedback(
            database, read_lines(NDJSON, body, version), version, api_key_id=TENANT, recorded_by=TENANT
        )
        assert not report["refused"], report["errors"][:1]
        stored += report["rows"]
    return Rate(name, stored, time.perf_counter() - started)


@click.command()
@click.option("--rows", type=click.IntRange(1), default=100_000, show_default=True)
def main(rows: int) -> None:
    """Measure bulk feedback and the accuracy that follows."""
    with (
        TemporaryDirectory(prefix="torchqueue-bench-") as folder,
        running_postgres(Path(folder)) as url,
        migrated_database(url, Path(folder)) as database,
    ):
        # Groups are transactions, as in a web process.
        writer = database.execution_options(isolation_level="READ COMMITTED")
        for rate in measure(writer, rows):
            click.echo(f"{rate.name}: {rate.per_second:,.0f} rows/s ({rate.rows:,} rows in {rate.seconds:.1f} s)")
        with database.connect() as connection:
            connection.execute(text("VACUUM (ANALYZE) feedback"))
        count, seconds = measure_accuracy(writer)
        click.echo(f"accuracy in 48 steps over {count:,} rows of feedback: {seconds * 1000:.0f} ms")


if __name__ == "__main__":
    main()
