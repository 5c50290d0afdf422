"""Checks and times a GPU, and prints a report in Markdown for an issue: ``make gpu-check``.

    python benchmarks/gpu_check.py
    python benchmarks/gpu_check.py --batch_sizes 64 256 > gpu-check.md

It needs no data: documents are drawn by a seed, as long as film reviews. On a CPU it does what a CPU can do, and the
report says what was skipped. The exit code is 1 when a check fails.

Values are logits, attention and document vectors; gradients are those of a weighted sum of the logits, by layer.
They are compared with those of the CPU's compiled loops in float32. A difference is relative: the Euclidean norm of the
difference over that of what is expected.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from measuring import processor

from config import ModelSettings, TrainingSettings
from runtime.devices import DEVICES, card, card_details, nvidia_smi, start_tensorflow
from runtime.run_folder import commit
from utils import Parser, UserError, human_size, log, run_script

if TYPE_CHECKING:
    from network.contract import Documents

VOCABULARY, EMBEDDING_DIM, CLASSES = 30_000, 200, 2
COMPARED_DOCUMENTS = 16
GRADIENT = "gradient of "
SPREAD = 0.3  # standard deviation of word vectors and biases where values are compared
MEANING = """Differences from the compiled loops of the CPU in float32, relative to what is expected: of logits,
attention and document vectors, and of the gradients of each layer. The limits are those of values and of gradients."""
BATCH_SIZES = {"gpu": (64, 128, 256, 512, 1024, 2048), "cpu": (64, 256)}
# An IMDB review has 12.6 sentences of 21 words on average, and some have many more: rounded lognormal lengths.
SENTENCES, WORDS = (2.3, 0.7), (2.8, 0.7)
# Of the compared networks: name in config.NETWORKS and cell.
NETWORKS = (("han", "gru"), ("han", "lstm"), ("bilstm", "lstm"), ("cnn", ""))


class Precision(NamedTuple):
    """A way to compute.

    Attributes:
        name: For the report.
        dtype: Policy of the network.
        tf32: Whether products may round their inputs to TF32.
        tolerances: Largest differences that pass, of values and of gradients.
        on_cpu: Whether a CPU has it.
    """

    name: str
    dtype: str
    tf32: bool
    tolerances: tuple[float, float]
    on_cpu: bool


# Twice to four times what was measured on a CPU, TF32 by rounding the inputs of products: see docs/machine.md.
PRECISIONS = (
    Precision("float32", "float32", False, (1e-5, 1e-4), True),
    Precision("TF32", "float32", True, (2e-3, 5e-3), False),
    Precision("bfloat16", "mixed_bfloat16", False, (5e-2, 2e-1), True),
)
DIVIDED_IN = PRECISIONS[1]  # what a trainer computes in by default
# Numbers of groups, and of rows that a step costs: the defaults of the network, and others beside them.
DIVISIONS = ((1, 512), (2, 512), (4, 512), (8, 512), (4, 128), (4, 2048))
DIVISION = "'4 / 512' is 4 groups of sentences at most, chosen as if a step cost as much as 512 rows"


@dataclass
class Check:
    """A line of the report; ``passed`` is ``None`` for what was skipped."""

    name: str
    passed: bool | None
    measured: str
    limit: str = ""

    def cells(self) -> list[str]:
        """Its cells in the table."""
        return [self.name, {True: "pass", False: "**FAIL**", None: "skipped"}[self.passed], self.measured, self.limit]


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="gpu_check.py", description=__doc__)
    parser.add_argument(
        "--batch_sizes",
        nargs="+",
        type=int,
        metavar="DOCUMENTS",
        help="batches to time (default: 64 to 2,048 on a GPU, 64 and 256 on a CPU)",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of training for each figure (default: 5)")
    parser.add_argument("--units", type=int, default=100, help="units per direction (default: 100)")
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help="auto: a GPU if TensorFlow sees one (default: auto)"
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Prints the report; returns 1 when a check failed."""
    device = start_tensorflow(arguments.device)
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # every network is traced by itself, of which it would warn
    settings = ModelSettings(word_units=arguments.units, sentence_units=arguments.units)
    print(
        f"## GPU check: {card() if device == 'gpu' else 'no GPU, on the CPU'}\n\n{markdown(['', ''], versions(device))}"
    )
    checks = [
        *guarded("the training step can be built", graph_checks(device, settings)),
        *guarded("the profile", profile_check(device, settings)),
        *guarded("the CPU's values", compared(device, settings)),
    ]
    rows = [check.cells() for check in checks]
    print(f"\n{markdown(['check', 'result', 'measured', 'limit'], rows)}\n\n{' '.join(MEANING.split())}", flush=True)
    sizes = arguments.batch_sizes or BATCH_SIZES[device]
    print(f"\n{markdown(*speed_table(device, settings, sizes, arguments.seconds))}")
    print(f"\n{markdown(*division_table(device, settings, sizes, arguments.seconds))}")
    print(
        f"\nHAN-GRU, {arguments.units} units per direction, training with dropout and Adam, documents drawn by a seed."
        f" The second table is in {DIVIDED_IN.name}; {DIVISION}."
    )
    failed = [check.name for check in checks if check.passed is False]
    print(f"\n{'Failed: ' + ', '.join(failed) if failed else 'No check failed.'}", flush=True)
    return 1 if failed else 0


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks; where one ends with an error of TensorFlow or Keras, a failure in its place: the report goes on."""
    try:
        yield from checks
    except (tf_error(), ValueError) as error:
        yield Check(name, False, first_line(error))


# ---------------------------------------------------------------------------------------------------------------------
# Versions


def versions(device: str) -> list[list[str]]:
    """What this was measured on, by name."""
    import keras
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    lines = [
        ["program", f"commit {commit()}"],
        ["system", platform.platform()],
        ["processor", processor()],
        ["Python", platform.python_version()],
        ["TensorFlow", tf.__version__],
        ["Keras", keras.__version__],
        ["CUDA, cuDNN of the build", f"{build.get('cuda_version', 'none')}, {build.get('cudnn_version', 'none')}"],
        ["cuDNN installed", installed_version("nvidia-cudnn-cu12")],
        ["driver, memory", ", ".join(nvidia_smi("driver_version", "memory.total") or ["skipped: no nvidia-smi"])],
    ]
    if device == "gpu":
        capability = ".".join(map(str, card_details().get("compute_capability", ("unknown",))))
        lines.append(["card", f"{card()}, compute capability {capability}"])
    return lines


def installed_version(package: str) -> str:
    """The version of a distribution, or ``none``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


