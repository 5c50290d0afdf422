"""Text to records on one core, by step, and in all by ``serialize_data.py`` on every core; word2vec.

python benchmarks/text_speed.py --records data/imdb/records
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, find_records, interleaved, paths_of, print_table, record

from utils import LABELS_FILE, Parser, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="text_speed.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--documents", type=int, default=2000, help="documents of the steps (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures the steps in turns, then the whole."""
    records = arguments.records or find_records()
    csv_file = paths_of(records).csv
    steps, documents = contenders(records, csv_file, arguments.documents)
    seconds = interleaved(steps, arguments.rounds)
    seconds["words"] -= seconds["sentences"]  # finding words begins with finding sentences
    total = sum(seconds.values())
    rows = [[name, f"{documents / value:,.0f}", f"{value / total:.0%}"] for name, value in seconds.items()]
    whole_documents, whole, _ = serialise(csv_file, "random")
    _, _, vectors = serialise(csv_file, "word2vec")
    rate = whole_documents / whole
    rows += [["all steps, one core", f"{documents / total:,.0f}", "100%"]]
    rows += [[f"serialize_data.py, {os.cpu_count()} cores, no word vectors", f"{rate:,.0f}", f"{whole:.1f} s"]]
    rows += [["its last step, word2vec", f"{whole_documents / vectors:,.0f}", f"{vectors:.1f} s"]]
    by_step = {name: documents / value for name, value in seconds.items()}
    measured = {"records": records.parent.name, "documents_per_second": by_step, "documents": whole_documents}
    of_whole = {"whole_seconds": whole, "whole_documents_per_second": rate, "word2vec_seconds": vectors}
    record("text", {**measured, **of_whole})
    print_table(f"Text to records, documents/s ({csv_file.name})", ["", "documents/s", "share"], rows)


def contenders(records: Path, csv_file: Path, count: int) -> tuple[dict[str, Any], int]:
    """The steps on the first ``count`` documents, and how many there are."""
    from corpus.corpora import read_csv
    from data_processing import load_text_processing
    from text.records import RecordBatch, RecordWriter, encode_examples
    from text.spool import WordNumbers

    processor, vocabulary = load_text_processing(records)
    rows = list(itertools.islice(read_csv(csv_file), count))
    encoded = [vocabulary.encode(processor.process(row.text).words) for row in rows]
    batch = RecordBatch(
        [row.id.encode() for row in rows],
        np.zeros(len(rows), np.int32),
        np.array([token for tokens, _ in encoded for token in tokens], np.int32),
        np.array([words for _, sentences in encoded for words in sentences], np.int32),
        np.array([len(sentences) for _, sentences in encoded], np.int32),
    )

    tokens = [processor.process(row.text).tokens for row in rows]

    def number() -> None:
        numbers = WordNumbers()
        for sentence in itertools.chain.from_iterable(tokens):
            list(map(numbers.__getitem__, sentence))

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder, RecordWriter(Path(folder), "train", 0, 1) as writer:
            writer.write(batch)

    return {
        "read": lambda: sum(1 for _ in itertools.islice(read_csv(csv_file), count)),
        "sentences": lambda: [processor.splitter.spans(row.text) for row in rows],
        "words": lambda: [processor.process(row.text).tokens for row in rows],
        "number": number,
        "encode": lambda: encode_examples(batch),
        "write": write,
    }, len(rows)


def serialise(csv_file: Path, embeddings: str) -> tuple[int, float, float]:
    """Documents, seconds of ``serialize_data.py`` on a copy of the data set, and of its step for the word vectors."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / csv_file.stem
        place.mkdir()
        for file in [csv_file, csv_file.with_name(LABELS_FILE)]:
            (place / file.name).symlink_to(file.resolve())
        command = [sys.executable, str(ROOT / "serialize_data.py"), csv_file.stem, "--data_dir", folder]
        started = time.perf_counter()
        command += ["--embeddings", embeddings]
        said = subprocess.run(command, check=True, stderr=subprocess.PIPE, encoding="utf-8").stderr
        seconds = time.perf_counter() - started
    [of_vectors] = re.findall(r"word vectors +([0-9.]+) s", said)
    from corpus.corpora import read_csv

    return sum(1 for _ in read_csv(csv_file)), seconds, float(of_vectors)


if __name__ == "__main__":
    run_script(main, build_parser())
