"""What the clients did and were told: every request, its outcomes, and "maybe" where no answer came."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
        number: Its own; also in its input, unless that is a photo.
        pair: What is asked.
        key: Idempotency key; None where the client sends none and so never asks again.
        webhook: The endpoint that is to hear of its end; None where nobody is.
        model: Who is asked.
        photo: What is asked instead of the pair.
        right: The right answer where it does not follow from the pair.
        declared: The error code with which it must fail; None where it must succeed.
        is_other: Whether it is of the tenant whom no fault touches.
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
    model: str = "xor"
    photo: bytes | None = None
    right: str | None = None
    declared: str | None = None
    is_other: bool = False
    ids: list[str] = field(default_factory=list)
    maybes: int = 0
    statuses: list[int] = field(default_factory=list)
    label: str | None = None
    took_ms: float | None = None

    @property
    def expected(self) -> str:
        """The right answer."""
        return self.right or str(int(self.pair[0] != self.pair[1]))

    @property
    def path(self) -> str:
        """Where it is posted. Models of the suite's own have no champion, so that no worker loads them unasked."""
        path = f"/v1/models/{self.model}/predictions"
        if self.model != "xor":
            return f"{path}?version=1"
        return path if self.webhook is None else f"{path}?webhook={self.webhook}"

    @property
    def body(self) -> bytes:
        """What is posted."""
        if self.photo is not None:
            return self.photo
        return json.dumps({"input": [self.pair[0] + self.number * NONCE_STEP, self.pair[1]]}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """With which it is posted."""
        told = {"Content-Type": "application/json" if self.photo is None else "application/octet-stream"}
        return told if self.key is None else {**told, "Idempotency-Key": self.key}


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
        key = str(uuid4()) if rng.random() < 0.5 else None
        return self.note(key=key, webhook=self.webhook if rng.random() < TOLD_SHARE else None)

    def note(self, *, pair: tuple[int, int] | None = None, key: str | None = None, **wanted: Any) -> Request:
        """Note a new request.

        Args:
            pair: One of all four, in turn, where none is given.
            key: See `Request`.
            wanted: Further attributes of the request.
        """
        number = next(self._numbers)
        request = Request(number, pair or PAIRS[number % 4], key, **wanted)
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
        headers = {"Prefer": prefer, **request.headers}
        began = time.monotonic()
        try:
            response = client.post(request.path, content=request.body, headers=headers)
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
        urls: Of APIs; the first is the one that stays, others may be taken out.
        key: That authorises.
        count: Threads.
        pause_s: Of each between two requests.
        seed: Of their choices.
        begin: Makes their requests; by default the history's own.
        prefers: What they prefer, by chance.
    """

    def __init__(
        self,
        history: History,
        urls: Sequence[str],
        key: str,
        *,
        count: int = 4,
        pause_s: float = 0.04,
        seed: int = 0,
        begin: Callable[[random.Random], Request] | None = None,
        prefers: Sequence[str] = ("respond-async", "wait=5"),
    ) -> None:
        self._history = history
        self._begin = begin or history.begin
        self._prefers = prefers
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
        clients = {url: self._client(url) for url in self.urls}
        stays = clients[self.urls[0]]
        try:
            while not self._stopping.is_set():
                request = self._begin(rng)
                prefer = rng.choice(self._prefers)
                named = self._history.ask(clients[rng.choice(self.urls)], request, prefer)
                if not named and request.key is not None:
                    self._insist(stays, request, prefer)
                time.sleep(self.pause_s)
        finally:
            for client in clients.values():
                client.close()

    def _insist(self, client: httpx.Client, request: Request, prefer: str) -> None:
        for _ in range(RETRIES):
            time.sleep(PAUSE_S)
            if self._history.ask(client, request, prefer):
                return

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(base_url=url, headers=self._headers, timeout=REQUEST_TIMEOUT_S)
