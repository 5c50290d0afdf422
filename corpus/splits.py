"""Which split each document belongs to, and what is in the splits, from hashes of the texts instead of the texts.

A survey keeps the hash, the class and the split of each document in :class:`corpus.parts.Parts`, which are on the disk
where there are many. Equal texts have equal hashes and are in one part, so that all about repeated texts is found part
by part. Shares are drawn in the order of the hashes, which is that of the parts, too: what is left to draw goes from
one part to the next. So memory does not grow with the documents, and the choice is the one that sorting all of them
together would give.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpus.corpora import SPLITS
from corpus.parts import HASH_SHIFT, NUMBER_SHIFT, Parts, first_of_equal

# Codes of the splits; documents that are left out have a code of their own.
TRAIN, VALID, TEST, UNLABELLED = range(len(SPLITS))
LEFT_OUT = len(SPLITS)
SEEN = 8  # added to the code of a test document whose text is also in train or valid
FEWEST_OF_COMBINATION = 20  # documents of a combination of labels of which a share can be chosen
AT_ONCE = 1 << 16  # documents that are noted before they are added to the parts

# The key is the hash of the id, of the text; the number of the document.
NAME = np.dtype([("key", "<u8"), ("number", "<u8")])
TEXT = np.dtype([("key", "<u8"), ("number", "<u8"), ("class", "<i4"), ("split", "u1")])
CODE = np.dtype([("key", "<u8"), ("code", "u1")])


@dataclass
class Survey:
    """What the first reading keeps.

    Attributes:
        labels: The class names; a class's id is its place here.
        texts: :data:`TEXT`, a row for each document; ``class`` is -1 where there is none, ``split`` the place in
            ``SPLITS``, or ``LEFT_OUT``. The key is a keyed hash of the text.
        counts: int64 [splits + 1, C + 1], documents as they were read; the last row is that of those left out, the last
            column that of documents without a class.
        without_text: Number of documents left out because their text is empty.
        to_balance: Number of documents left out so that classes are of one size.
        seen: Number of documents left out because their text is also in the test split.
        sets: uint8 [combinations, C], where a text may have several labels: its class is a combination then.
    """

    labels: list[str]
    texts: Parts
    counts: NDArray[np.int64]
    without_text: int = 0
    to_balance: int = 0
    seen: int = 0
    sets: NDArray[np.uint8] | None = None

    @property
    def documents(self) -> int:
        """Number of documents that were read."""
        return self.texts.count


@dataclass
class Noted:
    """What is kept of documents that follow each other.

    Attributes:
        names: Of each document the hash of its id, 8 bytes.
        texts: The keyed hash of its text, 8 bytes.
        splits: The code of its split, a byte.
        classes: Its class, -1 where there is none.
        without_text: How many are left out because their text is empty.
    """

    names: bytearray = field(default_factory=bytearray)
    texts: bytearray = field(default_factory=bytearray)
    splits: bytearray = field(default_factory=bytearray)
    classes: array[int] = field(default_factory=lambda: array("i"))
    without_text: int = 0


def noted(documents: Iterable[tuple[str, str, int, int]], seed: int) -> Iterator[Noted]:
    """Notes documents, some at a time; those without text are left out.

    Args:
        documents: Id, text, code of the split, class. Runs of white space in a text count as one space.
        seed: Key of the hashes of the texts.
    """
    key = str(seed).encode()
    more = Noted()
    for name, text, split, class_id in documents:
        empty = not text or text.isspace()
        more.without_text += empty
        more.names.extend(blake2b(name.encode(), digest_size=8).digest())
        more.texts.extend(blake2b(" ".join(text.split()).encode(), digest_size=8, key=key).digest())
        more.splits.append(LEFT_OUT if empty else split)
        more.classes.append(class_id)
        if len(more.splits) == AT_ONCE:
            yield more
            more = Noted()
    yield more


def add_noted(survey: Survey, names: Parts, more: Noted) -> None:
    """Adds the next documents to a survey, and their ids to ``names``, rows of :data:`NAME`."""
    first, count = survey.documents, len(more.splits)
    own, texts = np.empty(count, NAME), np.empty(count, TEXT)
    own["number"] = texts["number"] = np.arange(first, first + count)
    own["key"], texts["key"] = hashes(more.names), hashes(more.texts)
    texts["split"], texts["class"] = more.splits, more.classes
    np.add.at(survey.counts, (texts["split"], texts["class"]), 1)
    survey.without_text += more.without_text
    names.add(own)
    survey.texts.add(texts)


def hashes(digests: bytearray) -> NDArray[np.uint64]:
    """Digests of 8 bytes, one after the other, as numbers that are the same on every machine."""
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def new_survey(labels: list[str], classes: int, folder: Path, sets: NDArray[np.uint8] | None = None) -> Survey:
    """A survey without documents.

    Args:
        labels: The class names.
        classes: Their number; of several labels that of the combinations.
        folder: On the disk that may be written to.
        sets: As in :class:`Survey`.
    """
    counts = np.zeros((len(SPLITS) + 1, classes + 1), np.int64)
    return Survey(labels, Parts(folder, TEXT, HASH_SHIFT), counts, sets=sets)


def repeated_document(names: Parts) -> int | None:
    """The number of the first document whose id is that of one before it; ``None`` if there is none."""
    found = []
    for rows in names:
        again = np.flatnonzero(rows["key"][1:] == rows["key"][:-1]) + 1
        found += [int(rows["number"][again].min())] if len(again) else []
    return min(found, default=None)


# ---------------------------------------------------------------------------------------------------------------------
# Splits that the publisher does not have


def leave_surplus(survey: Survey) -> None:
    """Leaves out training documents so that every class has as many as the smallest: those of the highest hashes."""
    of_classes = survey.counts[TRAIN, :-1]
    left = np.full(len(of_classes), of_classes[of_classes > 0].min(initial=survey.documents))
    for rows in survey.texts.rewritten():
        train = np.flatnonzero(rows["split"] == TRAIN)
        for class_id in np.unique(rows["class"][train]).tolist():
            ranked = train[rows["class"][train] == class_id]
            kept = min(int(left[class_id]), len(ranked))
            left[class_id] -= kept
            rows["split"][ranked[kept:]] = LEFT_OUT
            survey.to_balance += len(ranked) - kept


def leave_seen(survey: Survey) -> None:
    """Leaves out the documents of the other splits whose text is also in the test split."""
    for rows in survey.texts.rewritten():
        splits, keys = rows["split"], rows["key"]
        seen = (splits != TEST) & (splits != LEFT_OUT) & np.isin(keys, keys[splits == TEST])
        splits[seen] = LEFT_OUT
        survey.seen += int(seen.sum())


def has_documents(survey: Survey, split: int) -> bool:
    """Whether a split has documents now."""
    return bool(survey.counts[split].any()) and any((rows["split"] == split).any() for rows in survey.texts)


def move_share(survey: Survey, to: int, share: float) -> None:
    """Moves a share of the training documents, class by class, to another split; equal texts move together.

    None of those is moved to test whose text is in a split that a person has made.

    Args:
        survey: Its ``texts`` are changed.
        to: Code of the split.
        share: 0 to 0.9; 0 moves none.
    """
    stratum_of = strata(survey)
    totals = np.zeros(int(stratum_of.max(initial=0)) + 1, np.int64)
    for rows in survey.texts:
        _, sizes, groups = movable(rows, to, stratum_of)
        np.add.at(totals, groups, sizes)
    left = [room(total, share) for total in totals.tolist()]
    for rows in survey.texts.rewritten():
        if not any(left):
            return
        documents, sizes, groups = movable(rows, to, stratum_of)
        chosen = np.zeros(len(sizes), bool)
        for stratum in np.unique(groups).tolist():
            ranked = np.flatnonzero(groups == stratum)
            taken, left[stratum] = choose_groups(sizes[ranked].tolist(), left[stratum])
            chosen[ranked[taken]] = True
        rows["split"][documents[np.repeat(chosen, sizes)]] = to


def movable(
    rows: NDArray[np.void], to: int, stratum_of: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """The documents of a part that may move, by their text.

    Args:
        rows: Of :data:`TEXT`, sorted.
        to: Code of the split.
        stratum_of: From :func:`strata`.

    Returns:
        int64, their places in ``rows``; int64 [texts], documents of each text; int32 [texts], its stratum. A text that
        occurs with several labels is counted with the first one: not with the one that comes first.
    """
    documents = np.flatnonzero(rows["split"] == TRAIN)
    if to == TEST:
        made = rows["key"][(rows["split"] == VALID) | (rows["split"] == TEST)]
        documents = documents[~np.isin(rows["key"][documents], made)]
    first = first_of_equal(rows["key"][documents])
    if not len(first):
        return documents, first, np.empty(0, np.int32)
    sizes = np.diff(np.append(first, len(documents)))
    return documents, sizes, np.minimum.reduceat(stratum_of[rows["class"][documents]], first)


def strata(survey: Survey) -> NDArray[np.int32]:
    """int32 [classes], of what a share is chosen each: of a class, or of a combination of several labels.

    A combination of few documents belongs to its rarest label: of combinations that occur once, none would be tested.
    """
    own = np.arange(survey.counts.shape[1] - 1, dtype=np.int32)
    if survey.sets is None:
        return own
    counts = survey.counts[:, :-1].sum(axis=0)
    of_labels = counts @ survey.sets.astype(np.int64)
    rarest = np.where(survey.sets == 1, of_labels, counts.sum() + 1).argmin(axis=1)
    rare = (counts < FEWEST_OF_COMBINATION) & survey.sets.any(axis=1)
    return np.where(rare, len(own) + rarest, own).astype(np.int32)


def room(documents: int, share: float) -> int:
    """How many of so many documents a share is; of two or more at least one, and one is left."""
    return min(max(round(share * documents), 1), documents - 1) if share > 0 and documents else 0


def choose_groups(sizes: list[int], room: int) -> tuple[list[int], int]:
    """Chooses groups of documents with the same text, in order, until there is no more room.

    A group that is larger than what is missing is passed over.

    Args:
        sizes: Documents of each group.
        room: Documents that are wanted.

    Returns:
        Places of the chosen groups in ``sizes``, and the room that is left.
    """
    taken = []
    for place, size in enumerate(sizes):
        if room == 0:
            break
        if size <= room:
            taken.append(place)
            room -= size
    return taken, room


# ---------------------------------------------------------------------------------------------------------------------
# What is in the splits


@dataclass
class Findings:
    """What the splits hold.

    Attributes:
        codes: :data:`CODE`, a row for each document: the code of its split, with :data:`SEEN` where that is so.
        counts: int64 [splits + 1, C + 1], as in :class:`Survey`.
        distinct: int64 [splits + 1], different texts of each split.
        of_training: Different texts of train and valid together.
        in_both: Texts that are in train and in valid.
        contradicted: Texts of train and valid that occur with more than one label.
        seen: Test documents whose text is also in train or valid.
        test_in_unlabelled: Test documents whose text is also unlabelled.
        unlabelled_in_training: Unlabelled documents whose text is also in train or valid.
        texts_of_classes: int64 [C + 1], different texts of each class in train.
    """

    codes: Parts
    counts: NDArray[np.int64]
    distinct: NDArray[np.int64]
    texts_of_classes: NDArray[np.int64]
    of_training: int = 0
    in_both: int = 0
    contradicted: int = 0
    seen: int = 0
    test_in_unlabelled: int = 0
    unlabelled_in_training: int = 0

    def each(self) -> Iterator[int]:
        """The codes of the documents, in their order."""
        for rows in self.codes:
            yield from rows["code"].tolist()


def examine(survey: Survey, folder: Path) -> Findings:
    """Counts what is in the splits, and notes for each document where it belongs. ``folder``: for what is noted."""
    counts = np.zeros_like(survey.counts)
    distinct, of_classes = np.zeros(len(counts), np.int64), np.zeros(counts.shape[1], np.int64)
    found = Findings(Parts(folder, CODE, NUMBER_SHIFT), counts, distinct, of_classes)
    for rows in survey.texts:
        examine_part(rows, found)
    return found


def examine_part(rows: NDArray[np.void], found: Findings) -> None:
    """Adds a part, sorted rows of :data:`TEXT`, to what was found."""
    splits, classes = rows["split"], rows["class"]
    first = first_of_equal(rows["key"])
    text = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(rows))))  # of each document
    holds = np.zeros((len(first), len(found.distinct)), bool)
    holds[text, splits] = True
    in_training = holds[:, TRAIN] | holds[:, VALID]
    training = np.flatnonzero((splits == TRAIN) | (splits == VALID))
    seen = (splits == TEST) & in_training[text]
    np.add.at(found.counts, (splits, classes), 1)
    found.distinct += holds.sum(axis=0)
    found.of_training += int(in_training.sum())
    found.in_both += int((holds[:, TRAIN] & holds[:, VALID]).sum())
    found.contradicted += contradicted(text[training], classes[training])
    found.seen += int(seen.sum())
    found.test_in_unlabelled += int(((splits == TEST) & holds[text, UNLABELLED]).sum())
    found.unlabelled_in_training += int(((splits == UNLABELLED) & in_training[text]).sum())
    train = splits == TRAIN
    pairs = np.unique(np.stack([text[train], classes[train].astype(np.int64)]), axis=1)
    np.add.at(found.texts_of_classes, pairs[1], 1)
    codes = np.empty(len(rows), CODE)
    codes["key"], codes["code"] = rows["number"], splits + SEEN * seen.astype(np.uint8)
    found.codes.add(codes)


def contradicted(texts: NDArray[np.int64], classes: NDArray[np.int32]) -> int:
    """How many texts (sorted numbers) occur with more than one class."""
    differ = (texts[1:] == texts[:-1]) & (classes[1:] != classes[:-1])
    return len(np.unique(texts[1:][differ]))