# ---------------------------------------------------------------------------------------------------------------------
# Documents and networks


def drawn_documents(count: int, seed: int) -> Documents:
    """``count`` documents of similar numbers of sentences, as training groups them; words as frequent as in a text."""
    import tensorflow as tf

    from network.contract import Documents

    generator = np.random.default_rng(seed)
    window = np.sort(np.maximum(generator.lognormal(*SENTENCES, 50 * count).round(), 1).astype(np.int32))
    first = int(generator.integers(len(window) - count + 1))
    sentences = window[first : first + count]
    words = np.clip(generator.lognormal(*WORDS, sentences.sum()).round(), 1, 60).astype(np.int32)
    # Zipf's law: the n-th most frequent word is drawn with a probability of 1 / n.
    tokens = np.exp(generator.uniform(0, np.log(VOCABULARY - 2), words.sum())).astype(np.int32) + 1
    return Documents(*(tf.constant(vector, tf.int32) for vector in (tokens, words, sentences)))


def network(
    name: str, cell: str, settings: ModelSettings, padded: bool, dtype: str = "float32", drop: float = 0
) -> Any:
    """A network of the given sizes with random weights; ``drop``: the share of dropout."""
    import dataclasses
    import importlib

    from config import NETWORKS as KNOWN
    from network.contract import NetworkArguments

    module, _, kind = KNOWN[name].source.partition(":")
    settings = dataclasses.replace(settings, cell=cell) if cell else settings
    arguments = NetworkArguments(
        VOCABULARY, EMBEDDING_DIM, CLASSES, settings, dropout=drop, seed=1, padded=padded, dtype=dtype
    )
    return getattr(importlib.import_module(module), kind)(arguments)


