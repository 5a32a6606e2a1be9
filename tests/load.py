"""A crowd of clients, and the check that every accepted prediction ended once and rightly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TypeVar

import httpx
from sqlalchemy import text

from tests.running import RunningStack, wait_until

#: Of each client between an answer and its next request: what is tested needs processors too.
PAUSE_S = 0.02

INPUTS = ((0, 0), (0, 1), (1, 0), (1, 1))

ENDS = """
    SELECT CAST(id AS text) AS id, status, result ->> 'label' AS label FROM predictions
    WHERE id = ANY(CAST(:ids AS uuid[]))
"""


@dataclass
class Crowd:
    """What the clients sent and were told.

    Attributes:
        stack: Whom they ask.
        url: Where, if not at the stack's own API.
        accepted: Inputs by the id that a 2xx answer named.
        refused: Status codes of all other answers.
    """

    stack: RunningStack
    url: str | None = None
    accepted: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)

    def send(self, client: httpx.Client, pair: tuple[int, int], prefer: str) -> None:
        """Ask once and note the answer. A connection that breaks was told nothing, so it proves nothing."""
        response = client.post("/v1/models/xor/predictions", json={"input": pair}, headers={"Prefer": prefer})
        if response.is_success:
            self.accepted[response.json()["id"]] = pair
        else:
            self.refused.append(response.status_code)

    def assert_each_ended_once_and_rightly(self) -> None:
        """Wait for the end of all that was accepted, then compare with what the database holds."""
        assert self.lost() == set()

    def lost(self) -> set[str]:
        """Wait for the end of all that was accepted; returns the ids that did not end once and rightly."""
        wait_until(lambda: self._open() == 0)
        with self.stack.open_database().connect() as connection:
            found = connection.execute(text(ENDS), {"ids": list(self.accepted)}).all()
        assert len(found) == len({row.id for row in found})
        ended = {row.id for row in found if (row.status, row.label) == ("succeeded", self._label(row.id))}
        return self.accepted.keys() - ended

    def _label(self, prediction_id: str) -> str:
        a, b = self.accepted[prediction_id]
        return str(int(a != b))

    def _open(self) -> int:
        with self.stack.open_database().connect() as connection:
            return int(
                connection.execute(
                    text("SELECT count(*) FROM predictions WHERE status IN ('queued', 'processing')")
                ).scalar_one()
            )


C = TypeVar("C", bound=Crowd)


@contextmanager
def crowd(stack: RunningStack, *, clients: int = 8, prefer: str = "wait=30") -> Iterator[Crowd]:
    """Let clients ask one request after the other while the block runs."""
    with asking(Crowd(stack), clients=clients, prefer=prefer) as people:
        yield people


@contextmanager
def asking(people: C, *, clients: int, prefer: str = "wait=30", pause_s: float = PAUSE_S) -> Iterator[C]:
    """Let the clients of a crowd ask while the block runs."""
    stack = people.stack
    stopping = threading.Event()

    def ask() -> None:
        headers = {"Authorization": f"Bearer {stack.admin_key}"}
        with httpx.Client(base_url=people.url or stack.url, headers=headers, timeout=60.0) as client:
            for pair in cycle(INPUTS):
                if stopping.is_set():
                    return
                people.send(client, pair, prefer)
                stopping.wait(pause_s)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield people
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
