#!/usr/bin/env python3
"""Turns ``data/<dataset>/<dataset>.csv`` into records, a vocabulary and first word vectors: ``data/<dataset>/records``.

    python serialize_data.py imdb
    python serialize_data.py imdb --engine ray --ray_address auto

Each text is cut into words once, by all cores, in memory that does not grow with the number of documents:

1. *First reading.* Documents and classes of the CSV are counted, and a sample of the training texts, chosen by the
   hashes of their ids, trains the sentence splitter.
2. *Words.* The CSV is read again and its documents go to the workers in chunks, only a few of which wait at any time.
   A worker gives each word that is new to it the next provisional id and appends the ids to a file (:mod:`text.spool`).
3. *Vocabulary.* The occurrences in the training split are counted, the counts of all workers are merged on disk, and
   the vocabulary is fixed.
4. *Records.* The workers translate provisional ids into final ones and write the shards. A shard consists of whole
   chunks, and chunks do not depend on the workers: the same CSV gives the same bytes on any number of cores.
5. *Word vectors*, from the words of the training and the unlabelled texts, or from a published file.
6. The manifest; then the new folder takes the place of the old one, which is unchanged until then.

That is ``--engine local``. With ``--engine ray`` steps 1 to 4 are tasks of a cluster, on blocks of the CSV file, and
the main process writes what they give (:mod:`text.block_engine`): the same bytes. Steps 5 and 6 are the same.

No network but that of the cluster, no TensorFlow.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
import contextlib
import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

import schema
from config import (
    EMBEDDING_DIM,
    NEW_WORDS,
    TextSettings,
    add_flags,
    check_range,
    embeddings_source,
    settings_from_flags,
    to_json,
)
from corpus.corpora import (
    SPLITS,
    CsvRow,
    create_csv_command,
    has_several_labels,
    read_labels,
    require_csv,
)
from corpus.origins import refuse_unread_source
from corpus.several_labels import membership
from data_processing import (
    UNKNOWN_ID,
    TextProcessor,
    Vocabulary,
    blank_markup,
    tokeniser,
)
from runtime.run_folder import RunFolder
from text.block_engine import BlockEngine
from text.engine_choice import add_engine_flags, check_engine
from text.engines import Engine, LocalEngine
from text.first_reading import FirstReading
from text.process_pool import worker_pool
from text.records import (
    describe_files,
    write_index,
)
from text.spool import (
    SpooledChunk,
    get_ready,
    shards_of,
)
from text.word_vectors import enough_epochs, look_up, random_vectors, vector_size
from training.continuing import (
    GivenText,
    refuse_other_kind,
    refuse_unknown_labels,
    text_of_run,
    vectors_with_new_words,
    with_new_words,
)
from utils import (
    EMBEDDINGS_FILE,
    FORMAT_VERSION,
    LABEL_SETS_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    SPLITTER_FILE,
    VOCABULARY_FILE,
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    dataset_name,
    exclusive_lock,
    index_name,
    log,
    progress,
    run_script,
    sha256_of_file,
    shard_name,
    sync_folder,
    usable_cores,
    write_json,
)

CORPUS_SPLITS = ("train", "unlabelled")  # no document of the others; a text of theirs may be repeated here

WORDS_PER_PART = 1_000_000
SECONDS_BETWEEN_LINES = 15
SHOWN_SENTENCES = 4
MOST_WORKERS = 256
FEWER_WORKERS = "run the same command again with fewer --workers"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description="Turn the CSV file of a data set into records, a vocabulary and initial word vectors.")
    parser.add_argument("dataset", help="name of the data set, for example imdb or my_reviews")
    add_folder_flags(parser, runs=False, writes=True)
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes (default: 0, one per core); what is written is the same for any number",
    )
    add_engine_flags(parser)
    parser.add_argument(
        "--from_run",
        type=Path,
        metavar="RUN",
        help="take sentence splitter, vocabulary, classes and word vectors of this run, for a training that goes "
        "on with new data",
    )
    parser.add_argument(
        "--new_words",
        nargs="?",
        const=NEW_WORDS[0],
        default="",
        choices=NEW_WORDS,
        help="with --from_run: add the words that the run does not know and that occur --min_count times; they begin "
        "with the vector of unknown words (unk, the default), or with one that word2vec learns from the new texts",
    )
    parser.add_argument("--new_classes", action="store_true", help="with --from_run: allow classes it does not know")
    add_flags(parser, TextSettings)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Makes the records, whole or not at all."""
    settings = settings_from_flags(TextSettings, arguments)
    check_range("workers", arguments.workers, 0, MOST_WORKERS)
    check_engine(arguments.engine, arguments.ray_address)
    paths = DataPaths(dataset_name(arguments.dataset), arguments.data_dir)
    require_csv(arguments.dataset, paths)
    refuse_unread_source(arguments.dataset, paths)
    try:
        given = text_of_run(RunFolder(arguments.from_run)) if arguments.from_run else None
        if given is None and (arguments.new_words or arguments.new_classes):
            flag = "--new_words" if arguments.new_words else "--new_classes"
            raise UserError(f"{flag} goes with --from_run RUN; add that, or leave it out")
        workers, where = arguments.workers or usable_cores(), (arguments.engine, arguments.ray_address)
        new = Additions(arguments.new_words, arguments.new_classes)
        serialize(paths, settings, workers, given, *where, new=new)
    except MemoryError as error:
        raise UserError(
            "out of memory; lower --workers or --embedding_dim, or raise --min_count, and run the same command again"
        ) from error
    except OSError as error:
        error.filename = error.filename or str(paths.records)
        raise


