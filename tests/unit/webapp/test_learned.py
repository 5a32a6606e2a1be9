"""`webapp.learned`: whom the balancer rings, decided on a clock that the test sets."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from schemas.enums import BalancerPolicy
from schemas.names import QueueName
from store.rates import Rate
from webapp.balancer import SILENCE_S, Balancer, Ring, WorkerView
from webapp.learned import DOUBT_S, FAILURES, PROBE_S, REST_S, LearnedBalancer, create_balancer

VERSION = "model/1"
HELD = frozenset({VERSION})

FAST = Rate(fixed_s=0.002, item_s=0.008)
SLOW = Rate(fixed_s=0.02, item_s=0.08)


@pytest.fixture
def balancer() -> LearnedBalancer:
    """Knows a fast worker, `fast`, and one that is ten times slower, `slow`."""
    return _balancer(_worker(1, "fast", FAST), _worker(2, "slow", SLOW))


def test_the_fastest_sleeping_worker_is_rung(balancer: LearnedBalancer) -> None:
    assert _queues(balancer) == ["fast"]


def test_a_slow_worker_is_left_asleep_while_a_fast_one_is_soon_there(balancer: LearnedBalancer) -> None:
    _queues(balancer)

    assert _queues(balancer, now=0.01) == []


def test_a_slow_worker_is_rung_when_many_rows_wait(balancer: LearnedBalancer) -> None:
    _queues(balancer)

    assert _queues(balancer, waiting=50) == ["slow"]


def test_a_slow_worker_is_rung_for_a_row_that_has_waited_too_long(balancer: LearnedBalancer) -> None:
    _queues(balancer)

    assert _queues(balancer, waited_s=0.5) == ["slow"]


def test_a_slow_worker_is_rung_when_the_fast_one_is_fully_used() -> None:
    used = Rate(fixed_s=FAST.fixed_s, item_s=FAST.item_s, used=1.0)
    balancer = _balancer(_worker(1, "fast", used), _worker(2, "slow", SLOW))
    _queues(balancer)

    assert _queues(balancer) == ["slow"]


def test_as_many_workers_are_woken_as_rows_ask_for() -> None:
    balancer = _balancer(*(_worker(number, f"w{number}", FAST) for number in range(4)))

    assert len(_queues(balancer, waiting=3)) == 3


def test_a_worker_that_was_rung_is_not_rung_until_it_is_idle(balancer: LearnedBalancer) -> None:
    _queues(balancer)
    before = _queues(balancer)
    balancer.hear_idle("fast", 0.1)

    assert (before, _queues(balancer, now=0.1)) == ([], ["fast"])


def test_loading_counts_as_waiting() -> None:
    loads = Rate(fixed_s=0.002, item_s=0.008, load_s=1.0)
    absent = WorkerView(worker_id=1, queue="absent", rates={VERSION: loads})
    balancer = _balancer(absent, _worker(2, "slow", SLOW))

    assert _queues(balancer) == ["slow"]


def test_a_version_that_nobody_holds_is_loaded_by_one() -> None:
    balancer = _balancer(*(WorkerView(worker_id=number, queue=f"w{number}") for number in range(3)))

    assert len(_queues(balancer)) == 1


def test_equals_are_drawn_so_that_processes_spread_out() -> None:
    workers = [_worker(number, f"w{number}", FAST) for number in range(8)]

    drawn = {_queues(_balancer(*workers, seed=seed))[0] for seed in range(20)}

    assert len(drawn) > 3


def test_a_silent_worker_is_given_up(balancer: LearnedBalancer) -> None:
    _queues(balancer)
    balancer.hear_idle("slow", 0.0)

    assert (balancer.give_up_silent(0.9 * SILENCE_S), balancer.give_up_silent(1.1 * SILENCE_S)) == ([], ["fast"])


def test_a_silent_worker_is_rung_by_probe_only_and_ever_more_rarely(balancer: LearnedBalancer) -> None:
    _silence(balancer)
    probed = []
    for tick in range(1, 300):
        now = 2.0 + tick * 0.02
        if Ring("fast", 1, probe=True) in balancer.choose(VERSION, 1, 0.0, now):
            probed.append(now)
            balancer.unring("fast")
        balancer.unring("slow")

    pauses = [after - before for before, after in pairwise(probed)]
    assert pauses == sorted(pauses)
    assert len(probed) == 3


def test_no_row_depends_on_a_probe_of_a_silent_worker(balancer: LearnedBalancer) -> None:
    _silence(balancer)

    assert [ring.queue for ring in balancer.choose(VERSION, 1, 0.0, 2.0 + PROBE_S)] == ["slow", "fast"]


def test_a_silent_worker_that_is_heard_again_is_rung_again(balancer: LearnedBalancer) -> None:
    _silence(balancer)

    balancer.hear_idle("fast", 2.1)

    assert _queues(balancer, now=2.1) == ["fast"]


def test_a_worker_that_finishes_rows_is_not_silent(balancer: LearnedBalancer) -> None:
    _queues(balancer)
    balancer.hear_finished(1, 100.0, failed=False)

    assert balancer.give_up_silent(100.1) == []


def test_the_only_worker_is_rung_again_even_when_it_was_silent() -> None:
    balancer = _balancer(_worker(1, "only", FAST))
    _queues(balancer)
    balancer.give_up_silent(10.0)

    assert _queues(balancer, now=10.0) == ["only"]


def test_a_worker_whose_rows_fail_is_avoided_until_one_succeeds(balancer: LearnedBalancer) -> None:
    for _ in range(FAILURES):
        balancer.hear_finished(1, 0.0, failed=True)
    failing = _queues(balancer)
    balancer.hear_idle("slow", 0.0)
    balancer.hear_finished(1, 0.1, failed=False)

    assert (failing, _queues(balancer, now=0.1)) == (["slow"], ["fast"])


def test_a_failing_worker_is_not_forgiven_because_it_is_idle(balancer: LearnedBalancer) -> None:
    for _ in range(FAILURES):
        balancer.hear_finished(1, 0.0, failed=True)

    balancer.hear_idle("fast", 0.0)

    assert _queues(balancer) == ["slow"]


def test_a_slow_worker_whose_measurement_is_old_is_tried_with_one_row(balancer: LearnedBalancer) -> None:
    assert balancer.choose(VERSION, 1, 0.0, 8 * DOUBT_S + 1) == [Ring("slow", 1, probe=True)]


def test_few_rows_are_spent_on_doubts() -> None:
    balancer = _balancer(_worker(0, "fast", FAST), *(_worker(n, f"slow-{n}", SLOW) for n in range(1, 50)))
    probes = 0
    for tick in range(200):
        now = 1000.0 + tick
        for ring in balancer.choose(VERSION, 1, 0.0, now):
            probes += ring.probe
            balancer.hear_idle(ring.queue, now)

    assert 2 <= probes <= 4


def test_a_worker_that_came_too_late_rests() -> None:
    balancer = _balancer(_worker(1, "a", FAST), _worker(2, "b", FAST))
    first, second = _queues(balancer, waiting=2)

    balancer.hear_idle(second, 0.0)

    assert first != second
    assert _queues(balancer) == []
    assert _queues(balancer, now=2 * REST_S) == [second]


def test_without_any_worker_the_shared_queue_is_rung() -> None:
    assert _queues(_balancer()) == [QueueName.INFERENCE]


def test_a_worker_that_is_gone_is_forgotten(balancer: LearnedBalancer) -> None:
    balancer.update([_worker(2, "slow", SLOW)], 1.0)

    assert _queues(balancer, now=1.0) == ["slow"]


@pytest.mark.parametrize("policy", [BalancerPolicy.ROUND_ROBIN, BalancerPolicy.RANDOM])
def test_other_policies_ring_any_sleeping_worker(policy: BalancerPolicy) -> None:
    balancer = create_balancer(policy, random.Random(1))
    balancer.update([_worker(1, "fast", FAST), _worker(2, "slow", SLOW)], 0.0)

    assert {_queues(balancer)[0], _queues(balancer)[0]} == {"fast", "slow"}
    assert _queues(balancer) == []


def test_round_robin_goes_round() -> None:
    balancer = create_balancer(BalancerPolicy.ROUND_ROBIN, random.Random(1))
    balancer.update([_worker(1, "fast", FAST), _worker(2, "slow", SLOW)], 0.0)
    rung: list[str] = []
    for _ in range(4):
        rung += _queues(balancer)
        balancer.hear_idle(rung[-1], 0.0)

    assert rung == ["fast", "slow", "fast", "slow"]


def _balancer(*workers: WorkerView, seed: int = 0) -> LearnedBalancer:
    balancer = LearnedBalancer(random.Random(seed))
    balancer.update(workers, 0.0)
    return balancer


def _worker(number: int, queue: str, rate: Rate) -> WorkerView:
    return WorkerView(worker_id=number, queue=queue, held=HELD, rates={VERSION: rate})


def _queues(balancer: Balancer, *, waiting: int = 1, waited_s: float = 0.0, now: float = 0.0) -> Sequence[str]:
    return [ring.queue for ring in balancer.choose(VERSION, waiting, waited_s, now)]


def _silence(balancer: LearnedBalancer) -> None:
    """Let the fast worker be rung and say nothing."""
    _queues(balancer)
    balancer.give_up_silent(2.0)
