"""`webapp.prefer`: how long a client is willing to wait."""

import pytest

from webapp.errors import InvalidHeaderError
from webapp.prefer import DEFAULT_WAIT_S, LONGEST_WAIT_S, wait_seconds


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, DEFAULT_WAIT_S),
        ("", DEFAULT_WAIT_S),
        ("wait=0", 0),
        ("wait=5", 5),
        ("WAIT=5", 5),
        ("wait = 5", 5),
        ('wait="5"', 5),
        ("return=minimal, wait=5", 5),
        ("wait=61", LONGEST_WAIT_S),
        ("wait=" + "9" * 400, LONGEST_WAIT_S),
        ("respond-async", 0),
        ("respond-async, wait=5", 0),
        ("wait=5,respond-async", 0),
        ("return=minimal", DEFAULT_WAIT_S),
        ("waiting=room", DEFAULT_WAIT_S),
        ("handling=lenient;wait=5", DEFAULT_WAIT_S),
        ("wait=5; odd=1", 5),
    ],
)
def test_a_header_says_how_long_to_wait(header: str | None, wait_s: float) -> None:
    assert wait_seconds(header) == wait_s


def test_where_nobody_says_the_default_holds() -> None:
    assert wait_seconds(None, default_s=0.0) == 0.0


@pytest.mark.parametrize("header", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "respond-sync, wait=x"])
def test_a_wait_that_is_no_whole_number_is_named(header: str) -> None:
    with pytest.raises(InvalidHeaderError, match=header.rpartition(" ")[2]):
        wait_seconds(header)
