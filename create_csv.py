"""Turns a data set into one CSV file with splits and labels, and reports what is in it.

    python create_csv.py imdb True              two classes
    python create_csv.py imdb False             every star rating a class
    python create_csv.py my_reviews.csv         your own file, or a folder with one sub-folder per class
    python create_csv.py s3://bucket/reviews    your own file, or a folder of parts, on another file system

Writes, under ``data/<dataset>/``:

* ``<dataset>.csv``: UTF-8, RFC 4180, header ``id,split,label,rating,text``; ``split`` is train, valid, test or
  unlabelled; ``label`` is the class name, empty for an unlabelled document,
  with ``--multi_label`` a JSON list of names; ``rating`` is the publisher's number for
  it (stars, number of the class), in your own data the label where labels are whole numbers, else the class's number.
* ``labels.txt``: one class name per line; the line number, from 0, is the class's id.
* ``evidence.jsonl``: for data sets that know them, the character spans of the sentences that decide.
* ``csv_manifest.json``: settings, counts, hashes, and the ids of the test documents whose text is also in train or
  valid. Written last: where it exists, the rest is complete.

The documents are streamed twice: once to count and to choose the splits, once to write. Between the two, 19 bytes per
document are kept, and no texts.

Validation is a seeded share of the training split, class by class; so is a test split where the publisher has none.
Texts are compared by a keyed hash (the key is the seed), without regard to white space; documents are drawn in order
of their hashes. So the choice does not depend on the order of the rows, and equal texts are always in one split. A test
split that the publisher made may repeat texts of the training split: they are counted, and ``--drop_seen`` leaves out
the documents of the other splits that have them.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import installed  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from config import CsvSettings, add_flags, settings_from_flags, to_json
from corpus.corpora import CSV_COLUMNS, FEW_TEST_DOCUMENTS, SPLITS, Corpus, command_line, find_corpus, own_source
from corpus.corpus_formats import Row
from corpus.remote import fetch, is_address
from corpus.several_labels import membership
from corpus.tables import is_number
from report.evaluation import FEWEST_RATINGS, star_ratings, wilson_interval
from utils import (
    FORMAT_VERSION,
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    dataset_name,
    exclusive_lock,
    human_size,
    log,
    parse_bool,
    progress,
    remove_leftovers,
    run_script,
    sha256_of_file,
    write_json,
    write_jsonl,
)

# Codes of the splits in the arrays of :class:`Survey`; documents that are left out have a code of their own.
TRAIN, VALID, TEST, UNLABELLED = range(len(SPLITS))
LEFT_OUT = len(SPLITS)
FEWEST_OF_COMBINATION = 20  # documents of a combination of labels of which a share can be chosen
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
    add_folder_flags(parser, runs=False, writes=True)
    add_flags(parser, CsvSettings)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Chooses the data set and converts it, alone in its folder."""
    started = time.monotonic()
    settings = settings_from_flags(CsvSettings, arguments)
    if arguments.two_classes is not None:
        settings = replace(settings, binary=arguments.two_classes)
    dataset = arguments.dataset
    if is_address(dataset):
        dataset = str(fetch(dataset, arguments.data_dir))
    paths = DataPaths(dataset_name(dataset), arguments.data_dir)
    corpus, understood = choose_corpus(dataset, paths, settings)
    if arguments.two_classes and len(corpus.class_names(True)) > 2:
        raise UserError(
            f"{dataset} has {len(corpus.class_names(True))} classes and no form with two; leave the True out"
        )
    check_order(corpus, settings)
    refusal = f"another create_csv.py is at work on {paths.folder}; wait until it has ended"
    with exclusive_lock(paths.folder / ".create_csv.lock", refusal):
        for file in (paths.csv, paths.labels, paths.evidence, paths.csv_manifest):
            remove_leftovers(file)
        convert(paths, corpus, settings, understood)
    size, seconds = human_size(paths.csv.stat().st_size), time.monotonic() - started
    log.info("wrote %s (%s) in %.1f s", paths.csv, size, seconds)
    log.info("next: %s", command_line("serialize_data.py", corpus.name, paths.raw))


def check_order(corpus: Corpus, settings: CsvSettings) -> None:
    """Refuses ``--ordinal`` for classes whose order is not known, and suggests it where classes are ratings.

    Raises:
        UserError: Fewer than three classes, or names that are no rising numbers.
    """
    names = corpus.class_names(settings.binary)
    if settings.ordinal and settings.multi_label:
        raise UserError("--ordinal is for one label a text; leave --ordinal or --multi_label out")
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