def training_step(model: Any) -> Any:
    """The step of the trainer with its optimiser, as :func:`training.step.compile_step` returns it."""
    from training.optimizers import RowwiseAdam
    from training.step import compile_step

    optimizer = RowwiseAdam(1e-3)
    optimizer.build(model.trainable_variables)
    return compile_step(model, optimizer, TrainingSettings())


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def graph_checks(device: str, settings: ModelSettings) -> Iterator[Check]:
    """Whether the training step calls cuDNN and nothing that a GPU has to wait for."""
    import tensorflow as tf

    cuda = tf.sysconfig.get_build_info()["is_cuda_build"]
    for cell in ("gru", "lstm"):
        called, known = f"cuDNN in the graph, {cell.upper()}", f"operations with a GPU kernel, {cell.upper()}"
        if device != "gpu":
            yield Check(called, None, "there is no GPU, and Keras calls cuDNN only with one")
        if not cuda:
            yield Check(known, None, "this TensorFlow is built for the CPU")
            continue
        model = network("han", cell, settings, padded=True)
        graph = graph_of(training_step(model))
        if device == "gpu":
            yield cudnn_check(called, graph, encoders_of(model))
        without = without_gpu_kernel(graph)
        yield Check(known, not without, f"without one: {', '.join(sorted(without)) or 'none'}", "none")


def graph_of(step: Any) -> Any:
    """The ``GraphDef`` of a compiled step."""
    return step.get_concrete_function().graph.as_graph_def()


def nodes_of(graph: Any) -> Iterator[Any]:
    """All nodes of a ``GraphDef`` and of the functions that it calls."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def cudnn_check(name: str, graph: Any, encoders: Sequence[Any]) -> Check:
    """Whether every encoder calls cuDNN for each group in both directions, forward and backward.

    And whether nothing loops or runs Python.
    """
    found = Counter(node.op for node in nodes_of(graph))
    calls = found["CudnnRNNV3"], found["CudnnRNNBackpropV3"]
    slow = sum(count for op, count in found.items() if "While" in op or "PyFunc" in op)
    expected = 2 * sum(encoder.groups for encoder in encoders)
    measured = f"{calls[0]} calls forward, {calls[1]} backward, {slow} loops or calls of Python"
    return Check(name, calls == (expected, expected) and not slow, measured, f"{expected}, {expected}, 0")


def encoders_of(model: Any) -> list[Any]:
    """The recurrent layers of a network."""
    from network.recurrent import BidirectionalEncoder

    return [layer for layer in model.layers if isinstance(layer, BidirectionalEncoder)]


def without_gpu_kernel(graph: Any) -> set[str]:
    """Operations of a graph for which this TensorFlow has no kernel on a GPU.

    Constants of text aside, and what the network itself places on the CPU.
    """
    from tensorflow.python.framework import kernels

    missing = set()
    for node in nodes_of(graph):
        known = [
            k for k in kernels.get_registered_kernels_for_op(node.op).kernel if k.device_type in {"GPU", "DEFAULT"}
        ]
        fits = any(
            all(
                node.attr[one.name].type in one.allowed_values.list.type
                or node.attr[one.name].s in one.allowed_values.list.s  # of gather_nd: what to do with a wrong index
                for one in kernel.constraint
                if one.name in node.attr
            )
            for kernel in known
        )
        if not fits and node.op != "Const" and "CPU" not in node.device:
            missing.add(node.op)
    return missing


# ---------------------------------------------------------------------------------------------------------------------
# The profiler


def profile_check(device: str, settings: ModelSettings) -> Iterator[Check]:
    """Whether the profiler sees kernels of cuDNN's recurrent layers run on the GPU."""
    name = "cuDNN in the profile"
    if device != "gpu":
        yield Check(name, None, "there is no GPU")
        return
    step = training_step(network("han", "gru", settings, padded=True))
    documents = drawn_documents(64, seed=2)
    seen = profiled(lambda: take_steps(step, documents, 3), "/device:GPU")
    if not seen:
        yield Check(name, None, "the profiler saw no kernel; it may need the permission of the driver (CUPTI)")
        return
    recurrent = [kernel for kernel in seen if "rnn" in kernel.lower() or "elementwise_fp" in kernel.lower()]
    yield Check(name, bool(recurrent), f"{len(seen)} kernels and operations, {len(recurrent)} of cuDNN's RNN", "1")


