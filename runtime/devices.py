"""Choosing a CPU or a GPU, and one line when memory runs out. TensorFlow is imported inside, to keep it out of
``--help``."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runtime.run_folder import RunFolder, TrainedOn
from utils import UserError, absent, human_size, log, parse_bool

DEVICES = ("auto", "cpu", "gpu")
# Address space that TensorFlow and a small training need; with less they end in an ImportError or are aborted.
ADDRESS_SPACE = 3 * 10**9
# Keras imports these where they are installed, for functions of its own that this project does not call. They took 40%
# of the processor time of `import tensorflow` (6.1 s, and 3.8 s without them, on busy cores).
KERAS_DOES_WITHOUT = ("IPython", "matplotlib", "pandas", "sklearn")


def add_device_flag(parser: argparse.ArgumentParser, training: bool = False) -> None:
    """Adds ``--device`` and ``--tf32``; a script that does not train takes those of the run, :func:`start_for_runs`."""
    auto = "a GPU if TensorFlow sees one" if training else "what the run was trained on, if it is here"
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help=f"where to compute; auto: {auto} (default: auto)"
    )
    parser.add_argument(
        "--tf32",
        type=parse_bool,
        nargs="?",
        const=True,
        default=True if training else None,
        help="on a GPU that has it: let products round their inputs to 10 bits of mantissa, which is faster; "
        f"False: float32 (default: {'True' if training else 'as the run was trained'})",
    )


def start_for_runs(runs: Sequence[RunFolder], wanted: str, tf32: bool | None = None, lean: bool = True) -> str:
    """Starts TensorFlow where trained runs are to be read: the one place that decides on which device.

    Args:
        runs: Of one or several networks.
        wanted: ``auto``, ``cpu`` or ``gpu``; ``auto`` is a GPU if one of the runs was trained on one and there is one.
        tf32: Whether products may be rounded to TF32; ``None`` for as in the training.
        lean: As for :func:`start_tensorflow`.

    Returns:
        ``"cpu"`` or ``"gpu"``.

    Raises:
        UserError: As there; or a ``device.json`` is damaged.
    """
    on_gpu = [trained for trained in (run.trained_on() for run in runs) if trained["device"] == "gpu"]
    rounded = all(trained["tf32"] for trained in on_gpu) if tf32 is None else tf32
    device = start_tensorflow("cpu" if wanted == "auto" and not on_gpu else wanted, lean=lean, tf32=rounded)
    if wanted == "auto" and device == "gpu":
        log.info("computing on the GPU, as in training; --device cpu leaves it to a trainer")
    elif wanted == "auto" and on_gpu:
        log.info("trained on a GPU (%s), and TensorFlow sees none here: computing on the CPU", on_gpu[0]["card"])
    return device


def trained_on(device: str) -> TrainedOn:
    """What a training on this device, ``cpu`` or ``gpu``, notes in its run folder; TensorFlow is started."""
    if device == "cpu":
        return TrainedOn(device=device, card="", tf32=False)
    import tensorflow as tf

    return TrainedOn(device=device, card=card(), tf32=tf.config.experimental.tensor_float_32_execution_enabled())


def card() -> str:
    """The name of the GPU that this process uses."""
    return str(card_details().get("device_name", "a GPU"))


def card_details() -> dict[str, Any]:
    """What TensorFlow knows of the GPU that this process uses; empty without one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return dict(tf.config.experimental.get_device_details(gpus[0])) if gpus else {}