def convert(paths: DataPaths, corpus: Corpus, settings: CsvSettings, understood: list[str]) -> None:
    """Reads the data set twice and writes its files.

    Args:
        paths: Where they are written.
        corpus: The data set.
        settings: How it becomes splits and labels.
        understood: For a person's own data what was understood of it, a sentence per line.
    """
    source_sha256 = corpus.source_sha256(paths.raw)
    log.info("%s: %s (%s)", corpus.name, corpus.title, corpus.citation)
    for line in understood:
        log.info("%s", line)

    survey = choose_splits(take_survey(corpus, paths.raw, settings), corpus, settings)
    refuse_unusable(survey, corpus, settings, corpus.way_out(paths.raw))
    statistics = summarise(survey)
    report(statistics, survey, corpus)

    facts = {**statistics, "source_sha256": source_sha256}
    if corpus.own:
        facts |= {"source": str(corpus.own.resolve()), "understood": understood}
    write_stage(paths, corpus, settings, survey, facts)


def choose_corpus(dataset: str, paths: DataPaths, settings: CsvSettings) -> tuple[Corpus, list[str]]:
    """The data set that is meant, and for a person's own one what was understood of it."""
    source = own_source(dataset, paths)
    if source is None:
        given = next((name for name in OWN_FLAGS if getattr(settings, name)), None)
        corpus = find_corpus(dataset)
        if given:
            raise UserError(f"--{given} is for your own data; the columns of {dataset} are known: leave it out")
        return corpus, []
    if source.resolve() == paths.csv.resolve():
        raise UserError(f"{source} is what create_csv.py writes; name the file that it was made from")
    from corpus.own_data import understand

    return understand(source, settings)


# ---------------------------------------------------------------------------------------------------------------------
# First reading: what is there


@dataclass(frozen=True)
class Survey:
    """What the first reading keeps of each document, in the order of the reader.

    Attributes:
        labels: The class names; a class's id is its place here.
        text_hashes: uint64 [documents], keyed hash of the text.
        splits: uint8 [documents], place in ``SPLITS``, or ``LEFT_OUT``.
        classes: int32 [documents], class id, -1 where there is none.
        without_text: Number of documents left out because their text is empty.
        to_balance: Number of documents left out so that classes are of one size.
        seen: Number of documents left out because their text is also in the test split.
        sets: uint8 [combinations, C], where a text may have several labels: its class is a combination then.
    """

    labels: list[str]
    text_hashes: NDArray[np.uint64]
    splits: NDArray[np.uint8]
    classes: NDArray[np.int32]
    without_text: int = 0
    to_balance: int = 0
    seen: int = 0
    sets: NDArray[np.uint8] | None = None


def take_survey(corpus: Corpus, raw: Path, settings: CsvSettings) -> Survey:
    """Reads all documents once; validation documents are not chosen yet."""
    labels = corpus.class_names(settings.binary)
    sets = membership(labels, corpus.names) if corpus.names else None
    ids = {label: number for number, label in enumerate(labels)}
    key = str(settings.split_seed).encode()
    names, texts, splits, classes, without_text = bytearray(), bytearray(), bytearray(), array("i"), 0
    for row in progress(corpus.rows(raw), corpus.documents, "reading", "documents"):
        refuse_nul(row)
        label = corpus.label(row, settings.binary)
        empty = not row.text or row.text.isspace()
        without_text += empty
        names += blake2b(row.id.encode(), digest_size=8).digest()
        texts += blake2b(" ".join(row.text.split()).encode(), digest_size=8, key=key).digest()
        splits.append(LEFT_OUT if empty or label is None else SPLITS.index(row.split))
        classes.append(ids.get(label or "", -1))
    refuse_repeated_ids(hashes(names), corpus, raw)
    del names
    found = hashes(texts), np.array(splits, np.uint8), np.array(classes, np.int32)
    return Survey(list(corpus.names) or labels, *found, without_text, sets=sets)


def hashes(digests: bytearray) -> NDArray[np.uint64]:
    """Digests of 8 bytes, one after the other, as numbers that are the same on every machine."""
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def refuse_nul(row: Row) -> None:
    """Refuses a text with NUL characters, which no CSV reader would read again."""
    if "\0" in row.text:
        raise UserError(
            f"document {row.id} holds NUL characters, so it is not text; check that it is the right archive"
        )


