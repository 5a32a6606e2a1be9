"""Imports every table once, so that `Base.metadata` is whole wherever this module was imported."""

from store.database import Base
from store.tables.api_key import ApiKey, RetiredSecret
from store.tables.audit_entry import AuditEntry
from store.tables.backtest import Backtest, BacktestItem
from store.tables.batch_ceiling import BatchCeiling
from store.tables.decision import Decision
from store.tables.drift import DriftAlarm, DriftMonitor
from store.tables.embedding import Embedding
from store.tables.feedback import Feedback, FeedbackRevision
from store.tables.fetch import Fetch
from store.tables.finished import FinishedSecond, FinishedSummary
from store.tables.forgotten_object import ForgottenObject
from store.tables.gate_verdict import GateVerdict
from store.tables.idempotency_key import IdempotencyKey
from store.tables.indexed_item import IndexedItem
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction
from store.tables.process_layout import ProcessLayout
from store.tables.reaper_run import ReaperRun
from store.tables.redrive import Redrive
from store.tables.similarity_index import SimilarityIndex
from store.tables.traffic import Traffic, TrafficArm, TrafficMinute
from store.tables.training import Training, TrainingExample, TrainingSchedule
from store.tables.tuning import Tuning
from store.tables.webhook import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from store.tables.worker import Worker

metadata = Base.metadata

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Backtest",
    "BacktestItem",
    "BatchCeiling",
    "Decision",
    "DriftAlarm",
    "DriftMonitor",
    "Embedding",
    "Feedback",
    "FeedbackRevision",
    "Fetch",
    "FinishedSecond",
    "FinishedSummary",
    "ForgottenObject",
    "GateVerdict",
    "IdempotencyKey",
    "IndexedItem",
    "Item",
    "Model",
    "ModelVersion",
    "Prediction",
    "ProcessLayout",
    "ReaperRun",
    "Redrive",
    "RetiredSecret",
    "SimilarityIndex",
    "Traffic",
    "TrafficArm",
    "TrafficMinute",
    "Training",
    "TrainingExample",
    "TrainingSchedule",
    "Tuning",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
    "metadata",
]
