"""Breadth first through all states, so that the first counterexample is a shortest one.

States that differ only in which of the equal jobs is which are looked at once.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.model_check.protocol import Rules, State, broken_by, first_state, steps, unfinished

#: By the key of a state, the state before it and the step between them.
Came = dict[tuple[Any, ...], tuple[State, str] | None]


@dataclass
class Searched:
    """What a search found.

    Attributes:
        states: Different states that were seen.
        transitions: Steps between them.
        broken: The promise that was broken; None where none was.
        trace: The steps that lead there.
    """

    states: int = 0
    transitions: int = 0
    broken: str | None = None
    trace: list[str] = field(default_factory=list)


def search(rules: Rules) -> Searched:
    """Look at every state that can be reached, until one breaks a promise."""
    first = first_state(rules)
    came: Came = {_key(first): None}
    waiting = deque([first])
    found = Searched(states=1)
    while waiting:
        state = waiting.popleft()
        last = True
        for name, after, broken in steps(state, rules):
            last = False
            found.transitions += 1
            key = _key(after)
            is_new = key not in came
            if is_new:
                came[key] = (state, name)
                waiting.append(after)
            problem = broken or (broken_by(after, rules) if is_new else None)
            if problem is not None:
                found.broken, found.trace = problem, [*_trace(came, state), name]
                found.states = len(came)
                return found
        if last and (broken := unfinished(state)) is not None:
            found.broken, found.trace = broken, _trace(came, state)
            break
    found.states = len(came)
    return found


def _key(state: State) -> tuple[Any, ...]:
    """The state without the names of its jobs: each with what the workers hold of it, in one order."""
    hands: dict[int, tuple[tuple[int, int, int], ...]] = {worker.job: () for worker in state.workers}
    for number, worker in enumerate(state.workers):
        hands[worker.job] = (*hands[worker.job], (number, worker.fence, worker.computed))
    jobs = sorted((job, hands.get(number, ()), number in state.reaper) for number, job in enumerate(state.jobs))
    return (*jobs, *(worker.lease for worker in state.workers), state.faults)


def _trace(came: Came, state: State) -> list[str]:
    names: list[str] = []
    while (before := came[_key(state)]) is not None:
        state, name = before
        names.append(name)
    return names[::-1]
