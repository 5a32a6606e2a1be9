"""An open-loop load that costs little: requests at their times, whatever becomes of the earlier ones.

A client library takes as much of the processor for a request as the server that refuses it; this one writes bytes that
were made before and reads no more of an answer than its head.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)

#: An answer that takes longer counts as none.
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request.

    Attributes:
        due: When it was to be sent, by `time.perf_counter`.
        took_ms: From then to the end of the answer.
        status: 0 where the connection broke or nothing came in time.
        retry_after: What the answer said, seconds.
    """

    due: float
    took_ms: float
    status: int
    retry_after: int | None = None


@dataclass
class Flood:
    """A server under load.

    Args:
        url: Of the operation.
        headers: Of each request.
        body: Of each request.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    answers: list[Answered] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode() + self.body
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def send(self, times: Iterable[float]) -> list[Answered]:
        """Send requests at these times, by `time.perf_counter`; returns when the last is answered."""
        first = len(self.answers)
        sending = []
        for due in times:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sending.append(asyncio.create_task(self._send(due)))
        await asyncio.gather(*sending)
        return self.answers[first:]

    async def loop(self, clients: int, seconds: float) -> list[Answered]:
        """Let clients send one request after the other."""
        first, until = len(self.answers), time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < until:
                await self._send(time.perf_counter())

        await asyncio.gather(*(client() for _ in range(clients)))
        return self.answers[first:]

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _send(self, due: float) -> None:
        try:
            status, head = await asyncio.wait_for(self._exchange(), TIMEOUT_S)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status, head = 0, b""
        retry = RETRY_AFTER.search(head)
        took_ms = (time.perf_counter() - due) * 1000
        self.answers.append(Answered(due, took_ms, status, None if retry is None else int(retry.group(1))))

    async def _exchange(self) -> tuple[int, bytes]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            found = LENGTH.search(head)
            await reader.readexactly(int(found.group(1)) if found else 0)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), head


def steady_times(per_second: float, seconds: float) -> Iterable[float]:
    """Yield the times of a constant rate that begins now."""
    started = time.perf_counter()
    return (started + number / per_second for number in range(round(per_second * seconds)))


def percentile_ms(
    answers: Iterable[Answered], share: float, keep: Callable[[Answered], bool] = lambda _: True
) -> float:
    """Return the time within which this share of some answers came; 0 when there were none."""
    times = sorted(answer.took_ms for answer in answers if keep(answer))
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def is_success(answer: Answered) -> bool:
    """Whether it is the finished prediction."""
    return answer.status == 200


def is_refusal(answer: Answered) -> bool:
    """Whether it was refused for want of room or time."""
    return answer.status == 429
