"""What beat asks for every second or hour: any process may run it, and running it twice changes nothing."""

from datetime import timedelta

import redis
import structlog
from celery import Celery
from sqlalchemy import Connection, text
from sqlalchemy import Engine as Database

from schemas.messages import JudgeVersion, RunPredictions
from schemas.names import QueueName, TaskName
from store import delivery_ledger, ledger, training_ledger
from store.comparison import forget_minutes
from store.database import open_session
from store.drift_checks import check_champions
from store.failpoints import hit
from store.forgetting import drop_expired_feedback
from store.gate_verdicts import waiting_for_judgement
from store.ledger_rows import Requeued
from store.partitions import drop_expired_partitions, ensure_partitions
from store.postgres_health import read_health
from store.replies import publish
from store.stats import summarize_finished
from tasks.backtesting import advance_backtests
from tasks.doorbell import Doorbell
from tasks.reindexing import refresh_champions
from tasks.traffic import TrafficKeeper

log = structlog.get_logger()

#: A row that waits longer than this beside an idle worker was not heard: ring again.
STRANDED_S = 0.25

#: How long a repeat of a request finds its first answer.
IDEMPOTENCY_DAYS = 7.0

#: How long what became of a webhook delivery can be read, and how long one waits for a paused endpoint.
DELIVERY_DAYS = 30.0

#: A trained version without a verdict for so long has lost whoever was to give it.
JUDGE_AFTER_S = 600.0

# One process reaps at a time; the lock ends with the transaction, so a dead one never holds it.
REAP_LOCK_ID = 7_208_002