@dataclass(frozen=True)
class Additions:
    """What records may have beyond what a run knows.

    Attributes:
        words: What the vectors of words that are added to its vocabulary begin with, one of :data:`NEW_WORDS`; empty
            where none are.
        classes: Whether classes are added.
    """

    words: str = ""
    classes: bool = False


NOTHING_NEW = Additions()


def serialize(
    paths: DataPaths,
    settings: TextSettings,
    workers: int,
    given: GivenText | None = None,
    engine: str = "local",
    ray_address: str = "",
    new: Additions = NOTHING_NEW,
) -> dict[str, Any]:
    """Runs all the steps on one data set.

    Args:
        paths: Where the data set lives; ``paths.records`` appears or is replaced at the very end.
        settings: How text becomes ids.
        workers: Number of processes beside this one.
        given: Text processing of a run; None learns it from the training texts.
        engine: Where the work on the texts runs, one of :data:`text.engine_choice.ENGINES`; the records are the same.
        ray_address: Of a cluster, for the engine ``ray``; empty for this machine.
        new: What may be added to the text processing of the run.

    Returns:
        The manifest.

    Raises:
        UserError: An input is missing, damaged or unusable; the old records are as they were.
    """
    if not paths.csv.is_file():
        raise UserError(f"{paths.csv} is not there; run first: {create_csv_command(paths)}")
    began_with = input_versions(paths)
    labels = read_labels(paths)
    check_labels(paths, labels)
    if given:
        refuse_other_kind(given.run, has_several_labels(paths), paths.csv)
        if not new.classes:
            refuse_unknown_labels(given, labels, paths.csv)
        labels = [*given.labels, *(label for label in labels if label not in given.labels)]
        settings = settings_of(given, settings, new.words)
    settings = with_embedding_dim(settings)
    refusal = f"another serialize_data.py is at work on {paths.folder}; wait until it has ended"
    with exclusive_lock(paths.folder / ".serialize_data.lock", refusal), new_folder(paths.records) as folder:
        spool = folder / "spool"
        spool.mkdir()
        with open_engine(engine, ray_address, workers, folder, spool) as opened:
            several = has_several_labels(paths)
            maker = Serializer(paths, settings, labels, began_with, folder, spool, opened, workers, given, several, new)
            manifest = maker.run()
        shutil.rmtree(spool)
        write_json(folder / MANIFEST_FILE, manifest)
    log.info("records are in %s", paths.records)
    return manifest