def refuse_repeated_ids(names: NDArray[np.uint64], corpus: Corpus, raw: Path) -> None:
    """Refuses ids that occur twice: the results name documents by their ids."""
    if len(np.unique(names)) < len(names):
        _, first = np.unique(names, return_index=True)
        repeated = int(np.setdiff1d(np.arange(len(names)), first)[0])
        row = next(islice(corpus.rows(raw), repeated, None))
        raise UserError(f"{corpus.source_file(raw)}: document {row.id} occurs twice; {corpus.way_out(raw)}")


# ---------------------------------------------------------------------------------------------------------------------
# Splits that the publisher does not have


def choose_splits(survey: Survey, corpus: Corpus, settings: CsvSettings) -> Survey:
    """Balances the classes where that is wanted, then moves a share of the training documents to ``test``, if there
    is no such split yet, leaves out what repeats a test text where that is wanted, and moves a share of what remains to
    ``valid``.
    """
    splits = survey.splits.copy()
    if corpus.balanced and settings.binary:
        splits[surplus(survey)] = LEFT_OUT
    to_balance = int((splits != survey.splits).sum())
    if not corpus.has_test:
        move_share(survey, splits, TEST, settings.test_share)
    seen = repeats_test_text(survey.text_hashes, splits) if settings.drop_seen else np.zeros(len(splits), bool)
    splits[seen] = LEFT_OUT
    if not (splits == VALID).any():
        move_share(survey, splits, VALID, settings.valid_share)
    return replace(survey, splits=splits, to_balance=to_balance, seen=int(seen.sum()))


