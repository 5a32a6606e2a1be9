"""Prometheus metrics of what an operator should be woken by: workers, dead letters, and Postgres' own health."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine as Database

from store.database import open_session
from store.dead_letters import count_dead_letters
from store.postgres_health import read_health
from store.workers import live_workers


class WorkerCollector(Collector):
    """Workers whose lease holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge, labelled by role, device and state; a quarantined device is one of these."""
        gauge = GaugeMetricFamily(
            "torchqueue_workers", "Workers whose lease holds.", labels=["role", "device", "state"]
        )
        with open_session(self._database) as session:
            counted = Counter((each.role, each.device, each.state) for each in live_workers(session))
        for labels, count in counted.items():
            gauge.add_metric(labels, count)
        yield gauge


class DeadLetterCollector(Collector):
    """Dead letters that nobody has asked again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge, labelled by model and reason."""
        gauge = GaugeMetricFamily(
            "torchqueue_dead_letters",
            "Predictions that workers failed at and that were not redriven.",
            labels=["model", "reason"],
        )
        with self._database.connect() as connection:
            for row in count_dead_letters(connection):
                gauge.add_metric([row.model, row.reason], row.letters)
        yield gauge


class PostgresCollector(Collector):
    """What keeps Postgres from tidying up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield gauges of the oldest snapshot and of dead rows, and whether either is an alarm."""
        with self._database.connect() as connection:
            health = read_health(connection)
        yield GaugeMetricFamily(
            "torchqueue_postgres_oldest_snapshot_seconds",
            "Age of the oldest transaction that holds a snapshot.",
            value=health.oldest_snapshot_s,
        )
        yield GaugeMetricFamily(
            "torchqueue_postgres_oldest_xmin_age",
            "Transactions since the oldest that may still be read.",
            value=health.oldest_xmin_age,
        )
        dead = GaugeMetricFamily("torchqueue_postgres_dead_rows", "Rows that vacuum has to remove.", labels=["table"])
        for table in health.tables:
            dead.add_metric([table.name], table.dead)
        yield dead
        alarm = GaugeMetricFamily("torchqueue_postgres_alarm", "1 while somebody should look.", labels=["alarm"])
        alarm.add_metric(["old_snapshot"], int(health.old_snapshot))
        alarm.add_metric(["dead_rows"], int(bool(health.bloated)))
        yield alarm
