"""Disks that are full for a while, and then have room again."""

import time
from contextlib import closing, suppress
from io import BytesIO

import httpx
import psycopg2
from PIL import Image, PngImagePlugin

from tests.faults.arena import Arena, libpq
from tests.faults.history import DECLARED
from tests.faults.injectors.done import Done, await_ready
from tests.faults.injectors.server_faults import command_valkey, kill_postgres
from tests.running import SAMPLES

HOLD_S = 4.0
HEAL_WITHIN_S = 20.0

#: What Postgres writes into its log where it finds no room, and a worker whose spool has none.
NO_ROOM = "No space left on device"
NOT_SPOOLED = "spool_not_written"

#: A photo whose label is known; each that is posted has a comment of its own, so that each is stored anew.
PHOTO, LABEL = "sandal-01.png", "Sandal"
WAIT_S = 10


def fill_postgres(arena: Arena, state: str, count: int) -> Done:
    """Fill the disk of Postgres' data, or of its log, under load; where it gave up it is started again after."""
    done, log = Done(), arena.log_dir / "postgres.log"
    for _ in range(count):
        _tidy(arena)
        known = log.read_text().count(NO_ROOM)
        with arena.disks[state].full():
            if state == "postgres-wal":
                _use_up_log(arena)
            time.sleep(HOLD_S)
        freed = time.monotonic()
        assert log.read_text().count(NO_ROOM) > known, "Postgres needed no room"
        arena.postgres.start()
        arena.probe()
        done.faults += 1
        done.recoveries.append(time.monotonic() - freed)
    return _judged(done)


def fill_objects(arena: Arena, state: str, count: int) -> Done:
    """Fill the disk of the object store: photos are refused as declared, all else is answered."""
    done = Done()
    with httpx.Client(base_url=arena.stack.url, headers=arena.headers, timeout=15 + WAIT_S) as client:
        for number in range(count):
            _answer_photo(client, arena.rng.random(), done)
            refused = 0
            with arena.disks[state].full():
                until = time.monotonic() + HOLD_S
                while time.monotonic() < until:
                    refused += _is_refused(client, f"{number} {arena.rng.random()}", done)
                    time.sleep(0.1)
                arena.probe()
            freed = time.monotonic()
            assert refused, "no photo was refused"
            _answer_photo(client, arena.rng.random(), done)
            done.faults += 1
            done.recoveries.append(time.monotonic() - freed)
    return _judged(done)


def fill_spool(arena: Arena, state: str, count: int) -> Done:
    """Fill the disk of the spool, and let Postgres go away while a worker holds results: they wait in memory alone."""
    done = Done()
    for _ in range(count):
        worker = arena.family.worker("worker.before_commit:sleep:1")
        await_ready(arena, [worker])
        log = arena.log_dir / f"device-{worker.node.partition('@')[0]}.log"
        with arena.disks[state].full():
            until = time.monotonic() + HOLD_S
            while time.monotonic() < until and not _holds_rows(arena, worker.pid):
                arena.ring([worker])
                time.sleep(0.02)
            arena.postgres.kill()
            time.sleep(HOLD_S / 2)
            arena.postgres.start()
        freed = time.monotonic()
        arena.probe()
        done.recoveries.append(time.monotonic() - freed)
        assert NOT_SPOOLED in log.read_text(), "nothing was to be spooled"
        done.faults += 1
        arena.family.bury([worker])
    return _judged(done)


def fill_logs(arena: Arena, state: str, count: int) -> Done:
    """Fill the disk of the logs while all processes have much to say: what they cannot write down must not end them."""
    done = Done()
    for _ in range(count):
        before = _pids(arena)
        with arena.disks[state].full():
            until = time.monotonic() + HOLD_S / 2
            while time.monotonic() < until:
                command_valkey(arena, "client-kill", 1)
            done.recoveries += kill_postgres(arena, "", 1).recoveries
        ended = sorted(name for name, pid in before.items() if _pids(arena).get(name) != pid)
        done.broken += [f"{name} ended since it could not log" for name in ended]
        done.faults += 1
        arena.probe()
    return _judged(done)


def _judged(done: Done) -> Done:
    done.broken += [f"well only after {took:.1f} s" for took in done.recoveries if took > HEAL_WITHIN_S]
    return done


def _pids(arena: Arena) -> dict[str, int | None]:
    return {process.name: process.pid for process in arena.stack.state.processes}


def _tidy(arena: Arena) -> None:
    """Let Postgres give back the segments of its log that it needs no longer."""
    with closing(psycopg2.connect(libpq(arena.postgres.url))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CHECKPOINT")


def _use_up_log(arena: Arena) -> None:
    """Write until Postgres needs a segment more: those that it has laid by would last for long."""
    with suppress(psycopg2.Error), closing(psycopg2.connect(libpq(arena.postgres.url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            until = time.monotonic() + HOLD_S
            while time.monotonic() < until:
                cursor.execute("SELECT pg_logical_emit_message(false, 'ballast', '.')")
                cursor.execute("SELECT pg_switch_wal()")


def _holds_rows(arena: Arena, pid: int) -> bool:
    with arena.database.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT FROM predictions p JOIN workers w ON w.id = p.worker_id"
            " WHERE p.status = 'processing' AND w.stopped_at IS NULL AND w.pid = %(pid)s",
            {"pid": pid},
        )
        return found.first() is not None


def _post(client: httpx.Client, comment: str, prefer: str) -> httpx.Response:
    path = "/v1/models/fashion/predictions"
    headers = {"Content-Type": "application/octet-stream", "Prefer": prefer}
    return client.post(path, content=photo(comment), headers=headers)


def _is_refused(client: httpx.Client, comment: str, done: Done) -> bool:
    """Post a photo that there is no room for; returns whether it was refused."""
    answer = _post(client, comment, "respond-async")
    if answer.status_code not in DECLARED:
        done.broken.append(f"I11: a photo was answered {answer.status_code}")
    return not answer.is_success


def _answer_photo(client: httpx.Client, seed: float, done: Done) -> None:
    """Post a photo, and again until it is accepted; its answer must be right."""
    until = time.monotonic() + HEAL_WITHIN_S
    while not (answer := _post(client, str(seed), f"wait={WAIT_S}")).is_success and time.monotonic() < until:
        time.sleep(0.05)
    if not answer.is_success or answer.json().get("result", {}).get("label") != LABEL:
        done.broken.append(f"a photo was answered {answer.status_code}: {answer.text[:200]}")


def photo(comment: str) -> bytes:
    """Return the bytes of a sample with a comment of its own."""
    written, note = BytesIO(), PngImagePlugin.PngInfo()
    note.add_text("comment", comment)
    with Image.open(SAMPLES / PHOTO) as sample:
        sample.save(written, "png", pnginfo=note)
    return written.getvalue()
