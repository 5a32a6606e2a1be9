"""Imports every table once, so that `Base.metadata` is whole wherever this module was imported."""

from store.database import Base
from store.tables.api_key import ApiKey
from store.tables.batch_ceiling import BatchCeiling
from store.tables.decision import Decision
from store.tables.embedding import Embedding
from store.tables.feedback import Feedback, FeedbackRevision
from store.tables.finished import FinishedSecond, FinishedSummary
from store.tables.idempotency_key import IdempotencyKey
from store.tables.indexed_item import IndexedItem
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction
from store.tables.process_layout import ProcessLayout
from store.tables.similarity_index import SimilarityIndex
from store.tables.traffic import Traffic, TrafficArm, TrafficMinute
from store.tables.tuning import Tuning
from store.tables.worker import Worker

metadata = Base.metadata

__all__ = [
    "ApiKey",
    "BatchCeiling",
    "Decision",
    "Embedding",
    "Feedback",
    "FeedbackRevision",
    "FinishedSecond",
    "FinishedSummary",
    "IdempotencyKey",
    "IndexedItem",
    "Item",
    "Model",
    "ModelVersion",
    "Prediction",
    "ProcessLayout",
    "SimilarityIndex",
    "Traffic",
    "TrafficArm",
    "TrafficMinute",
    "Tuning",
    "Worker",
    "metadata",
]
