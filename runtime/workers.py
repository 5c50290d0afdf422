"""Training on several machines: the workers of a cluster, the sum of their gradients, and the loss of a worker.

Workers are started as TensorFlow's users start them: the same command on every machine, with ``TF_CONFIG`` in the
environment. ``tf.distribute.MultiWorkerMirroredStrategy`` sets up the cluster and carries the sums; the training loop
is the one of a single process. Every worker computes the same batches (a pure function of seed and epoch) and reads its
own part of each, so that n workers take the steps that one process takes with the same ``--batch_size``, to rounding.
Dropout too is that of one process: each worker draws the masks of the joint batch and takes its rows
(:class:`network.contract.JointSeed`), for which it reads the documents of all.

What TensorFlow 2.21 with Keras 3.15 does, and why this file is not shorter:

* Keras's optimisers add up gradients over the replicas themselves, after the trainer has clipped them, and would repeat
  rows of a sparse gradient. So the strategy is entered for the sums alone; weights are ordinary variables and the
  optimiser runs outside it, on a gradient that is the same everywhere.
* The strategy's constructor waits for the other workers in C++, without a limit, and ignores Ctrl-C and SIGTERM. So the
  workers connect over plain sockets first (:class:`ControlChannel`), on the chief's own port.
* A worker that died is noticed at once, as ``UnavailableError`` in a dozen lines. One that hangs is not: so the sockets
  stay open and carry a heartbeat.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from runtime.cluster import Cluster, cluster_of
from runtime.control_channel import BEAT_SECONDS, SILENCE_SECONDS, TRY_AGAIN, ControlChannel
from utils import UserError, log

Items = TypeVar("Items", bound="Sequence[Any] | np.ndarray")

# Steps between two agreements on whether to stop: each costs a message to every worker, and a GPU waits for it.
SIGNAL_STEPS = 10


# ---------------------------------------------------------------------------------------------------------------------
# One process


class SingleWorker:
    """One process, with the methods of :class:`Workers`, so that the trainer reads the same for one and for several."""

    index, count = 0, 1
    is_chief = True
    signal_steps = 1  # :meth:`signal_of_any` is called after steps that this divides

    def __enter__(self) -> SingleWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self) -> None:
        """The chief lets the others begin: its checks are done."""

    def connect(self) -> None:
        """Sets up TensorFlow's side, before its first operation."""

    def part(self, items: Items) -> Items:
        """This worker's part of ``items``: all."""
        return items

    def share(self, items: int) -> float:
        """Which share of so many items :meth:`part` takes: all."""
        return 1.0

    def sum_gradients(
        self, gradients: list[Any], report: dict[str, Any], share: Any
    ) -> tuple[list[Any], dict[str, Any]]:
        """Gradient and reported means of the joint batch, from those of this worker's share of it."""
        return gradients, report

    def gather(self, values: np.ndarray) -> np.ndarray:
        """The rows of all workers, in the order of the workers."""
        return values

    def signal_of_any(self, number: int) -> int:
        """The signal that any worker received; 0 for none."""
        return number

    def broadcast_value(self, value: Any) -> Any:
        """The chief's ``value`` (any JSON value), on every worker."""
        return value

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Copies the chief's values of ``variables`` to every worker."""

    def synchronise(self, variables: Sequence[Any]) -> None:
        """Makes ``variables`` the same on all workers."""

    def explain(self) -> contextlib.AbstractContextManager[None]:
        """Turns what TensorFlow raises when a worker is lost into one line."""
        return contextlib.nullcontext()


SINGLE_WORKER = SingleWorker()


# ---------------------------------------------------------------------------------------------------------------------
# Several


