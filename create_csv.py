"""Turns a data set into one CSV file with splits and labels, and reports what is in it.

    python create_csv.py imdb True              two classes
    python create_csv.py imdb False             every star rating a class
    python create_csv.py my_reviews.csv         your own file, or a folder with one sub-folder per class
    python create_csv.py s3://bucket/reviews    your own file, or a folder of parts, on another file system
    python create_csv.py my_reviews.csv --engine ray --ray_address auto     read by the machines of a Ray cluster
    python create_csv.py may/reviews.csv --name may    a second file of the same name

Writes, under ``data/<dataset>/``:

* ``<dataset>.csv``: UTF-8, RFC 4180, header ``id,split,label,rating,text``; ``split`` is train, valid, test or
  unlabelled; ``label`` is the class name, empty for an unlabelled document,
  with ``--multi_label`` a JSON list of names; ``rating`` is the publisher's number for
  it (stars, number of the class), in your own data the label where labels are whole numbers, else the class's number.
* ``labels.txt``: one class name per line; the line number, from 0, is the class's id.
* ``evidence.jsonl``: for data sets that know them, the character spans of the sentences that decide.
* ``csv_manifest.json``: settings, counts, hashes, and the ids of the test documents whose text is also in train or
  valid. Written last: where it exists, the rest is complete.

The documents are streamed twice: once to count and to choose the splits, once to write. Between the two, 46 bytes per
document are kept, and no texts; of more than a million documents on the disk (see :mod:`corpus.splits`).

Validation is a seeded share of the training split, class by class; so is a test split where the publisher has none.
Texts are compared by a keyed hash (the key is the seed), without regard to white space; documents are drawn in order
of their hashes. So the choice does not depend on the order of the rows, and equal texts are always in one split. A test
split that the publisher made may repeat texts of the training split: they are counted, and ``--drop_seen`` leaves out
the documents of the other splits that have them.

With ``--engine ray`` blocks of your own table are read by tasks of a cluster, each with the functions that otherwise
read the whole of it (:mod:`corpus.runners`); this process chooses the splits and writes: the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import installed  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from config import CsvSettings, add_flags, settings_from_flags, to_json
from corpus.corpora import (
    CSV_COLUMNS,
    FEW_TEST_DOCUMENTS,
    SPLITS,
    Corpus,
    command_line,
    find_corpus,
    own_source,
    refuse_published_name,
)
from corpus.headers import is_number
from corpus.origins import add_name_flag, origin, paths_of, refuse_other_source
from corpus.parts import HASH_SHIFT, Parts
from corpus.readings import Readings
from corpus.remote import fetch, is_address
from corpus.runners import ALONE, Runner
from corpus.several_labels import membership
from corpus.splits import (
    LEFT_OUT,
    NAME,
    TEST,
    TRAIN,
    UNLABELLED,
    VALID,
    Findings,
    Survey,
    add_noted,
    examine,
    has_documents,
    leave_seen,
    leave_surplus,
    move_share,
    new_survey,
    repeated_document,
)
from report.evaluation import FEWEST_RATINGS, star_ratings, wilson_interval
from text.engine_choice import add_engine_flags, check_engine
from utils import (
    FORMAT_VERSION,
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    exclusive_lock,
    human_size,
    log,
    parse_bool,
    progress,
    remove_leftovers,
    run_script,
    usable_cores,
    write_json,
    write_jsonl,
)

HEADER = f"{','.join(CSV_COLUMNS)}\r\n".encode()
OWN_FLAGS = (
    "text_column",
    "label_column",
    "split_column",
    "multi_label",
    "label_separator",
    "label_columns",
    "encoding",
)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description="Turn a data set into one CSV file with splits and labels.")
    parser.add_argument(
        "dataset", help="name of the data set, for example imdb, or your own file or folder, or its address"
    )
    parser.add_argument(
        "two_classes",
        nargs="?",
        type=parse_bool,
        metavar="True|False",
        help="two classes (True) or every rating a class (False); the same as --binary",
    )
    add_name_flag(parser)
    add_folder_flags(parser, runs=False, writes=True)
    add_engine_flags(parser)
    add_flags(parser, CsvSettings)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Chooses the data set and converts it, alone in its folder."""
    started = time.monotonic()
    check_engine(arguments.engine, arguments.ray_address)
    if arguments.engine == "ray":
        refuse_published(arguments)
    with open_runner(arguments.engine, arguments.ray_address) as runner:
        corpus, paths = create(arguments, runner)
    size, seconds = human_size(paths.csv.stat().st_size), time.monotonic() - started
    log.info("wrote %s (%s) in %.1f s", paths.csv, size, seconds)
    log.info("next: %s", command_line("serialize_data.py", corpus.name, paths.raw))


