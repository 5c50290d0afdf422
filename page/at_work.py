"""Requests at work: in a bounded number of threads, while the client waits, and no more of them than are soon done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from page.questions import Refusal
from runtime.abandoning import stop_if_abandoned, stopping_when

THREADS = 64  # a few of which wait for large explanations (page.line)
MOST_WAITING_BYTES = 4_000_000  # of texts that wait for a thread
MOST_WAIT_SECONDS = 5.0  # for a thread; while requests wait longer, no more are accepted
LEAST_BYTES = 2_000  # that a request counts at least
RETRY_SECONDS = 5
Result = TypeVar("Result")


class Workplace:
    """The threads of one server. Its method is called from the event loop alone."""

    def __init__(self, threads: int = THREADS, most_waiting_bytes: int = MOST_WAITING_BYTES) -> None:
        self._threads = anyio.CapacityLimiter(threads)
        self._most_waiting, self._waiting = most_waiting_bytes, 0
        self._last_wait = 0.0  # seconds that the last request waited for its thread

    async def run(self, request: Request, size: int, work: Callable[[], Result]) -> Result:
        """The result of ``work``, which a thread does while the client waits.

        Args:
            request: Its body has been read.
            size: Bytes of its texts.
            work: Returns the response, or raises.

        Raises:
            Refusal: Too many bytes wait for a thread.
            Abandoned: The client went away.
        """
        cost = max(size, LEAST_BYTES)
        if self._waiting and (self._waiting + cost > self._most_waiting or self._last_wait > MOST_WAIT_SECONDS):
            raise Refusal(503, "Too many texts are waiting. Try again in a few seconds.", RETRY_SECONDS)
        gone = threading.Event()
        self._waiting += cost
        began = threading.Event()

        loop = asyncio.get_running_loop()
        came = loop.time()

        def begin() -> None:
            self._waiting -= cost
            self._last_wait = loop.time() - came

        def work_while_client_waits() -> Result:
            began.set()
            loop.call_soon_threadsafe(begin)
            with stopping_when(gone.is_set):
                stop_if_abandoned()
                return work()

        watching = asyncio.create_task(watch(request, gone))
        try:
            return await anyio.to_thread.run_sync(work_while_client_waits, limiter=self._threads)
        finally:
            watching.cancel()
            if not began.is_set():
                self._waiting -= cost


async def watch(request: Request, gone: threading.Event) -> None:
    """Sets ``gone`` when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
    gone.set()
