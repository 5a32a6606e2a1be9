"""`tests.faults.injectors.leaves`: what clients notice of a process that leaves."""

import pytest

from tests.faults.history import Request
from tests.faults.injectors.leaves import noticed


@pytest.mark.parametrize(
    ("statuses", "maybes", "says"),
    [
        ([200], 0, []),
        ([202], 0, []),
        ([503, 200], 0, ["a client was answered 503, 1 times"]),
        ([200], 1, ["clients got no answer, 1 times"]),
    ],
)
def test_refusals_and_silence_are_noticed_even_where_asking_again_helped(
    statuses: list[int], maybes: int, says: list[str]
) -> None:
    request = Request(1, (0, 1), None, statuses=statuses, maybes=maybes)

    assert noticed([request]) == says
