"""Bad inputs among good ones, all in one batch."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from store.objects import ObjectStore
from tests.faults.arena import Arena
from tests.faults.history import Request
from tests.faults.injectors.done import Done
from tests.faults.inputs import BATCH, VECTORS, add_models, innocent, most_forwards, poisoned
from tests.faults.marks import FORWARDS

#: A batch whose every file hangs has ended within this.
END_TIMEOUT_S = 150.0

#: Tries for each fault: a batch that came in two pieces proves less, and is not counted.
TRIES = 3

OPEN = "SELECT count(*) FROM predictions WHERE id = ANY(CAST(%(ids)s AS uuid[])) AND finished_at IS NULL"


def poison_batch(arena: Arena, state: str, count: int) -> Done:
    """Send 32 inputs of which some are poisoned, at places chosen by chance, so that one claim takes all of them."""
    kind, number, *_ = state.split()
    bad, done = int(number), Done(kills=False)
    prepare_models(arena)
    # The model is loaded when it is asked for first.
    arena.probe(request=innocent(arena.history, kind, arena.rng))
    for _ in range(count * TRIES):
        counted = len(_forwards(arena))
        requests = _note_batch(arena, kind, bad)
        with _worker_stopped(arena):
            _send(arena, requests)
        sent = time.monotonic()
        _await_end(arena, requests)
        took_s, forwards = time.monotonic() - sent, _forwards(arena)[counted:]
        if _is_whole(requests, forwards):
            done.faults += 1
            done.recoveries.append(took_s)
            if len(forwards) > most_forwards(bad):
                done.broken.append(f"I10: {len(forwards)} forwards for {bad} of {BATCH}")
        if done.faults == count:
            break
    return done


def prepare_models(arena: Arena) -> None:
    """Have the models there that poison and photos are sent to."""
    add_models(arena.database, ObjectStore(f"file://{arena.folder}/objects"))


def _note_batch(arena: Arena, kind: str, bad: int) -> list[Request]:
    places = set(arena.rng.sample(range(BATCH), bad))
    return [
        poisoned(arena.history, kind) if place in places else innocent(arena.history, kind, arena.rng)
        for place in range(BATCH)
    ]


def _send(arena: Arena, requests: Sequence[Request]) -> None:
    headers = {"Authorization": f"Bearer {arena.stack.admin_key}"}
    with httpx.Client(base_url=arena.stack.url, headers=headers, timeout=15) as client:
        for request in requests:
            while not arena.history.ask(client, request, "respond-async"):
                time.sleep(0.05)


@contextmanager
def _worker_stopped(arena: Arena) -> Iterator[None]:
    """Let the stack's worker stand still, so that what is sent meanwhile is claimed together."""
    worker = psutil.Process(arena.stack.pid("cpu-0"))
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


def _await_end(arena: Arena, requests: Sequence[Request]) -> None:
    """Wait until all have ended; what has not after so long is the checker's to judge."""
    ids = [name for request in requests for name in request.ids]
    until = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < until:
        with arena.database.connect() as connection:
            if not connection.exec_driver_sql(OPEN, {"ids": ids}).scalar_one():
                return
        time.sleep(0.02)


def _is_whole(requests: Sequence[Request], forwards: Sequence[int]) -> bool:
    """Whether all went into one batch: its first forward has all that could be decoded."""
    undecoded = sum(request.declared is not None and request.model != VECTORS for request in requests)
    return forwards[:1] == [BATCH - undecoded] if undecoded < BATCH else not forwards


def _forwards(arena: Arena) -> list[int]:
    """Items of each forward of these models, of this run."""
    path = Path(arena.environment[FORWARDS])
    return [int(line) for line in path.read_text().splitlines()]
