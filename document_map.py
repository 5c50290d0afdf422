"""Draws where a network puts documents before and after training: each document a point, coloured by its true class.

    python document_map.py                                  2,000 test documents of runs/imdb-han
    python document_map.py --split valid --documents 500

The vectors are those that the last layer classifies. PCA shows their two directions of largest variance, t-SNE
(van der Maaten and Hinton, JMLR 2008) who is near to whom; distances between its groups mean nothing. How many of a
document's nearest neighbours are of its class is told in numbers.

Writes ``plots/document_map-<split>.png`` to the run folder and the vectors for TensorBoard's projector.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config import add_model_flag, check_range
from runtime.devices import add_device_flag, explain_memory, start_tensorflow
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    check_writable,
    dataset_name,
    log,
    run_path,
    run_script,
    trainer_command,
)

if TYPE_CHECKING:
    from runtime.checkpoints import Checkpoint
    from runtime.input_pipeline import Split
    from runtime.run_folder import RunConfig, RunFolder

Floats = NDArray[np.float32]

STATES = ("before training", "after training")
NEIGHBOURS = 10
PERPLEXITY = 30.0  # about how many neighbours t-SNE keeps near; scikit-learn's default
FEWEST_DOCUMENTS = 20
SHOWN_CHARACTERS = 100


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="document_map.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", type=dataset_name, help="name of the data set (default: imdb)")
    add_model_flag(parser, "which network's run to map")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument("--split", default="test", choices=("train", "valid", "test"), help="default: test")
    parser.add_argument(
        "--documents",
        type=int,
        default=2000,
        help="how many to draw at random; t-SNE's time grows with them (default: 2000)",
    )
    parser.add_argument("--checkpoint", type=Path, help="weights after training (default: the best on validation)")
    add_folder_flags(parser)
    parser.add_argument(
        "--evaluation_batch_words",
        type=int,
        default=40_000,
        help="most words in a batch: the ceiling of its memory (default: 40000)",
    )
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Computes the vectors of both states, maps, draws and tells."""
    check_range("documents", arguments.documents, FEWEST_DOCUMENTS)
    check_range("evaluation_batch_words", arguments.evaluation_batch_words, 1)
    from runtime.run_folder import RunFolder, no_such_run

    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    if not run.exists():
        raise no_such_run(run, trainer_command(arguments))
    check_writable(run.plots)
    check_writable(run.tensorboard)
    config = run.config()
    data = DataPaths(config.dataset, arguments.data_dir)
    from text.records import verify_records

    manifest = verify_records(data.records)
    run.refuse_other_records(config, data.records, manifest)
    checkpoint = chosen_checkpoint(run, arguments)
    device = start_tensorflow(arguments.device)
    from runtime.input_pipeline import Split

    split = Split(data.records, arguments.split)
    numbers = drawn(len(split), arguments.documents, config.training.seed)
    with explain_memory("lower --evaluation_batch_words and run the same command again"):
        vectors, probabilities = both_states(
            config, data.records, checkpoint, split, numbers, arguments.evaluation_batch_words, device
        )
    labels = split.index["label"][numbers].astype(np.int64)
    names = config.class_names
    tell_neighbours(vectors, labels)
    folder = run.tensorboard / f"documents-{arguments.split}"
    draw(run, folder, vectors, labels, names, arguments.split, checkpoint.progress.step)
    write_for_projector(
        folder, vectors, probabilities, labels, names, split.ids(numbers), texts(data, manifest, split, numbers)
    )
    split.close()
    print(f"\nWritten: {picture_file(run, arguments.split)}")
    print(f"Look:    tensorboard --logdir {shlex.quote(str(run.path.parent))} --host 127.0.0.1   (tab Projector)")


def chosen_checkpoint(run: RunFolder, arguments: argparse.Namespace) -> Checkpoint:
    """The checkpoint a person named, or the best so far."""
    from runtime.checkpoints import read_checkpoint

    path = arguments.checkpoint or run.best
    if not path.is_file():
        raise UserError(f"{path} is not there; train first: {trainer_command(arguments)}")
    checkpoint = read_checkpoint(path)
    if checkpoint.run != run.identity():
        raise UserError(f"{path} belongs to another run than {run.path}; name that one with --run")
    return checkpoint


def drawn(size: int, documents: int, seed: int) -> NDArray[np.int64]:
    """int64, positions of documents drawn at random, in ascending order; all of them where there are no more."""
    if size < FEWEST_DOCUMENTS:
        raise UserError(f"the split has {size} documents; a map needs {FEWEST_DOCUMENTS} at least")
    return np.sort(np.random.default_rng(seed).permutation(size)[:documents])