class Workers(SingleWorker):
    """This process as one of several.

    Every method but :meth:`part` and :meth:`share` is called by all workers at the same point of the
    program, and returns on each when all have called it.

    Args:
        cluster: The workers.
        settings: Must be the same on all workers.
        patience: Seconds to wait for the others to start.

    Raises:
        UserError: The port is in use, a worker was started with other settings, or one did not start in time.
    """

    signal_steps = SIGNAL_STEPS

    def __init__(self, cluster: Cluster, settings: dict[str, Any], patience: float) -> None:
        self.cluster, self.index, self.count = cluster, cluster.index, len(cluster.addresses)
        self.is_chief = self.index == 0
        self.channel = ControlChannel(cluster)
        with contextlib.ExitStack() as stack:
            stack.callback(self.channel.close)
            (self.channel.gather_workers if self.is_chief else self.channel.join_chief)(settings, patience)
            stack.pop_all()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.channel.send({"end": True})
        else:
            self.channel.send({"lost": f"{self.cluster.name(self.index)} ended: {error or kind.__name__}"})  # type: ignore[union-attr]
        self.channel.close()

    def start(self) -> None:
        """The chief starts the training; the others wait for it, and end if the chief has nothing to train."""
        if self.is_chief:
            self.channel.send({"start": True})
        elif not self.channel.wait_for_start():
            log.info("the chief has nothing to train; see its output")
            sys.exit(0)
        self.channel.watch()

    def connect(self) -> None:
        """Creates the strategy; TensorFlow must not have run an operation yet."""
        import tensorflow as tf

        tf.get_logger().setLevel("WARNING")  # it logs every sum
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        vector = tf.TensorSpec([None], tf.int32)
        self._sum_function = tf.function(self._sum, input_signature=[vector], autograph=False)
        self._row_functions = {
            kind.name: tf.function(self._rows, input_signature=[tf.TensorSpec([None, None], kind)], autograph=False)
            for kind in (tf.int32, tf.float32)
        }

    def part(self, items: Items) -> Items:
        """Every n-th of ``items``, so that sorted ones are shared evenly; the first where none is left for this worker.

        An empty batch would need care in every network. A worker without a document takes one that counts
        nothing (:meth:`share` is 0); one without a batch of the validation split repeats one.
        """
        own = items[self.index :: self.count]
        return own if len(own) else items[:1]  # type: ignore[return-value]

    def share(self, items: int) -> float:
        """Which share of so many items this worker takes, 0 to 1; over all workers they add up to 1."""
        return len(range(self.index, items, self.count)) / items

    def sum_gradients(
        self, gradients: list[Any], report: dict[str, Any], share: Any
    ) -> tuple[list[Any], dict[str, Any]]:
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
            self._sum_rows(gradient, share)
            if rows
            else tf.ensure_shape(tf.reshape(next(pieces), tf.shape(gradient)), gradient.shape)
            for gradient, rows in zip(gradients, sparse, strict=True)
        ]
        return added, dict(zip(report, tf.unstack(next(pieces), num=len(report)), strict=True))

    def _sum_rows(self, gradient: Any, share: Any) -> Any:
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

    def gather(self, values: np.ndarray) -> np.ndarray:
        """The rows of all workers, in the order of the workers. ``values``: int32 or float32 [rows, columns]."""
        return np.asarray(self._row_functions[values.dtype.name](values))

    def signal_of_any(self, number: int) -> int:
        """The signal that any worker received (the highest of several); 0 for none."""
        numbers = np.zeros(self.count, np.int32)
        numbers[self.index] = number
        numbers = self._sum_function(numbers).numpy()
        if numbers.any() and not number:
            log.info("%s received a signal to stop", self.cluster.name(int(numbers.argmax())))
        return int(numbers.max())

    def broadcast_value(self, value: Any) -> Any:
        """The chief's ``value`` (any JSON value), on every worker."""
        text = np.frombuffer(json.dumps(value).encode() if self.is_chief else b"", np.uint8)
        length = int(self._sum_function(np.array([len(text)], np.int32))[0])
        padded = np.zeros(length, np.int32)
        padded[: len(text)] = text
        return json.loads(self._sum_function(padded).numpy().astype(np.uint8).tobytes())

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Copies the chief's values to every worker, bit for bit (as whole numbers, added to zeros)."""
        for variable in variables:
            value = np.asarray(variable.numpy())
            bits = np.frombuffer(value.tobytes(), np.int32)
            bits = self._sum_function(bits if self.is_chief else np.zeros_like(bits)).numpy()
            if not self.is_chief:
                variable.assign(np.frombuffer(bits.tobytes(), value.dtype).reshape(value.shape))

    def synchronise(self, variables: Sequence[Any]) -> None:
        """Compares ``variables`` over the workers and copies the chief's where they differ.

        Machines of one kind stay equal to the bit. Processors of different kinds round differently.
        """
        digest = 0
        for variable in variables:
            digest = zlib.crc32(np.ascontiguousarray(variable.numpy()).data, digest)
        digests = self.gather(np.array([[digest & 0x7FFFFFFF]], np.int32))
        if (digests != digests[0]).any():
            log.info("the workers' weights differ by rounding; all continue with the chief's")
            self.broadcast(variables)

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
            reason = self.channel.reason(SILENCE_SECONDS + BEAT_SECONDS)
            if reason is None:
                raise
            raise UserError(f"{reason}; {TRY_AGAIN}") from error


def meet_workers(settings: dict[str, Any], patience: float) -> SingleWorker:
    """The workers that ``TF_CONFIG`` names, all of them connected; :data:`SINGLE_WORKER` where it names no other.

    Args:
        settings: All settings of the run by name: they must be the same on every worker.
        patience: Seconds to wait for the others.
    """
    cluster = cluster_of(os.environ.get("TF_CONFIG", ""))
    if cluster is None:
        return SINGLE_WORKER
    return Workers(cluster, settings, patience)