def profiled(run: Callable[[], object], plane_name: str) -> set[str]:
    """Names of what the profiler saw while ``run`` ran, on the devices whose plane has ``plane_name`` in its name."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()  # tracing and the choice of algorithms are not of interest
    names: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            run()
        finally:
            tf.profiler.experimental.stop()
        for file in Path(folder).rglob("*.xplane.pb"):
            space = xplane_pb2.XSpace.FromString(file.read_bytes())
            for plane in space.planes:
                if plane_name in plane.name:
                    names |= {event.name for event in plane.event_metadata.values()}
                    names |= {stat.name for stat in plane.stat_metadata.values() if "rnn" in stat.name.lower()}
    return names


def take_steps(step: Any, documents: Documents, count: int, first: int = 0) -> float:
    """Takes training steps on the same documents and waits for the last loss."""
    labels = np.arange(int(documents.sentences_per_document.shape[0]), dtype=np.int32) % CLASSES
    marked = np.zeros(0, np.int32)
    for number in range(first, first + count):
        report = step(documents, labels, [1, number], 1.0, marked)
    return float(report["loss"])


# ---------------------------------------------------------------------------------------------------------------------
# Values and gradients


def compared(device: str, settings: ModelSettings) -> Iterator[Check]:
    """Values and gradients of the padded path in every precision against the compiled loops in float32."""
    documents = drawn_documents(COMPARED_DOCUMENTS, seed=3)
    for name, cell in NETWORKS:
        expected, weights = reference_of(network(name, cell, settings, padded=False), documents)
        for precision in PRECISIONS:
            title = f"{name.upper()}{f'-{cell.upper()}' if name == 'han' else ''} in {precision.name}"
            limit = " and ".join(f"{tolerance:g}" for tolerance in precision.tolerances)
            if reason := reason_to_skip(name, precision, device):
                yield Check(title, None, reason, limit)
                continue
            build = functools.partial(network, name, cell, settings, padded=True, dtype=precision.dtype)
            try:
                found = in_precision(build, weights, documents, precision)
                yield Check(title, *agreement(expected, found, precision.tolerances), limit)
            except UserError as error:  # refused with a reason
                yield Check(title, None, str(error), limit)
            except (tf_error(), ValueError) as error:  # of cuDNN, or of Keras where it cannot call cuDNN
                yield Check(title, False, first_line(error), limit)


def in_precision(
    build: Callable[[], Any], weights: dict[str, np.ndarray], documents: Documents, precision: Precision
) -> dict[str, np.ndarray]:
    """What a network with the given weights computes in a precision; see :func:`values_and_gradients`."""
    model = build()
    for weight, variable in model.named_weights().items():
        variable.assign(weights[weight])
    with computing_in(precision):
        return values_and_gradients(model, documents)


def tf_error() -> type[Exception]:
    """What TensorFlow raises when an operation fails."""
    import tensorflow as tf

    error: type[Exception] = tf.errors.OpError
    return error


def first_line(error: Exception) -> str:
    """Kind and first line of an error, for a cell of a table."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".replace("|", "/")


