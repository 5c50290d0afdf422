"""Several workers on one machine, started by one command: ``han_trainer.py --workers_per_machine N``.

The launcher starts the same command N times, each with a ``TF_CONFIG`` of its own, as a person would start it on N
machines (:mod:`runtime.workers`), and waits. A worker has a GPU of its own, or, on a CPU, cores of its own. The
launcher imports no TensorFlow and takes no part in the training.

* The first worker has the launcher's terminal; the others write to a file each, beside the run folder.
* Ctrl-C and SIGTERM are passed on to every worker, and so is the end of a terminal (SIGHUP), unless ``nohup`` is in
  front. Workers are in sessions of their own: Ctrl-C in a terminal reaches them once, not twice.
* A worker that fails ends the others, which notice it themselves (:mod:`runtime.control_channel`); one that does not
  end is ended. A launcher that is killed ends all: they look at their parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from runtime.cluster import cluster_of
from utils import UserError, log

LAUNCHER = "HAN_LAUNCHER"  # in the environment of a worker: the process that started it
STOPPING = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 0.2  # between two looks at the workers
PARENT_SECONDS = 2.0  # between two looks at the launcher
# For the others to end by themselves once one has failed: longer than they take to notice one that hangs.
GRACE_SECONDS = 60.0
KILL_SECONDS = 10.0  # between SIGTERM and SIGKILL


def is_launched() -> bool:
    """Whether a launcher has started this process; then it ends when the launcher has ended."""
    parent = os.environ.get(LAUNCHER, "")
    if parent:
        threading.Thread(target=end_with, args=(int(parent),), name="launcher", daemon=True).start()
    return bool(parent)


def end_with(parent: int) -> None:
    """Waits until the parent is another process than ``parent``, then asks this one to save and end."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def launch(count: int, device: str, log_file: Callable[[int], Path]) -> int:
    """Starts this command ``count`` times and waits for the end; returns the exit code.

    Args:
        count: Workers of this machine.
        device: ``auto``, ``cpu`` or ``gpu``.
        log_file: Of each worker but the first, counted from 0.

    Raises:
        UserError: There are not so many GPUs or cores, ``TF_CONFIG`` is wrong, or a worker has failed.
    """
    places = shares_of_machine(count, device)
    configs = tf_configs(count, os.environ.get("TF_CONFIG", ""))
    files = [None, *(log_file(number) for number in range(1, count))]
    log_file(1).parent.mkdir(parents=True, exist_ok=True)
    log.info("%s; the first writes here, the others to %s", described(places), ", ".join(map(str, files[1:])))
    workers: list[subprocess.Popen[bytes]] = []
    with passed_on(workers) as received, contextlib.ExitStack() as stack:
        stack.callback(end, workers, 0.0)
        for place, config, file in zip(places, configs, files, strict=True):
            output = None if file is None else stack.enter_context(file.open("ab"))
            workers.append(start(place, config, output))
            if received:
                return 128 + received[-1]
        return wait(workers, files)


# ---------------------------------------------------------------------------------------------------------------------
# What each worker gets


class Place(NamedTuple):
    """A worker's share of the machine.

    Attributes:
        gpu: Its GPU as ``CUDA_VISIBLE_DEVICES`` names it; ``None`` for a worker on the CPU.
        cores: Its cores; empty for all.
    """

    gpu: str | None = None
    cores: tuple[int, ...] = ()


def described(places: Sequence[Place]) -> str:
    """``2 workers, each with a GPU``."""
    if places[0].gpu is not None:
        return f"{len(places)} workers, each with a GPU"
    fewest = min(len(place.cores) for place in places)
    return f"{len(places)} workers" + (f", each with {number_of(fewest, 'core')}" if fewest else "")


