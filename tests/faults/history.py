"""What the clients did and were told: every request, its outcomes, and "maybe" where no answer came."""

import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

PAIRS = ((0, 0), (0, 1), (1, 0), (1, 1))

#: Each request's first number carries the request's own number in its last digits, so that a row tells whose it is.
NONCE_STEP = 1e-9

#: What an API may answer to a good request while it is being broken.
DECLARED = frozenset({200, 202, 409, 429, 503, 507})

#: Of the requests that name an endpoint, where there is one.
TOLD_SHARE = 0.2

PAUSE_S = 0.2
REQUEST_TIMEOUT_S = 15.0
RETRIES = 150


@dataclass
class Request:
    """One prediction that a client wants.

    Attributes:
        number: Its own; also in its input.
        webhook: The endpoint that is to hear of its end; None where nobody is.
        pair: What is asked.
        key: Idempotency key; None where the client sends none and so never asks again.
        ids: All ids that 2xx answers named.
        maybes: How often no answer came.
        statuses: All status codes.
        label: What an answer with a result said.
        took_ms: Until the answer, where it was the first try and had a result.
    """

    number: int
    pair: tuple[int, int]
    key: str | None
    webhook: str | None = None
    ids: list[str] = field(default_factory=list)
    maybes: int = 0
    statuses: list[int] = field(default_factory=list)
    label: str | None = None
    took_ms: float | None = None

    @property
    def expected(self) -> str:
        """The right answer."""
        return str(int(self.pair[0] != self.pair[1]))

    @property
    def body(self) -> dict[str, Any]:
        """What is posted."""
        return {"input": [self.pair[0] + self.number * NONCE_STEP, self.pair[1]]}


class History:
    """All requests since the last check, and the bodies of refusals. Safe from many threads.

    Attributes:
        webhook: The endpoint that some of the requests name; None: none does.
    """

    def __init__(self) -> None:
        self.webhook: str | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answered: list[Request] = []
        self.requests: list[Request] = []
        self.refusals: list[str] = []

    def begin(self, rng: random.Random) -> Request:
        """Note a new request; half of them carry a key."""
        number = next(self._numbers)
        key = str(uuid4()) if rng.random() < 0.5 else None
        request = Request(number, PAIRS[number % 4], key, self.webhook if rng.random() < TOLD_SHARE else None)
        with self._lock:
            self.requests.append(request)
        return request

    def take(self) -> tuple[list[Request], list[str]]:
        """Return all since the last call."""
        with self._lock:
            requests, self.requests = self.requests, []
            refusals, self.refusals = self.refusals, []
        return requests, refusals

    def peek_answered(self) -> list[Request]:
        """Return those that were answered at the first try since the last call; all stay to be judged."""
        with self._lock:
            answered, self._answered = self._answered, []
        return answered

    def ask(self, client: httpx.Client, request: Request, prefer: str) -> bool:
        """Ask once and note what came. Returns whether an id was named."""
        headers = {"Prefer": prefer}
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        query = {} if request.webhook is None else {"webhook": request.webhook}
        began = time.monotonic()
        try:
            response = client.post("/v1/models/xor/predictions", params=query, json=request.body, headers=headers)
            request.statuses.append(response.status_code)
            if not response.is_success:
                self.refusals.append(response.text)
                return False
            told = response.json()
        except (httpx.HTTPError, ValueError):
            request.maybes += 1
            return False
        request.ids.append(told["id"])
        if told.get("result") is not None:
            request.label = told["result"]["label"]
            if len(request.statuses) == 1 and not request.maybes:
                request.took_ms = (time.monotonic() - began) * 1000
                with self._lock:
                    self._answered.append(request)
        return True


class Clients:
    """Threads that ask all the time, and ask again with the same key where no answer or a refusal came.

    Args:
        history: Where all is noted.
        urls: Of APIs; the first is the one that stays.
        key: That authorises.
        count: Threads.
        pause_s: Of each between two requests.
        seed: Of their choices.
    """

    def __init__(
        self, history: History, urls: Sequence[str], key: str, *, count: int = 4, pause_s: float = 0.04, seed: int = 0
    ) -> None:
        self._history = history
        self.urls = list(urls)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._count, self.pause_s, self._seed = count, pause_s, seed
        self._stopping = threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask while the block runs; at its end every keyed request has been answered or given up."""
        self._stopping.clear()
        threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{self._seed}-{index}-{time.time()}"),))
            for index in range(self._count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _run(self, rng: random.Random) -> None:
        clients = [self._client(url) for url in self.urls]
        try:
            while not self._stopping.is_set():
                request = self._history.begin(rng)
                prefer = "respond-async" if rng.random() < 0.5 else "wait=5"
                named = self._history.ask(rng.choice(clients), request, prefer)
                if not named and request.key is not None:
                    self._insist(clients[0], request, prefer)
                time.sleep(self.pause_s)
        finally:
            for client in clients:
                client.close()

    def _insist(self, client: httpx.Client, request: Request, prefer: str) -> None:
        for _ in range(RETRIES):
            time.sleep(PAUSE_S)
            if self._history.ask(client, request, prefer):
                return

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(base_url=url, headers=self._headers, timeout=REQUEST_TIMEOUT_S)
