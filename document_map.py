"""Draws where a network puts documents before and after training: each document a point, coloured by its true class.

    python document_map.py imdb-han                         2,000 test documents
    python document_map.py --dataset imdb --model bilstm --split valid --documents 500

RUN is a run folder or its name in `runs/`; without it, --dataset, --model and --run name the run, as for the trainer.

The vectors are those that the last layer classifies. PCA shows their two directions of largest variance, t-SNE
(van der Maaten and Hinton, JMLR 2008) which are near to each other; distances between its groups mean nothing. Printed
is the share of a document's nearest neighbours that are of its class. A document with several labels counts for, and
has the colour of, the one of them that the network finds most probable.

Writes ``plots/document_map-<split>.png`` to the run folder and the vectors for TensorBoard's projector.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import installed  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from config import check_range
from corpus.several_labels import NO_LABELS
from runtime.checkpoints import Checkpoint, best_checkpoint, run_checkpoint
from runtime.decisions import chosen_names, in_words, predicted_name
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import RunFolder, add_run_flags, chosen_run, no_such_run
from utils import (
    EMBEDDINGS_FILE,
    DataPaths,
    Parser,
    UserError,
    atomic_write,
    check_writable,
    log,
    run_script,
    trainer_command,
)

if TYPE_CHECKING:
    from runtime.input_pipeline import Split

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

STATES = ("before training", "after training")
NEIGHBOURS = 10
PERPLEXITY = 30.0  # about how many neighbours t-SNE keeps near; scikit-learn's default
FEWEST_DOCUMENTS = 20
SHOWN_CHARACTERS = 100


class Said(NamedTuple):
    """Of a document, in words: its class, or its labels; what is predicted; and how probable the likeliest is."""

    truth: str
    predicted: str
    probability: float


class MappedDocuments(NamedTuple):
    """The documents of a map, with what the network gives for each.

    Attributes:
        ids: [B] names.
        texts: [B] the first words of each; empty where they are unknown.
        labels: int64 [B], their true classes; of several labels one.
        class_names: [C], and one for documents without a label where there are such.
        vectors: For each of :data:`STATES` float32 [B, D].
        said: What the projector says of each.
        several: Documents that have more than one label.
    """

    ids: list[str]
    texts: list[str]
    labels: Ints
    class_names: tuple[str, ...]
    vectors: dict[str, Floats]
    said: list[Said]
    several: int = 0


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="document_map.py", description=__doc__)
    add_run_flags(parser)
    parser.add_argument("--split", default="test", choices=("train", "valid", "test"), help="default: test")
    parser.add_argument(
        "--documents",
        type=int,
        default=2000,
        help="how many to draw at random; t-SNE's time grows with them (default: 2000)",
    )
    parser.add_argument("--checkpoint", type=Path, help="weights after training (default: the best on validation)")
    parser.add_argument(
        "--evaluation_batch_words",
        type=int,
        default=40_000,
        help="maximum number of words in a batch, which limits its memory (default: 40000)",
    )
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Computes the vectors of both states, maps them, draws the maps and prints how well neighbours agree."""
    check_range("documents", arguments.documents, FEWEST_DOCUMENTS)
    check_range("evaluation_batch_words", arguments.evaluation_batch_words, 1)
    run = chosen_run(arguments)
    if not run.exists():
        raise no_such_run(run, trainer_command(arguments))
    check_writable(run.plots)
    check_writable(run.tensorboard)
    checkpoint = chosen_checkpoint(run, arguments.checkpoint)
    mapped = mapped_documents(run, checkpoint, arguments)
    print_neighbours(mapped)
    folder = run.tensorboard / f"documents-{arguments.split}"
    draw(run, folder, mapped, arguments.split, checkpoint.progress.step)
    write_for_projector(folder, mapped)
    print(f"\nWritten: {picture_file(run, arguments.split)}")
    print(f"Look:    tensorboard --logdir {shlex.quote(str(run.path.parent))} --host 127.0.0.1   (tab Projector)")


