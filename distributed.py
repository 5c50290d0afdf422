"""Training on several machines: who takes part, how gradients are added up, and what happens when one is lost.

Workers are started as TensorFlow's users start them: the same command on every machine, with ``TF_CONFIG`` in the
environment. ``tf.distribute.MultiWorkerMirroredStrategy`` sets up the cluster and carries the sums; the training loop
is the one of a single process. Every worker computes the same batches (a pure function of seed and epoch) and reads its
own part of each, so that n workers take the steps that one process takes with the same ``--batch_size``.

What was found in TensorFlow 2.21 with Keras 3.15, and why this file is not thinner:

* Keras's optimisers add up gradients over the replicas themselves, after the trainer has clipped them, and would repeat
  rows of a sparse gradient. So the strategy is entered for the sums alone; weights are ordinary variables and the
  optimiser runs outside it, on a gradient that is the same everywhere.
* The strategy's constructor waits for the other workers in C++, without end, and listens neither to Ctrl-C nor to
  SIGTERM. So the workers meet over plain sockets first (:class:`Line`), on the chief's own port.
* A worker that died is noticed at once, as ``UnavailableError`` in a dozen lines. One that hangs is not: so the sockets
  stay open and carry a sign of life.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from config import differences
from utils import UserError, fail, log

Items = TypeVar("Items", bound="Sequence[Any] | np.ndarray")

BEAT_SECONDS = 5.0  # between two signs of life
SILENCE_SECONDS = 30.0  # without one: the worker is lost
GRACE_SECONDS = 10.0  # for the main thread to end by itself once a worker is lost
LONGEST_MESSAGE = 1 << 20
SEED_STRIDE = 7_368_787
TRY_AGAIN = "start the same command on every machine again, and it goes on from the last checkpoint"
EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


# ---------------------------------------------------------------------------------------------------------------------
# Who takes part


@dataclass(frozen=True)
class Cluster:
    """The workers of a job, as ``TF_CONFIG`` names them.

    Attributes:
        addresses: ``host:port`` of every worker; the first is the chief, who alone writes the run folder.
        index: Which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """``worker 1 (10.0.0.2:2222)``."""
        return f"{'the chief, ' if index == 0 else ''}worker {index} ({self.addresses[index]})"

    def endpoint(self, index: int) -> tuple[str, int]:
        """Host and port of a worker."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.strip("[]"), int(port)


def cluster_of(tf_config: str) -> Cluster | None:
    """Reads the value of ``TF_CONFIG``; ``None`` where it names no other worker.

    Raises:
        UserError: It is not JSON, lacks something, or asks for what this trainer does not do.
    """
    value = parse_tf_config(tf_config)
    if not value:
        return None
    jobs, task = value.get("cluster"), value.get("task")
    if not isinstance(jobs, dict) or not isinstance(task, dict):
        raise UserError(f"TF_CONFIG needs a cluster and a task; an example: TF_CONFIG='{EXAMPLE}'")
    kind, index = task.get("type"), task.get("index")
    refuse_other_kinds({*jobs, kind})
    addresses = {job: addresses_of(job, jobs.get(job, [])) for job in ("chief", "worker")}
    if len(addresses["chief"]) > 1:
        raise UserError(f"TF_CONFIG names {len(addresses['chief'])} chiefs; there is one, the others are workers")
    names = (*addresses["chief"], *addresses["worker"])
    if len(set(names)) < len(names):
        raise UserError("TF_CONFIG gives two workers one address; on one machine give each a port of its own")
    there = len(addresses[str(kind)])
    if type(index) is not int or not 0 <= index < there:
        raise UserError(
            f"TF_CONFIG: task index {json.dumps(index)} is none of the {there} of type {kind}; "
            f"give a whole number from 0 to {there - 1}"
        )
    place = index + (len(addresses["chief"]) if kind == "worker" else 0)
    return Cluster(names, place) if len(names) > 1 else None


def parse_tf_config(text: str) -> dict[str, Any]:
    """``TF_CONFIG`` as a dictionary, empty where the variable is."""
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}); an example: TF_CONFIG='{EXAMPLE}'") from error
    if not isinstance(value, dict):
        raise UserError(f"TF_CONFIG is no JSON object; an example: TF_CONFIG='{EXAMPLE}'")
    return value


def refuse_other_kinds(kinds: set[Any]) -> None:
    """Refuses every type of task but ``chief`` and ``worker``, with a word on what to use in its place."""
    if "evaluator" in kinds:
        raise UserError(
            "TF_CONFIG: there is no evaluator task here; leave it out, and run python han_tester.py --run_type val "
            "on the chief's machine"
        )
    if "ps" in kinds:
        raise UserError("TF_CONFIG: there are no parameter servers (ps) here; leave them out and name workers only")
    if unknown := sorted(json.dumps(kind) for kind in kinds - {"chief", "worker"}):
        raise UserError(f"TF_CONFIG: task type {unknown[0]} is unknown; choose from chief, worker")


def addresses_of(job: str, values: Any) -> tuple[str, ...]:
    """The addresses of one type of task, each checked to be ``host:port``."""
    if not isinstance(values, list):
        raise UserError(f'TF_CONFIG: {job} is no list of addresses; write for example "{job}": ["10.0.0.1:2222"]')
    for value in values:
        host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UserError(f"TF_CONFIG: {json.dumps(value)} is no address; write host:port, for example 10.0.0.1:2222")
    return tuple(values)


# ---------------------------------------------------------------------------------------------------------------------
# One process


class Alone:
    """A process on its own: what :class:`Workers` does for several, so that the trainer reads the same for both."""

    index, count = 0, 1
    is_chief = True

    def __enter__(self) -> Alone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def go(self) -> None:
        """The chief lets the others begin: nothing is left to refuse."""

    def connect(self) -> None:
        """Sets up TensorFlow's side, before its first operation."""

    def part(self, items: Items) -> Items:
        """What this worker takes of ``items``: all."""
        return items

    def share(self, items: int) -> float:
        """Which share of so many items :meth:`part` takes: all."""
        return 1.0

    def seed(self, seed: int) -> int:
        """The seed of this worker's dropout."""
        return seed

    def add_up(self, gradients: list[Any], report: dict[str, Any], share: Any) -> tuple[list[Any], dict[str, Any]]:
        """Gradient and reported means of the joint batch, from those of this worker's share of it."""
        return gradients, report

    def concatenate(self, values: np.ndarray) -> np.ndarray:
        """The rows of all workers, one worker's after another's."""
        return values

    def agree_on_signal(self, number: int) -> int:
        """The signal that reached any worker; 0 if none did."""
        return number

    def from_chief(self, value: Any) -> Any:
        """The chief's ``value`` (anything that JSON can say), on every worker."""
        return value

    def hand_out(self, variables: Sequence[Any]) -> None:
        """Gives the chief's values of ``variables`` to every worker."""

    def keep_in_step(self, variables: Sequence[Any]) -> None:
        """Makes sure that ``variables`` are the same everywhere."""

    def explain(self) -> contextlib.AbstractContextManager[None]:
        """Turns what TensorFlow raises when a worker is lost into one line."""
        return contextlib.nullcontext()


