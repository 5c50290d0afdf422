"""Lists the regions of text that a trained CNN decides by: for each filter width, those that add most to each class.

    python cnn_regions.py imdb-cnn                                    over 2,000 validation documents
    python cnn_regions.py imdb-cnn --text "Not a dull film at all."   in one text

RUN is a run folder or its name in `runs/`; without it, --dataset and --run name the run.

Each filter's share of a score belongs to the window of words that it answered most strongly; shares add up to the
logits exactly (``report/regions.py``). Listed is what windows of the same words add to a class's logit, less the mean
over the classes, summed over all documents. A centred dot is a place beyond the ends of a document.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import installed  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from config import check_range, numbers_in
from report.regions import Region, Width, in_words, probabilities_of, strongest_regions, widths_of
from runtime.checkpoints import best_checkpoint
from runtime.devices import start_tensorflow
from runtime.run_folder import RunConfig, RunFolder, add_run_flags, chosen_run, no_such_run, refuse_several_labels
from text.text_reader import TextReader
from utils import Parser, UserError, folder_flags, log, run_script

if TYPE_CHECKING:
    from runtime.input_pipeline import Split

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BATCH_DOCUMENTS = 256


class Source(NamedTuple):
    """Documents to look for regions in.

    Attributes:
        documents: The words of each, numbers int64 [N].
        vectors: float32 [U, E], the vector of each number.
        words: [U], the word of each number.
        name: What the documents are, for the heading.
    """

    documents: list[Ints]
    vectors: Floats
    words: Sequence[str]
    name: str


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="cnn_regions.py", description=__doc__)
    add_run_flags(parser, model=False)
    parser.add_argument("--text", help="list the regions of this text, not of the data set's documents")
    parser.add_argument("--split", default="valid", choices=("train", "valid", "test"), help="default: valid")
    parser.add_argument("--documents", type=int, default=2000, help="how many to draw at random (default: 2000)")
    parser.add_argument("--regions", type=int, default=10, help="how many to list per width and class (default: 10)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Reads the best weights and the documents, and lists their regions."""
    for name in ("documents", "regions"):
        check_range(name, getattr(arguments, name), 1)
    run = chosen_run(arguments, model="cnn")
    refuse_several_labels(run, "cnn_regions.py")
    config = config_of_cnn(run, arguments)
    weights = best_checkpoint(run).weights
    widths = widths_of(weights, numbers_in(config.model.filter_widths))
    if arguments.text is None:
        source = documents_of_split(run, config, weights["embeddings"], arguments)
    else:
        source = text_as_written(run, weights["embeddings"], arguments.text)
        remark = "" if config.model.ngrams == "off" else ", by the convolutions alone: the run also has n-grams"
        print(prediction(source, widths, weights["classifier/bias"], config.class_names) + remark)
    for width in widths:
        print_regions(source, width, config.class_names, arguments.regions)


def config_of_cnn(run: RunFolder, arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a run.

    Raises:
        UserError: The run does not exist or is not a CNN's; says how to train one.
    """
    flags = folder_flags(arguments.data_dir, arguments.runs_dir)
    train = shlex.join(["python", "han_trainer.py", "--dataset", arguments.dataset, "--model", "cnn", *flags])
    if not run.exists():
        raise no_such_run(run, train)
    config = run.config()
    if config.architecture != "cnn":
        raise UserError(
            f"{run.path} is a run of the network {config.architecture!r}; only a cnn has regions; train one: {train}"
        )
    run.check_files()
    return config


# ---------------------------------------------------------------------------------------------------------------------
# Documents


def documents_of_split(run: RunFolder, config: RunConfig, embeddings: Floats, arguments: argparse.Namespace) -> Source:
    """Documents drawn at random from a split of the run's records.

    Raises:
        UserError: The records are missing, damaged or not those of the run.
    """
    from text.copies import data_set
    from text.records import verify_records

    records = data_set(config.dataset, arguments.data_dir).records
    run.refuse_other_records(config, records, verify_records(records))
    start_tensorflow("cpu")
    from runtime.input_pipeline import Split

    with contextlib.closing(Split(records, arguments.split)) as split:
        order = np.random.default_rng(config.training.seed).permutation(len(split))
        documents = list(words_of_documents(split, np.sort(order[: arguments.documents])))
    vocabulary = TextReader.load(run.path).vocabulary.words
    return Source(documents, embeddings, vocabulary, f"{len(documents):,} documents")


def text_as_written(run: RunFolder, embeddings: Floats, text: str) -> Source:
    """A person's text as one document; its words are numbered from 0 and shown as they were written.

    Raises:
        UserError: The text has no word.
    """
    reading, sentences = TextReader.load(run.path).read_with_spans(text)
    if not reading.words:
        raise UserError("there is no word in the text; give one with --text")
    if reading.unknown_words == reading.words:
        log.warning("none of the words (%d) is in the vocabulary: the prediction means nothing", reading.words)
    words = [text[start:end] for spans in sentences for start, end in spans]
    return Source([np.arange(len(words))], embeddings[reading.document.token_ids], words, "the text")


def words_of_documents(split: Split, numbers: Ints) -> Iterator[Ints]:
    """Yields the word ids of some documents, int [N] each."""
    from runtime.documents import parted

    for begin in range(0, len(numbers), BATCH_DOCUMENTS):
        batch = split.read(numbers[begin : begin + BATCH_DOCUMENTS]).documents
        yield from (document.token_ids for document in parted(batch))


# ---------------------------------------------------------------------------------------------------------------------
# What is printed


def prediction(source: Source, widths: Sequence[Width], bias: Floats, class_names: Sequence[str]) -> str:
    """``positive (97.3%)``, of a source with one document."""
    probabilities = probabilities_of(source.documents[0], source.vectors, widths, bias)
    likeliest = int(probabilities.argmax())
    return f"{class_names[likeliest]} ({probabilities[likeliest]:.1%})"


def print_regions(source: Source, width: Width, class_names: Sequence[str], most: int) -> None:
    """Prints the strongest regions of a width, class by class."""
    regions = strongest_regions(source.documents, source.vectors, width)
    size, _, filters = width.kernel.shape
    print(f"\n{size} words, {filters} filters: {len(regions):,} regions in {source.name}")
    for number, name in enumerate(class_names):
        print("\n".join(table(regions, number, name, source.words, most)))


def table(regions: Sequence[Region], number: int, name: str, vocabulary: Sequence[str], most: int) -> Iterator[str]:
    """Yields the lines for one class, the strongest region first."""
    yield f"\n  {name:<10} logit  documents"
    for region in sorted(regions, key=lambda region: -region.share[number])[:most]:
        yield f"  {region.share[number]:+15.2f}  {region.documents:9,}  {in_words(region, vocabulary)}"


if __name__ == "__main__":
    run_script(main, build_parser())
