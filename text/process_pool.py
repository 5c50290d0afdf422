"""Worker processes for a stream of tasks: results come in order, and memory does not grow with the stream.

Python runs one thread at a time, so cutting texts into words in parallel takes processes. They are started, not forked;
Ctrl-C reaches only the process that started them, and they end when it ends, however it ends.
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
    """Starts processes, which share no threads and no memory with this one, and ends them after the block.

    Args:
        workers: Number of processes.
        get_ready: Called at once in each process: the imports and compilations that its first task would wait for.
        way_out: What a person should do if one of the processes is killed; the end of the error message.
        niceness: Added to the niceness of each process, 0 to 19; 19 works only when a core is idle.

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
        raise UserError(f"a worker process was killed, probably because memory ran out; {way_out}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes that start in the block never receive Ctrl-C; this process receives it after the block."""
    resource_tracker.ensure_running()  # when it starts, it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(niceness: int) -> None:
    """Runs first in a worker: ignores Ctrl-C, and watches the parent so that the worker ends with it."""
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: BaseProcess) -> None:
    """Waits until the parent has ended, then ends this process."""
    parent.join()
    os._exit(1)


def in_order(
    pool: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], on_their_way: int
) -> Iterator[Result]:
    """Yields the results in the order of the tasks.

    Args:
        pool: Runs the tasks.
        function: Called with each task.
        tasks: May be endless; it is read as results are taken.
        on_their_way: Number of tasks that are submitted and whose results were not taken yet, at most.
    """
    waiting: deque[Future[Result]] = deque()
    for task in tasks:
        waiting.append(pool.submit(function, task))
        if len(waiting) >= on_their_way:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
