"""Thirteen weeks of stored predictions, made in the database itself: `python -m benchmarks.history --var FOLDER`.

The rows are as the backend writes them: UUIDv7 ids that match their time of acceptance, several models, versions and
keys of unequal share, results as classification stores them, a few failures, and items of which a few are asked about
very often. A seed makes them the same every time, relative to the moment of the run. Their last minute is as busy as
the queue can be.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click
from sqlalchemy import Connection, Engine, text

from benchmarks.servers import migrated_database, running_postgres
from schemas.enums import Scope
from store.database import open_session
from store.keys import create_key
from store.models import register_version, resolve
from store.partitions import STORAGE_PARAMETERS, Week, ensure_partitions, partition_names

WEEKS = 13
DEFAULT_ROWS = 10_000_000

#: Rows of the last minute: the queue at full rate.
BUSY_ROWS = 120_000
BUSY_SPAN = timedelta(seconds=60)

#: Rows of one statement, so that none runs for minutes.
CHUNK_ROWS = 100_000

#: An item has so many predictions on average; the share of the first ones is far larger.
ROWS_PER_ITEM = 20

KEYS = ("shop", "market", "mobile", "returns", "lab")
MODELS = ("history-shirts", "history-shoes", "history-bags")
VERSIONS = 3

ADD_ITEMS = text("""
    INSERT INTO items (catalog, external_id, created_at, last_seen_at)
    SELECT CASE WHEN i % 4 = 0 THEN 'market' ELSE 'shop' END, 'item-' || i, :start, :end
    FROM generate_series(:first, :last) i ON CONFLICT DO NOTHING
""")

# random() is skewed by a power: of `:keys` keys the first has the most rows, and of the items a few have thousands.
# What is decided by a hash of the row's number is the same in every run; what comes from random() is by `setseed`.
ADD_PREDICTIONS = text("""
    WITH drawn AS MATERIALIZED (
        SELECT i, md5(CAST(i AS text)) AS hash, random() AS of_key, random() AS of_version, random() AS of_item,
            random() AS of_status, random() AS of_time, 0.5 + random() / 2 AS score,
            CAST(:start AS timestamptz)
                + (i - :first + random()) / :count * (CAST(:end AS timestamptz) - CAST(:start AS timestamptz)) AS at
        FROM generate_series(CAST(:first AS bigint), :first + :count - 1) i),
    timed AS (
        SELECT *, 5 + 200 * power(of_time, 4) AS total_ms, CAST(trunc(extract(epoch FROM at) * 1000) AS bigint) AS ms,
            CASE WHEN of_status < 0.008 THEN 'failed' WHEN of_status < 0.010 THEN 'canceled'
                 WHEN of_status < 0.011 THEN 'expired' ELSE 'succeeded' END AS ending
        FROM drawn)
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input_sha256, input_bytes,
        reply_channel, claim_order, run_after, attempt, fence, worker_id, device, result, error_code, error_detail,
        decode_ms, compute_ms, created_at, started_at, finished_at)
    SELECT
        CAST(lpad(to_hex(ms), 12, '0') || '7' || left(hash, 3) || '8' || substr(hash, 4, 15) AS uuid),
        (CAST(:keys AS bigint[]))[1 + trunc(cardinality(CAST(:keys AS bigint[])) * power(of_key, 2))], v.model_id, v.id,
        CASE WHEN i % 10 < 7 THEN :item + CAST(trunc(:items * power(of_item, 3)) AS bigint) END, ending,
        CASE WHEN i % 20 = 0 THEN 'bulk' WHEN i % 5 = 0 THEN 'interactive' ELSE 'normal' END,
        hash || hash, 20000 + CAST(60000 * of_time AS integer), 'torchqueue:replies:web-' || i % 4, at, at, 1, i, 1,
        'cpu:0',
        CASE WHEN ending = 'succeeded' THEN jsonb_build_object(
            'label', 'Ankle boot', 'score', round(CAST(score AS numeric), 4), 'top', jsonb_build_array(
                jsonb_build_array('Ankle boot', round(CAST(score AS numeric), 4)),
                jsonb_build_array('Sneaker', round(CAST(1 - score AS numeric), 4)), jsonb_build_array('Sandal', 0.0002),
                jsonb_build_array('Bag', 0.0001), jsonb_build_array('Shirt', 0.0)))
        END,
        CASE WHEN ending = 'failed' THEN 'invalid_input' END,
        CASE WHEN ending = 'failed' THEN 'The image file is truncated.' END,
        CASE WHEN ending = 'succeeded' THEN total_ms * 0.1 END, CASE WHEN ending = 'succeeded' THEN total_ms * 0.3 END,
        at, CASE WHEN ending IN ('succeeded', 'failed') THEN at + total_ms * 0.5 * interval '1 millisecond' END,
        at + total_ms * interval '1 millisecond'
    FROM timed JOIN model_versions v ON v.id = (CAST(:versions AS bigint[]))[
        1 + trunc(cardinality(CAST(:versions AS bigint[])) * power(of_version, 1.5))]
