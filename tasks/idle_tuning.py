"""Measures what nobody has measured here, while the worker has nothing else to do."""

import threading
from collections.abc import Callable

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import TuningInterruptedError
from store.errors import ObjectsUnavailableError
from tasks.heap import trim_heap
from tasks.loader import ModelLoader

log = structlog.get_logger()

#: Is given what raises `TuningInterruptedError` when there is work to do; returns False with nothing left to measure.
Measurement = Callable[[Callable[[], None]], bool]

#: Time between two looks.
LOOK_EVERY_S = 1.0

#: A worker that was asked for nothing for so long is idle.
IDLE_S = 3.0

#: A measurement that was broken off waits for twice as long an idleness as the one before, up to this.
LONGEST_IDLE_S = 300.0

#: Of the machine's processors: where other processes use more, a measurement would take from them and be wrong itself.
MOST_OTHERS_SHARE = 0.25

#: A machine that is never that quiet is measured all the same, after so long.
PATIENCE_S = 600.0


class OthersLoad:
    """How busy other processes keep the machine: this one's idleness says nothing of theirs."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._seen = self._look()

    def share(self) -> float:
        """Return the share of all processors, 0 to 1, that others used since the last call."""
        before, self._seen = self._seen, self._look()
        total, busy, own = (now - then for now, then in zip(self._seen, before, strict=True))
        return max(0.0, busy - own) / total if total > 0 else 0.0

    def _look(self) -> tuple[float, float, float]:
        """Seconds of processor time since the start: all, those that were used, and those used by this process."""
        times, own = psutil.cpu_times(), self._process.cpu_times()
        total = sum(times)
        return total, total - times.idle - getattr(times, "iowait", 0.0), own.user + own.system


class IdleTuning:
    """A thread that tunes and makes way as soon as there is work.

    Args:
        loader: Knows which versions are unmeasured, and when it was last asked for something.
        measure_layout: Measures how many workers answer most, once all versions are measured; returns False when it has
            nothing to do. None where the operator decided how many there are.
    """

    def __init__(self, loader: ModelLoader, measure_layout: Measurement | None = None) -> None:
        self._loader = loader
        self._measurements = [loader.tune_next, *filter(None, [measure_layout])]
        self._idle_s = IDLE_S
        self._others = OthersLoad()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle-tuning", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the forward that runs just now."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            quiet = self._others.share() <= MOST_OTHERS_SHARE or self._loader.idle_s() > PATIENCE_S
            if quiet and self._loader.idle_s() >= self._idle_s and not self._tune():
                # Versions that are loaded later come back here.
                self._idle_s = IDLE_S

    def _tune(self) -> bool:
        try:
            return self._measure()
        except (SQLAlchemyError, ObjectsUnavailableError) as error:
            log.warning("idle_tuning_failed", error=str(error))
        except Exception:
            # Tuning only makes faster what works; no fault of it may end the worker.
            log.exception("idle_tuning_fault")
        return True

    def _measure(self) -> bool:
        """Returns False with nothing left to measure."""
        measured = any(measure(self._check) for measure in self._measurements)
        if measured:
            trim_heap()
        return measured

    def _check(self) -> None:
        if self._stop.is_set() or self._loader.idle_s() < LOOK_EVERY_S:
            self._idle_s = min(self._idle_s * 2, LONGEST_IDLE_S)
            raise TuningInterruptedError("there is work to do")