def chosen_checkpoint(run: RunFolder, named: Path | None) -> Checkpoint:
    """The checkpoint of ``--checkpoint``, or the best so far.

    Raises:
        UserError: There is none, or it is damaged or another run's.
    """
    if named is None:
        return best_checkpoint(run)
    if not named.is_file():
        raise UserError(f"--checkpoint {named}: no such file; leave the flag out for the best weights")
    return run_checkpoint(run, named)


# ---------------------------------------------------------------------------------------------------------------------
# Documents and their vectors


def mapped_documents(run: RunFolder, checkpoint: Checkpoint, arguments: argparse.Namespace) -> MappedDocuments:
    """Draws documents and reads what the map shows of them.

    Raises:
        UserError: The records are missing, damaged or not those of the run, or the split is too small.
    """
    from text.copies import data_set
    from text.records import verify_records

    config = run.config()
    data = data_set(config.dataset, arguments.data_dir)
    manifest = verify_records(data.records)
    run.refuse_other_records(config, data.records, manifest)
    device = start_for_runs([run], arguments.device, arguments.tf32)
    from runtime.input_pipeline import Split

    with (
        contextlib.closing(Split(data.records, arguments.split)) as split,
        explain_memory("lower --evaluation_batch_words and run the same command again"),
    ):
        numbers = drawn(len(split), arguments.documents, config.training.seed)
        vectors, probabilities, thresholds = both_states(
            run, data.records, checkpoint, split, numbers, arguments.evaluation_batch_words, device
        )
        ids, labels = split.ids(numbers), split.labels[numbers]
    documents, names = (ids, texts(data, manifest, ids)), config.class_names
    said = list(said_of(labels, probabilities, thresholds, names))
    if thresholds is None:
        return MappedDocuments(*documents, labels.astype(np.int64), names, vectors, said)
    shown = label_shown(labels, probabilities)
    names = (*names, NO_LABELS) if (shown == len(names)).any() else names
    return MappedDocuments(*documents, shown, names, vectors, said, several=int((labels.sum(axis=1) > 1).sum()))


def said_of(
    labels: NDArray[Any], probabilities: Floats, thresholds: Floats | None, names: Sequence[str]
) -> Iterator[Said]:
    """Yields what the projector says of each document.

    Args:
        labels: int32 [B]; where a text may have several, float32 [B, C], 1 for those it has.
        probabilities: float32 [B, C].
        thresholds: float32 [C] where a text may have several labels, else ``None``.
        names: [C].
    """
    for label, values in zip(labels, probabilities, strict=True):
        truth = names[label] if thresholds is None else in_words(chosen_names(label > 0, names))
        yield Said(truth, predicted_name(values, names, thresholds), float(values.max()))


def label_shown(labels: Floats, probabilities: Floats) -> Ints:
    """int64 [B], of the labels that a document has the one that is most probable; C where it has none."""
    return np.where(labels.any(axis=1), np.where(labels > 0, probabilities, -1).argmax(axis=1), labels.shape[1])


def drawn(size: int, documents: int, seed: int) -> Ints:
    """int64, positions of documents drawn at random, in ascending order; all of them where there are no more."""
    if size < FEWEST_DOCUMENTS:
        raise UserError(f"the split has {size} documents; a map needs {FEWEST_DOCUMENTS} at least")
    return np.sort(np.random.default_rng(seed).permutation(size)[:documents])


def both_states(
    run: RunFolder,
    records: Path,
    checkpoint: Checkpoint,
    split: Split,
    numbers: Ints,
    max_words: int,
    device: str,
) -> tuple[dict[str, Floats], Floats, Floats | None]:
    """Document vectors with the weights that training began with and with those of a checkpoint.

    Returns:
        For each state float32 [B, D]; float32 [B, C], the probabilities after training; float32 [C], the thresholds
        where a text may have several labels, else ``None``.
    """
    from network.contract import thresholds_of
    from runtime.checkpoints import restore
    from runtime.networks import network_of
    from runtime.scoring import document_vectors

    embeddings = np.load(records / EMBEDDINGS_FILE, allow_pickle=False)
    model = network_of(run, run.config(), embeddings, padded=device == "gpu")
    before, _ = document_vectors(model, split, numbers, max_words)
    restore(checkpoint, model)
    after, probabilities = document_vectors(model, split, numbers, max_words)
    thresholds = thresholds_of(model)
    return (
        dict(zip(STATES, (before, after), strict=True)),
        probabilities,
        None if thresholds is None else thresholds.numpy(),
    )