@contextlib.contextmanager
def open_engine(engine: str, ray_address: str, workers: int, folder: Path, spool: Path) -> Iterator[Engine]:
    """Starts an engine that writes into ``folder``, with its temporary files in ``spool``; ends it after the block."""
    if engine == "ray":
        from text.ray_cluster import ray_cluster

        with timed("Ray") as said, contextlib.ExitStack() as stack:
            cluster = stack.enter_context(ray_cluster(ray_address, workers))
            said.append(f"{cluster.cores} cores")
            leave = stack.pop_all()
        with leave:
            yield BlockEngine(cluster, folder, spool)
        return
    with worker_pool(workers, get_ready, FEWER_WORKERS) as pool:
        yield LocalEngine(pool, workers, spool)


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``place``; if the block succeeds, the folder replaces what is at ``place``."""
    new, old = place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")
    if old.exists() and not place.exists():  # the machine stopped between the two renames below
        old.rename(place)
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        sync_folder(new)
        if place.exists():
            place.rename(old)
        new.rename(place)
        sync_folder(place.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------------
# Settings and files that were given


def with_embedding_dim(settings: TextSettings) -> TextSettings:
    """The settings with the size of the word vectors filled in: that of the file, or the usual one.

    Raises:
        UserError: There is no such file, or its vectors have another size than the one asked for.
    """
    _, file = embeddings_source(settings.embeddings)
    size = vector_size(Path(file)) if file else settings.embedding_dim or EMBEDDING_DIM
    if settings.embedding_dim not in {0, size}:
        raise UserError(
            f"--embedding_dim {settings.embedding_dim} does not fit {file}, whose vectors have {size} numbers; "
            "leave the flag out, or take another file"
        )
    return dataclasses.replace(settings, embedding_dim=size)


def settings_of(given: GivenText, settings: TextSettings, new_words: str) -> TextSettings:
    """The settings with those of a run's text processing in the place of what they would decide.

    Raises:
        UserError: One of those was given.
    """
    free = {"seed", *(("min_count",) if new_words else ()), *(("word2vec_epochs",) if new_words == "word2vec" else ())}
    for name, usual in to_json(TextSettings()).items():
        if name not in free and getattr(settings, name) != usual:
            value = getattr(settings, name)
            raise UserError(f"--{name} {value} does not go with --from_run: {given.run.path} decides it; leave it out")
    return dataclasses.replace(
        settings,
        max_words_per_sentence=given.processor.max_words_per_sentence,
        max_sentences_per_document=given.processor.max_sentences_per_document,
        splitter_documents=0,
        embeddings="random",
        embedding_dim=given.vectors.shape[1],
    )


class CsvManifest(TypedDict):
    """What is checked of ``csv_manifest.json``."""

    csv_sha256: NotRequired[str]
    labels: NotRequired[list[str]]


def csv_manifest(paths: DataPaths) -> CsvManifest:
    """What ``create_csv.py`` wrote about its files; empty for a CSV file that somebody else made."""
    return schema.read_json(paths.csv_manifest, CsvManifest) if paths.csv_manifest.is_file() else {}


def check_labels(paths: DataPaths, labels: list[str]) -> None:
    """Refuses class names that are not, in this order, those that ``create_csv.py`` wrote: they number the classes."""
    if labels != csv_manifest(paths).get("labels", labels):
        raise UserError(f"{paths.labels} {changed_after(paths)}")


def check_csv(paths: DataPaths, sha256: str) -> None:
    """Refuses a CSV file that is not, byte for byte, the one that ``create_csv.py`` wrote."""
    if sha256 != csv_manifest(paths).get("csv_sha256", sha256):
        raise UserError(f"{paths.csv} {changed_after(paths)}")


def changed_after(paths: DataPaths) -> str:
    """What to say of a changed file, and the two ways out."""
    return (
        f"was changed after create_csv.py wrote it; write it again: {create_csv_command(paths)}; or, to use it as it "
        f"is, delete {paths.csv_manifest}"
    )


Versions = dict[Path, tuple[int, int, int] | None]


def input_versions(paths: DataPaths) -> Versions:
    """What changes when a file is written or replaced (number, size in bytes, time in ns); None where there is none."""
    versions: Versions = {}
    for file in (paths.csv, paths.labels, paths.csv_manifest):
        try:
            status = file.stat()
            versions[file] = status.st_ino, status.st_size, status.st_mtime_ns
        except FileNotFoundError:
            versions[file] = None
    return versions


@contextlib.contextmanager
def refuse_changed_inputs(paths: DataPaths, began_with: Versions) -> Iterator[None]:
    """Refuses input files that another process has written since ``began_with``, and does so after any error, too.

    The CSV file is read twice and hashed once. If it is replaced in between, by ``create_csv.py`` or by a person, the
    records would be of two texts, or the second reading would fail over what the first one did not see.
    """
    try:
        yield
    except Exception as error:
        refuse_other_versions(paths, began_with, error)
        raise
    refuse_other_versions(paths, began_with, None)


def refuse_other_versions(paths: DataPaths, began_with: Versions, cause: Exception | None) -> None:
    """Refuses input files of other versions; see :func:`refuse_changed_inputs`."""
    for file, version in input_versions(paths).items():
        if version != began_with[file]:
            raise UserError(f"{file} changed while it was read; run the same command again") from cause


# ---------------------------------------------------------------------------------------------------------------------
# Step 1: first reading


def check_splits(found: FirstReading, labels: Sequence[str], paths: DataPaths) -> None:
    """Refuses a CSV file that a classifier could not be trained or tested on; ``labels``: all that are allowed."""
    again = create_csv_command(paths)
    if not found.documents["train"]:
        raise UserError(f"{paths.csv} has no document in the train split; correct it, or write it again: {again}")
    for split, classes in found.classes.items():
        if unknown := sorted(classes.keys() - set(labels)):
            raise UserError(
                f"{paths.csv}: the label {unknown[0][:50]!r} in the {split} split is not in {paths.labels}; "
                f"correct one of them, or write both again: {again}"
            )
        if len(classes) < 2:
            raise UserError(
                f"{paths.csv}: every document of the {split} split is of the class {next(iter(classes))!r}; "
                f"correct it, or write it again: {again}"
            )
    if not found.documents["test"]:
        log.warning("there is no test split: what is trained on these records cannot be tested")
    if not found.documents["valid"]:
        log.warning(
            "there is no valid split, and without one a training cannot choose its best epoch; create_csv.py makes one "
            "with --valid_share 0.1"
        )


# ---------------------------------------------------------------------------------------------------------------------
# All steps in their order


@dataclass
class Serializer:
    """One run over one data set, step by step.

    Attributes:
        paths: Where the data set lives.
        settings: How text becomes ids.
        labels: The names of the classes.
        began_with: Versions of the input files before the first of them was read: :func:`input_versions`.
        folder: The new records folder.
        spool: Folder of the temporary files, within ``folder``.
        engine: Works on the texts.
        workers: Threads that learn word vectors.
        given: Text processing of a run; None learns it from the training texts.
        several: Whether a text may have several labels.
        combinations: All labels of the CSV file then, each a JSON list of names; found in the first reading.
        sets: uint8 [combinations, C], which classes each of them has.
        new: What may be added to what the run knows.
    """

    paths: DataPaths
    settings: TextSettings
    labels: list[str]
    began_with: Versions
    folder: Path
    spool: Path
    engine: Engine
    workers: int
    given: GivenText | None = None
    several: bool = False
    new: Additions = NOTHING_NEW
    combinations: list[str] = field(default_factory=list)
    sets: NDArray[np.uint8] | None = None

    def run(self) -> dict[str, Any]:
        """Runs steps 1 to 5; returns the manifest, which is written when everything else is on disk."""
        with refuse_changed_inputs(self.paths, self.began_with):  # nothing is read from them afterwards
            found, csv_sha256 = self.read_first()
            check_csv(self.paths, csv_sha256)
            processor = self.learn_to_split(found)
            spooled = self.spool_words(found, processor)
        vocabulary, counts = self.fix_vocabulary(spooled)
        splits = self.write_records(spooled, found)
        embeddings = self.make_vectors(spooled, vocabulary, counts)
        show_documents(found.first, processor, vocabulary, self.labels)
        with atomic_write(self.folder / LABELS_FILE, newline="\n") as file:
            file.writelines(f"{label}\n" for label in self.labels)
        return {
            "format_version": FORMAT_VERSION,
            "dataset": self.paths.dataset,
            "settings": to_json(self.settings),
            "tokeniser": tokeniser(),
            "csv": {"name": self.paths.csv.name, "sha256": csv_sha256},
            **self.origin_of_text(),
            "labels": self.labels,
            **({"several_labels": True} if self.several else {}),
            "vocabulary_size": len(vocabulary),
            "embeddings": embeddings,
            "splits": splits,
            "files": describe_files(self.folder, (path.name for path in self.folder.iterdir() if path.is_file())),
        }

    def origin_of_text(self) -> dict[str, Any]:
        """What the manifest says of a run that gave its text processing; nothing without one."""
        if self.given is None:
            return {}
        added = {"new_words": self.new.words, "new_classes": self.new.classes}
        origin = {"run": self.given.run.path.name, "weights_sha256": self.given.weights_sha256}
        return {"from_run": origin | {name: value for name, value in added.items() if value}}

    def read_first(self) -> tuple[FirstReading, str]:
        """Step 1: counts and a sample, and the hash of the CSV file."""
        with timed("first reading") as said:
            found, csv_sha256 = self.engine.first_reading(self.paths.csv, self.settings)
            self.combinations = sorted({label for counts in found.classes.values() for label in counts})
            self.sets = membership(self.combinations, self.labels) if self.several else None
            check_splits(found, self.combinations if self.several else self.labels, self.paths)
            said.append(", ".join(f"{split} {found.documents[split]:,}" for split in SPLITS if found.documents[split]))
        return found, csv_sha256

    def learn_to_split(self, found: FirstReading) -> TextProcessor:
        """Step 1: trains the sentence splitter, if none is given; returns the text processing with it."""
        if self.given:
            self.given.save_splitter(self.folder)
            return self.given.processor
        count = len(found.sample)
        with timed("sentence splitter") as said:
            splitter = self.engine.train_splitter([blank_markup(text) for text in found.sample])
            found.sample.clear()
            said.append(f"{len(splitter.abbreviations):,} abbreviations, from {count:,} training documents")
        limits = self.settings.max_words_per_sentence, self.settings.max_sentences_per_document
        processor = TextProcessor(splitter, *limits)
        processor.save(self.folder / SPLITTER_FILE)
        return processor

    def spool_words(self, found: FirstReading, processor: TextProcessor) -> list[SpooledChunk]:
        """Step 2: every text, cut into words once."""
        documents = sum(found.documents.values())
        class_ids = {label: number for number, label in enumerate(self.combinations if self.several else self.labels)}
        with timed("words") as said:
            chunks = self.engine.find_words(self.paths.csv, processor, class_ids)
            spooled = list(with_progress(chunks, documents))
            said.append(f"{sum(chunk.words for chunk in spooled):,} words of {documents:,} documents")
        return spooled

    def fix_vocabulary(self, spooled: list[SpooledChunk]) -> tuple[Vocabulary, NDArray[np.int64]]:
        """Step 3: the words of the training split that are frequent enough, and each worker's way to their ids.

        Returns:
            The vocabulary, and int64 [V] how often each of its words, ``<unk>`` too, stands in the training split.
        """
        with timed("vocabulary") as said:
            least = 1 if self.given else self.settings.min_count
            frequent, different = self.engine.count_words(spooled, least)
            if self.given and self.new.words:
                vocabulary = with_new_words(self.given, frequent, self.settings.min_count)
            elif self.given:
                vocabulary = self.given.vocabulary
            else:
                vocabulary = Vocabulary.from_counts(frequent, self.settings.min_count)
            vocabulary.save(self.folder / VOCABULARY_FILE)
            self.engine.number_words(spooled, vocabulary)
            added = len(vocabulary) - len(self.given.vocabulary) if self.given else 0
            more = f", and {added:,} new ones" if added else ""
            known = f"{len(vocabulary) - added:,} words, those of the run{more}; the texts have {different:,}"
            seen = f"{len(frequent):,} of {different:,} words are seen at least {self.settings.min_count} times"
            said.append(known if self.given else seen)
        count_of = dict(frequent)
        counts = np.array([count_of.get(word, 0) for word in vocabulary.words], np.int64)
        counts[UNKNOWN_ID] = sum(chunk.words for chunk in spooled if chunk.split == "train") - counts.sum()
        return vocabulary, counts

    def write_records(self, spooled: list[SpooledChunk], found: FirstReading) -> dict[str, Any]:
        """Step 4: the shards and the index of each split; returns what the manifest says of the splits."""
        by_split = {split: [chunk for chunk in spooled if chunk.split == split] for split in SPLITS}
        with timed("records") as said:
            shards = [shard for split, chunks in by_split.items() if chunks for shard in shards_of(split, chunks)]
            written = self.engine.write_shards(shards, self.sets)
            if self.sets is not None:
                with atomic_write(self.folder / LABEL_SETS_FILE, "wb") as output:
                    np.save(output, self.sets)
            described = {}
            for split in dict.fromkeys(shard.split for shard in shards):
                own = [result for shard, result in zip(shards, written, strict=True) if shard.split == split]
                write_index(self.folder, split, [rows for rows, _ in own])
                described[split] = {
                    **describe_split(by_split[split]),
                    "unknown_words": sum(unknown for _, unknown in own),
                    "labels": self.documents_of_labels(found.classes[split]) if split in found.classes else {},
                    "shards": [shard_name(split, number, len(own)) for number in range(len(own))],
                    "index": index_name(split),
                }
            said.append(f"{len(shards)} shards")
        for split, facts in described.items():
            log.info("%s", split_line(split, facts))
        return described

    def documents_of_labels(self, counts: Counter[str]) -> dict[str, int]:
        """How many documents of a split have each label."""
        if self.sets is None:
            return {label: counts[label] for label in self.labels}
        of_combinations = np.array([counts[label] for label in self.combinations])
        return dict(zip(self.labels, (of_combinations @ self.sets).tolist(), strict=True))

    def make_vectors(
        self, spooled: list[SpooledChunk], vocabulary: Vocabulary, counts: NDArray[np.int64]
    ) -> dict[str, Any]:
        """Step 5: a first vector for each word of the vocabulary; returns what the manifest says of them."""
        if self.given:
            return self.vectors_of_run(self.given, spooled, vocabulary)
        method, file = embeddings_source(self.settings.embeddings)
        with timed("word vectors") as said:
            vectors, found, epochs = self.first_vectors(method, file, spooled, vocabulary)
            with atomic_write(self.folder / EMBEDDINGS_FILE, "wb") as output:
                np.save(output, vectors)
            words, hits = len(vocabulary) - 1, int(found.sum())
            share = float(counts[found].sum() / max(counts.sum(), 1))
            said.append(
                f"{method}{f', {epochs} epochs' if epochs else ''}: {hits:,} of {words:,} words hit "
                f"({hits / words:.1%}), {share:.1%} of the running words of the training split; the others are random, "
                "<pad> is zero"
            )
        described = {"method": method, "hits": hits, "misses": words - hits, "share_of_running_words": share}
        described |= {"epochs": epochs} if epochs else {}
        return {**described, "file": describe_vector_file(Path(file))} if file else described

    def vectors_of_run(self, given: GivenText, spooled: list[SpooledChunk], vocabulary: Vocabulary) -> dict[str, Any]:
        """Step 5 with a run: its trained vectors, and first vectors of new words behind them."""
        vectors, size = given.vectors, len(vocabulary)
        described: dict[str, Any] = {"method": "run"}
        if new := size - len(vectors):
            with timed("word vectors") as said:
                learnt, found = None, np.zeros(size, np.bool_)
                if self.new.words == "word2vec":
                    learnt, found, _ = self.first_vectors("word2vec", "", spooled, vocabulary)
                vectors = vectors_with_new_words(given, learnt, found, size)
                hits = int(found[-new:].sum())
                said.append(f"{new - hits:,} new words begin as <unk>, {hits:,} with vectors learnt from the texts")
            described |= {"new_words": new, "new_words_learnt": hits}
        with atomic_write(self.folder / EMBEDDINGS_FILE, "wb") as output:
            np.save(output, vectors)
        return described

    def first_vectors(
        self, method: str, file: str, spooled: list[SpooledChunk], vocabulary: Vocabulary
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
        """Word vectors by ``method``, as :func:`config.embeddings_source` names it.

        Returns:
            float32 [V, E]; bool [V], which words have a vector that is not random; epochs of word2vec, else 0.
        """
        size, dim, seed = len(vocabulary), self.settings.embedding_dim, self.settings.seed
        if method == "random":
            return random_vectors(size, dim, seed), np.zeros(size, np.bool_), 0
        if method == "glove":
            return *look_up(Path(file), vocabulary.words, dim, seed), 0
        from text.skip_gram import train_word2vec  # loads Numba, which nothing else here needs

        corpus = [chunk for chunk in spooled if chunk.split in CORPUS_SPLITS]
        epochs = self.settings.word2vec_epochs or enough_epochs(sum(chunk.words for chunk in corpus))
        return *train_word2vec(self.write_corpus(corpus), size, dim, epochs, seed, self.workers), epochs

    def write_corpus(self, chunks: list[SpooledChunk]) -> list[Path]:
        """Writes the text that word vectors are learnt from, in parts, each of chunks from everywhere in the corpus.

        If a part were a stretch of the corpus, the parts that come last would weigh more, and in a sorted CSV they are
        of one class; that cost a classifier on mean vectors 0.8% of accuracy.
        """
        count = max(1, round(sum(chunk.words for chunk in chunks) / WORDS_PER_PART))
        paths = [self.spool / f"part-{number:05d}.npz" for number in range(count)]
        portions = [chunks[number::count] for number in range(count)]
        kept = [(path, portion) for path, portion in zip(paths, portions, strict=True) if portion]
        self.engine.write_corpus(kept)
        return [path for path, _ in kept]


def describe_vector_file(path: Path) -> dict[str, str]:
    """Name and hash of a published file, for the manifest."""
    return {"name": path.name, "sha256": sha256_of_file(path)}


@contextlib.contextmanager
def timed(step: str) -> Iterator[list[str]]:
    """Logs how long a step took, and what the block has appended to the list that it gets."""
    start = time.perf_counter()
    said: list[str] = []
    yield said
    log.info("%-18s %6.1f s   %s", step, time.perf_counter() - start, "; ".join(said))


def with_progress(chunks: Iterable[SpooledChunk], documents: int) -> Iterator[SpooledChunk]:
    """Yields the chunks; shows how many are done by a bar on a terminal, elsewhere by a line now and then."""
    done, last = 0, time.perf_counter()
    for chunk in progress(chunks, None, "words", "chunk"):
        yield chunk
        done += chunk.documents
        if time.perf_counter() - last > SECONDS_BETWEEN_LINES:
            log.info("words: %s of %s documents", f"{done:,}", f"{documents:,}")
            last = time.perf_counter()


def describe_split(chunks: Sequence[SpooledChunk]) -> dict[str, int]:
    """What the manifest says of a split: sums and maxima over its chunks."""
    return {
        "documents": sum(chunk.documents for chunk in chunks),
        "sentences": sum(chunk.sentences for chunk in chunks),
        "words": sum(chunk.words for chunk in chunks),
        "cut_words": sum(chunk.cut_words for chunk in chunks),
        "cut_documents": sum(chunk.cut_documents for chunk in chunks),
        "empty_documents": sum(chunk.empty_documents for chunk in chunks),
        "longest_document_words": max(chunk.longest_words for chunk in chunks),
        "longest_document_sentences": max(chunk.longest_sentences for chunk in chunks),
    }


def split_line(split: str, facts: dict[str, Any]) -> str:
    """The line about a split for the log."""
    documents, words, sentences = facts["documents"], facts["words"], facts["sentences"]
    line = (
        f"{split}: {documents:,} documents of {sentences / documents:.1f} sentences and {words / documents:.1f} words "
        f"(longest: {facts['longest_document_sentences']:,} and {facts['longest_document_words']:,}); "
        f"{facts['unknown_words'] / words:.2%} of the words unknown"
    )
    if facts["cut_words"]:
        share = facts["cut_words"] / (words + facts["cut_words"])
        line += f"; {share:.2%} cut off, from {facts['cut_documents']:,} documents"
    if facts["empty_documents"]:
        line += f"; {facts['empty_documents']:,} without a word"
    return line


def show_documents(rows: Sequence[CsvRow], processor: TextProcessor, vocabulary: Vocabulary, labels: list[str]) -> None:
    """Logs documents as the model will see them: words that are unknown to it are in brackets."""
    for row in rows:
        words = processor.process(row.text).words
        numbered = f"{labels.index(row.label)} " if row.label in labels else ""  # none of several labels
        log.info("document %s, label %s(%s), %d sentences:", row.id, numbered, row.label, len(words))
        for number, sentence in enumerate(words[:SHOWN_SENTENCES], start=1):
            ids = zip(sentence, vocabulary.ids(sentence), strict=True)
            shown = (f"[{word}]:{id}" if id == UNKNOWN_ID else f"{word}:{id}" for word, id in ids)
            log.info("  %d. %s", number, " ".join(shown))
        if len(words) > SHOWN_SENTENCES:
            log.info("  ... and %d more", len(words) - SHOWN_SENTENCES)


if __name__ == "__main__":
    run_script(main, build_parser())
