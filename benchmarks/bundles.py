"""A bundle against the network that it was made from: largest differences on test documents, and times.

python benchmarks/bundles.py imdb-han bundles/imdb-han

Texts are cut by the text processing of each side. Times are processor time, which other programs on the machine disturb
least; the bundle runs on one thread, one document at a time.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import print_table, record

from corpus.corpora import read_csv
from runtime.devices import start_tensorflow
from runtime.run_folder import find_run
from shipping.classify import Classifier, Document, Outputs
from utils import DataPaths, Parser, UserError, add_folder_flags, run_script

if TYPE_CHECKING:
    from runtime.predictor import Predictor, Verdict

TEXT = "A dull film. I would not watch it again."


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="bundles.py", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run folder, or its name in --runs_dir")
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="what export.py made of it, not quantised")
    parser.add_argument("--documents", type=int, default=1000, help="test documents, drawn at random (default: 1000)")
    parser.add_argument("--starts", type=int, default=9, help="starts of classify.py (default: 9)")
    add_folder_flags(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Compares, measures, prints and records."""
    run = find_run(arguments.run, arguments.runs_dir)
    texts = test_texts(DataPaths(run.config().dataset, arguments.data_dir).csv, arguments.documents)
    start_tensorflow("cpu")
    from runtime.predictor import Predictor

    predictor, classifier = Predictor.load(run), Classifier(arguments.bundle)
    documents = [classifier.reader.read(text) for text in texts]
    readings = [predictor.read(text).document for text in texts]
    outputs = [classifier.run(document) for document in documents]
    compared = differences(outputs, predictor.score(readings)) | {
        "documents with other words": sum(
            not all(map(np.array_equal, document[:2], reading))
            for document, reading in zip(documents, readings, strict=True)
        )
    }
    measured = times(classifier, predictor, texts, documents, readings)
    measured["first verdict"] = statistics.median(first_verdict(arguments.bundle) for _ in range(arguments.starts))
    size = sum(file.stat().st_size for file in arguments.bundle.iterdir())
    words = float(np.mean([document.words for document in documents]))
    shown = {"run": run.path.name, "documents": len(texts), "words": words, "bytes": size, **compared, **measured}
    record("bundles", shown)
    rows = [[name, value if isinstance(value, str) else f"{value:,.3g}"] for name, value in shown.items()]
    print_table("Bundle; times in processor milliseconds, a document", ["", "value"], rows)


def test_texts(source: Path, count: int) -> list[str]:
    """Texts of the test split, drawn at random."""
    texts = [row.text for row in read_csv(source) if row.split == "test"]
    if len(texts) < count:
        raise UserError(f"{source} has {len(texts):,} test documents; give --documents {len(texts)}")
    return random.Random(1).sample(texts, count)


def differences(outputs: Sequence[Outputs], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The largest difference of each output."""
    pairs = list(zip(outputs, verdicts, strict=True))
    found = {"logits": max(np.abs(ours.logits - theirs.logits).max() for ours, theirs in pairs)}
    found["vectors"] = max(np.abs(ours.vector - theirs.vector).max() for ours, theirs in pairs)
    for level in ("word_weights", "sentence_weights"):
        if getattr(outputs[0], level) is not None:
            found[level] = max(np.abs(getattr(one, level) - getattr(other, level)).max() for one, other in pairs)
    sums = (one.sentence_shares.sum(axis=0) + one.rest - one.logits for one in outputs)
    found["shares"] = max(np.abs(error).max() for error in sums)
    return {name: float(value) for name, value in found.items()}


def times(
    classifier: Classifier,
    predictor: Predictor,
    texts: Sequence[str],
    documents: Sequence[Document],
    readings: Sequence[Any],
) -> dict[str, float]:
    """Processor milliseconds of a document in each part of the bundle and in TensorFlow."""
    for reading in readings[:50]:
        predictor.score([reading])  # compiled for the first ones
    measured = {
        "text": milliseconds(classifier.reader.read, texts),
        "all after the text": milliseconds(classifier.run, documents),
        "tensorflow one by one": milliseconds(lambda reading: predictor.score([reading]), readings),
    }
    if classifier.ngrams:
        ngrams = classifier.ngrams
        measured["of it n-grams"] = milliseconds(lambda one: ngrams.contributions(one.token_ids), documents)
    started = time.process_time()
    predictor.score(readings)
    return measured | {"tensorflow in batches": 1000 * (time.process_time() - started) / len(readings)}


def milliseconds(function: Callable[[Any], object], values: Sequence[Any]) -> float:
    """Mean processor time of a call."""
    started = time.process_time()
    for value in values:
        function(value)
    return 1000 * (time.process_time() - started) / len(values)


def first_verdict(bundle: Path) -> float:
    """Processor milliseconds from the start of a process to its first verdict, and to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-I", str(bundle / "classify.py"), TEXT], check=True, stdout=subprocess.DEVNULL, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


if __name__ == "__main__":
    run_script(main, build_parser())
