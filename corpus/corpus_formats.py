"""The formats in which publishers hand out their data sets, each with a reader that streams the documents.

Nothing is ever extracted from an archive, so no member's name can reach the file system, and no reader keeps more than
one document in memory.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import installed  # noqa: F401

from utils import UserError, human_size

# About a million words. No document is as long; a quote that is never closed, or a file of another kind, is.
MAX_TEXT_BYTES = 5_000_000
GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04"


class Row(NamedTuple):
    """One document as its publisher gives it.

    Attributes:
        id: Unique within the data set, for example ``train/pos/0_9``.
        split: ``train``, ``valid``, ``test`` or ``unlabelled``; where the publisher has no ``valid`` (no ``test``),
            it is cut from ``train`` later.
        rating: The number that the label is derived from (stars, number of the class); 0 for an unlabelled document.
        text: The whole text, untouched but for the format's own escapes.
        evidence: Character spans ``[start, end)`` of the sentences that decide, for data sets that know them.
    """

    id: str
    split: str
    rating: int
    text: str
    evidence: tuple[tuple[int, int], ...] = ()


class DamagedArchive(UserError):
    """An archive that does not read to its end; ``reason`` says why without naming the file."""

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{archive} is damaged or cut short ({reason}); get it again with download.py")
        self.reason = reason


# ---------------------------------------------------------------------------------------------------------------------
# Archives


def tar_members(archive: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int, IO[bytes]]]:
    """Streams the regular files of a ``.tar.gz`` or ``.tar`` whose whole name matches; links and others are passed by.

    ``tarfile``'s own ``r|gz`` neither checks the CRC nor tells a truncated file from a complete one, so the
    decompression is done by :mod:`gzip`, and the archive is read to its last byte.

    Yields:
        The match, the size in bytes and the open member, which must be read before the next one is asked for.

    Raises:
        DamagedArchive: The archive is cut short, altered or of another kind.
    """
    with telling_damage(archive), open_packed(archive) as plain, open_stream(plain) as tar:
        while (member := next_member(tar)) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member: memory would grow
            name = wanted.fullmatch(member.name)
            content = tar.extractfile(member) if name and member.isreg() else None
            if name and content:
                yield name, member.size, content
        end_of_members = tar.offset
        while plain.read(1 << 16):
            pass
        if plain.tell() - end_of_members < tarfile.BLOCKSIZE:  # a whole one ends with blocks of zeros
            raise DamagedArchive(archive, "the end of the tar archive is missing")


class NoticesEnd:
    """A file for ``tarfile``, which reads on for hours behind the end if a member claims to be terabytes long."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.empty_reads = file, 0

    def read(self, size: int) -> bytes:
        """The next bytes; ``EOFError`` for whoever asks again and again after the last one."""
        piece = self.file.read(size)
        self.empty_reads += not piece
        if self.empty_reads > 2:
            raise EOFError("a member is longer than the archive")
        return piece


def open_stream(plain: IO[bytes]) -> tarfile.TarFile:
    """Opens an unpacked tar archive that is read forwards only."""
    with lying_headers():  # the first one is read at once
        return tarfile.open(fileobj=cast(IO[bytes], NoticesEnd(plain)), mode="r|")