ALONE = Alone()


# ---------------------------------------------------------------------------------------------------------------------
# Several


class Workers(Alone):
    """This process as one of several.

    Every method but :meth:`part`, :meth:`share` and :meth:`seed` is called by all workers at the same point of the
    program, and returns on each when all have called it.

    Args:
        cluster: Who takes part.
        settings: What all must agree on.
        patience: Seconds to wait for the others to start.

    Raises:
        UserError: The port is taken, another was started with other settings, or somebody did not come.
    """

    def __init__(self, cluster: Cluster, settings: dict[str, Any], patience: float) -> None:
        self.cluster, self.index, self.count = cluster, cluster.index, len(cluster.addresses)
        self.is_chief = self.index == 0
        self.line = Line(cluster)
        with contextlib.ExitStack() as stack:
            stack.callback(self.line.close)
            (self.line.gather_workers if self.is_chief else self.line.join_chief)(settings, patience)
            stack.pop_all()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.line.say({"end": True})
        else:
            self.line.say({"lost": f"{self.cluster.name(self.index)} ended: {error or kind.__name__}"})  # type: ignore[union-attr]
        self.line.close()

    def go(self) -> None:
        """The chief says that training begins; the others wait for it, and end where the chief has nothing to do."""
        if self.is_chief:
            self.line.say({"go": True})
        elif not self.line.wait_for_go():
            log.info("the chief has nothing left to train; see its shell")
            sys.exit(0)
        self.line.watch()

    def connect(self) -> None:
        """Creates the strategy; TensorFlow must not have run an operation yet."""
        import tensorflow as tf

        tf.get_logger().setLevel("WARNING")  # it tells of every sum
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        vector = tf.TensorSpec([None], tf.int32)
        self._sum_function = tf.function(self._sum, input_signature=[vector], autograph=False)
        self._row_functions = {
            kind.name: tf.function(self._rows, input_signature=[tf.TensorSpec([None, None], kind)], autograph=False)
            for kind in (tf.int32, tf.float32)
        }

    def part(self, items: Items) -> Items:
        """Every n-th of ``items``, so that sorted ones are dealt evenly; the first where none is left for this worker.

        An operation on nothing would need care in every model. A worker without a document takes one that counts
        nothing (:meth:`share` is 0); one without a batch of the validation split repeats one.
        """
        own = items[self.index :: self.count]
        return own if len(own) else items[:1]  # type: ignore[return-value]

    def share(self, items: int) -> float:
        """Which share of so many items this worker takes, 0 to 1; over all workers they add up to 1."""
        return len(range(self.index, items, self.count)) / items

    def seed(self, seed: int) -> int:
        """A seed of its own for each worker: the same mask on every part would be less noise than in one process."""
        return (seed + self.index * SEED_STRIDE) % 2**31

    def add_up(self, gradients: list[Any], report: dict[str, Any], share: Any) -> tuple[list[Any], dict[str, Any]]:
        """Adds up over all workers, each weighted by its share of the joint batch; called while a graph is built.

        Dense gradients and reported values travel as one vector. A sparse gradient travels as its rows alone; rows
        that several workers name are added up, so that the rows of the result are distinct.

        Args:
            gradients: float32 tensors or ``tf.IndexedSlices`` of this worker's mean loss.
            report: float32 scalars, means over this worker's documents.
            share: float32 scalar, of this worker.

        Returns:
            The same for the mean over the joint batch, identical on every worker.
        """
        import tensorflow as tf

        sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
        dense = [gradient for gradient, rows in zip(gradients, sparse, strict=True) if not rows]
        flat = [tf.reshape(gradient, [-1]) for gradient in dense] + [tf.stack(list(report.values()))]
        pieces = iter(
            tf.split(self._sum(tf.concat(flat, 0) * share), [tf.size(piece) for piece in flat], num=len(flat))
        )
        added = [
            self._add_up_rows(gradient, share)
            if rows
            else tf.ensure_shape(tf.reshape(next(pieces), tf.shape(gradient)), gradient.shape)
            for gradient, rows in zip(gradients, sparse, strict=True)
        ]
        return added, dict(zip(report, tf.unstack(next(pieces), num=len(report)), strict=True))

    def _add_up_rows(self, gradient: Any, share: Any) -> Any:
        import tensorflow as tf

        values, rows = self._rows(gradient.values * share), self._rows(gradient.indices)
        distinct, position = tf.unique(rows)
        values = tf.math.unsorted_segment_sum(values, position, tf.size(distinct))
        return tf.IndexedSlices(values, distinct, gradient.dense_shape)

    def _sum(self, values: Any) -> Any:
        """Sum over the workers of a vector, in a graph."""
        import tensorflow as tf

        def in_replica(values: Any) -> Any:  # identity: the strategy asks the tensor for its device
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(values))

        return self.strategy.run(in_replica, args=(values,))

    def _rows(self, values: Any) -> Any:
        """Rows of all workers, any number of each, in a graph."""
        import tensorflow as tf

        def in_replica(values: Any) -> Any:
            return tf.distribute.get_replica_context().all_gather(tf.identity(values), axis=0)

        return self.strategy.run(in_replica, args=(values,))

    def concatenate(self, values: np.ndarray) -> np.ndarray:
        """The rows of all workers, one worker's after another's. ``values``: int32 or float32 [rows, columns]."""
        return np.asarray(self._row_functions[values.dtype.name](values))

    def agree_on_signal(self, number: int) -> int:
        """The signal that reached any worker (the highest of several); 0 if none did."""
        numbers = np.zeros(self.count, np.int32)
        numbers[self.index] = number
        numbers = self._sum_function(numbers).numpy()
        if numbers.any() and not number:
            log.info("%s was asked to stop", self.cluster.name(int(numbers.argmax())))
        return int(numbers.max())

    def from_chief(self, value: Any) -> Any:
        """The chief's ``value`` (anything that JSON can say), on every worker."""
        text = np.frombuffer(json.dumps(value).encode() if self.is_chief else b"", np.uint8)
        length = int(self._sum_function(np.array([len(text)], np.int32))[0])
        padded = np.zeros(length, np.int32)
        padded[: len(text)] = text
        return json.loads(self._sum_function(padded).numpy().astype(np.uint8).tobytes())

    def hand_out(self, variables: Sequence[Any]) -> None:
        """Gives the chief's values of ``variables`` to every worker, bit for bit (as whole numbers, added to zeros)."""
        for variable in variables:
            value = np.asarray(variable.numpy())
            bits = np.frombuffer(value.tobytes(), np.int32)
            bits = self._sum_function(bits if self.is_chief else np.zeros_like(bits)).numpy()
            if not self.is_chief:
                variable.assign(np.frombuffer(bits.tobytes(), value.dtype).reshape(value.shape))

    def keep_in_step(self, variables: Sequence[Any]) -> None:
        """Compares ``variables`` over the workers and hands out the chief's where they differ.

        Machines of one kind stay together to the bit. Processors of different kinds round differently.
        """
        digest = 0
        for variable in variables:
            digest = zlib.crc32(np.ascontiguousarray(variable.numpy()).data, digest)
        digests = self.concatenate(np.array([[digest & 0x7FFFFFFF]], np.int32))
        if (digests != digests[0]).any():
            log.info("the workers' weights differ by rounding; all go on with the chief's")
            self.hand_out(variables)

    @contextlib.contextmanager
    def explain(self) -> Iterator[None]:
        """Turns what TensorFlow raises when a worker is lost into a :class:`UserError` that names the worker."""
        import tensorflow as tf

        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.FailedPreconditionError,
            tf.errors.InternalError,
            tf.errors.UnknownError,
        ) as error:
            reason = self.line.reason(SILENCE_SECONDS + BEAT_SECONDS)
            if reason is None:
                raise
            raise UserError(f"{reason}; {TRY_AGAIN}") from error