def texts(data: DataPaths, manifest: dict[str, Any], ids: list[str]) -> list[str]:
    """The first words of each document; empty where the CSV file is not the one that the records were made from."""
    from report.attention_check import texts_by_id
    from text.records import made_from

    if not made_from(manifest, data.csv):
        log.warning("%s is not the file that the records were made from: the projector shows no texts", data.csv)
        return [""] * len(ids)
    by_id = texts_by_id(data, set(ids))
    return [by_id[name][:SHOWN_CHARACTERS] for name in ids]


def neighbour_agreement(vectors: Floats, labels: Ints) -> float:
    """Share of the ten nearest neighbours (Euclidean) of a document that are of its class, the mean over documents."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(vectors).kneighbors(return_distance=False)  # not itself
    return float((labels[nearest] == labels[:, np.newaxis]).mean())


def print_neighbours(mapped: MappedDocuments) -> None:
    """Prints how well neighbourhoods agree with the classes."""
    shares = np.bincount(mapped.labels) / len(mapped.labels)
    if mapped.several:
        print(
            f"\n{mapped.several:,} documents have several labels: each counts for the one that is most probable for it."
        )
    print(f"\nShare of a document's {NEIGHBOURS} nearest neighbours of its class ({len(mapped.ids):,} documents):\n")
    for state, values in mapped.vectors.items():
        print(f"{state:<16} {neighbour_agreement(values, mapped.labels):7.1%}")
    print(f"{'by chance':<16} {(shares**2).sum():7.1%}")


# ---------------------------------------------------------------------------------------------------------------------
# Maps


def principal_components(vectors: Floats) -> Floats:
    """float [B, 2], the two directions of largest variance."""
    from sklearn.decomposition import PCA

    return np.asarray(PCA(n_components=2, random_state=0).fit_transform(vectors))


def tsne(vectors: Floats) -> Floats:
    """float [B, 2], t-SNE that starts from the principal components; the same for the same vectors."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors))


def draw(run: RunFolder, folder: Path, mapped: MappedDocuments, split_name: str, step: int) -> None:
    """Draws the maps into the run folder and for TensorBoard."""
    from report.plots import map_figure, png
    from report.summaries import SummaryWriter

    maps = {}
    for state, values in mapped.vectors.items():
        log.info("mapping %s documents %s", f"{len(values):,}", state)
        maps[state] = {"PCA": principal_components(values), "t-SNE": tsne(values)}
    title = f"Vectors of documents before and after training: {run.path.name}, {len(mapped.ids):,} of {split_name}"
    picture = png(map_figure(maps, mapped.labels, mapped.class_names, title))
    with atomic_write(picture_file(run, split_name), "wb") as file:
        file.write(picture)
    with SummaryWriter(folder) as writer:
        writer.image(step, "document_map", picture)


def picture_file(run: RunFolder, split_name: str) -> Path:
    """Where the picture goes."""
    return run.plots / f"document_map-{split_name}.png"


def write_for_projector(folder: Path, mapped: MappedDocuments) -> None:
    """Writes vectors and what is known of each document for TensorBoard's projector."""
    from report.projector import write_projector

    rows = [
        (
            said.truth,
            said.predicted,
            "right" if said.truth == said.predicted else "wrong",
            f"{said.probability:.3f}",
            *known,
        )
        for said, *known in zip(mapped.said, mapped.ids, mapped.texts, strict=True)
    ]
    write_projector(folder, mapped.vectors, ("class", "predicted", "right", "probability", "id", "text"), rows)


if __name__ == "__main__":
    run_script(main, build_parser())