def refuse_published(arguments: argparse.Namespace) -> None:
    """Refuses ``--engine ray`` for a published data set: its archive is read from its beginning to its end."""
    dataset = arguments.dataset
    if not is_address(dataset) and own_source(dataset, paths_of(dataset, arguments.name, arguments.data_dir)) is None:
        find_corpus(dataset, arguments.data_dir)
        raise UserError(f"--engine ray reads tables of your own, and {dataset} is none; leave --engine out")


@contextlib.contextmanager
def open_runner(engine: str, ray_address: str) -> Iterator[Runner]:
    """Starts what reads the table, and ends it after the block."""
    if engine != "ray":
        yield ALONE
        return
    from text.ray_cluster import ray_cluster
    from text.table_tasks import TableTasks

    with ray_cluster(ray_address, usable_cores()) as cluster:
        yield TableTasks(cluster)


def create(arguments: argparse.Namespace, runner: Runner) -> tuple[Corpus, DataPaths]:
    """Finds out what the data set is and writes its files."""
    settings = settings_from_flags(CsvSettings, arguments)
    if arguments.two_classes is not None:
        settings = replace(settings, binary=arguments.two_classes)
    dataset, address = arguments.dataset, None
    paths = paths_of(dataset, arguments.name, arguments.data_dir)
    if is_address(dataset):
        refuse_published_name(dataset, paths.dataset)  # before anything is copied
        refuse_other_source(dataset, paths)
        dataset, address = str(fetch(dataset, paths, runner)), dataset
    corpus, understood = choose_corpus(dataset, paths, settings, arguments.name, runner)
    if arguments.two_classes and len(corpus.class_names(True)) > 2:
        raise UserError(
            f"{dataset} has {len(corpus.class_names(True))} classes and no form with two; leave the True out"
        )
    check_order(corpus, settings)
    refusal = f"another create_csv.py is at work on {paths.folder}; wait until it has ended"
    with exclusive_lock(paths.folder / ".create_csv.lock", refusal):
        for file in (paths.csv, paths.labels, paths.evidence, paths.csv_manifest):
            remove_leftovers(file)
        convert(paths, corpus, settings, understood, address, runner)
    return corpus, paths


def check_order(corpus: Corpus, settings: CsvSettings) -> None:
    """Refuses ``--ordinal`` for classes whose order is not known, and suggests it where classes are ratings.

    Raises:
        UserError: Fewer than three classes, or names that are no rising numbers.
    """
    names = corpus.class_names(settings.binary)
    if settings.ordinal and settings.multi_label:
        raise UserError(
            "--ordinal is for one label a text, a step of a scale, and with --multi_label a text may have several; "
            "leave one of the two out"
        )
    if not settings.ordinal:
        if star_ratings(names) is not None:
            log.info("the classes are numbers: --ordinal also reports the error in steps and the quadratic kappa")
        return
    if len(names) < FEWEST_RATINGS:
        raise UserError(f"--ordinal needs three classes or more, and {corpus.name} has {len(names)}; leave it out")
    other = next((name for name in names if not is_number(name)), None)
    if other is not None:
        raise UserError(
            f"--ordinal: the label {other!r} of {corpus.name} is no number, so that the order of the classes is not "
            "known; write numbers in place of the labels, 1 for the lowest, or leave --ordinal out"
        )


