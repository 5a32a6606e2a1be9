"""How much an index of neighbours finds of what exact search finds, and how fast: `python -m benchmarks.similarity`.

Fills the index of one key with the embeddings of Fashion-MNIST's 60,000 training images, as the bundled
`fashion-similar` computes them, in an embedded Postgres of its own; asks for the neighbours of test images through
`store.embeddings.search`, which the worker uses; and compares with exact search over the same embeddings. Times are of
whole calls: planning, search and the way to the database and back, with the index warm.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID, uuid4

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, text
from torch import Tensor

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, load_split
from ml.training import forward_all
from stack.bootstrap import prepare_database
from stack.embedded import create_database_if_missing, prepare_postgres
from store import embeddings
from store.database import create_database, open_session
from store.embeddings import Query
from store.models import ServedVersion, resolve
from store.objects import ObjectStore
from tests.running import wait_until

MODEL = "fashion-similar"
API_KEY_ID = 1
NEIGHBOURS = 10
BATCH = 64
FILL_GROUP = 1_000
SERVER_START_S = 30.0

EPSILON = 1e-5
"""Two distances count as equal within this: Postgres and torch add the same 32-bit numbers in another order."""

FILL_ITEMS = """
    WITH fresh AS (
        INSERT INTO items (catalog, external_id, last_seen_at)
        SELECT 'bench', CAST(n AS text), now() FROM generate_series(:first, :last) n RETURNING id, external_id),
    entries AS (
        INSERT INTO indexed_items (model_id, api_key_id, item_id, photo_sha256, photo_bytes, prediction_id, put_at)
        SELECT :model_id, :api_key_id, id, external_id, 1, gen_random_uuid(), now() FROM fresh
        RETURNING id, photo_sha256)
    INSERT INTO embeddings (indexed_item_id, index_id, photo_sha256, embedding)
    SELECT e.id, :index_id, e.photo_sha256, CAST(r.embedding AS vector)
    FROM json_to_recordset(CAST(:rows AS json)) AS r(name text, embedding text)
    JOIN entries e ON e.photo_sha256 = r.name
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Searches at one width. Recall 0..1; times in milliseconds, of a call and, of batches, of a call for 64.

    `floor_p99_ms` is of `SELECT 1` at the same time: what a machine that does other work takes for nothing.
    """

    ef_search: int
    recall_at_10: float
    single_p50_ms: float
    single_p99_ms: float
    batch_p50_ms: float
    batch_p99_ms: float
    floor_p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run. `build_s` is of the graph alone, all at once; `fill_s` of items put into a graph that is there."""

    items: int
    queries: int
    dimensions: int
    fill_s: float
    build_s: float
    index_mib: float
    table_mib: float
    found: list[Found]


@contextmanager
def embedded_database() -> Iterator[Engine]:
    """Yield a migrated database in a Postgres of its own."""
    with tempfile.TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        # Postgres runs as another user when we are root, and has to get in.
        Path(folder).chmod(0o755)
        server = prepare_postgres(Path(folder) / "postgres")
        process = subprocess.Popen(server.argv, user=server.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(server.is_ready, SERVER_START_S)
            create_database_if_missing(server.url)
            database = create_database(server.url, application="bench")
            prepare_database(database, ObjectStore(f"file://{folder}/objects"))
            yield database
            database.dispose()
        finally:
            process.terminate()
            process.wait()


def compute_embeddings(data: Path, n_items: int, n_queries: int) -> tuple[Tensor, Tensor]:
    """Embeddings of training images `[N, E]` and of test images `[Q, E]`, float32."""
    predictor = read_bundle(BUNDLED_DIRECTORY / MODEL).build()
    parts = load_split("train", data).part(0, n_items), load_split("test", data).part(0, n_queries)
    items_ne, queries_qe = (forward_all(predictor, part.images) for part in parts)
    return items_ne, queries_qe


def fill(database: Engine, version: ServedVersion, items_ne: Tensor) -> tuple[int, float]:
    """Put all items into an index. Returns its id and the seconds that it took."""
    with database.begin() as connection:
        embeddings.ensure_index(
            connection,
            model_version_id=version.model_version_id,
            api_key_id=API_KEY_ID,
            dimensions=items_ne.shape[1],
        )
        index_id = int(connection.execute(text("SELECT id FROM similarity_indexes")).scalar_one())
    started = time.perf_counter()
    for first in range(0, len(items_ne), FILL_GROUP):
        group = items_ne[first : first + FILL_GROUP].tolist()
        rows = [{"name": str(first + place), "embedding": str(numbers)} for place, numbers in enumerate(group)]
        with database.begin() as connection:
            connection.execute(
                text(FILL_ITEMS),
                {
                    "first": first,
                    "last": first + len(group) - 1,
                    "model_id": version.model_id,
                    "api_key_id": API_KEY_ID,
                    "index_id": index_id,
                    "rows": json.dumps(rows),
                },
            )
    return index_id, time.perf_counter() - started


def rebuild(database: Engine, index_id: int) -> tuple[float, float, float]:
    """Build the graph anew. Returns seconds, and the size of the graph and of the table in MiB."""
    with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET maintenance_work_mem = '256MB'"))
        connection.execute(text(f"VACUUM ANALYZE embeddings_{index_id}"))
        connection.execute(text("VACUUM ANALYZE indexed_items"))
        started = time.perf_counter()
        connection.execute(text(f"REINDEX INDEX hnsw_embeddings_{index_id}"))
        seconds = time.perf_counter() - started
        sizes = text("SELECT pg_relation_size(:graph), pg_relation_size(:table)")
        names = {"graph": f"hnsw_embeddings_{index_id}", "table": f"embeddings_{index_id}"}
        graph, table = connection.execute(sizes, names).one()
    return seconds, graph / 2**20, table / 2**20


def measure(database: Engine, index_id: int, queries_qe: Tensor, worst_q: Tensor, ef_search: int) -> Found:
    """Search for each query alone, then for groups of 64, and count what is as near as exact search's tenth."""
    asked = [Query(id=uuid4(), item_id=None, embedding=numbers) for numbers in queries_qe.tolist()]
    with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"SET hnsw.ef_search = {ef_search}"))
        batches = [asked[first : first + BATCH] for first in range(0, len(asked), BATCH)]
        dimensions = queries_qe.shape[1]
        batched = _search_all(connection, index_id, dimensions, batches)
        single = _search_all(connection, index_id, dimensions, [[each] for each in asked])
        floor_ms = _time_nothing(connection, len(asked))
    return Found(
        ef_search=ef_search,
        recall_at_10=_recall(asked, single[0], worst_q),
        single_p50_ms=float(np.percentile(single[1], 50)),
        single_p99_ms=float(np.percentile(single[1], 99)),
        batch_p50_ms=float(np.percentile(batched[1], 50)),
        batch_p99_ms=float(np.percentile(batched[1], 99)),
        floor_p99_ms=float(np.percentile(floor_ms, 99)),
    )