def start_tensorflow(
    wanted: str,
    memory_fraction: float = 0.0,
    connect: Callable[[], None] = lambda: None,
    lean: bool = True,
    tf32: bool = True,
) -> str:
    """Imports TensorFlow and makes it use the CPU or the GPU; the first thing a script does with TensorFlow.

    Args:
        wanted: ``auto``, ``cpu`` or ``gpu``.
        memory_fraction: Share of the GPU's memory to take at most, in (0, 1]; 0 lets it grow as needed.
        connect: Called before the first operation, when devices are chosen.
        lean: Let Keras do without :data:`KERAS_DOES_WITHOUT`; not in a process that may use Keras for work of its own.
        tf32: Let the products of a GPU that has TF32 round their inputs to it.

    Returns:
        ``"cpu"`` or ``"gpu"``.

    Raises:
        UserError: A GPU was asked for and TensorFlow sees none, the process may not use enough memory, or it has
            started TensorFlow on another device before.
    """
    refuse_small_address_space()
    if not 0 <= memory_fraction <= 1:
        raise UserError(
            f"--per_process_gpu_memory_fraction {memory_fraction} is out of range; give a value from 0 to 1"
        )
    with quiet_standard_error():
        import_tensorflow(lean)
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if wanted == "gpu" and not gpus:
            raise UserError(
                "--device gpu: TensorFlow sees no GPU here; TF_CPP_MIN_LOG_LEVEL=0 before the command shows "
                "why, docs/machine.md what to install; or use --device cpu"
            )
        device = "gpu" if gpus and wanted != "cpu" else "cpu"
        try:
            tf.config.set_visible_devices(gpus[:1] if device == "gpu" else [], "GPU")
        except RuntimeError as error:  # a notebook that has loaded another run
            raise UserError(
                f"this process has started TensorFlow on another device than the {device.upper()}; start a new one, or "
                f"name the same device for all runs"
            ) from error
        if device == "gpu":
            limit_gpu_memory(gpus[0], memory_fraction)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        connect()
        tf.random.stateless_uniform([], [0, 0])  # the first operation starts the devices, and prints notes of its own
    return device


def import_tensorflow(lean: bool) -> None:
    """Imports TensorFlow, which imports Keras; ``lean``: Keras does not find what it can do without."""
    with absent(KERAS_DOES_WITHOUT) if lean else contextlib.nullcontext():
        import tensorflow  # noqa: F401


def refuse_small_address_space() -> None:
    """Raises :class:`UserError` if the process is limited (``ulimit -v``) to less memory than TensorFlow needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
        raise UserError(
            f"TensorFlow needs about 3 GB of address space and this process is limited to {human_size(limit)}; raise "
            "the limit (ulimit -v unlimited) and run the same command again"
        )


@contextlib.contextmanager
def quiet_standard_error() -> Iterator[None]:
    """Hides the start-up notes that TensorFlow prints from C++ whatever its log level.

    With ``TF_CPP_MIN_LOG_LEVEL`` set (0 shows everything, also why a GPU is not seen) nothing is hidden.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    # The loss of a worker is reported in one line; the dozen that TensorFlow prints would hide it.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3" if "TF_CONFIG" in os.environ else "2"
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def limit_gpu_memory(gpu: object, fraction: float) -> None:
    """Takes a share of one GPU's memory, or as much as is needed when ``fraction`` is 0."""
    import tensorflow as tf

    total = gpu_memory_megabytes() if fraction else None
    if total:
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(total * fraction))
        tf.config.set_logical_device_configuration(gpu, [limit])
    else:
        if fraction:
            log.warning("nvidia-smi does not report the GPU's memory; --per_process_gpu_memory_fraction is ignored")
        tf.config.experimental.set_memory_growth(gpu, True)


def gpu_memory_megabytes() -> int | None:
    """Total memory of the first visible GPU in MB, or ``None`` where ``nvidia-smi`` does not report it."""
    found = nvidia_smi("memory.total")
    return int(found[0].split()[0]) if found and found[0].split()[0].isdecimal() else None


def nvidia_smi(*fields: str) -> list[str] | None:
    """What ``nvidia-smi`` reports of the first visible GPU, a text per field; ``None`` where it reports nothing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if visible:
        command.append(f"--id={visible}")
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    values = [value.strip() for value in output.partition("\n")[0].split(",")]
    return values if len(values) == len(fields) and all(values) else None


@contextlib.contextmanager
def explain_memory(way_out: str) -> Iterator[None]:
    """Turns running out of memory in the block into a :class:`UserError` that ends in ``way_out``."""
    import tensorflow as tf

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(f"out of memory; {way_out}") from error
