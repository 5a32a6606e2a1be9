"""A small corpus on every run; the whole one is `python -m tests.fuzz.images`."""

from tests.fuzz.corpus import SHARES, samples
from tests.fuzz.images import is_good, run


def test_a_corpus_is_always_the_same() -> None:
    assert [each.data for each in samples(40)] == [each.data for each in samples(40)]


def test_every_category_comes_up() -> None:
    assert {each.category for each in samples(20)} == set(SHARES)


def test_corrupt_pictures_harm_nothing_and_good_ones_come_through() -> None:
    found, deaths = run(160, seed=1)

    assert is_good(found, deaths), (found, deaths)
