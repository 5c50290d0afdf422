"""The tasks of :mod:`text.block_engine` on Ray: on this machine, or on a cluster that is running.

The only module that imports Ray, and it is imported where ``--engine ray`` asks for it. A machine of the cluster needs
the packages of ``requirements.txt`` and ``requirements-ray.txt``; the modules of this project are sent to it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from utils import UserError

# Before the import. Ray would report its use over the network, and warn of changes that do not concern us.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Processes of Ray on this machine would have the lowest priority: on a machine with other work, five times as slow.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray

ROOT = Path(__file__).resolve().parent.parent
SENT = ("corpus", "text")  # folders whose modules the tasks import, beside those of the root folder
# How often a task is run again whose machine or process is lost; errors of the task itself are not tried again.
RETRIES = 10
CONNECT_SECONDS = 10
QUIET: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
LOST = (ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)


class RayCluster:
    """See :class:`text.block_engine.Cluster`."""

    def __init__(self) -> None:
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._remote: dict[Callable[..., Any], Any] = {}

    def put(self, value: Any) -> Any:
        """See :class:`text.block_engine.Cluster`."""
        return ray.put(value)

    def submit(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Any]:
        """See :class:`text.block_engine.Cluster`."""
        if function not in self._remote:
            self._remote[function] = ray.remote(function)
        handles = self._remote[function].options(num_returns=results, max_retries=RETRIES).remote(*arguments)
        return [handles] if results == 1 else handles

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """See :class:`text.block_engine.Cluster`."""
        if function not in self._remote:
            self._remote[function] = ray.remote(function)
        handles: Iterator[Any] = (
            self._remote[function].options(num_returns="streaming", max_retries=RETRIES).remote(*arguments)
        )
        return handles

    def get(self, handle: Any) -> Any:
        """See :class:`text.block_engine.Cluster`."""
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from error
            if isinstance(error.cause, MemoryError):
                raise MemoryError from error
            raise
        except ray.exceptions.OutOfMemoryError as error:
            raise UserError(
                "memory ran out on a machine of the Ray cluster; give it fewer cores (ray start --num-cpus), and run "
                "the same command again"
            ) from error
        except LOST as error:
            reason = str(error).split(chr(10))[0][:200]
            raise UserError(
                f"too many processes or machines of the Ray cluster were lost ({reason}); run the same command again"
            ) from error


@contextlib.contextmanager
def ray_cluster(address: str, workers: int) -> Iterator[RayCluster]:
    """Connects to a cluster, or starts Ray on this machine, and leaves it after the block.

    Args:
        address: ``auto`` for the cluster that this machine belongs to, ``HOST:PORT`` for another; empty: Ray starts
            here.
        workers: Processes, where Ray is started here.

    Raises:
        UserError: There is no such cluster.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with connect(address) if address else start(workers):
        for number, handler in before.items():  # Ray has put its own in their place
            signal.signal(number, handler)
        try:
            yield RayCluster()
        finally:
            ray.shutdown()


@contextlib.contextmanager
def connect(address: str) -> Iterator[None]:
    """Connects to a cluster, whose machines get the modules of this project."""
    refuse_silent(address)
    with tempfile.TemporaryDirectory(prefix="han-modules-") as folder:
        send_modules(Path(folder))
        try:
            ray.init(address, runtime_env={"working_dir": folder}, **QUIET)
        except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
            raise no_cluster(address, error) from error
        yield


def refuse_silent(address: str) -> None:
    """Refuses ``HOST:PORT`` where nobody listens: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--ray_address {address!r} is no address; give auto, or HOST:PORT, for example 10.0.0.5:6379")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise no_cluster(address, error) from error


def no_cluster(address: str, error: Exception) -> UserError:
    """The message where a cluster does not answer."""
    return UserError(
        f"no Ray cluster answers at --ray_address {address} ({' '.join(str(error).split())[:150]}); start one with: "
        "ray start --head; or leave the flag out to use this machine alone"
    )


@contextlib.contextmanager
def start(workers: int) -> Iterator[None]:
    """Starts Ray on this machine, whatever else of it is running; its processes find the modules where they are.

    (A process with an environment of its own, as :func:`connect` asks for, takes two to three times as long to start.)
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    try:
        ray.init("local", num_cpus=workers, include_dashboard=False, **QUIET)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    yield


def send_modules(folder: Path) -> None:
    """Copies the modules that tasks import to a folder that Ray sends to every machine."""
    for path in ROOT.glob("*.py"):
        shutil.copyfile(path, folder / path.name)
    for name in SENT:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