""")


@dataclass(frozen=True, kw_only=True)
class History:
    """What was made. Ids that a measurement draws from; items have consecutive ids from `first_item_id` on."""

    rows: int
    first_item_id: int
    items: int
    api_key_ids: list[int]
    version_ids: list[int]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The rows `first` to `first + count - 1`, spread evenly over a span that lies in one partition."""

    first: int
    count: int
    start: datetime
    end: datetime


def plan_chunks(rows: int, now: datetime, *, busy_rows: int = BUSY_ROWS) -> list[Chunk]:
    """Divide rows over thirteen weeks: by partition in equal density, and a busy last minute, oldest first."""
    busy = min(busy_rows, rows // 10)
    quiet = rows - busy
    start, calm_end = now - WEEKS * timedelta(weeks=1), now - BUSY_SPAN
    spans = [*_split_by_week(start, calm_end)]
    chunks: list[Chunk] = []
    done = 0
    for span_start, span_end in spans:
        until = round(quiet * ((span_end - start) / (calm_end - start)))
        chunks += _divide(done, until - done, span_start, span_end)
        done = until
    for span_start, span_end in _split_by_week(calm_end, now):
        until = quiet + round(busy * ((span_end - calm_end) / BUSY_SPAN))
        chunks += _divide(done, until - done, span_start, span_end)
        done = until
    return chunks


def make_history(database: Engine, rows: int) -> History:
    """Fill a migrated database with rows; takes about a minute a million."""
    api_key_ids, version_ids = _make_keys(database), _make_versions(database)
    with database.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        # A crash would cost this run, not a promise.
        connection.execute(text("SET synchronous_commit = off"))
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
        with database.execution_options(isolation_level="READ COMMITTED").begin() as transaction:
            ensure_partitions(transaction, behind=(WEEKS + 1) * timedelta(weeks=1))
        history = History(
            rows=rows,
            first_item_id=_make_items(connection, max(1, rows // ROWS_PER_ITEM), now),
            items=max(1, rows // ROWS_PER_ITEM),
            api_key_ids=api_key_ids,
            version_ids=version_ids,
        )
        # What an insert leaves free on a page the two updates of its rows use: pages of finished rows are full.
        _set_storage(connection, "fillfactor = 100")
        connection.execute(text("SELECT setseed(0.5)"))
        for chunk in plan_chunks(rows, now):
            _fill(connection, chunk, history)
        _set_storage(connection, STORAGE_PARAMETERS)
        # What autovacuum does within the minute on a system that is not filled all at once.
        connection.execute(text("VACUUM (ANALYZE) predictions"))
        connection.execute(text("VACUUM (ANALYZE) items"))
    return history


def read_history(connection: Connection) -> History:
    """Find what an earlier run made in this database."""
    keys = text("SELECT id FROM api_keys WHERE name = ANY(:names) ORDER BY id")
    versions = text("""
        SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id
        WHERE m.name = 'fashion' OR m.name = ANY(:names) ORDER BY v.id
    """)
    items = connection.execute(text("SELECT min(id) AS first, count(*) AS number FROM items")).one()
    rows = connection.execute(text("SELECT count(*) FROM predictions")).scalar_one()
    return History(
        rows=rows,
        first_item_id=items.first,
        items=items.number,
        api_key_ids=list(connection.execute(keys, {"names": list(KEYS)}).scalars()),
        version_ids=list(connection.execute(versions, {"names": list(MODELS)}).scalars()),
    )


def add_busy_minute(connection: Connection, history: History, *, rows: int = BUSY_ROWS) -> None:
    """Add a last minute at full rate, for figures of the last minute some time after the history was made."""
    connection.execute(text("SET statement_timeout = 0"))
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    done = 0
    for start, end in _split_by_week(now - BUSY_SPAN, now):
        count = round(rows * ((end - start) / BUSY_SPAN))
        for chunk in _divide(history.rows + done, count, start, end):
            _fill(connection, chunk, history)
        done += count
    # The minute is over already: it has to be summed up anew.
    connection.execute(text("DELETE FROM finished_seconds"))
    connection.execute(
        text("UPDATE finished_summary SET summarized_to = date_trunc('second', CAST(:start AS timestamptz))"),
        {"start": now - BUSY_SPAN},
    )


def _set_storage(connection: Connection, parameters: str) -> None:
    for partition in partition_names(connection):
        connection.execute(text(f"ALTER TABLE {partition} SET ({parameters})"))


def _split_by_week(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        cut = min(end, Week.of(start).end)
        yield start, cut
        start = cut


def _divide(first: int, count: int, start: datetime, end: datetime) -> Iterator[Chunk]:
    """Cut a span into chunks of at most `CHUNK_ROWS`."""
    pieces = max(1, -(-count // CHUNK_ROWS))
    for piece in range(pieces):
        low, high = count * piece // pieces, count * (piece + 1) // pieces
        if high > low:
            yield Chunk(
                first=first + low,
                count=high - low,
                start=start + (end - start) * (low / count),
                end=start + (end - start) * (high / count),
            )


def _fill(connection: Connection, chunk: Chunk, history: History) -> None:
    connection.execute(
        ADD_PREDICTIONS,
        {
            "first": chunk.first,
            "count": chunk.count,
            "start": chunk.start,
            "end": chunk.end,
            "keys": history.api_key_ids,
            "versions": history.version_ids,
            "item": history.first_item_id,
            "items": history.items,
        },
    )


def _make_keys(database: Engine) -> list[int]:
    with open_session(database) as session:
        return [create_key(session, name=name, scopes=[Scope.PREDICT, Scope.READ])[0].id for name in KEYS]


def _make_versions(database: Engine) -> list[int]:
    """Register models with the configuration of a bundled one; returns the ids of all versions, the busiest first."""
    with open_session(database) as session:
        fashion = resolve(session, "fashion")
        ids = [fashion.model_version_id]
        for name in MODELS:
            for _ in range(VERSIONS):
                version = register_version(
                    session,
                    name=name,
                    kind=fashion.kind,
                    config=fashion.config,
                    weights_sha256=fashion.weights_sha256,
                    weights_bytes=1,
                    metrics={},
                    source="imported",
                )
                ids.append(version.id)
        return ids


def _make_items(connection: Connection, count: int, now: datetime) -> int:
    """Make items; returns the id of the first. An empty table gives consecutive ids."""
    for first in range(1, count + 1, CHUNK_ROWS):
        connection.execute(
            ADD_ITEMS,
            {
                "first": first,
                "last": min(count, first + CHUNK_ROWS - 1),
                "start": now - WEEKS * timedelta(weeks=1),
                "end": now,
            },
        )
    return int(connection.execute(text("SELECT min(id) FROM items")).scalar_one())


@click.command()
@click.option("--rows", type=click.IntRange(1), default=DEFAULT_ROWS, show_default=True)
@click.option("--var", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the Postgres to fill.")
def main(rows: int, folder: Path) -> None:
    """Fill an embedded Postgres of its own with predictions and leave it in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_postgres(folder) as url, migrated_database(url, folder) as database:
        history = make_history(database, rows)
    click.echo(f"{history.rows:,} predictions about {history.items:,} items in {folder}")


if __name__ == "__main__":
    main()
