"""What the views of one web process share, wired once by the application factory."""

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from flask import current_app
from sqlalchemy import Engine as Database
from sqlalchemy.orm import Session

from schemas.messages import RunPredictions, TrainModel
from schemas.names import QueueName, reply_channel
from store.database import create_database, open_session
from store.errors import UnknownWebhookError
from store.keys import Principal, public_id_of, verify_key
from store.models import ServedVersion, resolve
from store.objects import ObjectStore
from store.replies import connect_redis
from store.settings import Settings
from store.tenancy import create_tenant_database, open_tenant_session
from store.traffic import Split, read_split
from store.webhooks import get_endpoint
from tasks.doorbell import Doorbell
from webapp.admission import Admission
from webapp.cache import ResultCache
from webapp.dispatch import Dispatcher
from webapp.draining import Draining
from webapp.errors import InvalidInputError
from webapp.inline import InlinePlace, load_runner
from webapp.learned import create_balancer
from webapp.limits import KeyMeters
from webapp.memo import Memo
from webapp.pressure import Pressure
from webapp.replies import ReplyListener
from webapp.shadows import Shadows
from webapp.watch import DatabaseWatch
from webapp.workers import WorkerDirectory

#: A revoked key works for at most so long.
KEY_CACHE_S = 5.0

#: A promotion is seen by every process within so long.
MODEL_CACHE_S = 1.0

#: A webhook endpoint that was deleted may still be named for so long; it is told of nothing.
WEBHOOK_CACHE_S = 5.0

#: A version that cannot be loaded in this process is left to the workers after so long.
INLINE_PATIENCE_S = 10.0

# Views read with these; the submitter and the background threads have connections of their own.
READ_CONNECTIONS = 8
BACKGROUND_CONNECTIONS = 6

EXTENSION = "torchqueue"


class Services:
    """Collaborators of the views.

    Args:
        settings: Addresses and limits.
    """

    def __init__(self, settings: Settings) -> None:
        process = f"{socket.gethostname()}-{os.getpid()}"
        self.settings = settings
        self.channel = reply_channel(process)
        self.database = create_database(settings.database_url, application="web", pool_size=READ_CONNECTIONS)
        # Those of tenants run on connections of a role that sees one tenant's rows, whatever a statement forgets.
        self.tenants = create_tenant_database(settings.database_url, pool_size=READ_CONNECTIONS)
        self.background = create_database(
            settings.database_url, application="web-background", pool_size=BACKGROUND_CONNECTIONS
        ).execution_options(isolation_level="AUTOCOMMIT")
        self.objects = ObjectStore(settings.object_url)
        self.redis = connect_redis(settings.redis_url)
        # Each process draws differently, so that they do not all ring the same worker.
        balancer = create_balancer(settings.balancer, random.Random())  # noqa: S311 - nothing secret
        self.directory = WorkerDirectory(self.background, balancer)
        self.inline = InlinePlace(load_runner(settings)) if settings.inline else None
        self.watch = DatabaseWatch(self.background)
        self.pressure = Pressure(self.background, lambda: self.directory.views, processes=settings.web_processes)
        self.admission = Admission(settings, self.pressure, self.directory)
        self.meters = KeyMeters(settings.web_processes)
        self.dispatcher = Dispatcher(
            self.background, Doorbell(settings.redis_url), balancer, self.inline, self.pressure
        )
        self.cache = ResultCache()
        # The dispatcher's own is for one thread alone.
        self._bell = Doorbell(settings.redis_url)
        self._bell_lock = threading.Lock()
        self.draining = Draining.from_env()
        self.keys = KeyCache(self.database)
        self.listener = ReplyListener(
            connect_redis(settings.redis_url, timeout_s=None),
            self.background,
            self.channel,
            on_finished=self.dispatcher.hear_finished,
            on_idle=self.dispatcher.hear_idle,
            on_forgotten=self.cache.forget,
            on_keys=self.keys.forget,
        )
        self.webhooks = WebhookCache(self.database)
        self.shadows = Shadows(self.dispatcher)
        self.models = ModelCache(self.database, None if self.inline is None else self.inline.is_ready)

    @contextmanager
    def reading(self, api_key_id: int | None) -> Iterator[Session]:
        """Yield a session to read with on behalf of a tenant; None stands for an admin, who sees all.

        The database itself hides what is another tenant's, as the second wall behind the statements' own conditions.
        """
        opened = open_session(self.database) if api_key_id is None else open_tenant_session(self.tenants, api_key_id)
        with opened as session:
            yield session

    def ring_training(self, message: TrainModel) -> None:
        """Tell a training worker that a training waits; one that does not hear it is told again by beat."""
        with self._bell_lock:
            self._bell.request_training(message)

    def ring_predictions(self, message: RunPredictions) -> None:
        """Tell any worker that rows wait that no ticket stands for; who does not hear it is told again by beat."""
        with self._bell_lock:
            self._bell.ring(QueueName.INFERENCE, message)

    def start(self) -> Self:
        """Start the threads of this process."""
        self.watch.start()
        self.directory.start()
        self.pressure.start()
        self.listener.start()
        self.dispatcher.start()
        self.shadows.start()
        self.draining.start(self.listener.cut_waits)
        return self


