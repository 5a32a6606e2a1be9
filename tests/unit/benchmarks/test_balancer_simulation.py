"""`benchmarks.balancer_simulation`: the balancer against others, in simulated time, so that nothing is timed."""

import pytest

from benchmarks.balancer_simulation import Fault, Figures, Scenario, Simulation
from schemas.enums import BalancerPolicy

UNEQUAL = Scenario(devices=4, load=0.3, seconds=8.0)
STOPPED = Scenario(devices=8, load=0.3, seconds=8.0, faults=[Fault(device=1, begins_s=3.0, ends_s=6.0, stopped=True)])

OTHERS = [BalancerPolicy.ROUND_ROBIN, BalancerPolicy.RANDOM, "push-random", "push-round-robin"]


@pytest.mark.parametrize("other", OTHERS)
def test_on_unequal_devices_the_learned_balancer_halves_the_mean_latency(other: str) -> None:
    assert _run(UNEQUAL).mean_ms < 0.5 * _run(UNEQUAL, other).mean_ms


@pytest.mark.parametrize("other", [BalancerPolicy.ROUND_ROBIN, BalancerPolicy.RANDOM])
def test_with_a_device_that_stops_the_learned_balancer_is_clearly_better(other: str) -> None:
    assert _run(STOPPED).mean_ms < 0.7 * _run(STOPPED, other).mean_ms


def test_nearly_all_rows_are_answered_in_time_while_a_device_is_stopped() -> None:
    assert _run(STOPPED).goodput > 0.99


def test_several_dispatchers_that_do_not_know_of_each_other_do_not_ring_the_same_worker() -> None:
    alone = _run(Scenario(devices=20, load=0.3, seconds=5.0, dispatchers=1))
    many = _run(Scenario(devices=20, load=0.3, seconds=5.0, dispatchers=8))

    assert many.mean_ms < 1.5 * alone.mean_ms


def test_a_run_is_repeated_exactly() -> None:
    assert _run(UNEQUAL) == _run(UNEQUAL)


def _run(scenario: Scenario, policy: str = BalancerPolicy.LEARNED) -> Figures:
    return Simulation(scenario, policy).run()
