"""Tables to CSV file to records on a cluster: processor time of each part, and the sum for more documents and cores.

    python benchmarks/cluster_cost.py --records data/imdb/records --cores 2 16 128

The parts are measured on one core, without Ray: those that tasks do, on all cores of a cluster, and those that the main
process does alone. The rest is arithmetic: of each step the longer of the two, since they run at the same time. Not in
it: starting Ray (5 to 10 s), moving data between machines, and the last merge of word counts. ``create_csv.py`` reads
the CSV file of the data set as if it were a table of one's own.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import find_records, paths_of, print_table, record

from utils import Parser, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="cluster_cost.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 16, 128], help="cores of all machines together")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures the parts, prints them, and adds them up."""
    records = arguments.records or find_records()
    for stage, parts, add_up in (
        ("create_csv.py", measured_csv(paths_of(records).csv), seconds_of_csv),
        ("serialize_data.py", measured(records), seconds),
    ):
        record("cluster", {"stage": stage, "records": records.parent.name, "microseconds_per_document": parts})
        print_table(
            f"{stage}: processor time per document, microseconds",
            ["part", "where", "us"],
            [[name, "tasks" if name in TASKS else "main process", f"{value:,.2f}"] for name, value in parts.items()],
        )
        rows = [
            [f"{documents:,}", f"{cores}", f"{add_up(parts, documents, cores):,.0f}"]
            for documents in arguments.documents
            for cores in arguments.cores
        ]
        print_table(
            f"{stage}: seconds of all steps but word vectors, computed", ["documents", "cores", "seconds"], rows
        )


TASKS = (
    "read once",
    "words",
    "merge counts",
    "final ids and shards",
    "count rows",
    "hash texts",
    "rows of the CSV file",
)


def measured_csv(csv_file: Path) -> dict[str, float]:
    """Microseconds of processor time per document of ``create_csv.py``, by part."""
    from config import CsvSettings
    from corpus.corpora import sha256_of_source
    from corpus.csv_blocks import table_blocks
    from corpus.own_data import count_block, understand
    from corpus.readings import csv_block, survey_block
    from corpus.tables import open_table
    from text.block_engine import BLOCK_BYTES

    with tempfile.TemporaryDirectory() as name:
        folder, settings = Path(name), CsvSettings()
        path = folder / "reviews.csv"
        path.symlink_to(csv_file.resolve())
        opening = timed(lambda: open_table(path, ""))
        hashing = timed(lambda: sha256_of_source(path))
        corpus, _ = understand(path, settings, folder)
        assert corpus.table is not None
        table, given = corpus.table, (corpus, folder, settings)
        blocks: list[Any] = []
        cut = timed(lambda: blocks.extend(table_blocks(table, BLOCK_BYTES)))
        some = three_of(blocks)
        columns = corpus.read.columns  # type: ignore[attr-defined]
        count = timed(lambda: [list(count_block(block, table, columns)) for block in some])
        noted: list[Any] = []
        hashes = timed(lambda: noted.extend(more for block in some for more in survey_block(block, *given)))
        documents = sum(len(more.splits) for more in noted)
        codes = bytearray()
        chosen = timed(lambda: codes.extend(chosen_splits(noted, corpus.class_names(True), settings, folder)))
        sizes = [sum(len(more.splits) for more in survey_block(block, *given)) for block in some]
        pieces: list[bytes] = []

        def rows() -> None:
            at = 0
            for block, size in zip(some, sizes, strict=True):
                pieces.extend(piece for piece, _ in csv_block(block, codes[at : at + size], *given))
                at += size

        written = timed(rows)
        keep = timed(lambda: stored(b"".join(pieces)))
    whole = documents * csv_file.stat().st_size / sum(block.size for block in some)
    return {
        "find the encoding": 1e6 * opening / whole,
        "find the blocks": 1e6 * cut / whole,
        "count rows": 1e6 * count / documents,
        "hash the table": 1e6 * hashing / whole,
        "hash texts": 1e6 * hashes / documents,
        "choose the splits": 1e6 * chosen / documents,
        "rows of the CSV file": 1e6 * written / documents,
        "write and hash the CSV file": 1e6 * keep / documents,
    }