def reason_to_skip(name: str, precision: Precision, device: str) -> str:
    """Why a network is not compared in a precision; empty where it is."""
    if name == "cnn" and precision.name != "float32":
        return "rounding changes which window is a filter's largest, and with it the gradient"
    return "" if device == "gpu" or precision.on_cpu else "only a GPU has it"


def reference_of(model: Any, documents: Documents) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the CPU computes with random weights, biases among them, and these weights; both by name."""
    import tensorflow as tf

    generator = np.random.default_rng(4)
    for name, variable in model.named_weights().items():
        if "bias" in name or name == "embeddings":  # fresh ones are too small to make a difference
            variable.assign(generator.normal(scale=SPREAD, size=variable.shape))
    with tf.device("CPU"):
        expected = values_and_gradients(model, documents)
    return expected, {name: np.asarray(variable) for name, variable in model.named_weights().items()}


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Lets products round their inputs to TF32, or not; afterwards as before."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(precision.tf32)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def values_and_gradients(model: Any, documents: Documents) -> dict[str, np.ndarray]:
    """Outputs of a network and the gradients of their loss, float32, by name."""
    import tensorflow as tf

    spec = tf.TensorSpec([None], tf.int32)
    size = int(documents.sentences_per_document.shape[0])
    upstream = np.random.default_rng(5).normal(size=(size, CLASSES)).astype(np.float32)
    weights = model.named_weights()

    def run(documents: Documents) -> Any:
        with tf.GradientTape() as tape:
            attended = model.attend(documents)
            loss = tf.reduce_sum(attended.logits * upstream)
        gradients = tape.gradient(loss, [variable.value for variable in weights.values()])
        return attended, [tf.reshape(tf.convert_to_tensor(gradient), [-1]) for gradient in gradients]

    signature = [type(documents)(spec, spec, spec)]
    attended, gradients = tf.function(run, input_signature=signature, autograph=False)(documents)
    found = {name: np.asarray(value).ravel() for name, value in attended._asdict().items() if value.shape[0]}
    for name, gradient in zip(weights, gradients, strict=True):
        layer = GRADIENT + name.split("/")[0]
        found[layer] = np.append(found.get(layer, np.zeros(0, np.float32)), gradient)
    return found


def agreement(
    expected: dict[str, np.ndarray], found: dict[str, np.ndarray], tolerances: tuple[float, float]
) -> tuple[bool, str]:
    """Whether values and gradients are within their tolerance, and the largest difference of each in words."""
    words, passed = [], True
    for kind, tolerance in zip(("values", "gradients"), tolerances, strict=True):
        differences = {
            name.removeprefix(GRADIENT): relative_difference(value, found[name])
            for name, value in expected.items()
            if name.startswith(GRADIENT) == (kind == "gradients")
        }
        worst = max(differences, key=lambda name: differences[name])
        words.append(f"{kind} {differences[worst]:.1e} ({worst})")
        passed &= differences[worst] <= tolerance
    return passed, ", ".join(words)


def relative_difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The norm of the difference over that of what is expected; infinite where a value is not finite."""
    difference = float(np.linalg.norm(expected - found) / np.linalg.norm(expected))
    return difference if np.isfinite(difference) else float("inf")


# ---------------------------------------------------------------------------------------------------------------------
# Speed and memory