def _search_all(
    connection: Connection, index_id: int, dimensions: int, groups: Sequence[Sequence[Query]]
) -> tuple[dict[UUID, list[float]], list[float]]:
    """Distances by query, and the time of each call in milliseconds."""
    distances: dict[UUID, list[float]] = {}
    times_ms = []
    for group in groups:
        started = time.perf_counter()
        found = embeddings.search(connection, index_id=index_id, dimensions=dimensions, queries=group, limit=NEIGHBOURS)
        times_ms.append((time.perf_counter() - started) * 1000)
        distances |= {query_id: [each.distance for each in near] for query_id, near in found.items()}
    return distances, times_ms


def _time_nothing(connection: Connection, count: int) -> list[float]:
    times_ms = []
    for _ in range(count):
        started = time.perf_counter()
        connection.exec_driver_sql("SELECT 1")
        times_ms.append((time.perf_counter() - started) * 1000)
    return times_ms


def _recall(asked: Sequence[Query], found: dict[UUID, list[float]], worst_q: Tensor) -> float:
    right = sum(
        distance <= worst + EPSILON
        for query, worst in zip(asked, worst_q.tolist(), strict=True)
        for distance in found.get(query.id, [])
    )
    return float(right / (len(asked) * NEIGHBOURS))


def run(data: Path, n_items: int, n_queries: int, ef_searches: Sequence[int]) -> Report:
    """Fill, search and compare."""
    items_ne, queries_qe = compute_embeddings(data, n_items, n_queries)
    # In float64, and by differences: the usual shortcut over inner products loses the last digits of small distances.
    exact = [
        torch.cdist(part, items_ne.double(), compute_mode="donot_use_mm_for_euclid_dist")
        .topk(NEIGHBOURS, largest=False)
        .values[:, -1]
        for part in torch.split(queries_qe.double(), BATCH)
    ]
    with embedded_database() as database:
        with open_session(database) as session:
            version = resolve(session, MODEL)
        index_id, fill_s = fill(database, version, items_ne)
        # Searched as it was filled; building it all at once comes after, and only for its time.
        found = [measure(database, index_id, queries_qe, torch.cat(exact), ef) for ef in ef_searches]
        build_s, index_mib, table_mib = rebuild(database, index_id)
    return Report(
        items=len(items_ne),
        queries=len(queries_qe),
        dimensions=items_ne.shape[1],
        fill_s=fill_s,
        build_s=build_s,
        index_mib=index_mib,
        table_mib=table_mib,
        found=found,
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--items", type=click.IntRange(min=NEIGHBOURS), default=60_000, show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=2_000, show_default=True)
@click.option("--ef-search", "ef_searches", type=click.IntRange(1, 1000), multiple=True, default=[40, 100, 200])
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def main(data: Path, items: int, queries: int, ef_searches: tuple[int, ...], as_json: bool) -> None:
    """Measure recall and speed of the search for neighbours."""
    report = run(data, items, queries, ef_searches)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    _print(report)


def _print(report: Report) -> None:
    console = Console()
    console.print(
        f"{report.items:,} items of {report.dimensions} numbers: put one by one in {report.fill_s:.0f} s; graph built "
        f"at once in {report.build_s:.0f} s; graph {report.index_mib:.0f} MiB, table {report.table_mib:.0f} MiB"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ef_search", "recall@10", "p50", "p99", f"{BATCH} at once, p50", "p99", "SELECT 1, p99"):
        table.add_column(column, justify="right")
    for each in report.found:
        times = (each.single_p50_ms, each.single_p99_ms, each.batch_p50_ms, each.batch_p99_ms, each.floor_p99_ms)
        table.add_row(str(each.ef_search), f"{each.recall_at_10:.4f}", *(f"{ms:.1f} ms" for ms in times))
    console.print(table)


if __name__ == "__main__":
    main()