def convert(
    paths: DataPaths,
    corpus: Corpus,
    settings: CsvSettings,
    understood: list[str],
    address: str | None = None,
    runner: Runner = ALONE,
) -> None:
    """Reads the data set twice and writes its files.

    Args:
        paths: Where they are written.
        corpus: The data set.
        settings: How it becomes splits and labels.
        understood: For a person's own data what was understood of it, a sentence per line.
        address: Where these were copied from just now.
        runner: Reads it.
    """
    source_sha256 = corpus.source_sha256(paths.raw)
    log.info("%s: %s (%s)", corpus.name, corpus.title, corpus.citation)
    for line in understood:
        log.info("%s", line)

    readings = Readings(corpus, paths.raw, settings, runner)
    survey = take_survey(readings, corpus, paths, settings)
    choose_splits(survey, corpus, settings)
    found = examine(survey, paths.folder)
    refuse_unusable(survey, found, corpus, settings, corpus.way_out(paths.raw))
    statistics = summarise(survey, found)
    report(statistics, survey, corpus)

    facts = {**statistics, "source_sha256": source_sha256}
    if corpus.own:
        facts |= {**origin(corpus.own, paths, address), "understood": understood}
    write_stage(readings, paths, corpus, settings, found, survey.labels, facts)


def choose_corpus(
    dataset: str, paths: DataPaths, settings: CsvSettings, name: str | None = None, runner: Runner = ALONE
) -> tuple[Corpus, list[str]]:
    """The data set that is meant, and for a person's own one what was understood of it."""
    source = own_source(dataset, paths)
    if source is None:
        given = next((flag for flag in OWN_FLAGS if getattr(settings, flag)), "name" if name else None)
        corpus = find_corpus(dataset, paths.data_dir)
        if given:
            raise UserError(f"--{given} is for your own data; the columns of {dataset} are known: leave it out")
        return corpus, []
    if source.resolve() == paths.csv.resolve():
        raise UserError(f"{source} is what create_csv.py writes; name the file that it was made from")
    refuse_other_source(str(source), paths)
    from corpus.own_data import understand

    return understand(source, settings, paths.folder, paths.dataset, runner)


# ---------------------------------------------------------------------------------------------------------------------
# First reading: what is there


def take_survey(readings: Readings, corpus: Corpus, paths: DataPaths, settings: CsvSettings) -> Survey:
    """Reads all documents once; validation documents are not chosen yet."""
    labels = corpus.class_names(settings.binary)
    sets = membership(labels, corpus.names) if corpus.names else None
    survey = new_survey(list(corpus.names) or labels, len(labels), paths.folder, sets)
    names = Parts(paths.folder, NAME, HASH_SHIFT)
    for more in progress(readings.noted(), corpus.documents, "reading", "documents", lambda more: len(more.splits)):
        add_noted(survey, names, more)
    refuse_repeated_ids(names, corpus, paths.raw)
    return survey


def refuse_repeated_ids(names: Parts, corpus: Corpus, raw: Path) -> None:
    """Refuses ids that occur twice: the results name documents by their ids."""
    repeated = repeated_document(names)
    if repeated is not None:
        row = next(islice(corpus.rows(raw), repeated, None))
        raise UserError(f"{corpus.source_file(raw)}: document {row.id} occurs twice; {corpus.way_out(raw)}")


def choose_splits(survey: Survey, corpus: Corpus, settings: CsvSettings) -> None:
    """Balances the classes where that is wanted, then moves a share of the training documents to ``test``, if there
    is no such split yet, leaves out what repeats a test text where that is wanted, and moves a share of what remains to
    ``valid``.
    """
    if corpus.balanced and settings.binary:
        leave_surplus(survey)
    if not corpus.has_test:
        move_share(survey, TEST, settings.test_share)
    if settings.drop_seen:
        leave_seen(survey)
    if not has_documents(survey, VALID):
        move_share(survey, VALID, settings.valid_share)


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def refuse_unusable(survey: Survey, found: Findings, corpus: Corpus, settings: CsvSettings, way_out: str) -> None:
    """Refuses splits that a classifier could not be trained or tested on."""
    if not found.counts[:LEFT_OUT].any():
        raise UserError(f"{corpus.name} holds no documents; {way_out}")
    if survey.sets is not None:
        refuse_unusable_sets(survey, found, survey.sets, corpus, settings, way_out)
        return
    present = {split: np.flatnonzero(found.counts[split, :-1]).tolist() for split in (TRAIN, VALID, TEST)}
    for split, classes in present.items():
        share = {VALID: settings.valid_share, TEST: settings.test_share}.get(split)
        if len(classes) > 1 or (share == 0 and (split == VALID or not classes)):
            continue
        if split == VALID and len(present[TRAIN]) > 1:
            way_out = how_to_validate(found, settings)
        holds = f"holds one class only ({survey.labels[classes[0]]})" if classes else "holds no labelled document"
        raise UserError(f"the {SPLITS[split]} split of {corpus.name} {holds}; {way_out}")
    for class_id in sorted(set(present[TEST]) - set(present[TRAIN])):
        name = survey.labels[class_id]
        raise UserError(f"class {name} of {corpus.name} occurs in the test split and not in the train split; {way_out}")