# ---------------------------------------------------------------------------------------------------------------------
# Vectors


def both_states(
    config: RunConfig,
    records: Path,
    checkpoint: Checkpoint,
    split: Split,
    numbers: NDArray[np.int64],
    max_words: int,
    device: str,
) -> tuple[dict[str, Floats], Floats]:
    """Document vectors with the weights that training began with and with those of a checkpoint.

    Returns:
        For each state float32 [N, D]; float32 [N, C], the probabilities after training.
    """
    from runtime.checkpoints import restore
    from runtime.networks import build_model
    from runtime.scoring import document_vectors

    embeddings = np.load(records / "embeddings.npy", allow_pickle=False)
    model = build_model(config, embeddings, padded=device == "gpu")
    before, _ = document_vectors(model, split, numbers, max_words)
    restore(checkpoint, model)
    after, probabilities = document_vectors(model, split, numbers, max_words)
    return dict(zip(STATES, (before, after), strict=True)), probabilities


def texts(data: DataPaths, manifest: dict[str, Any], split: Split, numbers: NDArray[np.int64]) -> list[str]:
    """The first words of each document; empty where the CSV file is not the one that the records were made from."""
    from report.attention_check import texts_by_id
    from text.records import made_from

    ids = split.ids(numbers)
    if not made_from(manifest, data.csv):
        log.warning("%s is not what the records were made from: the projector shows no texts", data.csv)
        return [""] * len(ids)
    by_id = texts_by_id(data, set(ids))
    return [by_id[name][:SHOWN_CHARACTERS] for name in ids]


def neighbour_agreement(vectors: Floats, labels: NDArray[np.int64]) -> float:
    """Share of the ten nearest neighbours (Euclidean) of a document that are of its class, the mean over documents."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(vectors).kneighbors(return_distance=False)  # not itself
    return float((labels[nearest] == labels[:, np.newaxis]).mean())


def tell_neighbours(vectors: dict[str, Floats], labels: NDArray[np.int64]) -> None:
    """Prints how well neighbourhoods agree with the classes."""
    shares = np.bincount(labels) / len(labels)
    print(f"\nOf a document's {NEIGHBOURS} nearest neighbours, so many are of its class ({len(labels):,} documents):\n")
    for state, values in vectors.items():
        print(f"{state:<16} {neighbour_agreement(values, labels):7.1%}")
    print(f"{'by chance':<16} {(shares**2).sum():7.1%}")


# ---------------------------------------------------------------------------------------------------------------------
# Maps


def principal_components(vectors: Floats) -> Floats:
    """float [N, 2], the two directions of largest variance."""
    from sklearn.decomposition import PCA

    return np.asarray(PCA(n_components=2, random_state=0).fit_transform(vectors))


def tsne(vectors: Floats) -> Floats:
    """float [N, 2], t-SNE that starts from the principal components; the same for the same vectors."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors))


def draw(
    run: RunFolder,
    folder: Path,
    vectors: dict[str, Floats],
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    split_name: str,
    step: int,
) -> None:
    """Draws the maps into the run folder and for TensorBoard."""
    from report.plots import map_figure, png
    from report.summaries import SummaryWriter

    maps = {}
    for state, values in vectors.items():
        log.info("mapping %s documents %s", f"{len(values):,}", state)
        maps[state] = {"PCA": principal_components(values), "t-SNE": tsne(values)}
    picture = png(map_figure(maps, labels, names, f"{run.path.name}: {len(labels):,} documents of {split_name}"))
    with atomic_write(picture_file(run, split_name), "wb") as file:
        file.write(picture)
    with SummaryWriter(folder) as writer:
        writer.image(step, "document_map", picture)


def picture_file(run: RunFolder, split_name: str) -> Path:
    """Where the picture goes."""
    return run.plots / f"document_map-{split_name}.png"


def write_for_projector(
    folder: Path,
    vectors: dict[str, Floats],
    probabilities: Floats,
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    ids: list[str],
    beginnings: list[str],
) -> None:
    """Writes vectors and what is known of each document for TensorBoard's projector."""
    from report.projector import write_projector

    predicted = probabilities.argmax(axis=1)
    rows = [
        (
            names[label],
            names[guess],
            "right" if label == guess else "wrong",
            f"{row[guess]:.3f}",
            name,
            text,
        )
        for label, guess, row, name, text in zip(labels, predicted, probabilities, ids, beginnings, strict=True)
    ]
    write_projector(folder, vectors, ("class", "predicted", "right", "probability", "id", "text"), rows)


if __name__ == "__main__":
    run_script(main, build_parser())
