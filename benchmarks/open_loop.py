"""The open-loop load: requests at a constant rate, whether or not the earlier ones were answered.

A closed loop slows down with the server and so hides what a client would have waited. Here a time is counted from the
moment at which a request was due.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import httpx

TIMEOUT_S = 30.0

#: More than are ever open at once while the server keeps up.
CONNECTIONS = 256


@dataclass
class Steady:
    """What a constant rate met.

    Attributes:
        times_ms: From when each request was due to its answer.
        failures: How often each other end came: a status, or the name of an error.
    """

    times_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> float:
        """Return the time within which this share of the answers came; 0 when none did."""
        times = sorted(self.times_ms)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


async def send_steadily(
    url: str, bodies: Sequence[bytes], headers: Mapping[str, str], *, per_second: float, seconds: float
) -> Steady:
    """Send requests at a constant rate and wait for the last answer."""
    met = Steady()
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, headers=dict(headers)) as client:
        started = time.perf_counter()
        sending = []
        for number, body in zip(range(round(per_second * seconds)), cycle(bodies), strict=False):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sending.append(asyncio.create_task(_send(client, url, body, due, met)))
        await asyncio.gather(*sending)
    return met


async def _send(client: httpx.AsyncClient, url: str, body: bytes, due: float, met: Steady) -> None:
    try:
        response = await client.post(url, content=body)
    except httpx.HTTPError as error:
        met.failures[type(error).__name__] += 1
        return
    met.times_ms.append((time.perf_counter() - due) * 1000)
    # 202 is an answer to come, not one: the request waited longer than the backend lets it.
    if response.status_code != httpx.codes.OK or response.json().get("status", "succeeded") != "succeeded":
        met.failures[str(response.status_code)] += 1