def repeats_test_text(text_hashes: NDArray[np.uint64], splits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool [documents]: those of the other splits whose text is also in the test split."""
    return (splits != TEST) & (splits != LEFT_OUT) & np.isin(text_hashes, text_hashes[splits == TEST])


def seen_in_training(survey: Survey) -> NDArray[np.bool_]:
    """bool [documents]: test documents whose text is also in the training or the validation split."""
    training = survey.text_hashes[(survey.splits == TRAIN) | (survey.splits == VALID)]
    return (survey.splits == TEST) & np.isin(survey.text_hashes, training)


def move_share(survey: Survey, splits: NDArray[np.uint8], to: int, share: float) -> None:
    """Moves a share of the training documents to another split, in place; none whose text is in a split that
    a person has made.
    """
    elsewhere = survey.text_hashes[(splits == VALID) | (splits == TEST)]
    train = np.flatnonzero(splits == TRAIN)
    free = train[~np.isin(survey.text_hashes[train], elsewhere)] if to == TEST and len(elsewhere) else train
    splits[free[choose_share(survey.text_hashes[free], strata(survey)[free], share)]] = to


def strata(survey: Survey) -> NDArray[np.int32]:
    """int32 [documents], of what a share is chosen each: of a class, or of a combination of several labels.

    A combination of few documents belongs to its rarest label: of combinations that occur once, none would be tested.
    """
    if survey.sets is None:
        return survey.classes
    own = np.arange(len(survey.sets), dtype=np.int32)
    counts = np.bincount(survey.classes[survey.classes >= 0], minlength=len(own))
    of_labels = counts @ survey.sets.astype(np.int64)
    rarest = np.where(survey.sets == 1, of_labels, counts.sum() + 1).argmin(axis=1)
    rare = (counts < FEWEST_OF_COMBINATION) & survey.sets.any(axis=1)
    stratum = np.where(rare, len(own) + rarest, own).astype(np.int32)
    return np.where(survey.classes < 0, np.int32(-1), stratum[survey.classes])


def surplus(survey: Survey) -> NDArray[np.int64]:
    """The documents that are left out so that every class has as many as the smallest: those of the highest hashes."""
    labelled = np.flatnonzero(survey.splits == TRAIN)
    present, counts = np.unique(survey.classes[labelled], return_counts=True)
    chosen = [np.empty(0, np.int64)]
    for class_id in present:
        ranked = labelled[survey.classes[labelled] == class_id]
        chosen.append(ranked[np.argsort(survey.text_hashes[ranked], kind="stable")][counts.min() :])
    return np.concatenate(chosen)


def choose_share(texts: NDArray[np.uint64], classes: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    """Marks the documents of a split that is made.

    Args:
        texts: uint64 [documents], keyed hash of the text: equal for equal texts.
        classes: int32 [documents], class id.
        share: Share of each class that is marked, 0 to 0.9; 0 marks none.

    Returns:
        bool [documents].
    """
    order = np.argsort(texts)  # by hash: an order drawn by the seed
    ranked_texts = texts[order]
    first = np.flatnonzero(np.append(True, ranked_texts[1:] != ranked_texts[:-1])[: len(texts)])
    if not len(first):
        return np.zeros(0, bool)
    sizes = np.diff(np.append(first, len(texts)))
    # A text that occurs with several labels is counted with the first class: not with the one that comes first.
    group_class = np.minimum.reduceat(classes[order], first)
    chosen = np.zeros(len(first), bool)
    for class_id in np.unique(group_class):
        ranked = np.flatnonzero(group_class == class_id)
        chosen[ranked[choose_groups(sizes[ranked].tolist(), share)]] = True
    marks = np.empty(len(texts), bool)
    marks[order] = np.repeat(chosen, sizes)
    return marks


def choose_groups(sizes: list[int], share: float) -> list[int]:
    """Chooses groups of documents with the same text, in order, until ``share`` of the documents is reached.

    A group that is larger than what is missing is passed over. Of a class with two groups or more at least one document
    is chosen and one is left, if a group is small enough.

    Args:
        sizes: Documents of each group.
        share: 0 to 0.9.

    Returns:
        Places of the chosen groups in ``sizes``.
    """
    total = sum(sizes)
    room = min(max(round(share * total), 1), total - 1) if share > 0 else 0
    taken = []
    for place, size in enumerate(sizes):
        if room == 0:
            break
        if size <= room:
            taken.append(place)
            room -= size
    return taken


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def refuse_unusable(survey: Survey, corpus: Corpus, settings: CsvSettings, way_out: str) -> None:
    """Refuses splits that a classifier could not be trained or tested on."""
    if not (survey.splits != LEFT_OUT).any():
        raise UserError(f"{corpus.name} holds no documents; {way_out}")
    if survey.sets is not None:
        refuse_unusable_sets(survey, survey.sets, corpus, settings, way_out)
        return
    present = {split: set(survey.classes[survey.splits == split].tolist()) for split in (TRAIN, VALID, TEST)}
    for split, classes in present.items():
        share = {VALID: settings.valid_share, TEST: settings.test_share}.get(split)
        if len(classes) > 1 or (share == 0 and (split == VALID or not classes)):
            continue
        if split == VALID and len(present[TRAIN]) > 1:
            way_out = how_to_validate(survey, settings)
        found = f"holds one class only ({survey.labels[classes.pop()]})" if classes else "holds no labelled document"
        raise UserError(f"the {SPLITS[split]} split of {corpus.name} {found}; {way_out}")
    for class_id in sorted(present[TEST] - present[TRAIN]):
        name = survey.labels[class_id]
        raise UserError(f"class {name} of {corpus.name} occurs in the test split and not in the train split; {way_out}")


def refuse_unusable_sets(
    survey: Survey, sets: NDArray[np.uint8], corpus: Corpus, settings: CsvSettings, way_out: str
) -> None:
    """The same where a text may have several labels: each has to occur in training, and not on every document."""
    for split in (TRAIN, VALID, TEST):
        share = {VALID: settings.valid_share, TEST: settings.test_share}.get(split)
        documents = survey.classes[survey.splits == split]
        if not len(documents) and share != 0:
            raise UserError(f"the {SPLITS[split]} split of {corpus.name} holds no labelled document; {way_out}")
        counts = sets[documents].sum(axis=0, dtype=np.int64)
        for name, count in zip(survey.labels, counts.tolist(), strict=True):
            if split == TRAIN and count in {0, len(documents)}:
                found = "every document" if count else "no document"
                raise UserError(f"{found} of the train split of {corpus.name} has the label {name}; {way_out}")


def how_to_validate(survey: Survey, settings: CsvSettings) -> str:
    """How to get a validation split: by a larger share, where a class has two different texts to choose from."""
    train = survey.splits == TRAIN
    distinct = np.unique(np.stack([survey.text_hashes[train], survey.classes[train].astype(np.uint64)]), axis=1)
    if np.bincount(distinct[1].astype(np.int64)).max(initial=0) > 1:
        return f"raise --valid_share, which is {settings.valid_share}"
    return "the training split has one text of each class; add documents"


# ---------------------------------------------------------------------------------------------------------------------
# Report


def summarise(survey: Survey) -> dict[str, Any]:
    """Counts for the manifest and the report: per split the documents, the distinct texts and the classes."""
    texts = {split: survey.text_hashes[survey.splits == split] for split in range(len(SPLITS))}
    training = np.concatenate([texts[TRAIN], texts[VALID]])
    per_split = {
        SPLITS[split]: {
            "documents": len(texts[split]),
            "distinct_texts": len(np.unique(texts[split])),
            "classes": count_classes(survey, split),
        }
        for split in texts
        if len(texts[split])
    }
    return {
        "splits": per_split,
        "distinct_texts_in_train_and_valid": len(np.unique(training)),
        "texts_in_train_and_in_valid": len(np.intersect1d(texts[TRAIN], texts[VALID])),
        "texts_with_several_labels_in_train_and_valid": count_contradictions(survey),
        "test_documents_in_train_or_valid": int(seen_in_training(survey).sum()),
        "test_documents_in_unlabelled": int(np.isin(texts[TEST], texts[UNLABELLED]).sum()),
        "unlabelled_documents_in_train_or_valid": int(np.isin(texts[UNLABELLED], training).sum()),
        "left_out": int((survey.splits == LEFT_OUT).sum()),
        "left_out_without_text": survey.without_text,
        "left_out_to_balance": survey.to_balance,
        "left_out_seen": survey.seen,
    }


def count_classes(survey: Survey, split: int) -> dict[str, int]:
    """Documents of each class in a split; empty for the unlabelled ones."""
    if split == UNLABELLED:
        return {}
    classes = survey.classes[survey.splits == split]
    if survey.sets is not None:
        counts = survey.sets[classes].sum(axis=0, dtype=np.int64)
    else:
        counts = np.bincount(classes, minlength=len(survey.labels))
    return dict(zip(survey.labels, counts.tolist(), strict=True))


def count_contradictions(survey: Survey) -> int:
    """Distinct training texts that occur with more than one label."""
    training = (survey.splits == TRAIN) | (survey.splits == VALID)
    order = np.argsort(survey.text_hashes[training])
    texts, classes = survey.text_hashes[training][order], survey.classes[training][order]
    contradicted = (texts[1:] == texts[:-1]) & (classes[1:] != classes[:-1])
    return len(np.unique(texts[1:][contradicted]))


def report(statistics: dict[str, Any], survey: Survey, corpus: Corpus) -> None:
    """Logs the counts as a table, one column per split, and what a careful reader would want to know about them."""
    documents = len(survey.splits)
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


def write_stage(paths: DataPaths, corpus: Corpus, settings: CsvSettings, survey: Survey, facts: dict[str, Any]) -> None:
    """Writes all files of the stage. The old manifest goes when the new CSV file is on the disk, not before."""
    seen_ids: list[str] = []
    with atomic_write(paths.csv, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(csv_rows(paths.raw, corpus, settings, survey, seen_ids))
        file.flush()
        os.fsync(file.fileno())
        paths.csv_manifest.unlink(missing_ok=True)
    with atomic_write(paths.labels) as file:
        file.writelines(f"{label}\n" for label in survey.labels)
    if corpus.has_evidence:
        write_jsonl(paths.evidence, ({"id": row.id, "evidence": row.evidence} for row in corpus.rows(paths.raw)))
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset": corpus.name,
        "settings": to_json(settings),
        "labels": survey.labels,
        **facts,
        "seen_test_documents": seen_ids,
        "csv_sha256": sha256_of_file(paths.csv),
    }
    write_json(paths.csv_manifest, manifest)


def csv_rows(
    raw: Path, corpus: Corpus, settings: CsvSettings, survey: Survey, seen_ids: list[str]
) -> Iterator[tuple[str | int, ...]]:
    """The rows of the CSV file, streamed; appends the ids of :func:`seen_in_training` to ``seen_ids``."""
    documents = progress(corpus.rows(raw), len(survey.splits), "writing", "documents")
    seen = seen_in_training(survey).tolist()
    try:
        for row, split, is_seen in zip(documents, survey.splits.tolist(), seen, strict=True):
            if is_seen:
                seen_ids.append(row.id)
            if split != LEFT_OUT:
                yield row.id, SPLITS[split], corpus.label(row, settings.binary) or "", row.rating, row.text
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{corpus.source_file(raw)} was changed while it was read; run the same command again"
        ) from error


if __name__ == "__main__":
    run_script(main, build_parser())
