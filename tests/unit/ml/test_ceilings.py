import pytest
import torch

from ml.ceilings import MAX_PATIENCE, REGROW_AFTER, BatchCeiling, Ceiling, Ceilings, shape_name

ITEM = torch.zeros(3, 4, 4)


def _repeat(ceiling: BatchCeiling, times: int) -> list[int]:
    """Run full batches that fit; returns the ceiling after each."""
    sizes = []
    for _ in range(times):
        ceiling.note_success(ceiling.items)
        sizes.append(ceiling.items)
    return sizes


def test_without_trouble_the_limit_is_the_ceiling() -> None:
    ceiling = BatchCeiling(64)
    assert set(_repeat(ceiling, 2 * REGROW_AFTER)) == {64}
    assert ceiling.learned() == Ceiling(64, 0)


def test_running_out_of_memory_halves_the_batch() -> None:
    ceiling = BatchCeiling(64)
    assert ceiling.note_out_of_memory(64)
    assert ceiling.learned() == Ceiling(32, 1)


def test_a_ceiling_never_falls_below_one() -> None:
    ceiling = BatchCeiling(1)
    assert not ceiling.note_out_of_memory(1)
    assert ceiling.items == 1


def test_a_ceiling_doubles_after_enough_full_batches() -> None:
    ceiling = BatchCeiling(64)
    ceiling.note_out_of_memory(64)
    assert _repeat(ceiling, REGROW_AFTER)[-2:] == [32, 64]


def test_a_ceiling_never_rises_above_the_limit() -> None:
    ceiling = BatchCeiling(48, Ceiling(32, 1))
    assert _repeat(ceiling, REGROW_AFTER)[-1] == 48


def test_batches_that_are_not_full_say_nothing() -> None:
    ceiling = BatchCeiling(64, Ceiling(32, 1))
    assert not any(ceiling.note_success(31) for _ in range(2 * REGROW_AFTER))
    assert ceiling.items == 32


def test_after_a_second_failure_the_next_try_waits_twice_as_long() -> None:
    ceiling = BatchCeiling(64, Ceiling(64, 1))
    ceiling.note_out_of_memory(64)
    assert _repeat(ceiling, 2 * REGROW_AFTER)[-2:] == [32, 64]


def test_the_wait_does_not_grow_for_ever() -> None:
    ceiling = BatchCeiling(64, Ceiling(32, 1_000))
    assert _repeat(ceiling, MAX_PATIENCE * REGROW_AFTER)[-2:] == [32, 64]


def test_trouble_starts_the_count_anew() -> None:
    ceiling = BatchCeiling(64, Ceiling(32, 1))
    _repeat(ceiling, REGROW_AFTER - 1)
    ceiling.note_out_of_memory(32)
    assert set(_repeat(ceiling, REGROW_AFTER)) == {16}


@pytest.mark.parametrize(("known", "items"), [(100, 64), (0, 1), (20, 20)])
def test_what_was_known_is_kept_within_the_limit(known: int, items: int) -> None:
    assert BatchCeiling(64, Ceiling(known, 3)).items == items


def test_each_shape_has_its_own_ceiling() -> None:
    ceilings = Ceilings(64, {"3x4x4": Ceiling(8, 1)})
    assert (ceilings.of(ITEM), ceilings.of(torch.zeros(2))) == (8, 64)


def test_what_changed_is_told_once() -> None:
    ceilings = Ceilings(64, {})
    ceilings.note_success(ITEM, 64)
    ceilings.note_out_of_memory(ITEM, 64)
    assert ceilings.take_learned() == {shape_name(ITEM): Ceiling(32, 1)}
    assert ceilings.take_learned() == {}
