"""What the other workers measured, read now and then beside the heartbeat."""

import time
from collections.abc import Callable

from sqlalchemy import Engine as Database

from store.database import open_session
from store.rates import load_rates
from store.workers import live_peers, version_ids
from tasks.pace import Pace, Peer, claim_rules, fair_share

#: Reading one worker's row costs so much of the time between two reads at most: a thousand workers are read every ten
#: seconds rather than with each heartbeat.
PAUSE_A_PEER_S = 0.01


class PeerDirectory:
    """Keeps the claim rules of this worker up to date.

    Args:
        database: Where workers tell their rates.
        pace: Whose rules are set.
        held: Tells what is on this device.
    """

    def __init__(self, database: Database, pace: Pace, held: Callable[[], list[str]]) -> None:
        self._database = database
        self._pace = pace
        self._held = held
        self._next_at = 0.0

    def refresh(self, worker_id: int) -> None:
        """Read the peers of a worker, unless that was done lately.

        Raises:
            SQLAlchemyError: Postgres is away; the rules stay as they are.
        """
        if not self._pace.paced or time.monotonic() < self._next_at:
            return
        with open_session(self._database) as session:
            peers = [Peer(frozenset(each.models), load_rates(each.rates)) for each in live_peers(session, worker_id)]
            held = frozenset(self._held())
            ids = version_ids(session, held.union(*(peer.held for peer in peers))) if peers else {}
        own = self._pace.book.rates()
        self._pace.follow(claim_rules(held, own, peers, ids), fair_share(held, own, peers))
        self._next_at = time.monotonic() + PAUSE_A_PEER_S * len(peers)
