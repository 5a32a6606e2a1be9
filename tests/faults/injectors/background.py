"""Harm to what works in the background: maintenance, webhooks and beat."""

import time

from schemas.names import QueueName, TaskName
from store.settings import Settings
from tasks.app import create_celery
from tests.faults.arena import Arena
from tests.faults.injectors.done import DEATH_TIMEOUT_S, WAVE, Done, killed


def kill_maintenance_at(arena: Arena, state: str, count: int) -> Done:
    """Let maintenance workers kill themselves while they reap, ring or expire."""
    done = Done()
    app = create_celery(
        Settings(
            database_url=arena.postgres.url,
            redis_url=arena.valkey.url,
            object_url=f"file://{arena.folder}/objects",
            var_dir=arena.folder,
        )
    )
    while count > done.faults:
        victims = [arena.family.maintenance(f"{state}:kill") for _ in range(min(WAVE, count - done.faults))]
        until = time.monotonic() + DEATH_TIMEOUT_S
        while time.monotonic() < until and not all(victim.died.is_set() for victim in victims):
            app.send_task(TaskName.TEND_QUEUE, queue=QueueName.MAINTENANCE, ignore_result=True)
            time.sleep(0.05)
        dead = killed([victim for victim in victims if victim.died.is_set()])
        done.faults += len(dead)
        arena.family.bury(victims)
        done.recoveries.append(arena.probe())
    app.close()
    return done


def kill_delivery_at(arena: Arena, state: str, count: int) -> Done:
    """Let further delivery workers kill themselves while they send webhooks."""
    done = Done()
    while count > done.faults:
        victims = [
            arena.family.delivery(f"{state}:kill@{arena.rng.randint(1, 3)}")
            for _ in range(min(WAVE, count - done.faults))
        ]
        for victim in victims:
            victim.died.wait(DEATH_TIMEOUT_S)
        done.faults += len(killed(victims))
        arena.family.bury(victims)
        done.recoveries.append(arena.probe())
    return done


def kill_beat_at(arena: Arena, state: str, count: int) -> Done:
    """Let further beats kill themselves while they send."""
    done = Done()
    while count > done.faults:
        victims = [
            arena.family.beat(f"{state}:kill@{arena.rng.randint(1, 6)}") for _ in range(min(WAVE, count - done.faults))
        ]
        for victim in victims:
            victim.died.wait(DEATH_TIMEOUT_S)
        done.faults += len(killed(victims))
        done.recoveries.append(arena.probe())
    return done


def add_beats(arena: Arena, _state: str, count: int) -> Done:
    """Let three beats send at once for a while."""
    done = Done()
    for _ in range(count):
        beats = [arena.family.beat() for _ in range(2)]
        time.sleep(2.5)
        arena.family.bury(beats)
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done