def speed_table(
    device: str, settings: ModelSettings, sizes: Sequence[int], seconds: float
) -> tuple[list[str], list[list[str]]]:
    """Documents per second and peak memory of a training, by size of the batch and by precision."""
    header = ["documents in a batch"]
    for precision in PRECISIONS:
        header += [f"{precision.name}, documents/s", f"{precision.name}, memory"]
    rows = []
    for size in sizes:
        row = [f"{size:,}"]
        for precision in PRECISIONS:
            log.info("timing batches of %s in %s", f"{size:,}", precision.name)
            row += timed(device, settings, size, precision, seconds)
        rows.append(row)
    return header, rows


def timed(device: str, settings: ModelSettings, size: int, precision: Precision, seconds: float) -> list[str]:
    """Documents per second and memory of one size and precision, as cells of the table."""
    import tensorflow as tf

    if device != "gpu" and precision.name != "float32":
        return ["skipped: no GPU", "skipped"]
    try:
        with computing_in(precision):
            speed, memory = measure(device, settings, size, precision, seconds)
    except UserError:
        return ["refused", "refused"]
    except tf.errors.ResourceExhaustedError:
        return ["out of memory", "out of memory"]
    except (tf.errors.OpError, ValueError) as error:
        return [first_line(error), ""]
    return [f"{speed:,.0f}", "skipped: no GPU" if memory is None else human_size(memory)]


def measure(
    device: str, settings: ModelSettings, size: int, precision: Precision, seconds: float
) -> tuple[float, int | None]:
    """Documents per second, and peak bytes on the GPU; on a CPU through the compiled loops, as a trainer computes."""
    import tensorflow as tf

    gc.collect()  # the network before this one
    if device == "gpu":
        tf.config.experimental.reset_memory_stats("GPU:0")
    step = training_step(network("han", "gru", settings, device == "gpu", precision.dtype, drop=0.5))
    speed = documents_per_second(step, size, seconds)
    return speed, tf.config.experimental.get_memory_info("GPU:0")["peak"] if device == "gpu" else None


def documents_per_second(step: Any, size: int, seconds: float) -> float:
    """Of training steps on batches of one size, for so many seconds and on four batches at least."""
    batches = [drawn_documents(size, seed) for seed in range(4)]
    for documents in batches:
        take_steps(step, documents, 1)
    taken, started = 0, time.perf_counter()
    while taken < len(batches) or time.perf_counter() - started < seconds:
        take_steps(step, batches[taken % len(batches)], 1)
        taken += 1
    return taken * size / (time.perf_counter() - started)


def division_table(
    device: str, settings: ModelSettings, sizes: Sequence[int], seconds: float
) -> tuple[list[str], list[list[str]]]:
    """Documents per second of a training, by size of the batch and by how sentences are divided into groups."""
    columns = []
    for groups, step_rows in DIVISIONS:
        if device != "gpu":
            columns.append(["skipped: no GPU"] * len(sizes))
            continue
        log.info("timing %d groups, chosen as if a step cost %d rows", groups, step_rows)
        columns.append(timed_division(settings, groups, step_rows, sizes, seconds))
    header = ["documents in a batch", *(f"{groups} / {step_rows}, documents/s" for groups, step_rows in DIVISIONS)]
    return header, [[f"{size:,}", *cells] for size, cells in zip(sizes, zip(*columns, strict=True), strict=True)]


def timed_division(
    settings: ModelSettings, groups: int, step_rows: float, sizes: Sequence[int], seconds: float
) -> list[str]:
    """Documents per second of the padded path by size of the batch, as cells of the table."""
    import tensorflow as tf

    model = network("han", "gru", settings, padded=True, drop=0.5)
    model.word_encoder.groups, model.word_encoder.step_rows = groups, step_rows
    step, cells = training_step(model), []
    for size in sizes:
        try:
            with computing_in(DIVIDED_IN):
                cells.append(f"{documents_per_second(step, size, seconds):,.0f}")
        except tf.errors.ResourceExhaustedError:
            cells.append("out of memory")
        except (tf.errors.OpError, ValueError) as error:
            cells.append(first_line(error))
    return cells


if __name__ == "__main__":
    run_script(main, build_parser())