def refuse_unusable_sets(
    survey: Survey, found: Findings, sets: NDArray[np.uint8], corpus: Corpus, settings: CsvSettings, way_out: str
) -> None:
    """The same where a text may have several labels: each has to occur in training, and not on every document."""
    for split in (TRAIN, VALID, TEST):
        share = {VALID: settings.valid_share, TEST: settings.test_share}.get(split)
        documents = int(found.counts[split].sum())
        if not documents and share != 0:
            raise UserError(f"the {SPLITS[split]} split of {corpus.name} holds no labelled document; {way_out}")
        counts = found.counts[split, :-1] @ sets.astype(np.int64)
        for name, count in zip(survey.labels, counts.tolist(), strict=True):
            if split == TRAIN and count in {0, documents}:
                holds = "every document" if count else "no document"
                raise UserError(f"{holds} of the train split of {corpus.name} has the label {name}; {way_out}")


def how_to_validate(found: Findings, settings: CsvSettings) -> str:
    """How to get a validation split: by a larger share, where a class has two different texts to choose from."""
    if found.texts_of_classes.max(initial=0) > 1:
        return f"raise --valid_share, which is {settings.valid_share}"
    return "the training split has one text of each class; add documents"


# ---------------------------------------------------------------------------------------------------------------------
# Report


def summarise(survey: Survey, found: Findings) -> dict[str, Any]:
    """Counts for the manifest and the report: per split the documents, the distinct texts and the classes."""
    documents = found.counts.sum(axis=1).tolist()
    per_split = {
        name: {
            "documents": documents[split],
            "distinct_texts": int(found.distinct[split]),
            "classes": count_classes(survey, found, split),
        }
        for split, name in enumerate(SPLITS)
        if documents[split]
    }
    return {
        "splits": per_split,
        "distinct_texts_in_train_and_valid": found.of_training,
        "texts_in_train_and_in_valid": found.in_both,
        "texts_with_several_labels_in_train_and_valid": found.contradicted,
        "test_documents_in_train_or_valid": found.seen,
        "test_documents_in_unlabelled": found.test_in_unlabelled,
        "unlabelled_documents_in_train_or_valid": found.unlabelled_in_training,
        "left_out": documents[LEFT_OUT],
        "left_out_without_text": survey.without_text,
        "left_out_to_balance": survey.to_balance,
        "left_out_seen": survey.seen,
    }


def count_classes(survey: Survey, found: Findings, split: int) -> dict[str, int]:
    """Documents of each class in a split; empty for the unlabelled ones."""
    if split == UNLABELLED:
        return {}
    counts = found.counts[split, :-1]
    if survey.sets is not None:
        counts = counts @ survey.sets.astype(np.int64)
    return dict(zip(survey.labels, counts.tolist(), strict=True))


def report(statistics: dict[str, Any], survey: Survey, corpus: Corpus) -> None:
    """Logs the counts as a table, one column per split, and what a careful reader would want to know about them."""
    documents = survey.documents
    if documents != corpus.documents:
        log.warning("%s documents; the publisher states %s", f"{documents:,}", f"{corpus.documents:,}")
    warn_of_few(statistics["splits"])
    for line in table(statistics["splits"], survey.labels):
        log.info("%s", line.rstrip())
    log.info("texts are compared with every run of white space taken as one space:")
    for number, sentence in remarks(statistics, survey):
        log.info("%9s %s", f"{number:,}", sentence)


