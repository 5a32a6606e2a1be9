"""Imports every table once, so that `Base.metadata` is whole wherever this module was imported."""

from store.database import Base
from store.tables.api_key import ApiKey
from store.tables.finished import FinishedSecond, FinishedSummary
from store.tables.idempotency_key import IdempotencyKey
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction
from store.tables.worker import Worker

metadata = Base.metadata

__all__ = [
    "ApiKey",
    "FinishedSecond",
    "FinishedSummary",
    "IdempotencyKey",
    "Item",
    "Model",
    "ModelVersion",
    "Prediction",
    "Worker",
    "metadata",
]
