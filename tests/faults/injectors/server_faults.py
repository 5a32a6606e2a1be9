"""Harm to Postgres and Valkey themselves."""

import time

import redis

from tests.faults.arena import Arena
from tests.faults.injectors.done import Done


def kill_valkey(arena: Arena, _state: str, count: int) -> Done:
    """Kill Valkey and start it again, empty."""
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.3))
        arena.valkey.kill()
        time.sleep(arena.rng.uniform(0.0, 1.0))
        arena.valkey.start()
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done


def kill_postgres(arena: Arena, state: str, count: int) -> Done:
    """Kill Postgres, or let it abort, and start it again: it recovers from its log."""
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.3))
        began = time.monotonic()
        if state == "immediate":
            arena.postgres.stop_immediately()
        else:
            arena.postgres.kill()
        time.sleep(arena.rng.uniform(0.0, 0.5))
        arena.postgres.start()
        arena.probe()
        done.faults += 1
        done.recoveries.append(time.monotonic() - began)
    return done


def command_valkey(arena: Arena, state: str, count: int) -> Done:
    """Do to a living Valkey what operators do by mistake."""
    commands: dict[str, tuple[list[str], list[str]]] = {
        "client-kill": (["CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"], []),
        "flushall": (["FLUSHALL"], []),
        "maxmemory": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
        "readonly": (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    }
    inflict, heal = commands[state]
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.2))
        with redis.Redis.from_url(arena.valkey.url, socket_timeout=5) as admin:
            for command in inflict:
                admin.execute_command(*command.split())
            if heal:
                time.sleep(arena.rng.uniform(0.2, 1.5))
            for command in heal:
                admin.execute_command(*command.split())
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done