def number_of(count: int, thing: str) -> str:
    """``1 core``, ``2 cores``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def shares_of_machine(count: int, device: str) -> list[Place]:
    """A share for each of ``count`` workers.

    Raises:
        UserError: There are not so many GPUs or cores.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if gpus or device == "gpu":
        if count > len(gpus):
            raise UserError(
                f"--workers_per_machine {count} is more than the {number_of(len(gpus), 'GPU')} here; give "
                f"{len(gpus) or 1} at most, or add --device cpu"
            )
        return [Place(gpu=gpu) for gpu in gpus[:count]]
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return [Place() for _ in range(count)]
    cores = sorted(os.sched_getaffinity(0))
    if count > len(cores):
        raise UserError(
            f"--workers_per_machine {count} is more than the {number_of(len(cores), 'core')} of this process; give "
            f"{len(cores)} at most"
        )
    cuts = [number * len(cores) // count for number in range(count + 1)]
    return [Place(cores=tuple(cores[cuts[n] : cuts[n + 1]])) for n in range(count)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in {"", "-1"}]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def tf_configs(count: int, given: str) -> list[str]:
    """``TF_CONFIG`` of each worker of this machine.

    Args:
        count: Workers of each machine.
        given: The launcher's own: each of its addresses becomes ``count``, with the ports from its own on; empty for
            one machine.

    Raises:
        UserError: It is wrong, or the ports of two machines overlap.
    """
    machines = cluster_of(given)
    if machines is None:
        first, addresses = 0, [f"127.0.0.1:{port}" for port in free_ports(count)]
    else:
        first = machines.index * count
        ends = [address.rpartition(":") for address in machines.addresses]
        addresses = [f"{host}:{int(port) + number}" for host, _, port in ends for number in range(count)]
    values = [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": first + number}})
        for number in range(count)
    ]
    cluster_of(values[0])  # refuses what overlaps
    return values


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# ---------------------------------------------------------------------------------------------------------------------
# Starting, waiting, ending


def start(place: Place, tf_config: str, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Starts this command as a worker; without ``output`` it writes to the launcher's streams."""
    environment = {**os.environ, "TF_CONFIG": tf_config, LAUNCHER: str(os.getpid())}
    if place.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.gpu
    with on_cores(place.cores):
        return subprocess.Popen(
            [sys.executable, *sys.argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Processes that start in the block run on these cores alone."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def passed_on(workers: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Passes signals that ask for an end on to the workers; yields a list that gets the number of each."""
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number if number in STOPPING else signal.SIGTERM)

    numbers = [*STOPPING]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(workers: Sequence[subprocess.Popen[bytes]], files: Sequence[Path | None]) -> int:
    """Waits until all have ended; returns the exit code of the whole.

    Raises:
        UserError: One of them failed first, and its own message is in a file.
    """
    failed = None
    while failed is None and any(worker.poll() is None for worker in workers):
        time.sleep(LOOK_SECONDS)
        failed = next((number for number, worker in enumerate(workers) if worker.poll()), None)
    end(workers, GRACE_SECONDS)
    codes = [worker.wait() for worker in workers]
    codes = [128 - code if -code in STOPPING else code for code in codes]  # two signals, or one before Python's handler
    if failed is None or all(code in {0, *(128 + number for number in STOPPING)} for code in codes):
        return max(codes)
    file, code = files[failed], codes[failed]
    if file is None and code > 0:
        return code  # it has written why
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    if file is not None:
        how += f"{f': {last_line(file)}' if code > 0 else ''} (its log: {file})"
    raise UserError(f"worker {failed} {how}; start the same command again to resume from the last checkpoint")


def end(workers: Sequence[subprocess.Popen[bytes]], patience: float) -> None:
    """Gives the workers ``patience`` seconds to end by themselves, then ends them."""
    for seconds, signal_number in ((patience, signal.SIGTERM), (KILL_SECONDS, signal.SIGKILL)):
        deadline = time.monotonic() + seconds
        while any(worker.poll() is None for worker in workers):
            if time.monotonic() >= deadline:
                for worker in workers:
                    if worker.poll() is None:
                        worker.send_signal(signal_number)
                break
            time.sleep(LOOK_SECONDS)


def last_line(file: Path) -> str:
    """The last line of a log that is not empty; where there is none, ``no message``."""
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