def next_member(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next member, ``None`` at the end."""
    with lying_headers():
        member = tar.next()
        if member is not None and member.size < 0:
            raise ValueError(f"a size of {member.size} bytes")
        return member


@contextlib.contextmanager
def lying_headers() -> Iterator[None]:
    """Turns what ``tarfile`` and ``zipfile`` raise about headers that no packer writes into ``TarError``."""
    try:
        yield
    except (ValueError, OverflowError, RuntimeError) as error:  # RecursionError and NotImplementedError are the last
        raise tarfile.ReadError(f"a header cannot be read: {str(error)[:80]}") from error


@contextlib.contextmanager
def telling_damage(archive: Path) -> Iterator[None]:
    """Turns what the unpacking libraries raise about a damaged file into :class:`DamagedArchive`."""
    try:
        yield
    except (EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise DamagedArchive(archive, str(error)) from error
    except OSError as error:
        if error.errno is not None:  # gzip's and bzip2's errors of damaged data have no number
            raise
        raise DamagedArchive(archive, str(error)) from error


def open_packed(file: Path) -> IO[bytes]:
    """Opens a file that may be compressed with gzip, whatever its name ends with."""
    with file.open("rb") as opened:
        packed = opened.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast(IO[bytes], gzip.open(file)) if packed else file.open("rb")


def tar_files(archive: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """The wanted files of :func:`tar_members` with their content; one larger than any document is refused unread."""
    with telling_damage(archive):
        for name, size, file in tar_members(archive, wanted):
            if size > MAX_TEXT_BYTES:
                raise UserError(
                    f"{archive}: {name[0]} is {human_size(size)} long, more than any text; is it the right archive?"
                )
            yield name, file.read()


# ---------------------------------------------------------------------------------------------------------------------
# IMDB (Maas et al., 2011)

IMDB_MEMBER = re.compile(r"(?:\./)?aclImdb/((train|test)/(pos|neg|unsup)/[0-9]+_([0-9]+))\.txt")
IMDB_RATINGS = {"neg": range(1, 5), "pos": range(7, 11), "unsup": range(0, 1)}


def check_imdb(archive: Path) -> None:
    """Reads the archive to its end.

    Raises:
        DamagedArchive: It does not get there.
        UserError: There is no review in it.
    """
    with archive.open("rb") as opened:
        if opened.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            raise DamagedArchive(archive, "it is not a gzip file")
    if not sum(1 for _ in tar_members(archive, IMDB_MEMBER)):
        raise UserError(f"{archive}: it holds no reviews (aclImdb/train/pos/0_9.txt, ...); is it the right archive?")


def read_imdb(archive: Path) -> Iterator[Row]:
    """Streams the reviews out of the archive as it was published: one file per review, the stars in its name."""
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


# ---------------------------------------------------------------------------------------------------------------------
# The eight large sets of Zhang, Zhao and LeCun (NIPS 2015): train.csv and test.csv in a .tar.gz

ZHANG_MEMBER = re.compile(r"(?:[^\0]*/)?(train|test)\.csv")


def read_zhang(archive: Path, classes: int, fields: int, lone_backslash: bool = False) -> Iterator[Row]:
    r"""Streams the documents of one archive: no header, the class from 1 on, then one or more columns of text.

    The columns (title and description, say) become paragraphs of one text; empty ones are left out. Within them a new
    line is written as a backslash and an n, and a quotation mark as a backslash and the mark.

    Args:
        archive: ``.tar.gz`` or ``.tar``.
        classes: Number of classes.
        fields: Number of columns, that of the class included.
        lone_backslash: Each backslash stands for a line break of the source, as in AG's News (``dwindling\band``).
    """
    found = set()
    ratings = {str(number): number for number in range(1, classes + 1)}
    with telling_damage(archive):
        for name, _, content in tar_members(archive, ZHANG_MEMBER):
            found.add(name[1])
            where = f"{archive}: {name[0]}"
            for number, values in enumerate(csv_records(content, where, fields), start=1):
                if values[0] not in ratings:
                    header = "delete the header, or " if number == 1 else ""
                    raise UserError(
                        f"{where}, record {number}: the class is {values[0][:30]!r}, not a number from 1 to {classes}; "
                        f"{header}take the right archive"
                    )
                text = join_columns(values[1:], lone_backslash)
                yield Row(f"{name[1]}/{number:07d}", name[1], ratings[values[0]], text)
    if missing := sorted({"train", "test"} - found):
        raise UserError(f"{archive}: {missing[0]}.csv is not in it; is it the right archive?")


def join_columns(columns: Sequence[str], lone_backslash: bool) -> str:
    """The text of one record, see :func:`read_zhang`."""
    text = "\n\n".join(column for column in columns if column)
    if "\\" not in text:
        return text
    return text.replace("\\", " ") if lone_backslash else text.replace("\\n", "\n").replace('\\"', '"')


class Forward(io.RawIOBase):
    """A binary file that is read forwards only, which a member of a streamed tar archive does not tell by itself."""

    def __init__(self, content: IO[bytes]) -> None:
        self.content = content

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills ``buffer``; returns the number of bytes, 0 at the end."""
        piece = self.content.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def csv_records(content: IO[bytes], where: str, fields: int, lines_before: int = 0) -> Iterator[list[str]]:
    """Streams the records of a UTF-8 CSV file with ``""`` quoting.

    Args:
        content: The open file.
        where: Its name, for errors.
        fields: How many fields each record must have.
        lines_before: Lines that were read already, for errors.

    Raises:
        UserError: Names the file and the line.
    """
    csv.field_size_limit(MAX_TEXT_BYTES)
    with io.TextIOWrapper(io.BufferedReader(Forward(content)), encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            for values in reader:
                if len(values) != fields:
                    raise csv.Error(f"{len(values)} fields where {fields} belong")
                yield values
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(
                f"{where}, line {lines_before + reader.line_num}: {error}; is it the right file, and whole?"
            ) from error


# ---------------------------------------------------------------------------------------------------------------------
# Amazon Fine Food Reviews (McAuley and Leskovec, 2013), as SNAP and as Kaggle hand it out

FOOD_KEY = re.compile(r"((?:product|review)/[A-Za-z]+): ?(.*)", re.DOTALL)
FOOD_FIRST_KEY = "product/productId"
FOOD_COLUMNS = ("Id", "Score", "Text")
KAGGLE_TABLE = "Reviews.csv"


def read_food(file: Path) -> Iterator[Row]:
    """Streams the reviews: the text alone, without its summary, and the stars (1 to 5). There are no splits.

    The content decides about the format, not the name: Kaggle's ``Reviews.csv``, the ``.zip`` it comes in, or SNAP's
    ``finefoods.txt.gz``, whose blocks of ``review/score: 5.0`` lines are in Latin-1.
    """
    with open_food(file) as content:
        first = content.readline(MAX_TEXT_BYTES)
        if first.startswith(FOOD_FIRST_KEY.encode()):
            reviews = snap_reviews(first, content)
        else:
            reviews = kaggle_reviews(first, content, file)
        for number, (name, score, text) in enumerate(reviews, start=1):
            stars = re.fullmatch(r"([1-5])(?:\.0+)?", score)
            if not stars:
                raise UserError(
                    f"{file}: review {number} has the score {score[:30]!r}, not 1 to 5; is it the right file?"
                )
            yield Row(name or f"review/{number:06d}", "train", int(stars[1]), text)


@contextlib.contextmanager
def open_food(file: Path) -> Iterator[IO[bytes]]:
    """Opens the table or the blocks within a plain, gzip or zip file; one cut short is a :class:`DamagedArchive`."""
    with telling_damage(file), contextlib.ExitStack() as stack:
        if zipfile.is_zipfile(file):
            with lying_headers():
                archive = stack.enter_context(zipfile.ZipFile(file))
            if KAGGLE_TABLE not in archive.namelist():
                raise UserError(f"{file}: {KAGGLE_TABLE} is not in it; is it the right archive?")
            with lying_headers():
                table = stack.enter_context(archive.open(KAGGLE_TABLE))
            yield table
        else:
            yield stack.enter_context(open_packed(file))


def snap_reviews(first: bytes, content: IO[bytes]) -> Iterator[tuple[str, str, str]]:
    """(nothing, score, text) of each block; a block begins with the product, since texts may hold empty lines."""
    block: dict[str, str] = {}
    key = ""
    line = first
    while line:
        text = line.decode("latin-1").rstrip("\r\n")
        found = FOOD_KEY.fullmatch(text)
        if found and found[1] == FOOD_FIRST_KEY and block:
            yield "", block.get("review/score", ""), block.get("review/text", "").rstrip("\n")
            block = {}
        if found:
            key = found[1]
            block[key] = found[2]
        else:
            block[key] = f"{block.get(key, '')}\n{text}"
        line = content.readline(MAX_TEXT_BYTES)
    yield "", block.get("review/score", ""), block.get("review/text", "").rstrip("\n")


def kaggle_reviews(first: bytes, content: IO[bytes], file: Path) -> Iterator[tuple[str, str, str]]:
    """(id, score, text) of each row; columns are found by name."""
    header = next(csv.reader([first.decode("utf-8-sig", "replace")]), [])
    missing = [name for name in FOOD_COLUMNS if name not in header]
    if missing:
        raise UserError(
            f"{file}: no column {', '.join(missing)}; expected Kaggle's {KAGGLE_TABLE} or SNAP's finefoods.txt.gz"
        )
    identity, score, text = (header.index(name) for name in FOOD_COLUMNS)
    for values in csv_records(content, str(file), len(header), lines_before=1):
        yield values[identity], values[score], values[text]
