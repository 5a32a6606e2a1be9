"""Finds rows whose doorbell was lost: a broker that is down makes the worker slower, not deaf."""

import threading
from collections.abc import Callable

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger()

#: Time between two looks while the broker answers, and while it does not.
HEALTHY_S = 5.0
UNHEALTHY_S = 0.5


class SafetyPoll:
    """Drains now and then without being rung.

    Args:
        drain: Runs what is queued; returns whether rows may be left.
        broker: Pinged before each look.
    """

    def __init__(self, drain: Callable[[], bool], broker: redis.Redis) -> None:
        self._drain = drain
        self._broker = broker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="safety-poll", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current look."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        since_look_s = 0.0
        while not self._stop.wait(UNHEALTHY_S):
            since_look_s += UNHEALTHY_S
            if since_look_s >= HEALTHY_S or not self._broker_answers():
                since_look_s = 0.0
                self._look()

    def _look(self) -> None:
        try:
            while self._drain():
                pass
        except SQLAlchemyError as error:
            # Postgres is away; the next look tries again.
            log.warning("safety_poll_failed", error=str(error))
        except Exception:
            # The thread must outlive any fault, or rows whose doorbell was lost would be found by nobody.
            log.exception("safety_poll_fault")

    def _broker_answers(self) -> bool:
        try:
            return bool(self._broker.ping())
        except redis.RedisError:
            return False
