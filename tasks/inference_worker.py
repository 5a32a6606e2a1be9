"""One inference worker: one process, one device. Imports torch, so the device must be pinned before."""

import gc
import threading

import redis
import structlog
from celery import Celery
from sqlalchemy import Engine as Database

from ml.devices import device_slug
from ml.engine import Engine
from ml.plugins import load_plugins
from schemas.enums import BalancerPolicy, DecodePlace, StopReason, WorkerRole
from schemas.names import QueueName, inference_queue
from store.database import create_database
from store.objects import ObjectStore
from store.replies import connect_redis
from store.settings import Settings
from tasks.app import create_celery
from tasks.celery_process import node_name, run_worker
from tasks.doorbell import Doorbell
from tasks.drainer import Drainer
from tasks.following import VersionFollower
from tasks.heap import trim_heap
from tasks.idle_tuning import IdleTuning
from tasks.inference import register
from tasks.layout_tuning import LayoutTuning
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.maintenance import Maintenance
from tasks.pace import Pace
from tasks.peers import PeerDirectory
from tasks.progress import Progress
from tasks.safety_poll import SafetyPoll
from tasks.spool import Spool
from tasks.successor import spool_folder
from tasks.watchdog import QUIT_WITHIN_S, Watchdog

log = structlog.get_logger()

#: A batch that was running when the worker was told to stop may take so long, in seconds.
DRAIN_LIMIT_S = 20.0


class InferenceWorker:
    """Everything that an inference worker is made of, wired for one device.

    Args:
        settings: Addresses.
        device: `cuda:N` or `cpu:N`.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        self._device = device
        slug = device_slug(device)
        self.node = node_name(slug)
        self.queues = [inference_queue(self.node), QueueName.INFERENCE]
        claims = create_database(settings.database_url, application=self.node, pool_size=4, for_claims=True)
        results = create_database(settings.database_url, application=self.node, pool_size=4)
        replies = connect_redis(settings.redis_url)
        objects = ObjectStore(settings.object_url)
        self.engine = _create_engine(settings, device)
        self.pace = Pace(paced=settings.balancer == BalancerPolicy.LEARNED)
        self.loader = ModelLoader(self.engine, claims, objects, self.pace.book)
        layout_tuning = LayoutTuning(self.engine, claims, objects, settings.plugins)
        self.idle_tuning = IdleTuning(self.loader, layout_tuning if settings.measure_layout else None)
        self.doorbell = Doorbell(settings.redis_url)
        # Beat may be down or its broker flushed; a dead neighbour's rows must not wait for it.
        self._maintenance = Maintenance(results, replies, Doorbell(settings.redis_url), settings.retention)
        self.progress = Progress()
        self.life = self._create_life(claims)
        self.follower = VersionFollower(claims, self.loader, self.life.tell)
        spool = Spool(spool_folder(settings.var_dir), slug)
        self.drainer = self._create_drainer(claims, results, objects, replies, spool)
        self._peers = PeerDirectory(claims, self.pace, self.loader.held)
        self.poll = SafetyPoll(self.drainer.drain, replies)
        self.watchdog = Watchdog(claims, self.life, self.progress)
        self._limit = threading.Timer(
            DRAIN_LIMIT_S, self.life.quit, [StopReason.DRAINED, 0], {"within_s": QUIT_WITHIN_S}
        )
        self._limit.daemon = True

    def _create_life(self, claims: Database) -> WorkerLife:
        return WorkerLife(
            claims,
            name=self.node,
            role=WorkerRole.INFERENCE,
            device=self._device,
            queue=self.queues[0],
            held=self.loader.held,
            rates=self.pace.book.rates,
            load_failures=lambda: self.loader.load_failures,
            on_beat=self._beat,
            is_moving=self.progress.is_moving,
            settle=self._settle,
        )

    def _create_drainer(
        self, claims: Database, results: Database, objects: ObjectStore, replies: redis.Redis, spool: Spool
    ) -> Drainer:
        return Drainer(
            engine=self.engine,
            loader=self.loader,
            life=self.life,
            claims_database=claims,
            results_database=results,
            objects=objects,
            replies=replies,
            device=self._device,
            queues=self.queues,
            spool=spool,
            progress=self.progress,
            pace=self.pace,
        )

    def _settle(self) -> None:
        self.drainer.settle()

    def _beat(self) -> None:
        self._maintenance.reap_leases()
        self._peers.refresh(self.life.worker_id)

    def register_on(self, app: Celery) -> None:
        """Register the inference task."""
        register(app, self.drainer, self.doorbell, self.queues[0])

    def start(self) -> None:
        """Say that this worker is ready. The models are warm by now."""
        self.life.begin()
        self.poll.start()
        self.follower.start()
        self.idle_tuning.start()
        self.watchdog.start()

    def stop(self) -> None:
        """Take up no more: the running batch is finished, the rest given back. Called by a signal handler."""
        self.drainer.stop()
        self.life.say_draining()
        # What does not end by itself gives back what it holds all the same, before somebody kills it.
        if self._limit.ident is None:
            self._limit.start()

    def end(self) -> None:
        """Leave in order: nothing is held when the life ends."""
        self.watchdog.stop()
        self.idle_tuning.stop()
        self.follower.stop()
        self.poll.stop()
        self.drainer.close()
        self.life.end()
        self._limit.cancel()
        self.loader.close()
        self.engine.close()


def _create_engine(settings: Settings, device: str) -> Engine:
    return Engine(
        device,
        compute_threads=settings.compute_threads,
        memory_mb=settings.device_memory_mb,
        sandboxed=settings.decode is DecodePlace.SANDBOX,
    )


def run(settings: Settings, device: str) -> None:
    """Serve predictions on one device until told to stop."""
    # Before any model is loaded. One that fails takes only its own models with it.
    for failed in load_plugins(settings.plugins):
        log.error("plugin_not_loaded", error=str(failed))
    worker = InferenceWorker(settings, device)
    for problem in worker.loader.preload_champions():
        log.error("champion_not_loaded", error=problem)
    app = create_celery(settings)
    worker.register_on(app)
    # What was imported and loaded stays: looking through it for garbage would stop the device for a tenth of a second.
    trim_heap()
    gc.freeze()
    # Before Celery: a worker that starts while the broker is away answers all the same, by its safety poll.
    worker.start()
    try:
        run_worker(
            app,
            node=worker.node,
            queues=worker.queues,
            acknowledges=False,
            # A drain is bounded, so the consumer has its turn every second. A thread beside it would compete with it
            # for the interpreter just when a request is under way (measured: 6.6 against 5.6 ms for a lone request).
            pool="solo",
            concurrency=1,
            on_ready=lambda: log.info("doorbell_heard_from_now"),
            on_stopping=worker.stop,
        )
    finally:
        worker.end()