class KeyCache:
    """API keys by their text, remembered for seconds: a check is a hash table look-up, not a query."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memo = Memo(self._read, KEY_CACHE_S)

    def verify(self, key: str) -> Principal:
        """Return who holds this key.

        Raises:
            InvalidKeyError: It is malformed, unknown, revoked or expired.
        """
        return self._memo.get(key)

    def knows(self, key: str) -> bool:
        """Whether `verify` would return at once."""
        return self._memo.knows(key)

    def forget(self, public_ids: Sequence[str]) -> None:
        """Ask the database again about these keys: they were changed, rotated or revoked."""
        stale = set(public_ids)
        self._memo.forget(lambda key: public_id_of(key) in stale)

    def _read(self, key: str) -> Principal:
        with open_session(self._database) as session:
            return verify_key(session, key)


class WebhookCache:
    """Which webhook endpoints keys have, remembered for seconds; only requests that name one ask.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memo = Memo(self._read, WEBHOOK_CACHE_S)

    def check(self, caller: Principal, webhook_id: UUID | None) -> None:
        """Check that the caller has this endpoint, if one is named.

        Raises:
            InvalidInputError: There is none, or it is another key's.
        """
        if webhook_id is not None:
            self._memo.get((caller.api_key_id, webhook_id))

    def _read(self, asked: tuple[int, UUID]) -> bool:
        api_key_id, webhook_id = asked
        with open_session(self._database) as session:
            try:
                get_endpoint(session, webhook_id, api_key_id=api_key_id)
            except UnknownWebhookError as error:
                raise InvalidInputError(
                    "webhook", f"your key has no webhook endpoint {webhook_id}; POST /v1/webhooks makes one"
                ) from error
        return True


@dataclass(frozen=True, slots=True)
class Route:
    """The version that answers, unless the model's traffic is split; a version that was asked for is never split."""

    version: ServedVersion
    split: Split | None


class ModelCache:
    """Which version answers, remembered for a second.

    Args:
        database: Where promotions are.
        is_ready: Whether a new champion can answer in this process, where it is meant to; the one before goes on until
            then. None: all champions answer on workers, which load them before they are champions.
    """

    def __init__(self, database: Database, is_ready: Callable[[ServedVersion], bool] | None = None) -> None:
        self._database = database
        self._is_ready = is_ready
        self._answering: dict[str, ServedVersion] = {}
        self._waiting_since: dict[str, float] = {}
        self._memo = Memo(self._read, MODEL_CACHE_S)

    def route(self, name: str, number: int | None) -> Route:
        """Return the asked version, or the champion and how the model's traffic is split; raises as `resolve`."""
        return self._memo.get((name, number))

    def resolve(self, name: str, number: int | None) -> ServedVersion:
        """Return the version that answers: the asked one, or the champion.

        Raises:
            UnknownModelError: There is no such model, or it has no champion yet.
            UnknownVersionError: The model has no such version.
        """
        return self.route(name, number).version

    def knows(self, name: str, number: int | None) -> bool:
        """Whether `resolve` would return at once."""
        return self._memo.knows((name, number))

    def _read(self, asked: tuple[str, int | None]) -> Route:
        name, number = asked
        with open_session(self._database) as session:
            found = resolve(session, name, number)
            split = read_split(session, found) if number is None else None
        answering = found if number is not None or self._is_ready is None else self._await(found, self._is_ready)
        # A split is the champion's own; until that can answer, the one before it answers alone.
        return Route(answering, split if answering.model_version_id == found.model_version_id else None)

    def _await(self, champion: ServedVersion, is_ready: Callable[[ServedVersion], bool]) -> ServedVersion:
        name = champion.model
        answering = self._answering.setdefault(name, champion)
        if answering.model_version_id != champion.model_version_id and not is_ready(champion):
            since = self._waiting_since.setdefault(name, time.monotonic())
            if time.monotonic() - since < INLINE_PATIENCE_S:
                return replace(answering, settings=champion.settings)
        self._waiting_since.pop(name, None)
        self._answering[name] = champion
        return champion


def services() -> Services:
    """Return the collaborators of the application that answers this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
