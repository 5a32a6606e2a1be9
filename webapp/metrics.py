"""Prometheus metrics: requests as each process counts them, queues and workers as Postgres knows them."""

import os
import time
from collections.abc import Iterator

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine as Database

from store.delivery_ledger import read_gauges as read_gauges_of_deliveries
from store.drift import read_gauges
from store.settings import MULTIPROCESS_VARIABLE
from store.stats import queue_depths
from webapp.pressure import ESTIMATED_WAIT
from webapp.trust_metrics import DeadLetterCollector, PostgresCollector, WorkerCollector

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST

REQUESTS = Histogram(
    "torchqueue_http_request_seconds",
    "Time to answer, by endpoint and status.",
    ["endpoint", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)


REFUSED = Counter(
    "torchqueue_refused_total",
    "Requests that were refused for want of room or time, or beyond a key's limits, by the problem's type.",
    ["reason"],
)


class QueueCollector(Collector):
    """Queue depths, read when Prometheus asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge, labelled by model, version, priority and state."""
        gauge = GaugeMetricFamily(
            "torchqueue_predictions_open",
            "Predictions that wait or run.",
            labels=["model", "version", "priority", "state"],
        )
        with self._database.connect() as connection:
            for row in queue_depths(connection):
                labels = [row["model"], str(row["version"]), row["priority"]]
                for state in ("queued", "processing"):
                    gauge.add_metric([*labels, state], row[state])
        yield gauge


class DriftCollector(Collector):
    """How far champions' answers are from what is usual, as the last check found."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield two gauges, labelled by model, version and measure."""
        labels = ["model", "version", "measure"]
        distance = GaugeMetricFamily(
            "torchqueue_drift", "Distance of the latest answers from usual ones.", labels=labels
        )
        alarm = GaugeMetricFamily("torchqueue_drift_alarm", "1 while an alarm over the measure is open.", labels=labels)
        with self._database.connect() as connection:
            for row in read_gauges(connection):
                values = [row["model"], str(row["version"]), row["measure"]]
                distance.add_metric(values, row["value"])
                alarm.add_metric(values, int(row["is_open"]))
        yield distance
        yield alarm


class WebhookCollector(Collector):
    """What there is to deliver, and what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Yield gauges of what waits and counters of what was sent."""
        with self._database.connect() as connection:
            found = read_gauges_of_deliveries(connection)
        open_ = GaugeMetricFamily("torchqueue_webhook_deliveries_open", "Deliveries not done yet.", labels=["state"])
        open_.add_metric(["pending"], found.pending)
        open_.add_metric(["sending"], found.sending)
        ended = CounterMetricFamily("torchqueue_webhook_deliveries", "Deliveries that ended.", labels=["outcome"])
        ended.add_metric(["delivered"], found.delivered)
        ended.add_metric(["dead"], found.dead)
        yield open_
        yield ended
        yield CounterMetricFamily("torchqueue_webhook_attempts_failed", "Attempts that failed.", value=found.failed)
        yield GaugeMetricFamily(
            "torchqueue_webhook_oldest_seconds",
            "Age of the oldest delivery that waits for an enabled endpoint.",
            value=found.oldest_s,
        )
        yield GaugeMetricFamily("torchqueue_webhook_endpoints_paused", "Endpoints that are paused.", value=found.paused)


def register_metrics(app: Flask) -> None:
    """Time every request."""

    @app.before_request
    def _start() -> None:
        g.started_at = time.perf_counter()

    @app.after_request
    def _observe(response: Response) -> Response:
        endpoint = request.endpoint or "unknown"
        REQUESTS.labels(endpoint, response.status_code).observe(time.perf_counter() - g.started_at)
        return response


def render_metrics(database: Database) -> bytes:
    """Render all metrics in Prometheus' text format, of every process on this machine where they share a folder."""
    registry = CollectorRegistry()
    if MULTIPROCESS_VARIABLE in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REQUESTS)
        registry.register(REFUSED)
        registry.register(ESTIMATED_WAIT)
    registry.register(QueueCollector(database))
    registry.register(DriftCollector(database))
    registry.register(WorkerCollector(database))
    registry.register(DeadLetterCollector(database))
    registry.register(PostgresCollector(database))
    registry.register(WebhookCollector(database))
    return generate_latest(registry)
