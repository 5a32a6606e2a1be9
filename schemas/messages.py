"""What travels between processes: frozen, keyword-only, named in the imperative or for the event."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import orjson


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPredictions:
    """The doorbell: rows wait for this model version. The ids are for the reader; the worker claims from Postgres.

    A `probe` makes the worker take one row at first, even where it would leave it to faster ones.
    """

    prediction_ids: list[str]
    model: str
    version: int
    probe: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchInputs:
    """The doorbell of the fetcher: pictures are named by their URL. The ids are for the reader."""

    prediction_ids: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainModel:
    """The doorbell of trainings: one waits. The id is for the reader; the worker claims from Postgres."""

    training_id: str
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeVersion:
    """Compare a trained version with its model's champion and do what the model's policy says."""

    model: str
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionFinished:
    """A prediction reached a terminal state; published after the commit, so it is always true.

    Times are ISO 8601 with zone, durations milliseconds. `started_at` and `worker_id` are None when
    it never ran.
    """

    id: str
    status: str
    attempt: int
    result: dict[str, Any] | None
    error_code: str | None
    error_detail: str | None
    created_at: str
    started_at: str | None
    finished_at: str
    decode_ms: float | None
    compute_ms: float | None
    device: str | None
    worker_id: int | None = None
    cached: bool = False

    @staticmethod
    def dump_many(events: "Iterable[PredictionFinished]") -> str:
        """Encode a group of events as one message."""
        # `dataclasses.asdict` deep-copies every result; this path runs for each prediction.
        fields = PredictionFinished.__slots__
        return orjson.dumps([{name: getattr(event, name) for name in fields} for event in events]).decode()

    @classmethod
    def load_many(cls, message: bytes | str) -> list[Self]:
        """Decode what `dump_many` wrote."""
        return [cls(**fields) for fields in orjson.loads(message)]
