"""The table of data sets: where each comes from, what its classes are called, and a reader that streams its documents.

A stage asks :func:`find_corpus` for a row of the table; adding a data set means adding a row (and a reader, if its
format is new). The CSV file that every data set is turned into is read back by :func:`read_csv`.

Nothing is ever extracted from an archive, so no member's name can reach the file system.
"""

from __future__ import annotations

import codecs
import csv
import functools
import gzip
import importlib.util
import re
import shlex
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from utils import UserError, human_size, sha256_of_file

SPLITS = ("train", "valid", "test", "unlabelled")
CSV_COLUMNS = ("id", "split", "label", "rating", "text")

# About a million words. No document is as long; a quote that is never closed, or a file of another kind, is.
MAX_TEXT_BYTES = 5_000_000

SAMPLE_SEED = 1


class Row(NamedTuple):
    """One document as its publisher gives it.

    Attributes:
        id: Unique within the data set, for example ``train/pos/0_9``.
        split: ``train``, ``test`` or ``unlabelled``; ``valid`` is cut from ``train`` later.
        rating: The number that the label is derived from (stars); 0 for an unlabelled document.
        text: The whole text, untouched.
        evidence: Character spans ``[start, end)`` of the sentences that decide, for data sets that know them.
    """

    id: str
    split: str
    rating: int
    text: str
    evidence: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Corpus:
    """One row of the table.

    Attributes:
        name: What the person types.
        title: What the publisher calls it.
        citation: Whom to cite.
        url: Address of the archive; None for a data set that is not downloaded.
        archive: File name of the archive in the raw folder.
        size: Bytes of the published archive.
        sha256: Hash of the published archive.
        documents: Number of documents that the publisher states.
        classes: Class name of each rating, for two classes (True) and for every rating a class (False); the order of
            first appearance is the order of the classes. A labelled document whose rating is missing is left out.
        read: Streams the documents out of the raw folder.
        check: Reads an archive whose hash is not the published one to its end; raises :class:`DamagedArchive`.
        has_evidence: Whether the rows carry evidence.
    """

    name: str
    title: str
    citation: str
    url: str | None
    archive: str
    size: int
    sha256: str
    documents: int
    classes: Mapping[bool, Mapping[int, str]]
    read: Callable[[Path], Iterator[Row]]
    check: Callable[[Path], None]
    has_evidence: bool = False

    def class_names(self, binary: bool) -> list[str]:
        """The names of the classes, in the order of their ids."""
        return list(dict.fromkeys(self.classes[binary].values()))

    def label(self, row: Row, binary: bool) -> str | None:
        """The class name of a row: empty for an unlabelled one, None for one that has no place among the classes."""
        return "" if row.split == "unlabelled" else self.classes[binary].get(row.rating)

    def source_file(self, raw: Path) -> Path:
        """The one file that decides what the documents are: the archive, or for ``sample`` the generator's code."""
        return raw / self.archive if self.url else generator_file()

    def source_sha256(self, raw: Path) -> str:
        """Hash of :meth:`source_file`; a :class:`UserError` when the archive has not been downloaded."""
        file = self.source_file(raw)
        if not file.is_file():
            raise UserError(f"{file} is not there; run first: {command_line('download.py', self.name, raw)}")
        return sha256_of_file(file)


class DamagedArchive(UserError):
    """An archive that does not read to its end; ``reason`` says why without naming the file."""

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{archive} is damaged or cut short ({reason}); get it again with download.py")
        self.reason = reason


