"""Worker processes: order, bounded look-ahead, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import InThisProcess
from text.process_pool import in_order, worker_pool
from utils import UserError

ROOT = Path(__file__).parent.parent


def test_no_more_tasks_are_taken_than_may_be_on_their_way() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    for done, result in enumerate(in_order(InThisProcess(), lambda number: -number, tasks(), 4)):
        assert result == -done
        assert taken - done <= 4
    assert taken == 50


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(UserError, match="because memory ran out; call home"), worker_pool(1, int, "call home") as pool:
        pool.submit(os._exit, 3).result()


def test_workers_end_with_a_parent_that_was_killed() -> None:
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from text.process_pool import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(1, int, '') as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_every_worker_gives_way_as_far_as_asked() -> None:
    with worker_pool(2, int, "", niceness=3) as pool:
        found = {pool.submit(os.nice, 0).result() for _ in range(6)}
    assert found == {min(os.nice(0) + 3, 19)}


def test_workers_never_hear_ctrl_c() -> None:
    with worker_pool(1, int, "") as pool:
        assert pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() >= {signal.SIGINT}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def alive(process: int) -> bool:
    """Whether a process is still at work; one that waits for its exit code to be collected is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