def warn_of_few(splits: dict[str, Any]) -> None:
    """Warns of a small test split, with the interval that its accuracy would have."""
    count = splits.get("test", {"documents": 0})["documents"]
    if 0 < count < FEW_TEST_DOCUMENTS:
        log.warning(
            "only %s test documents: an accuracy of 80%% on them means %.0f%% to %.0f%%; take it as a first impression",
            f"{count:,}",
            *(100 * bound for bound in wilson_interval(round(0.8 * count), count)),
        )


def table(splits: dict[str, Any], labels: list[str]) -> Iterator[str]:
    """The lines of the table; a class row has number and share in each cell."""
    names = [f"class {label}" for label in labels]
    width = max(map(len, [*names, "distinct texts"]))
    yield " " * width + "".join(f"{split:>18}" for split in splits)
    for title, key in (("documents", "documents"), ("distinct texts", "distinct_texts")):
        yield f"{title:<{width}}" + "".join(f"{row[key]:>11,}" + " " * 7 for row in splits.values())
    for name, label in zip(names, labels, strict=True):
        yield f"{name:<{width}}" + "".join(class_cell(row, label) for row in splits.values())


def class_cell(row: dict[str, Any], label: str) -> str:
    """One cell of a class row: ``11,250  50.0%``."""
    if not row["classes"]:
        return f"{'-':>11}" + " " * 7
    number = row["classes"][label]
    return f"{number:>11,} {number / row['documents']:>6.1%}"


def remarks(statistics: dict[str, Any], survey: Survey) -> Iterator[tuple[int, str]]:
    """Number and sentence for each thing that deserves a line."""
    shared = statistics["texts_in_train_and_in_valid"]
    yield (
        statistics["distinct_texts_in_train_and_valid"],
        f"distinct texts in train and valid together; {f'{shared:,} are' if shared else 'none is'} in both",
    )
    yield (
        statistics["test_documents_in_train_or_valid"],
        "test documents have a text that is also in train or valid",
    )
    if statistics["texts_with_several_labels_in_train_and_valid"]:
        yield statistics["texts_with_several_labels_in_train_and_valid"], "texts in train or valid have several labels"
    if "unlabelled" in statistics["splits"]:
        yield statistics["test_documents_in_unlabelled"], "test documents have a text that is also in unlabelled"
        yield (
            statistics["unlabelled_documents_in_train_or_valid"],
            "unlabelled documents repeat a text of train or valid",
        )
    if survey.without_text:
        yield survey.without_text, "documents are left out: their text is empty"
    if survey.to_balance:
        yield survey.to_balance, "documents are left out so that the classes are of one size"
    if survey.seen:
        yield survey.seen, "documents are left out: their text is also in test"
    without_class = statistics["left_out"] - survey.without_text - survey.to_balance - survey.seen
    if without_class:
        yield without_class, "documents are left out: their rating belongs to no class"


# ---------------------------------------------------------------------------------------------------------------------
# Second reading: write


def write_stage(
    readings: Readings,
    paths: DataPaths,
    corpus: Corpus,
    settings: CsvSettings,
    found: Findings,
    labels: list[str],
    facts: dict[str, Any],
) -> None:
    """Writes all files of the stage. The old manifest goes when the new CSV file is on the disk, not before."""
    seen_ids: list[str] = []
    digest = hashlib.sha256()
    codes = progress(found.each(), found.codes.count, "writing", "documents")
    with atomic_write(paths.csv, "wb") as file:
        for rows, seen in chain([(HEADER, [])], readings.csv(codes)):
            file.write(rows)
            digest.update(rows)
            seen_ids += seen
        file.flush()
        os.fsync(file.fileno())
        paths.csv_manifest.unlink(missing_ok=True)
    with atomic_write(paths.labels) as file:
        file.writelines(f"{label}\n" for label in labels)
    if corpus.has_evidence:
        write_jsonl(paths.evidence, readings.evidence())
    else:
        paths.evidence.unlink(missing_ok=True)  # of earlier texts
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset": corpus.name,
        "settings": to_json(settings),
        "labels": labels,
        **facts,
        "seen_test_documents": seen_ids,
        "csv_sha256": digest.hexdigest(),
    }
    write_json(paths.csv_manifest, manifest)


if __name__ == "__main__":
    run_script(main, build_parser())
