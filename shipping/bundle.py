"""A bundle: a folder that classifies texts without this repository and without TensorFlow.

model.onnx        the network (shipping/graph.py)
ngrams.npy        the table of the n-gram lane, if the run has one
text.json         tokeniser, sentence splitter, vocabulary, limits, class names
classify.py       text in, verdict and explanation out (shipping/classify.py)
README.md         model card (shipping/card.py)
requirements.txt  what classify.py imports, with versions
LICENSE           of the code
sha256sums        of all of them
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_processing import TextProcessor, Vocabulary, load_text_processing
from runtime.checkpoints import Checkpoint, best_checkpoint
from runtime.devices import start_tensorflow
from runtime.run_folder import START_AGAIN, RunConfig, RunFolder
from shipping.graph import BUILDERS, build_graph
from shipping.text_settings import network_settings, text_settings
from utils import UserError, atomic_write, check_writable, current_umask, sha256_of_file, sync_folder

if TYPE_CHECKING:
    from network.ngrams import NgramTable

PROGRAM = Path(__file__).with_name("classify.py")
LICENSE = Path(__file__).parent.parent / "LICENSE"
IMPORTED = ("numpy", "onnxruntime", "regex")  # by classify.py
MODEL_FILE, TEXT_FILE, NGRAMS_FILE, CARD_FILE, SUMS_FILE = (
    "model.onnx",
    "text.json",
    "ngrams.npy",
    "README.md",
    "sha256sums",
)


@dataclass(frozen=True)
class ExportedRun:
    """Everything of a finished run that a bundle needs, read and checked.

    Attributes:
        run: The folder.
        config: Its settings.
        checkpoint: The best weights.
        processor: Finds sentences and words.
        vocabulary: Words to ids.
        ngrams: The table of the n-gram lane; None for a run without one.
    """

    run: RunFolder
    config: RunConfig
    checkpoint: Checkpoint
    processor: TextProcessor
    vocabulary: Vocabulary
    ngrams: NgramTable | None


def read_run(run: RunFolder) -> ExportedRun:
    """Reads what a bundle is made of.

    Raises:
        UserError: The run is unfinished, damaged, of another tokeniser, or its network cannot be exported.
    """
    config = run.config()
    run.refuse_unfinished()
    if config.architecture not in BUILDERS:
        raise UserError(f"a network of the kind {config.architecture} cannot be exported, only {', '.join(BUILDERS)}")
    run.check_files()
    checkpoint = best_checkpoint(run)
    processor, vocabulary = load_text_processing(run.path)
    if len(vocabulary) != len(checkpoint.weights["embeddings"]):
        raise UserError(
            f"{run.path} has a vocabulary of {len(vocabulary):,} words and vectors of "
            f"{len(checkpoint.weights['embeddings']):,}; put the original files back, or {START_AGAIN}"
        )
    return ExportedRun(run, config, checkpoint, processor, vocabulary, table_of(run, config))


def table_of(run: RunFolder, config: RunConfig) -> NgramTable | None:
    """The table of the n-gram lane."""
    if config.model.ngrams == "off":
        return None
    start_tensorflow("cpu")  # the module of the lane imports it
    from runtime.ngram_tables import read_table

    return read_table(run)


# ---------------------------------------------------------------------------------------------------------------------
# The folder


def refuse_used_folder(path: Path) -> None:
    """Raises :class:`UserError` unless a path is free or an empty folder."""
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path} is not empty; name another folder, or delete it")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; name a folder that does not exist yet")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends, and is removed if it raises.

    Raises:
        UserError: There is something at ``path``.
        OSError: Nothing can be written beside it.
    """
    path = path.resolve()
    refuse_used_folder(path)
    check_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        sync_folder(temporary)
        os.chmod(temporary, 0o777 & ~current_umask())
        os.rename(temporary, path)  # an empty folder gives way, any other refuses
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_program(folder: Path, source: ExportedRun, quantize: str) -> None:
    """Writes everything that :class:`shipping.classify.Classifier` needs, and the hashes of it.

    Args:
        folder: An empty one.
        source: The run.
        quantize: One of ``shipping.graph.WORD_VECTORS``.

    Raises:
        UserError: The network is too large for a file.
    """
    write_data(folder, source, quantize)
    with atomic_write(folder / PROGRAM.name) as file:
        file.write(PROGRAM.read_text(encoding="utf-8"))
    (folder / PROGRAM.name).chmod(0o777 & ~current_umask())
    with atomic_write(folder / "requirements.txt") as file:
        file.writelines(f"{name}=={version(name)}\n" for name in IMPORTED)
    write_sums(folder)


def write_data(folder: Path, source: ExportedRun, quantize: str) -> None:
    """Writes network, n-grams, text processing and licence; see :func:`write_program`."""
    config, weights = source.config, source.checkpoint.weights
    model = build_graph(config.architecture, config.model, weights, quantize)
    with atomic_write(folder / MODEL_FILE, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    if source.ngrams:
        with atomic_write(folder / NGRAMS_FILE, "wb") as file:
            np.save(file, ngram_rows(source.ngrams), allow_pickle=False)
    lane_bias = source.ngrams.bias if source.ngrams else None
    settings = {
        "run": source.run.path.name,
        "title": config.title(),
        "weights_sha256": source.checkpoint.weights_sha256,
        "short_text": source.run.short_text(),
        **network_settings(config.architecture, config.class_names, weights, lane_bias),
        **text_settings(source.processor, source.vocabulary),
    }
    with atomic_write(folder / TEXT_FILE) as file:
        json.dump(settings, file, ensure_ascii=False, separators=(",", ":"))
    with atomic_write(folder / LICENSE.name) as file:
        file.write(LICENSE.read_text(encoding="utf-8"))


def ngram_rows(table: NgramTable) -> np.ndarray:
    """The table of the n-gram lane as one array [G] with the fields ``key``, ``idf`` and ``weights`` [C]."""
    classes = table.weights.shape[1]
    rows = np.empty(len(table.keys), [("key", "<i8"), ("idf", "<f4"), ("weights", "<f4", (classes,))])
    rows["key"], rows["idf"], rows["weights"] = table.keys, table.idf, table.weights
    return rows


def write_card(folder: Path, card: str) -> None:
    """Writes the model card, and the hashes of all files with it."""
    with atomic_write(folder / CARD_FILE) as file:
        file.write(card)
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Writes ``sha256sums``, in the format of the program of that name."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS_FILE)
    names = sorted(str(path.relative_to(folder)) for path in files)
    with atomic_write(folder / SUMS_FILE) as file:
        file.writelines(f"{sha256_of_file(folder / name)}  {name}\n" for name in names)
