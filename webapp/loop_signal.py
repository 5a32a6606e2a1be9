"""From the threads that settle tickets to the event loop in which requests wait for them."""

import asyncio
from collections import deque


class LoopWaker:
    """Wakes coroutines of one event loop from any thread, those of one group with one call.

    Args:
        loop: Theirs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ready: deque[asyncio.Future[None]] = deque()
        self._called = False

    def wake(self, future: "asyncio.Future[None]") -> None:
        """Let whoever awaits the future go on."""
        self._ready.append(future)
        if not self._called:
            self._called = True
            self.loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        # Taken back first: what is added from here on either is seen below or makes a call of its own.
        self._called = False
        while self._ready:
            future = self._ready.popleft()
            if not future.done():
                future.set_result(None)


class LoopSignal:
    """An `Event` of `webapp.tickets` for one coroutine that waits. Made within its loop.

    Args:
        waker: Of the running loop.
    """

    __slots__ = ("_future", "_waker")

    def __init__(self, waker: LoopWaker) -> None:
        self._waker = waker
        self._future = waker.loop.create_future()

    def set(self) -> None:
        """Let the coroutine go on. Setting it again changes nothing."""
        self._waker.wake(self._future)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it is set, or until the time is up."""
        timer = self._waker.loop.call_later(timeout_s, self.set)
        try:
            await self._future
        finally:
            timer.cancel()
