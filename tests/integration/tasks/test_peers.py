"""`tasks.peers`: the claim rules that follow from what other workers wrote into their rows."""

from sqlalchemy import Engine as Database

from store.rates import Rate, Rates
from store.workers import renew_lease
from tasks.pace import Pace
from tasks.peers import PeerDirectory
from tests.factories import Rows

FAST: Rates = {"xor/1": Rate(fixed_s=0.0, item_s=0.001)}


def test_a_worker_leaves_rows_to_a_faster_one(database: Database, committed: Rows) -> None:
    own, peer = committed.worker(), committed.worker(pid=2)
    renew_lease(committed.connection, peer, ["xor/1"], FAST)
    pace = _slow_pace(paced=True)

    PeerDirectory(database, pace, lambda: ["xor/1"]).refresh(own)

    assert [rule.version for rule in pace.rules] == [committed.version.model_version_id]


def test_a_worker_does_not_count_itself_as_a_peer(database: Database, committed: Rows) -> None:
    own = committed.worker()
    renew_lease(committed.connection, own, ["xor/1"], FAST)
    pace = _slow_pace(paced=True)

    PeerDirectory(database, pace, lambda: ["xor/1"]).refresh(own)

    assert pace.rules == []


def test_under_other_policies_nothing_is_left_to_anybody(database: Database, committed: Rows) -> None:
    own, peer = committed.worker(), committed.worker(pid=2)
    renew_lease(committed.connection, peer, ["xor/1"], FAST)
    pace = _slow_pace(paced=False)

    PeerDirectory(database, pace, lambda: ["xor/1"]).refresh(own)

    assert pace.rules == ()


def _slow_pace(*, paced: bool) -> Pace:
    """The pace of a worker that took a second for a row."""
    times = iter([1.0, 1.0, 1.0])
    pace = Pace(paced=paced, clock=lambda: next(times, 1.0))
    pace.book.note_batch("xor/1", 1, 0.0)
    return pace
