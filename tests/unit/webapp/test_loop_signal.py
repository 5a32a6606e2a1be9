"""Threads wake coroutines, a group of them with one call."""

import asyncio
import threading
import time

import pytest

from tests.running import PATIENCE_S
from webapp.loop_signal import LoopSignal, LoopWaker


def test_a_thread_wakes_all_that_wait() -> None:
    async def waiting() -> float:
        waker = LoopWaker(asyncio.get_running_loop())
        signals = [LoopSignal(waker) for _ in range(3)]
        started = time.monotonic()
        thread = threading.Thread(target=_set_all, args=[signals])
        thread.start()
        await asyncio.gather(*(signal.wait(PATIENCE_S) for signal in signals))
        thread.join()
        return time.monotonic() - started

    assert asyncio.run(waiting()) < PATIENCE_S


def test_a_group_is_woken_with_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def calls() -> int:
        loop, made = asyncio.get_running_loop(), []
        waker = LoopWaker(loop)
        signals = [LoopSignal(waker) for _ in range(3)]
        call = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *given: made.append(call(*given)))
        for signal in signals:
            signal.set()
        await asyncio.gather(*(signal.wait(PATIENCE_S) for signal in signals))
        return len(made)

    assert asyncio.run(calls()) == 1


def test_what_comes_after_a_wake_is_woken_too() -> None:
    async def waiting() -> None:
        waker = LoopWaker(asyncio.get_running_loop())
        for _ in range(2):
            signal = LoopSignal(waker)
            signal.set()
            await asyncio.wait_for(signal.wait(PATIENCE_S), PATIENCE_S / 2)

    asyncio.run(waiting())


def test_waiting_ends_when_the_time_is_up() -> None:
    async def waiting() -> None:
        await LoopSignal(LoopWaker(asyncio.get_running_loop())).wait(0.001)

    asyncio.run(asyncio.wait_for(waiting(), PATIENCE_S))


def test_one_that_gave_up_may_be_set_afterwards() -> None:
    async def given_up() -> None:
        signal = LoopSignal(LoopWaker(asyncio.get_running_loop()))
        await signal.wait(0.0)
        signal.set()
        await asyncio.sleep(0)

    asyncio.run(given_up())


def _set_all(signals: list[LoopSignal]) -> None:
    for signal in signals:
        signal.set()
