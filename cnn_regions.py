"""Lists the regions of text that a trained CNN decides by: for each filter width, those that speak most for each class.

    python cnn_regions.py --dataset imdb --run imdb-cnn

Each filter's share of a score belongs to the window of words that it answered most strongly; shares add up to the
logits exactly (``regions.py``). Listed is what windows that read the same added to a class's logit, less the mean over
the classes, summed over all documents. A centred dot stands beyond the ends of a document.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config import check_range, numbers_in
from report.regions import Region, in_words, strongest_regions, widths_of
from runtime.devices import start_tensorflow
from utils import DataPaths, Parser, UserError, add_folder_flags, dataset_name, run_path, run_script

if TYPE_CHECKING:
    from runtime.input_pipeline import Split
    from runtime.run_folder import RunFolder

BATCH_DOCUMENTS = 256


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="cnn_regions.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", type=dataset_name, help="name of the data set (default: imdb)")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-cnn)")
    parser.add_argument("--split", default="valid", choices=("train", "valid", "test"), help="default: valid")
    parser.add_argument("--documents", type=int, default=2000, help="how many to draw at random (default: 2000)")
    parser.add_argument("--regions", type=int, default=10, help="how many to list per width and class (default: 10)")
    add_folder_flags(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Reads documents and the best weights, and lists."""
    for name in ("documents", "regions"):
        check_range(name, getattr(arguments, name), 1)
    from runtime.run_folder import RunFolder
    from text.records import verify_records

    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, "cnn"))
    config = run.config()
    weights = weights_of_cnn(run, f"python han_trainer.py --dataset {arguments.dataset} --model cnn")
    records = DataPaths(config.dataset, arguments.data_dir).records
    run.refuse_other_records(config, records, verify_records(records))
    start_tensorflow("cpu")
    from runtime.input_pipeline import Split

    with contextlib.closing(Split(records, arguments.split)) as split:
        order = np.random.default_rng(config.training.seed).permutation(len(split))
        documents = list(words_of_documents(split, np.sort(order[: arguments.documents])))
    vocabulary = (run.path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    sizes = numbers_in(config.model.filter_widths)
    for size, width in zip(sizes, widths_of(weights, sizes), strict=True):
        regions = strongest_regions(documents, weights["embeddings"], width)
        filters = width.kernel.shape[2]
        print(f"\n{size} words, {filters} filters: {len(regions):,} regions in {len(documents):,} documents")
        for number, name in enumerate(config.class_names):
            print("\n".join(table(regions, number, name, vocabulary, arguments.regions)))


def weights_of_cnn(run: RunFolder, train: str) -> dict[str, Any]:
    """The best weights of a run that must be a CNN's; ``train`` is what to type to get one."""
    from runtime.checkpoints import read_checkpoint

    architecture = run.config().architecture
    if architecture != "cnn":
        raise UserError(f"{run.path} holds a {architecture}; regions are what a cnn has; train one: {train}")
    if not run.best.is_file():
        raise UserError(f"{run.best} is not there; train first: {train}")
    return read_checkpoint(run.best).weights


def words_of_documents(split: Split, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The word ids of some documents."""
    from runtime.documents import parted

    for begin in range(0, len(numbers), BATCH_DOCUMENTS):
        batch = split.read(numbers[begin : begin + BATCH_DOCUMENTS]).documents
        yield from (document.token_ids for document in parted(batch))


def table(regions: list[Region], number: int, name: str, vocabulary: list[str], most: int) -> Iterator[str]:
    """The lines for one class, the strongest region first."""
    yield f"\n  {name:<10} logit  documents"
    for region in sorted(regions, key=lambda region: -region.share[number])[:most]:
        yield f"  {region.share[number]:+15.2f}  {region.documents:9,}  {in_words(region, vocabulary)}"


if __name__ == "__main__":
    run_script(main, build_parser())
