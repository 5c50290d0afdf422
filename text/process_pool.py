"""Processes that work side by side on a stream, in order and in flat memory.

Python runs one thread at a time: cutting texts into words beside anything else takes a process of its own. The
processes start afresh (no fork), leave Ctrl-C to this one, and end with it however it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from utils import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextlib.contextmanager
def worker_pool(
    workers: int, get_ready: Callable[[], Any], way_out: str, niceness: int = 0
) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh: nothing of this process's threads or memory comes along.

    Args:
        workers: Number of processes.
        get_ready: What each does at once, while this process goes on: what its first task would otherwise wait for.
        way_out: What to do when one of them is killed, for the person who runs the script.
        niceness: How far each gives way to others, from 0 to 19.

    Raises:
        UserError: At the end of the block, if a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(niceness,))
    try:
        with without_ctrl_c():
            for _ in range(workers):
                pool.submit(get_ready)
        yield pool
    except BrokenProcessPool as error:
        raise UserError(f"a worker process was killed, most likely for lack of memory; {way_out}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Keeps Ctrl-C from the processes that start in the block, from their first instant; here it only comes later."""
    resource_tracker.ensure_running()  # it would lift the block when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(niceness: int) -> None:
    """Ctrl-C is the parent's business, and a worker whose parent was killed ends with it."""
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: BaseProcess) -> None:
    """Waits until the parent has ended, and ends this process, too."""
    parent.join()
    os._exit(1)


def in_order(
    pool: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], on_their_way: int
) -> Iterator[Result]:
    """Results in the order of the tasks, of which no more than ``on_their_way`` are taken ahead: memory stays flat."""
    waiting: deque[Future[Result]] = deque()
    for task in tasks:
        waiting.append(pool.submit(function, task))
        if len(waiting) >= on_their_way:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
