"""What an injector did, and what all injectors share."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.faults.arena import Arena
from tests.faults.family import Relative
from tests.running import wait_until

#: A worker that was born must be ready, be rung and die within this.
DEATH_TIMEOUT_S = 60.0

WAVE = 4


@dataclass
class Done:
    """What an injector did.

    Attributes:
        faults: That happened.
        recoveries: Seconds from each fault, or from its end where it lasts, until all was well.
        deaths: Ends of workers, whose rows tell the recovery, by process id, wall clock.
        kills: Whether workers may have died, so that innocent rows may be given up.
        broken: What must not come of this fault and did.
    """

    faults: int = 0
    recoveries: list[float] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)
    kills: bool = True
    broken: list[str] = field(default_factory=list)

    def add_deaths(self, dead: Sequence[Relative]) -> None:
        """Count processes that died as they should."""
        self.faults += len(dead)
        self.deaths |= {each.pid: each.died_at for each in dead if each.died_at is not None}


Injector = Callable[[Arena, str, int], Done]


def killed(dead: Sequence[Relative]) -> list[Relative]:
    """Those that were killed, rather than ended by a fault that nobody meant."""
    return [each for each in dead if each.status == -signal.SIGKILL]


def await_ready(arena: Arena, victims: Sequence[Relative]) -> None:
    """Wait until workers have registered, or died."""
    names = {victim.node for victim in victims}

    def registered() -> bool:
        with arena.database.connect() as connection:
            found = connection.exec_driver_sql("SELECT name FROM workers WHERE stopped_at IS NULL").scalars().all()
        return names <= set(found) or all(victim.died.is_set() for victim in victims)

    wait_until(registered, DEATH_TIMEOUT_S)
