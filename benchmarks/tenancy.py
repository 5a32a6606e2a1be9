"""What the second wall between tenants costs a read: `python -m benchmarks.tenancy`.

The same reads of the same tenant, in turn, as the owner of the tables and as the role that row-level security applies
to, over weeks of predictions of several tenants. See docs/decisions/0013-row-level-security.md.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from benchmarks.history import make_history
from benchmarks.servers import migrated_database, running_postgres
from store.database import create_database, open_session
from store.predictions import PredictionFilter, get_prediction, list_predictions
from store.tenancy import create_tenant_database, open_tenant_session

Open = Callable[[], AbstractContextManager[Session]]
Read = Callable[[Session], object]

#: Rounds before the first that counts: each connection plans its statements once.
WARM_UP = 50

IDS = text("SELECT id, api_key_id FROM predictions TABLESAMPLE SYSTEM (2) LIMIT 2000")

MS = 1000.0


@click.command()
@click.option("--rows", type=click.IntRange(1000), default=500_000, show_default=True, help="Predictions.")
@click.option("--rounds", type=click.IntRange(10), default=2_000, show_default=True, help="Reads of each kind.")
def main(rows: int, rounds: int) -> None:
    """Measure reads with and without row-level security."""
    with tempfile.TemporaryDirectory(prefix="tenancy-") as folder:
        Path(folder).chmod(0o755)
        with running_postgres(Path(folder)) as url, migrated_database(url, Path(folder)) as database:
            make_history(database, rows)
            _print(rows, list(_measure(url, database, rounds)))


def _measure(url: str, database: Engine, rounds: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield what was read, and the milliseconds of each read without and with the wall."""
    owners, tenants = create_database(url, application="owner"), create_tenant_database(url, pool_size=5)
    with database.connect() as connection:
        sample = [(row.id, row.api_key_id) for row in connection.execute(IDS)]
    tenant = sample[0][1]
    own = [prediction for prediction, key in sample if key == tenant]
    reads: list[tuple[str, Callable[[int], Read]]] = [
        ("one prediction", lambda round_: _one(own[round_ % len(own)], tenant)),
        ("a page of 20", lambda _: _page(tenant)),
    ]
    for name, read in reads:
        plain: list[float] = []
        walled: list[float] = []
        for round_ in range(WARM_UP + rounds):
            # In turn, so that whatever else happens on the machine hits both alike.
            plain.append(_time(lambda: open_session(owners), read(round_)))
            walled.append(_time(lambda: open_tenant_session(tenants, tenant), read(round_)))
        yield name, plain[WARM_UP:], walled[WARM_UP:]
    owners.dispose()
    tenants.dispose()


def _one(prediction: UUID, tenant: int) -> Read:
    return lambda session: get_prediction(session, prediction, api_key_id=tenant)


def _page(tenant: int) -> Read:
    return lambda session: list_predictions(session, PredictionFilter(), api_key_id=tenant, before=None, limit=20)


def _time(opened: Open, read: Read) -> float:
    began = time.perf_counter()
    with opened() as session:
        read(session)
    return (time.perf_counter() - began) * MS


def _print(rows: int, found: list[tuple[str, list[float], list[float]]]) -> None:
    table = Table(
        "read", "owner p50", "tenant p50", "owner p99", "tenant p99", "cost p50", title=f"{rows:,} predictions"
    )
    for name, plain, walled in found:
        cells = (median(plain), median(walled), quantiles(plain, n=100)[98], quantiles(walled, n=100)[98])
        table.add_row(name, *(f"{cell:.2f} ms" for cell in cells), f"{median(walled) - median(plain):+.2f} ms")
    Console().print(table)


if __name__ == "__main__":
    main()
