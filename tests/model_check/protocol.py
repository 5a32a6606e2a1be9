"""The protocol of the queue as a state machine: accept, ring, claim, compute, complete, and every way to fail at it.

Each step is one that real processes take as a whole: one statement of the ledger, one message, one answer. Between any
two of them a process may die, hang past its lease, come back, or do its last step again since it did not hear that it
was done. A doorbell may be lost or come twice: it carries nothing, so a claim is allowed at any time, rung or not.

A fence is the number of a row's claims so far: it rises with each, which is all that is asked of it. A row's holder is
a worker whose life still counts, or `DEAD`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MAX_CRASHES = 2

#: How far the web process is with a request.
IDLE, INSERTED, RUNG, ACKED, GONE = range(5)

#: What the row says; no row at all is the first.
NO_ROW, QUEUED, PROCESSING, SUCCEEDED, FAILED = range(5)

#: A worker runs, hangs with its lease still good, or hangs without it.
RUNS, HANGS, LOST = range(3)

NOBODY, DEAD = -1, -2


class Job(NamedTuple):
    """A request and its row."""

    web: int = IDLE
    row: int = NO_ROW
    fence: int = 0
    crashes: int = 0
    holder: int = NOBODY
    ends: int = 0


class Worker(NamedTuple):
    """A worker process: its lease, and what it holds in memory."""

    lease: int = RUNS
    job: int = -1
    fence: int = 0
    computed: int = 0


class State(NamedTuple):
    """All that there is."""

    jobs: tuple[Job, ...]
    workers: tuple[Worker, ...]
    reaper: tuple[int, ...]
    faults: int


@dataclass(frozen=True)
class Rules:
    """How the protocol is kept; the defaults are ours, and each other value is a bug that others have had.

    Attributes:
        jobs: Requests.
        workers: Processes.
        max_attempts: Claims of a row.
        faults: Deaths, hangs and answers that are lost, of any kind and at any step; without a bound there were no end.
        checks_fence: A completion counts only under the fence of the current claim.
        reaper_rechecks: Taking back looks again at the moment of writing whether the holder is dead.
        rings_after_commit: The doorbell comes after the row.
        acks_after_commit: The answer comes after the row.
    """

    jobs: int = 3
    workers: int = 2
    max_attempts: int = 2
    faults: int = 2
    checks_fence: bool = True
    reaper_rechecks: bool = True
    rings_after_commit: bool = True
    acks_after_commit: bool = True


#: A step: its name, the state after it, and what it broke by itself, if anything.
Step = tuple[str, State, str | None]


def first_state(rules: Rules) -> State:
    """Nothing has happened yet."""
    return State((Job(),) * rules.jobs, (Worker(),) * rules.workers, (), rules.faults)


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """All that may happen next."""
    for number, job in enumerate(state.jobs):
        yield from _web_steps(state, rules, number, job)
        yield from _reaper_steps(state, rules, number, job)
    for number, worker in enumerate(state.workers):
        if worker.lease == RUNS:
            yield from _worker_steps(state, rules, number, worker)
        yield from _fault_steps(state, number, worker)
    if state.reaper:
        yield from _late_reaper_step(state, rules)


def broken_by(state: State, rules: Rules) -> str | None:
    """Say which promise a state breaks; None when it breaks none."""
    for number, job in enumerate(state.jobs):
        if job.ends > 1:
            return f"I4: job {number} ended {job.ends} times"
        if job.fence > rules.max_attempts or job.crashes > MAX_CRASHES:
            return f"I9: job {number} had {job.fence} attempts and {job.crashes} crashes"
    return None


def unfinished(state: State) -> str | None:
    """Say what a state from which nothing follows leaves open: whatever was accepted must have ended."""
    for number, job in enumerate(state.jobs):
        if job.row in (QUEUED, PROCESSING):
            return f"I1: job {number} never ends"
    return None


def _web_steps(state: State, rules: Rules, number: int, job: Job) -> Iterator[Step]:
    for step in _request_order(rules):
        before, after, name = step
        if job.web != before:
            continue
        changed, broken = job._replace(web=after), None
        if name == "insert" and job.row == NO_ROW:
            # A repeat with the same key finds the row of the first and writes none.
            changed = changed._replace(row=QUEUED)
        elif name == "ring" and job.row == NO_ROW:
            broken = f"I2: a doorbell names job {number}, which has no row"
        yield f"web: {name} job {number}", _with_job(state, number, changed), broken
    if job.web in (INSERTED, RUNG) and state.faults:
        left = state._replace(faults=state.faults - 1)
        if rules.acks_after_commit:
            # The client heard nothing and asks again with the same key.
            name, then = f"web dies with job {number}; the client repeats", IDLE
        else:
            name, then = f"web dies with job {number}, which the client takes for accepted", GONE
        broken = f"I1: job {number} was accepted and is no row" if then == GONE and job.row == NO_ROW else None
        yield name, _with_job(left, number, job._replace(web=then)), broken


def _request_order(rules: Rules) -> tuple[tuple[int, int, str], ...]:
    if not rules.rings_after_commit:
        return ((IDLE, INSERTED, "ring"), (INSERTED, RUNG, "insert"), (RUNG, ACKED, "ack"))
    if not rules.acks_after_commit:
        return ((IDLE, INSERTED, "ack"), (INSERTED, RUNG, "insert"), (RUNG, ACKED, "ring"))
    return ((IDLE, INSERTED, "insert"), (INSERTED, RUNG, "ring"), (RUNG, ACKED, "ack"))


def _worker_steps(state: State, rules: Rules, number: int, worker: Worker) -> Iterator[Step]:
    if worker.job < 0:
        for wanted, job in enumerate(state.jobs):
            if job.row == QUEUED:
                fence = job.fence + 1
                claimed = job._replace(row=PROCESSING, fence=fence, holder=number)
                held = worker._replace(job=wanted, fence=fence, computed=0)
                after = _with_worker(_with_job(state, wanted, claimed), number, held)
                yield f"worker {number}: claim job {wanted} (fence {fence})", after, None
    elif not worker.computed:
        yield (
            f"worker {number}: compute job {worker.job}",
            _with_worker(state, number, worker._replace(computed=1)),
            None,
        )
    else:
        yield from _complete(state, rules, number, worker)


def _complete(state: State, rules: Rules, number: int, worker: Worker) -> Iterator[Step]:
    job = state.jobs[worker.job]
    fits = job.row == PROCESSING and (job.fence == worker.fence or not rules.checks_fence)
    name = f"worker {number}: complete job {worker.job} (fence {worker.fence})"
    after, broken = state, None
    if fits:
        if job.fence != worker.fence:
            broken = f"I5: job {worker.job} is held under fence {job.fence} and was completed under {worker.fence}"
        after = _with_job(state, worker.job, job._replace(row=SUCCEEDED, holder=NOBODY, ends=job.ends + 1))
    empty = worker._replace(job=-1, fence=0, computed=0)
    yield name + ("" if fits else ": fenced"), _with_worker(after, number, empty), broken
    if state.faults:
        # The answer is lost, so the same completion is sent again.
        yield name + ", and does not hear of it", after._replace(faults=state.faults - 1), broken


def _fault_steps(state: State, number: int, worker: Worker) -> Iterator[Step]:
    left = state._replace(faults=state.faults - 1)
    if worker.lease == RUNS and state.faults:
        yield f"worker {number} dies", _with_worker(_without_holder(left, number), number, Worker()), None
        yield f"worker {number} hangs", _with_worker(left, number, worker._replace(lease=HANGS)), None
    if worker.lease == HANGS:
        yield f"worker {number} goes on in time", _with_worker(state, number, worker._replace(lease=RUNS)), None
        lost = _with_worker(_without_holder(state, number), number, worker._replace(lease=LOST))
        yield f"worker {number}'s lease runs out", lost, None
    if worker.lease == LOST:
        # It goes on with what it holds in memory, under a new life that it begins at its next heartbeat.
        back = worker._replace(lease=RUNS)
        yield f"worker {number} comes back after its lease", _with_worker(state, number, back), None


def _reaper_steps(state: State, rules: Rules, number: int, job: Job) -> Iterator[Step]:
    if job.row != PROCESSING or job.holder != DEAD:
        return
    if rules.reaper_rechecks:
        yield f"reaper: take job {number} back", _with_job(state, number, _taken_back(job, rules)), None
    elif not state.reaper:
        yield f"reaper: sees that job {number} is lost", state._replace(reaper=(number,)), None


def _late_reaper_step(state: State, rules: Rules) -> Iterator[Step]:
    """Write, without looking again, what was seen a moment ago."""
    (number,) = state.reaper
    job = state.jobs[number]
    broken = None
    if job.row in (SUCCEEDED, FAILED):
        broken = f"I4: job {number} had ended when the reaper took it back"
    elif job.row == PROCESSING and job.holder != DEAD:
        broken = f"I5: job {number} was taken from a worker that is alive"
    after = _with_job(state, number, _taken_back(job, rules))._replace(reaper=())
    yield f"reaper: take job {number} back, as seen before", after, broken


def _taken_back(job: Job, rules: Rules) -> Job:
    crashes = job.crashes + 1
    if crashes >= MAX_CRASHES or job.fence >= rules.max_attempts:
        return job._replace(row=FAILED, crashes=crashes, holder=NOBODY, ends=job.ends + 1)
    return job._replace(row=QUEUED, crashes=crashes, holder=NOBODY)


def _without_holder(state: State, number: int) -> State:
    """The life of a worker is over: what it held is held by the dead."""
    jobs = tuple(job._replace(holder=DEAD) if job.holder == number else job for job in state.jobs)
    return state._replace(jobs=jobs)


def _with_job(state: State, number: int, job: Job) -> State:
    return state._replace(jobs=(*state.jobs[:number], job, *state.jobs[number + 1 :]))


def _with_worker(state: State, number: int, worker: Worker) -> State:
    return state._replace(workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


#: The same protocol with one of its rules left out; each must be found out.
BROKEN: Mapping[str, Mapping[str, bool]] = {
    "completions do not check the fence": {"checks_fence": False},
    "the reaper does not look again": {"reaper_rechecks": False},
    "the doorbell rings before the commit": {"rings_after_commit": False},
    "the request is accepted before there is a row": {"acks_after_commit": False},
}