def chosen_splits(noted: list[Any], class_names: list[str], settings: Any, folder: Path) -> Iterator[int]:
    """The code of each document's split and label, from what was noted of the blocks."""
    from corpus.parts import HASH_SHIFT, Parts
    from corpus.splits import NAME, TEST, VALID, add_noted, examine, move_share, new_survey, repeated_document

    survey, names = new_survey(class_names, 2, folder), Parts(folder, NAME, HASH_SHIFT)
    for more in noted:
        add_noted(survey, names, more)
    repeated_document(names)
    for split, share in ((TEST, settings.test_share), (VALID, settings.valid_share)):
        move_share(survey, split, share)
    yield from examine(survey, folder).each()


def seconds_of_csv(parts: dict[str, float], documents: int, cores: int) -> float:
    """Of all steps of ``create_csv.py``, as :func:`seconds`."""
    alone = parts["find the encoding"] + parts["hash the table"] + parts["choose the splits"]
    count = max(parts["find the blocks"], parts["count rows"] / cores)
    rows = max(parts["write and hash the CSV file"], parts["rows of the CSV file"] / cores)
    return documents * (alone + count + parts["hash texts"] / cores + rows) / 1e6


def measured(records: Path) -> dict[str, float]:
    """Microseconds of processor time per document, by part."""
    from config import TextSettings
    from corpus.corpora import SPLITS, read_labels
    from corpus.csv_blocks import csv_blocks
    from data_processing import load_text_processing
    from text.block_engine import BLOCK_BYTES, ChunkCutter, read_first_of_block, words_of_block, write_shard_of_blocks
    from text.spool import Shard, final_ids, frequent_words, merged_counts

    paths = paths_of(records)
    processor, vocabulary = load_text_processing(records)
    class_ids = {label: number for number, label in enumerate(read_labels(paths))}
    blocks: list[Any] = []
    digest = hashlib.sha256()
    cut = timed(lambda: blocks.extend(csv_blocks(paths.csv, BLOCK_BYTES, digest.update)))
    some = three_of(blocks)
    settings = TextSettings()
    read = timed(lambda: [read_first_of_block(paths.csv, block, settings, -(1 << 62)) for block in some])
    found: list[Any] = []
    words = timed(lambda: found.extend(words_of_block(paths.csv, block, processor, class_ids) for block in some))
    documents = sum(len(one[0]) for one in found)
    whole = documents * sum(block.size for block in blocks) / sum(block.size for block in some)
    cutter = ChunkCutter()
    chunks = timed(lambda: [cutter.add(one[0]) for one in found])
    counts = timed(lambda: frequent_words(merged_counts(one[2].split("\n")[:-1] for one in found), 6))
    contents: list[bytes] = []

    def write() -> None:
        for one in found:
            for number, split in enumerate(SPLITS):
                if len(one[3 + number].ids):
                    pieces = [(0, len(one[3 + number].ids))], one[3 + number], final_ids(one[1], vocabulary)
                    contents.append(write_shard_of_blocks(Shard(split, 0, 1, []), None, *pieces)[0])

    shards = timed(write)
    keep = timed(lambda: sum(map(stored, contents)))
    return {
        "hash the file, find the blocks": 1e6 * cut / whole,
        "read once": 1e6 * read / documents,
        "words": 1e6 * words / documents,
        "chunks": 1e6 * chunks / documents,
        "merge counts": 1e6 * counts / documents,
        "final ids and shards": 1e6 * shards / documents,
        "write and hash shards": 1e6 * keep / documents,
    }


def three_of(blocks: list[Any]) -> list[Any]:
    """Blocks from the beginning, the middle and the end, as a sample of all."""
    return blocks[:: max(1, len(blocks) // 3)][:3]


def timed(work: Callable[[], Any]) -> float:
    """Seconds of processor time."""
    started = time.process_time()
    work()
    return time.process_time() - started


def stored(content: bytes) -> int:
    """What the main process does with a shard: writes it, and reads it again to hash it; returns its size in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard"
        path.write_bytes(content)
        hashlib.sha256(path.read_bytes()).hexdigest()
        return path.stat().st_size


def seconds(parts: dict[str, float], documents: int, cores: int) -> float:
    """Of all steps: tasks are divided among the cores, and the main process works beside them."""
    first = max(parts["hash the file, find the blocks"], parts["read once"] / cores)
    words = max(parts["chunks"], parts["words"] / cores)
    shards = max(parts["write and hash shards"], parts["final ids and shards"] / cores)
    return documents * (first + words + parts["merge counts"] / cores + shards) / 1e6


if __name__ == "__main__":
    run_script(main, build_parser())
