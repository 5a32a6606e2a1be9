"""What webhooks cost the ledger: `python -m benchmarks.webhooks --rounds 40`.

The two statements that every prediction passes, accepting and completing, in groups of 256, in the embedded Postgres:
with the triggers switched off, with them on for a key that has no endpoint, and for a key that has one, which adds a
delivery to each row. The three take turns, so that whatever else the machine does meets all of them.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Connection, Engine, text

from benchmarks.servers import migrated_database, running_postgres
from schemas.enums import Scope, WebhookEvent
from store import ledger
from store.database import open_session
from store.keys import create_key
from store.models import ServedVersion, resolve
from store.secret_box import SecretBox
from store.webhooks import create_endpoint
from tests.factories import Rows, submission, success
from tests.sinks import WEBHOOK_KEY

GROUP = 256

TRIGGERS = ("tell_end", "tell_answered")

MICROSECONDS = 1e6


def measure(connection: Connection, version: ServedVersion, api_key_id: int) -> tuple[float, float]:
    """Accept and complete one group; returns microseconds a row of each."""
    rows = Rows(connection, version)
    group = [submission(version, api_key_id=api_key_id) for _ in range(GROUP)]
    began = time.perf_counter()
    ledger.submit(connection, group)
    accepted = time.perf_counter()
    claims = rows.claim_all()
    claimed = time.perf_counter()
    ledger.complete(connection, [success(claim) for claim in claims])
    completed = time.perf_counter()
    assert len(claims) == GROUP, "nobody else claims here"
    return (accepted - began) / GROUP * MICROSECONDS, (completed - claimed) / GROUP * MICROSECONDS


@contextmanager
def triggers_off(connection: Connection) -> Iterator[None]:
    """Switch the triggers off while the block runs."""
    for trigger in TRIGGERS:
        connection.execute(text(f"ALTER TABLE predictions DISABLE TRIGGER {trigger}"))
    try:
        yield
    finally:
        for trigger in TRIGGERS:
            connection.execute(text(f"ALTER TABLE predictions ENABLE TRIGGER {trigger}"))


def make_keys(database: Engine) -> tuple[int, int]:
    """Make a key without and a key with a webhook endpoint."""
    with open_session(database) as session:
        without = create_key(session, name="without", scopes=[Scope.PREDICT])[0].id
        having = create_key(session, name="having", scopes=[Scope.PREDICT])[0].id
        create_endpoint(
            session,
            SecretBox(WEBHOOK_KEY),
            api_key_id=having,
            url="https://shop.example.com/hooks",
            description="",
            events=[WebhookEvent.PREDICTION_SUCCEEDED],
        )
    return without, having


def run(database: Engine, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Measure the three in turn, so many times."""
    without, having = make_keys(database)
    with open_session(database) as session:
        version = resolve(session, "xor")
    found: dict[str, list[tuple[float, float]]] = {}
    with database.connect() as connection:
        for _ in range(rounds):
            with triggers_off(connection):
                found.setdefault("triggers off", []).append(measure(connection, version, without))
            found.setdefault("no endpoint", []).append(measure(connection, version, without))
            found.setdefault("one endpoint", []).append(measure(connection, version, having))
    return found


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=40, show_default=True)
def main(rounds: int) -> None:
    """Print the median time of a row, microseconds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres(Path(folder)) as url,
        migrated_database(url, Path(folder)) as database,
    ):
        found = run(database, rounds)
    print(f"| groups of {GROUP}, {rounds} rounds | accept, us a row | complete, us a row |")
    print("|---|---|---|")
    for name, figures in found.items():
        accept, complete = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {accept:.1f} | {complete:.1f} |")


if __name__ == "__main__":
    main()