def command_line(script: str, dataset: str, raw: Path) -> str:
    """The command that runs ``script`` on the data set whose raw folder is ``raw``, to be pasted into a shell."""
    data_dir = raw.parent.parent
    return f"python {script} {shlex.quote(dataset)}" + (
        "" if data_dir == Path("data") else f" --data_dir {shlex.quote(str(data_dir))}"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Archives


def tar_files(archive: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """Streams the regular files of a ``.tar.gz`` whose whole name matches ``wanted``; links and the rest are passed by.

    ``tarfile``'s own ``r|gz`` neither checks the CRC nor tells a truncated file from a complete one, so the
    decompression is done by :mod:`gzip`, and the archive is read to its last byte.

    Raises:
        DamagedArchive: The archive is cut short, altered or of another kind.
        UserError: A wanted member is larger than any document.
    """
    try:
        with gzip.open(archive) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member: memory would grow
                name = wanted.fullmatch(member.name)
                if name and member.isreg():
                    yield name, member_bytes(archive, tar, member)
            end_of_members = tar.offset
            while plain.read(1 << 16):
                pass
            if plain.tell() - end_of_members < tarfile.BLOCKSIZE:  # a whole one ends with blocks of zeros
                raise DamagedArchive(archive, "the end of the tar archive is missing")
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise DamagedArchive(archive, str(error)) from error


def member_bytes(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of one regular member, refused unread when it is larger than any document."""
    if member.size > MAX_TEXT_BYTES:
        raise UserError(
            f"{archive}: {member.name} is {human_size(member.size)} long, more than any text; is it the right archive?"
        )
    file = tar.extractfile(member)
    return file.read() if file else b""  # None only for a member that is not a regular file


def check_tar_gz(archive: Path) -> None:
    """Reads a ``.tar.gz`` to its end; raises :class:`DamagedArchive` if it does not get there."""
    for _ in tar_files(archive, re.compile(r"(?!)")):
        pass


def check_nothing(_: Path) -> None:
    """For data sets without an archive."""


# ---------------------------------------------------------------------------------------------------------------------
# Readers


IMDB_MEMBER = re.compile(r"(?:\./)?aclImdb/((train|test)/(pos|neg|unsup)/[0-9]+_([0-9]+))\.txt")
IMDB_RATINGS = {"neg": range(1, 5), "pos": range(7, 11), "unsup": range(0, 1)}


def read_imdb(raw: Path) -> Iterator[Row]:
    """Streams the reviews out of the archive as it was published: one file per review, the stars in its name."""
    archive = raw / IMDB_ARCHIVE
    for name, content in tar_files(archive, IMDB_MEMBER):
        folder, rating = name[3], int(name[4])
        if rating not in IMDB_RATINGS[folder]:
            raise UserError(f"{archive}: {name[0]} cannot be in {folder}/ with that rating; is it the right archive?")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{archive}: {name[0]} is not UTF-8 ({error.reason} at byte {error.start}); is it the right archive?"
            ) from error
        yield Row(name[1], "unlabelled" if folder == "unsup" else name[2], rating, text)


def read_sample(_: Path) -> Iterator[Row]:
    """The built-in reviews; nothing is read from the disk."""
    yield from sample_rows()


@functools.cache
def sample_rows() -> tuple[Row, ...]:
    """The built-in reviews, kept because writing them takes seconds and create_csv.py asks for them several times."""
    from sample_corpus import generate

    return tuple(
        Row(review.id, review.split, review.rating, review.text, review.evidence) for review in generate(SAMPLE_SEED)
    )


def generator_file() -> Path:
    """The source code of the built-in data set: it changes when the reviews do."""
    found = importlib.util.find_spec("sample_corpus")
    if found is None or found.origin is None:
        raise UserError("sample_corpus.py is not there; it stands beside the other scripts in the repository")
    return Path(found.origin)


# ---------------------------------------------------------------------------------------------------------------------
# The table

IMDB_ARCHIVE = "aclImdb_v1.tar.gz"
TEN_STARS = {
    True: {stars: "negative" if stars < 5 else "positive" for stars in (1, 2, 3, 4, 7, 8, 9, 10)},
    False: {stars: str(stars) for stars in (1, 2, 3, 4, 7, 8, 9, 10)},
}

CORPORA = (
    Corpus(
        name="imdb",
        title="Large Movie Review Dataset v1.0",
        citation="Maas et al., Learning Word Vectors for Sentiment Analysis, ACL 2011",
        url=f"https://ai.stanford.edu/~amaas/data/sentiment/{IMDB_ARCHIVE}",
        archive=IMDB_ARCHIVE,
        size=84_125_825,
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        documents=100_000,
        classes=TEN_STARS,
        read=read_imdb,
        check=check_tar_gz,
    ),
    Corpus(
        name="sample",
        title="film reviews written by sample_corpus.py",
        citation="this project",
        url=None,
        archive="",
        size=0,
        sha256="",
        documents=6_000,
        classes=TEN_STARS,
        read=read_sample,
        check=check_nothing,
        has_evidence=True,
    ),
)


def find_corpus(name: str) -> Corpus:
    """The row of the table with this name; an unknown one is a :class:`UserError` that lists the known ones."""
    for corpus in CORPORA:
        if corpus.name == name:
            return corpus
    known = ", ".join(corpus.name for corpus in CORPORA)
    raise UserError(f"unknown data set {name!r}; the known ones are: {known}")


# ---------------------------------------------------------------------------------------------------------------------
# The CSV file

RATING = re.compile(r"-?[0-9]{1,9}")
TOO_LONG = f"the row is longer than {human_size(MAX_TEXT_BYTES)}, more than any text (a quote never closed?)"


class CsvRow(NamedTuple):
    """One document of the CSV file; ``label`` is a class name, empty for an unlabelled document."""

    id: str
    split: str
    label: str
    rating: int
    text: str


def read_csv(path: Path) -> Iterator[CsvRow]:
    """Streams a CSV file written by ``create_csv.py``; columns may stand in any order, and others beside them.

    Raises:
        UserError: Names the file, the line on which the faulty row starts, what is wrong and what to do.
    """
    again = command_line("create_csv.py", path.stem, path.parent / "raw")
    if not path.is_file():
        raise UserError(f"{path} is not there; run first: {again}")
    csv.field_size_limit(MAX_TEXT_BYTES)
    start = 1
    with path.open("rb") as file:
        reader = csv.reader(csv_lines(file), strict=True)
        try:
            header = next(reader, [])
            columns = find_columns(header)
            start = reader.line_num + 1
            for fields in reader:
                yield parse_row(fields, len(header), columns)
                start = reader.line_num + 1
        except (csv.Error, ValueError) as error:
            problem = explain_csv_error(error)
            raise UserError(f"{path}, line {start}: {problem}; mend it, or write the file again: {again}") from error


def csv_lines(file: IO[bytes]) -> Iterator[str]:
    """Decodes a file line by line, so that an error is found on its own line; a line that never ends is not read."""
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:  # spreadsheets put it before the header
        file.seek(0)
    while line := file.readline(MAX_TEXT_BYTES):
        if len(line) == MAX_TEXT_BYTES:
            raise ValueError(TOO_LONG)
        if b"\0" in line:
            raise ValueError("it holds NUL bytes, so it is not UTF-8 text (UTF-16? save it as UTF-8)")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8 ({error.reason}; save the file as UTF-8)") from error


def find_columns(header: list[str]) -> list[int]:
    """The places of our columns in the header."""
    missing = [name for name in CSV_COLUMNS if name not in header]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} in the header, which reads {','.join(header)[:200]!r}")
    return [header.index(name) for name in CSV_COLUMNS]


def parse_row(fields: list[str], width: int, columns: list[int]) -> CsvRow:
    """One row of the file, checked."""
    if not fields:
        raise ValueError("the row is empty")
    if len(fields) != width:
        raise ValueError(f"{len(fields)} fields where the header has {width} (a quote or a comma too few or too many?)")
    name, split, label, rating, text = (fields[column] for column in columns)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split[:50]!r}, not one of {', '.join(SPLITS)}")
    if not label and split != "unlabelled":
        raise ValueError(f"document {name[:50]!r} of the {split} split has no label")
    if not text or text.isspace():
        raise ValueError(f"the text of document {name[:50]!r} is empty")
    if not RATING.fullmatch(rating):
        raise ValueError(f"the rating {rating[:50]!r} is not a whole number")
    return CsvRow(name, split, label, int(rating), text)


def explain_csv_error(error: Exception) -> str:
    """The words of the ``csv`` module in ours."""
    if "field larger than field limit" in str(error):
        return TOO_LONG
    if "unexpected end of data" in str(error):
        return "the row starts a quoted text whose closing quote is missing (is the file cut short?)"
    return str(error)
