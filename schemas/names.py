"""The one registry of task, queue and channel names: every process spells them from here."""

from enum import StrEnum


class TaskName(StrEnum):
    """Explicit Celery task names, so that a moved module never orphans a message."""

    RUN_PREDICTIONS = "run_predictions"
    FETCH_INPUTS = "fetch_inputs"
    TRAIN_MODEL = "train_model"
    TEND_TRAININGS = "tend_trainings"
    RETRAIN_MODELS = "retrain_models"
    JUDGE_VERSION = "judge_version"
    JUDGE_WAITING = "judge_waiting"
    TEND_QUEUE = "tend_queue"
    REFRESH_INDEXES = "refresh_indexes"
    CHECK_DRIFT = "check_drift"
    CHECK_POSTGRES = "check_postgres"
    REMOVE_FORGOTTEN = "remove_forgotten"
    MAINTAIN_PARTITIONS = "maintain_partitions"
    PURGE_IDEMPOTENCY_KEYS = "purge_idempotency_keys"
    PURGE_DELIVERIES = "purge_deliveries"


class QueueName(StrEnum):
    """Celery queues by resource. Each inference worker also has one of its own, see `inference_queue`."""

    INFERENCE = "inference"
    TRAINING = "training"
    MAINTENANCE = "maintenance"
    FETCH = "fetch"


#: Redis channel on which every web process hears the ids of finished predictions.
FINISHED_CHANNEL = "torchqueue:finished"

#: Redis channel on which every web process hears which queues' workers found nothing left to claim.
IDLE_CHANNEL = "torchqueue:idle"

#: Redis channel on which every web process hears which API keys were changed, rotated or revoked.
KEYS_CHANNEL = "torchqueue:keys"

#: Redis channel on which every web process hears whose remembered answers must go: an item was forgotten.
FORGOTTEN_CHANNEL = "torchqueue:forgotten"


def inference_queue(node: str) -> str:
    """Name the queue that only the worker of one device consumes, e.g. `inference-cuda-0@host`.

    Args:
        node: The worker's Celery node name; it holds the host, since every machine has a first device.
    """
    return f"{QueueName.INFERENCE}-{node}"


def mask_path(prediction_id: str) -> str:
    """Path under which the mask of a finished segmentation is read; a result carries it."""
    return f"/v1/predictions/{prediction_id}/mask"


def reply_channel(process_id: str) -> str:
    """Name the Redis channel on which one web process hears the outcome of its own requests."""
    return f"torchqueue:replies:{process_id}"