def meet_workers(settings: dict[str, Any], patience: float) -> Alone:
    """The workers that ``TF_CONFIG`` names, all of them there; :data:`ALONE` where it names no other.

    Args:
        settings: All settings of the run by name: they must be the same on every worker.
        patience: Seconds to wait for the others.
    """
    cluster = cluster_of(os.environ.get("TF_CONFIG", ""))
    if cluster is None:
        return ALONE
    return Workers(cluster, settings, patience)


# ---------------------------------------------------------------------------------------------------------------------
# Meeting, and a sign of life


class Line:
    """A connection between the chief and each other worker: JSON, one message a line; an empty line is a sign of life.

    The chief listens on its own port until all are there; then TensorFlow takes the port, and the connections stay.
    Nobody is asked for a password, here as in TensorFlow's own server: the ports belong behind a firewall.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.peers: dict[int, socket.socket] = {}
        self.unread: dict[int, bytes] = {}
        self.lost: str | None = None
        self.ended = False
        self.changed = threading.Condition()
        self.standard_error = os.fdopen(os.dup(2), "w")  # while TensorFlow starts, the usual one leads nowhere

    def gather_workers(self, settings: dict[str, Any], patience: float) -> None:
        """The chief waits until every other worker has said hello, and refuses one with other settings."""
        deadline = time.monotonic() + patience
        missing = set(range(1, len(self.cluster.addresses)))
        with listening(self.cluster) as listener:
            log.info("waiting for %s", " and ".join(map(self.cluster.name, sorted(missing))))
            while missing:
                listener.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    peer, _ = listener.accept()
                except TimeoutError as error:
                    raise UserError(self.absence(missing, patience)) from error
                missing.discard(self.welcome(peer, settings))

    def welcome(self, peer: socket.socket, settings: dict[str, Any]) -> int:
        """Reads one worker's hello; returns its index, or -1 for somebody who does not belong here.

        Raises:
            UserError: It was started with other settings or another cluster; it is told, too.
        """
        peer.settimeout(BEAT_SECONDS)
        hello = read_hello(peer)
        index = hello.get("index")
        if type(index) is not int or not 0 < index < len(self.cluster.addresses) or index in self.peers:
            if hello:
                send(peer, {"lost": f"{self.cluster.name(0)} has a worker {index} already, or knows of none"})
            peer.close()
            return -1
        self.peers[index], self.unread[index] = peer, b""
        if hello.get("addresses") != list(self.cluster.addresses):
            self.refuse(f"{self.cluster.name(index)} was started with another cluster in TF_CONFIG; give all the same")
        if changed := differences(json.loads(json.dumps(settings)), hello.get("settings", {})):
            self.refuse(
                f"{self.cluster.name(index)} was started with other settings or records than the chief "
                f"({'; '.join(changed)}); give the same flags on every machine, and copies of the same records"
            )
        return index

    def refuse(self, reason: str) -> None:
        """Ends the meeting for all who are there."""
        self.say({"lost": reason})
        raise UserError(reason)

    def join_chief(self, settings: dict[str, Any], patience: float) -> None:
        """Another worker knocks at the chief's port until the chief answers."""
        with listening(self.cluster):
            pass  # the port is free for TensorFlow
        log.info("worker %d of %d: waiting for %s", self.cluster.index, self.count, self.cluster.name(0))
        deadline = time.monotonic() + patience
        while True:
            try:
                peer = socket.create_connection(self.cluster.endpoint(0), timeout=BEAT_SECONDS)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(f"{self.absence({0}, patience)} ({error})") from error
                time.sleep(0.5)
        self.peers[0], self.unread[0] = peer, b""
        send(peer, {"index": self.cluster.index, "addresses": self.cluster.addresses, "settings": settings})

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.cluster.addresses)

    def absence(self, missing: set[int], patience: float) -> str:
        """Says who did not come."""
        names = " and ".join(map(self.cluster.name, sorted(missing)))
        return (
            f"no sign of {names} within {patience:g} seconds; start the same command there, check TF_CONFIG and the "
            "firewall, or wait longer with --wait_for_workers SECONDS"
        )

    def say(self, message: dict[str, Any]) -> None:
        """Sends a message to everyone at the other end; one who is gone is found out by whoever reads."""
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                send(peer, message)

    def wait_for_go(self) -> bool:
        """Waits for the chief to begin; false where it ended instead, having nothing to do."""
        peer = self.peers[0]
        peer.settimeout(None)
        while True:
            for message in self.read(0):
                if "go" in message:
                    return True
                if "end" in message:
                    return False
            if self.lost:
                raise UserError(f"{self.lost}; {TRY_AGAIN}")

    def read(self, index: int) -> list[dict[str, Any]]:
        """Messages that arrive from one worker; notes that it is lost when it is silent or its connection breaks."""
        try:
            received = self.peers[index].recv(65536)
        except TimeoutError:
            self.note(f"{self.cluster.name(index)} gave no sign of life for {SILENCE_SECONDS:g} seconds")
            return []
        except OSError:
            received = b""
        if not received:
            self.note(f"{self.cluster.name(index)} is gone")
            return []
        *lines, self.unread[index] = (self.unread[index] + received).split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        for message in messages:
            if "lost" in message:
                self.note(message["lost"])
            if "end" in message:
                self.ended = True
        return messages

    def note(self, reason: str) -> None:
        """Remembers the first loss and, as the chief, tells the others."""
        with self.changed:
            if self.lost is not None or self.ended:
                return
            self.lost = reason
            self.changed.notify_all()
        if self.cluster.index == 0:
            self.say({"lost": reason})

    def reason(self, seconds: float) -> str | None:
        """Why the job cannot go on, waited for up to ``seconds``."""
        with self.changed:
            self.changed.wait_for(lambda: self.lost is not None, seconds)
            return self.lost

    def watch(self) -> None:
        """Starts the threads that send signs of life, listen for those of the others, and end a process left alone."""
        for task in (self.beat, *(lambda index=index: self.listen(index) for index in self.peers), self.end_if_lost):
            threading.Thread(target=task, name="workers", daemon=True).start()

    def beat(self) -> None:
        """Sends a sign of life to everyone, for as long as this process lives."""
        while not self.ended and self.lost is None:
            for index, peer in self.peers.items():
                try:
                    peer.sendall(b"\n")
                except OSError:
                    self.note(f"{self.cluster.name(index)} is gone")
            time.sleep(BEAT_SECONDS)

    def listen(self, index: int) -> None:
        """Reads what one worker sends; silence means that it hangs or its machine is gone."""
        self.peers[index].settimeout(SILENCE_SECONDS)
        while not self.ended and self.lost is None:
            self.read(index)

    def end_if_lost(self) -> None:
        """Ends the process when a worker is lost and the main thread, inside TensorFlow, does not notice."""
        with self.changed:
            self.changed.wait_for(lambda: self.lost is not None)
        time.sleep(GRACE_SECONDS)
        if not self.ended:
            os.dup2(self.standard_error.fileno(), 2)
            os._exit(fail("han_trainer.py", f"{self.lost}; {TRY_AGAIN}"))

    def close(self) -> None:
        """Ends the connections."""
        self.ended = True
        for peer in self.peers.values():
            peer.close()
        self.standard_error.close()


def send(peer: socket.socket, message: dict[str, Any]) -> None:
    """Sends one message."""
    peer.sendall(json.dumps(message).encode() + b"\n")


def read_hello(peer: socket.socket) -> dict[str, Any]:
    """The first message of somebody who connected; empty if it is not one of ours."""
    received = b""
    try:
        while not received.endswith(b"\n") and len(received) < LONGEST_MESSAGE:
            piece = peer.recv(65536)
            if not piece:
                return {}
            received += piece
        value = json.loads(received)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def listening(cluster: Cluster) -> Iterator[socket.socket]:
    """A socket that listens on this worker's own port.

    Raises:
        UserError: Somebody else has the port.
    """
    port = cluster.endpoint(cluster.index)[1]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen()
        except OSError as error:
            raise UserError(
                f"port {port} of {cluster.name(cluster.index)} cannot be had ({error.strerror}); end the program that "
                "has it, or give another port in TF_CONFIG on every machine"
            ) from error
        yield listener