class Maintenance:
    """The jobs that keep promises when something died.

    Args:
        database: Where the rows are.
        replies: Where predictions that these jobs finish are published.
        doorbell: Rung for rows that wait again.
        retention: Age at which partitions are dropped.
    """

    def __init__(self, database: Database, replies: redis.Redis, doorbell: Doorbell, retention: timedelta) -> None:
        self._database = database
        self._replies = replies
        self._doorbell = doorbell
        self._retention = retention
        self._traffic = TrafficKeeper(database)

    def tend_queue(self) -> None:
        """Do all that is due every second; a job that fails keeps no other from its turn.

        Raises:
            ExceptionGroup: Some failed, each for its own reason.
        """
        failures = []
        for job in (
            self.reap_leases,
            self.expire_predictions,
            self.ring_stranded,
            self.summarize_finished,
            # Reads one empty table where no traffic is split; a refresh takes a tenth of the time where it is.
            self.keep_traffic,
            self.advance_backtests,
        ):
            try:
                job()
            # Whatever it was: it is raised with the others', when all had their turn.
            except Exception as error:  # noqa: BLE001
                failures.append(error)
        if failures:
            raise ExceptionGroup("not all that is due every second was done", failures)

    def reap_leases(self) -> None:
        """Take back what dead or hung workers hold, and ring for it."""
        with self._database.begin() as connection:
            if not _try_lock(connection):
                return
            hit("reaper.before_update")
            requeued = ledger.reap(connection)
            delivery_ledger.take_back(connection)
            hit("reaper.before_commit")
        hit("reaper.after_commit")
        self._tell(requeued)

    def release_dead_worker(self, host: str, pid: int) -> None:
        """Take back what a process held that has certainly died, and ring for it."""
        with self._database.begin() as connection:
            requeued = ledger.release_dead_worker(connection, host=host, pid=pid)
            # What a training worker held goes back with it; it is rung for within seconds.
            training_ledger.reap(connection)
            delivery_ledger.take_back(connection)
        self._tell(requeued)

    def ring_stranded(self, older_than_s: float = STRANDED_S) -> None:
        """Ring for rows that wait although their doorbell is long gone."""
        with self._database.begin() as connection:
            waiting = ledger.stranded(connection, older_than_s=older_than_s)
        hit("sweeper.before_ring")
        for model, version, ids in waiting:
            message = RunPredictions(model=model, version=version, prediction_ids=ids)
            self._doorbell.ring(QueueName.INFERENCE, message)

    def expire_predictions(self) -> None:
        """Expire queued rows past their deadline and tell who waits."""
        with self._database.begin() as connection:
            expired = ledger.expire(connection)
        hit("sweeper.after_expire")
        publish(self._replies, expired)

    def refresh_indexes(self) -> None:
        """Ask champions for the embeddings of photos that they have not seen, as after a promotion."""
        asked = refresh_champions(self._database)
        if asked:
            log.info("indexes_refreshed", asked=asked)
            self.ring_stranded(0.0)

    def summarize_finished(self) -> None:
        """Sum up what finished, for the statistics."""
        with self._database.begin() as connection:
            summarize_finished(connection)

    def check_drift(self) -> None:
        """Compare what champions answer with what they answered at first."""
        check_champions(self._database)

    def advance_backtests(self) -> None:
        """Settle what backtests were answered and replay more, a group a second."""
        if advance_backtests(self._database):
            self.ring_stranded(0.0)

    def judge_waiting(self) -> None:
        """Ask again for the verdicts on trained versions that nobody gave."""
        with open_session(self._database) as session:
            waiting = waiting_for_judgement(session, older_than_s=JUDGE_AFTER_S)
        for model, version in waiting:
            self._doorbell.request_judgement(JudgeVersion(model=model, version=version))

    def keep_traffic(self) -> None:
        """Let splits learn, and stop those in which a version is clearly worse."""
        self._traffic.keep()

    def maintain_partitions(self) -> None:
        """Make partitions ahead and drop those past their retention, and what was summed up of their traffic."""
        with self._database.begin() as connection:
            made = ensure_partitions(connection)
            dropped = drop_expired_partitions(connection, retention=self._retention)
            forget_minutes(connection, older_than=self._retention)
        with self._database.begin() as connection:
            feedback = drop_expired_feedback(connection)
        log.info("partitions_maintained", made=made, dropped=dropped, feedback=feedback)

    def check_postgres(self) -> None:
        """Say in the log what keeps Postgres from tidying up; the same is in the metrics."""
        with self._database.connect() as connection:
            health = read_health(connection)
        if health.old_snapshot:
            log.warning(
                "postgres_old_snapshot", seconds=round(health.oldest_snapshot_s), transactions=health.oldest_xmin_age
            )
        for table in health.bloated:
            log.warning("postgres_dead_rows", table=table.name, dead=table.dead, live=table.live)

    def purge_idempotency_keys(self) -> None:
        """Forget idempotency keys past their promise."""
        with self._database.begin() as connection:
            purged = ledger.purge_idempotency_keys(connection, older_than_days=IDEMPOTENCY_DAYS)
        log.info("idempotency_keys_purged", count=purged)

    def purge_deliveries(self) -> None:
        """Forget webhook deliveries that ended long ago, and what is left of deleted endpoints."""
        total = 0
        while True:
            with self._database.begin() as connection:
                purged = delivery_ledger.purge(connection, older_than_days=DELIVERY_DAYS)
            total += purged
            if not purged:
                break
        log.info("deliveries_purged", count=total)

    def _tell(self, requeued: Requeued) -> None:
        if requeued.queued or requeued.finished:
            log.warning("claims_taken_back", queued=requeued.queued, failed=len(requeued.finished))
            publish(self._replies, requeued.finished)
            self.ring_stranded(0.0)


def register(app: Celery, maintenance: Maintenance) -> None:
    """Register the jobs of beat's schedule under their names."""
    app.task(name=TaskName.MAINTAIN_PARTITIONS, shared=False)(maintenance.maintain_partitions)
    app.task(name=TaskName.CHECK_DRIFT, shared=False)(maintenance.check_drift)
    app.task(name=TaskName.CHECK_POSTGRES, shared=False)(maintenance.check_postgres)
    app.task(name=TaskName.PURGE_IDEMPOTENCY_KEYS, shared=False)(maintenance.purge_idempotency_keys)
    app.task(name=TaskName.PURGE_DELIVERIES, shared=False)(maintenance.purge_deliveries)
    app.task(name=TaskName.REFRESH_INDEXES, shared=False)(maintenance.refresh_indexes)
    app.task(name=TaskName.JUDGE_WAITING, shared=False)(maintenance.judge_waiting)
    # One a second would push the predictions off Flower's page.
    app.task(name=TaskName.TEND_QUEUE, shared=False, send_events=False)(maintenance.tend_queue)


def _try_lock(connection: Connection) -> bool:
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:id)"), {"id": REAP_LOCK_ID}).scalar_one())
