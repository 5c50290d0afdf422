"""The table of data sets: where each comes from, what its classes are called, and a reader that streams its documents.

A stage asks :func:`find_corpus` for a row of the table; adding a data set means adding a row (and a reader, if its
format is new). The CSV file that every data set is turned into is read back by :func:`read_csv`.
The readers themselves are in ``corpus_formats.py``; a person's own file becomes a row of the table in ``own_data.py``.
"""

from __future__ import annotations

import codecs
import csv
import functools
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NotRequired, TypedDict

import schema
from corpus.corpus_formats import MAX_TEXT_BYTES, Row, check_imdb, read_food, read_imdb, read_zhang
from corpus.remote import name_of_table
from corpus.tables import Table, TableBlock
from utils import (
    DATA_ENDINGS,
    DataPaths,
    UserError,
    dataset_name,
    did_you_mean,
    human_size,
    sha256_of_file,
    sha256_of_json,
)

SPLITS = ("train", "valid", "test", "unlabelled")
FEW_TEST_DOCUMENTS = 400  # fewer leave the accuracy uncertain by more than 5 points, for 95%
CSV_COLUMNS = ("id", "split", "label", "rating", "text")

SAMPLE_SEED = 1


@dataclass(frozen=True)
class Corpus:
    """One row of the table.

    Attributes:
        name: What the person types.
        title: What the publisher calls it.
        citation: Whom to cite.
        url: Address that needs no account; None for a data set that is not downloaded.
        archive: Name in the raw folder of the file that ``url`` gives.
        sha256: Published hash of that file; empty where none is published.
        documents: Number of documents that the publisher states.
        classes: Class name of each rating, for two classes (True) and for every rating a class (False); the order of
            first appearance is the order of the classes. A labelled document whose rating is missing is left out.
        read: Streams the documents out of the source file; those of a block, if that is a second argument.
        check: Reads a file whose hash is not the published one to its end; raises a :class:`UserError` if it is
            damaged or something else.
        other_files: Names in the raw folder of the other shapes in which the data set is handed around.
        publisher: Page that describes it, or where a person with an account gets it.
        has_evidence: Whether the rows carry evidence.
        has_test: Whether there is a test split; otherwise create_csv.py makes one.
        balanced: Whether two classes get the same number of documents.
        own: The file or folder of a person, read where it is: no raw folder, no download.
        table: How it is to be read.
        names: The labels, where a text may have several: ``classes`` are their combinations then.
    """

    name: str
    title: str
    citation: str
    url: str | None
    archive: str
    sha256: str
    documents: int
    classes: Mapping[bool, Mapping[int, str]]
    read: Callable[..., Iterator[Row]]
    check: Callable[[Path], None]
    other_files: tuple[str, ...] = ()
    publisher: str = ""
    has_evidence: bool = False
    has_test: bool = True
    balanced: bool = False
    own: Path | None = None
    table: Table | None = None
    names: tuple[str, ...] = ()

    def class_names(self, binary: bool) -> list[str]:
        """The names of the classes, in the order of their ids."""
        return list(dict.fromkeys(self.classes[binary].values()))

    def label(self, row: Row, binary: bool) -> str | None:
        """The class name of a row: empty for an unlabelled one, None for one that has no place among the classes."""
        return "" if row.split == "unlabelled" else self.classes[binary].get(row.rating)

    def source_file(self, raw: Path) -> Path:
        """The one file that decides what the documents are: the archive, or for ``sample`` the generator's code."""
        if self.own or not self.url:
            return self.own or generator_file()
        there = [raw / name for name in (self.archive, *self.other_files) if (raw / name).is_file()]
        return there[0] if there else raw / self.archive

    def source_sha256(self, raw: Path) -> str:
        """Hash of :meth:`source_file`; a :class:`UserError` when the archive has not been downloaded."""
        file = self.source_file(raw)
        if not file.exists():
            raise UserError(f"{file} is not there; run first: {command_line('download.py', self.name, raw)}")
        return sha256_of_source(file)

    def rows(self, raw: Path, block: TableBlock | None = None) -> Iterator[Row]:
        """Streams the documents out of :meth:`source_file`, or out of a block of it."""
        return self.read(self.source_file(raw), *([block] if block else []))

    def way_out(self, raw: Path) -> str:
        """What to look at when the documents are not as they must be."""
        source = self.source_file(raw)
        return f"correct {source} and run the same command again" if self.own else f"is {source} the right archive?"


def sha256_of_source(path: Path) -> str:
    """Hash of a file, or of a folder: of the names and contents of all files in it, hidden ones left out."""
    if not path.is_dir():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("[!.]*") if file.is_file())
    return sha256_of_json([[str(file.relative_to(path)), sha256_of_file(file)] for file in files])


def command_line(script: str, dataset: str, raw: Path) -> str:
    """The command that runs ``script`` on the data set whose raw folder is ``raw``, to be pasted into a shell."""
    data_dir = raw.parent.parent
    return f"python {script} {shlex.quote(dataset)}" + (
        "" if data_dir == Path("data") else f" --data_dir {shlex.quote(str(data_dir))}"
    )


def create_csv_command(paths: DataPaths) -> str:
    """The command that makes the CSV file."""
    return command_line("create_csv.py", paths.dataset, paths.raw)


# ---------------------------------------------------------------------------------------------------------------------
# The built-in data set


def check_nothing(_: Path) -> None:
    """For data sets without an archive."""


def read_sample(_: Path) -> Iterator[Row]:
    """The built-in reviews; nothing is read from the disk."""
    yield from sample_rows()


@functools.cache
def sample_rows() -> tuple[Row, ...]:
    """The built-in reviews, kept because writing them takes seconds and create_csv.py asks for them several times."""
    from corpus.sample_corpus import generate

    return tuple(
        Row(review.id, review.split, review.rating, review.text, review.evidence) for review in generate(SAMPLE_SEED)
    )


def generator_file() -> Path:
    """The source code of the built-in data set: it changes when the reviews do."""
    found = importlib.util.find_spec("corpus.sample_corpus")
    if found is None or found.origin is None:
        raise UserError("corpus/sample_corpus.py is missing; restore it from the repository")
    return Path(found.origin)


# ---------------------------------------------------------------------------------------------------------------------
# The table

TEN_STARS = {
    True: {stars: "negative" if stars < 5 else "positive" for stars in (1, 2, 3, 4, 7, 8, 9, 10)},
    False: {stars: str(stars) for stars in (1, 2, 3, 4, 7, 8, 9, 10)},
}
FOOD_STARS = {True: {1: "negative", 5: "positive"}, False: {stars: str(stars) for stars in range(1, 6)}}
FIVE_STARS = ("1", "2", "3", "4", "5")
POLARITY = ("negative", "positive")
AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")
YAHOO_ANSWERS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
)
DBPEDIA = (
    "Company",
    "EducationalInstitution",
    "Artist",
    "Athlete",
    "OfficeHolder",
    "MeanOfTransportation",
    "Building",
    "NaturalPlace",
    "Village",
    "Animal",
    "Plant",
    "Album",
    "Film",
    "WrittenWork",
)
ZHANG = "Zhang, Zhao and LeCun, Character-level Convolutional Networks for Text Classification, NIPS 2015"
FAST_AI = "https://s3.amazonaws.com/fast-ai-nlp"  # in the Registry of Open Data on AWS; needs no account
ZHANG_DRIVE = "Zhang's Google Drive, which the README.md of https://github.com/zhangxiangxiao/Crepe links to"


def zhang(
    name: str,
    title: str,
    folder: str,
    sha256: str,
    documents: int,
    classes: tuple[str, ...],
    fields: int,
    lone_backslash: bool = False,
) -> Corpus:
    """A row for one of the sets of Zhang et al.

    Args:
        name: What the person types.
        title: What the publishers call it.
        folder: Name of the folder in the archive, and of the archive.
        sha256: Of the archive at ``FAST_AI``, as others who fetched it have published it.
        documents: In train and test together.
        classes: Their names, in the order of the numbers.
        fields: Columns, that of the class included.
        lone_backslash: See :func:`corpus.corpus_formats.read_zhang`.
    """
    read = functools.partial(read_zhang, classes=len(classes), fields=fields, lone_backslash=lone_backslash)
    names = dict(enumerate(classes, start=1))
    return Corpus(
        name=name,
        title=title,
        citation=ZHANG,
        url=f"{FAST_AI}/{folder}.tgz",
        archive=f"{folder}.tgz",
        sha256=sha256,
        documents=documents,
        classes={True: names, False: names},
        read=read,
        check=functools.partial(check_by_reading, read=read),
        other_files=(f"{folder}.tar",),
        publisher=ZHANG_DRIVE,
    )


def check_by_reading(file: Path, read: Callable[[Path], Iterator[Row]]) -> None:
    """Reads a file to its end with its own reader, which says what is wrong with it."""
    for _ in read(file):
        pass


ZHANG_SETS = (
    zhang(
        name="amazon_full",
        title="Amazon reviews, full",
        folder="amazon_review_full_csv",
        sha256="4af62eeee139d0142e0747340b68646d23483d9475c33ea0641ee9175b423443",
        documents=3_650_000,
        classes=FIVE_STARS,
        fields=3,
    ),
    zhang(
        name="amazon_polarity",
        title="Amazon reviews, polarity",
        folder="amazon_review_polarity_csv",
        sha256="d2a3ee7a214497a5d1b8eaed7c8d7ba2737de00ada3b0ec46243983efa100361",
        documents=4_000_000,
        classes=POLARITY,
        fields=3,
    ),
    zhang(
        name="yelp_full",
        title="Yelp reviews, full",
        folder="yelp_review_full_csv",
        sha256="56006b0a17a370f1e366504b1f2c3e3754e4a3dda17d3e718a885c552869a559",
        documents=700_000,
        classes=FIVE_STARS,
        fields=2,
    ),
    zhang(
        name="yelp_polarity",
        title="Yelp reviews, polarity",
        folder="yelp_review_polarity_csv",
        sha256="528f22e286cad085948acbc3bea7e58188416546b0e364d0ae4ca0ce666abe35",
        documents=598_000,
        classes=POLARITY,
        fields=2,
    ),
    zhang(
        name="yahoo_answers",
        title="Yahoo! Answers, topics",
        folder="yahoo_answers_csv",
        sha256="2d4277855faf8b35259009425fa8f7fe1888b5644b47165508942d000f4c96ae",
        documents=1_460_000,
        classes=YAHOO_ANSWERS,
        fields=4,
    ),
    zhang(
        name="ag_news",
        title="AG's News",
        folder="ag_news_csv",
        sha256="9a8c300eabb45750237fcc669f61cb8a3448f3ef6f6098e1ce340e444f6872be",
        documents=127_600,
        classes=AG_NEWS,
        fields=3,
        lone_backslash=True,
    ),
    zhang(
        name="dbpedia",
        title="DBpedia, ontology",
        folder="dbpedia_csv",
        sha256="42db5221ddedddb673a4cabcc5f3a7d869714c878bcfe4ba94b29d14aa38e417",
        documents=630_000,
        classes=DBPEDIA,
        fields=3,
    ),
)

CORPORA = (
    Corpus(
        name="imdb",
        title="Large Movie Review Dataset v1.0",
        citation="Maas et al., Learning Word Vectors for Sentiment Analysis, ACL 2011",
        url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        archive="aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        documents=100_000,
        classes=TEN_STARS,
        read=read_imdb,
        check=check_imdb,
    ),
    Corpus(
        name="sample",
        title="film reviews written by sample_corpus.py",
        citation="this project",
        url=None,
        archive="",
        sha256="",
        documents=6_000,
        classes=TEN_STARS,
        read=read_sample,
        check=check_nothing,
        has_evidence=True,
    ),
    Corpus(
        name="amazon_food",
        title="Amazon Fine Food Reviews",
        citation="McAuley and Leskovec, From Amateurs to Connoisseurs, WWW 2013",
        url="https://snap.stanford.edu/data/finefoods.txt.gz",
        archive="finefoods.txt.gz",
        sha256="",
        documents=568_454,
        classes=FOOD_STARS,
        read=read_food,
        check=functools.partial(check_by_reading, read=read_food),
        other_files=("Reviews.csv", "Reviews.csv.zip", "finefoods.txt"),
        publisher="https://www.kaggle.com/datasets/snap/amazon-fine-food-reviews, which asks for an account",
        has_test=False,
        balanced=True,
    ),
    *ZHANG_SETS,
)
OWN_FORM = "for your own data name a file (my_reviews.csv, .tsv or .jsonl) or a folder with one sub-folder per class"


def find_corpus(name: str, data_dir: Path = Path("data")) -> Corpus:
    """The row of the table with this name.

    Raises:
        UserError: There is none; lists the known ones, and names one in the table or in ``data_dir`` that may be meant.
    """
    for corpus in CORPORA:
        if corpus.name == name:
            return corpus
    known = [corpus.name for corpus in CORPORA]
    beside = [name + ending for ending in DATA_ENDINGS if Path(name + ending).is_file()]
    own = {manifest.parent.name for manifest in data_dir.glob("*/csv_manifest.json")} - {name}
    meant = f"; did you mean {shlex.quote(beside[0])}?" if beside else did_you_mean(name, [*known, *own])
    raise UserError(f"unknown data set {name!r}; the known ones are: {', '.join(known)}; {OWN_FORM}{meant}")


def is_published(name: str) -> bool:
    """Whether this is the name of a row of the table."""
    return name in {corpus.name for corpus in CORPORA}


def refuse_published_name(source: str, name: str) -> None:
    """Refuses a person's file, folder or address that would become a data set with a name of the table.

    Raises:
        UserError: Names the flag that gives it another name.
    """
    if is_published(name):
        raise UserError(f"{source} would become the data set {name}, which is a published one; add --name {name}-own")


class SourceOfCsv(TypedDict):
    """What is read here of ``csv_manifest.json``."""

    source: NotRequired[str]


def own_source(text: str, paths: DataPaths) -> Path | None:
    """The file or folder of their own that a person means; None where it is a data set of the table.

    Args:
        text: What was typed: ``my_reviews.csv``, or ``my_reviews`` when that file was read before.
        paths: Of the data set that it becomes, with ``--name`` one of another name than what was typed.
    """
    if is_published(text):
        return None
    if "://" in text:
        name = name_of_table(text)
        raise UserError(f"{text} is an address; run first: python create_csv.py {shlex.quote(text)}; then type {name}")
    if "/" in text or dataset_name(text) != text or Path(text).exists():
        return Path(text).expanduser()
    manifest = paths.data_dir / text / paths.csv_manifest.name
    source = schema.read_json(manifest, SourceOfCsv).get("source") if manifest.is_file() else None
    if not source:
        return None
    near = Path(source).is_relative_to(Path.cwd())  # then shown as a person would type it
    return Path(source).relative_to(Path.cwd()) if near else Path(source)


def require_csv(typed: str, paths: DataPaths) -> None:
    """Refuses a data set that ``create_csv.py`` has not read yet, with the command that reads it.

    Args:
        typed: The name of the data set, or the path of a person's own file.
        paths: Of the data set.
    """
    if paths.csv.is_file():
        return
    source = own_source(typed, paths)
    if source is None:
        find_corpus(typed, paths.data_dir)  # refuses an unknown name and lists the known ones
    elif not source.exists():
        raise UserError(f"{source} is not there; give the path of your file or folder")
    raise UserError(
        f"{paths.csv} is not there; run first: {command_line('create_csv.py', str(source or typed), paths.raw)}"
    )


# ---------------------------------------------------------------------------------------------------------------------
# The CSV file

RATING = re.compile(r"-?[0-9]{1,9}")
LARGEST_FILE = 1 << 62  # bytes
TOO_LONG = f"the row is longer than {human_size(MAX_TEXT_BYTES)}, more than any text (a quote never closed?)"


class CsvRow(NamedTuple):
    """One document of the CSV file; ``label`` is a class name, empty for an unlabelled document."""

    id: str
    split: str
    label: str
    rating: int
    text: str


def read_csv(path: Path) -> Iterator[CsvRow]:
    """Streams a CSV file written by ``create_csv.py``; the columns may be in any order, among others.

    Raises:
        UserError: Names the file, the line on which the faulty row starts, what is wrong and what to do.
    """
    again = command_line("create_csv.py", path.stem, path.parent / "raw")
    if not path.is_file():
        raise UserError(f"{path} is not there; run first: {again}")
    with path.open("rb") as file:
        yield from rows_of_csv(path, csv_lines(file))


def rows_of_csv(path: Path, lines: Iterator[str], header: Sequence[str] = (), line: int = 1) -> Iterator[CsvRow]:
    """The documents on some lines of a CSV file.

    Args:
        path: The file, for messages.
        lines: Whole rows.
        header: The cells of the first row of the file; empty if it is the first of these lines.
        line: The number of the first of these lines in the file.

    Raises:
        UserError: As :func:`read_csv`.
    """
    csv.field_size_limit(MAX_TEXT_BYTES)
    reader = csv.reader(lines, strict=True)
    start = line
    try:
        header = header or next(reader, [])
        columns = find_columns(header)
        start = line + reader.line_num
        for fields in reader:
            yield parse_row(fields, len(header), columns)
            start = line + reader.line_num
    except (csv.Error, ValueError) as error:
        again = command_line("create_csv.py", path.stem, path.parent / "raw")
        problem = explain_csv_error(error)
        raise UserError(f"{path}, line {start}: {problem}; correct it, or write the file again: {again}") from error


def read_labels(paths: DataPaths) -> list[str]:
    """The names of the classes in ``labels.txt``; their line numbers, from 0, are the class ids.

    Raises:
        UserError: The file is missing, is not UTF-8, or names fewer than two classes or one of them twice.
    """
    return labels_in(paths.labels, create_csv_command(paths))


def labels_in(file: Path, again: str) -> list[str]:
    """As :func:`read_labels`, from any file of class names, for example that of the records.

    Args:
        file: One name per line.
        again: The command that writes the file, for messages.
    """
    if not file.is_file():
        raise UserError(f"{file} is not there; run first: {again}")
    try:
        labels = [label for label in file.read_text(encoding="utf-8").split("\n") if label]
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 ({error.reason}); save it as UTF-8, or run: {again}") from error
    if len(set(labels)) < max(len(labels), 2):
        raise UserError(f"{file} must name at least two classes, each once; run: {again}")
    return labels


class WrittenWith(TypedDict):
    """What ``csv_manifest.json`` says of the settings of the CSV file; earlier versions had fewer."""

    csv_sha256: NotRequired[str]
    settings: NotRequired[dict[str, Any]]


def written_with(paths: DataPaths) -> WrittenWith:
    """The settings of the CSV file; nothing where it has no manifest."""
    return schema.read_json(paths.csv_manifest, WrittenWith) if paths.csv_manifest.is_file() else {}


def is_ordinal(paths: DataPaths, csv_sha256: str) -> bool:
    """Whether the CSV file with this hash was written with ``--ordinal``, so that its classes are in an order."""
    found = written_with(paths)
    return found.get("csv_sha256") == csv_sha256 and found.get("settings", {}).get("ordinal") is True


def has_several_labels(paths: DataPaths) -> bool:
    """Whether the CSV file was written with ``--multi_label``, so that its labels are JSON lists of names."""
    return written_with(paths).get("settings", {}).get("multi_label") is True


def csv_lines(file: IO[bytes], start: int = 0, size: int = LARGEST_FILE) -> Iterator[str]:
    """Decodes a file line by line, so that an error is reported with its line; a line that never ends is not read.

    ``start``, ``size``: the part of the file that is read, in bytes; it ends with a line.
    """
    file.seek(start)
    if start or file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:  # spreadsheets put it before the header
        file.seek(start)
    end = start + size
    at = file.tell()
    while at < end and (line := file.readline(MAX_TEXT_BYTES)):
        at += len(line)
        if len(line) == MAX_TEXT_BYTES:
            raise ValueError(TOO_LONG)
        if b"\0" in line:
            raise ValueError("it holds NUL bytes, so it is not UTF-8 text (UTF-16? save it as UTF-8)")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8 ({error.reason}; save the file as UTF-8)") from error


def find_columns(header: Sequence[str]) -> list[int]:
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
    """An error of the ``csv`` module, or of :func:`parse_row`, for a person."""
    if "field larger than field limit" in str(error):
        return TOO_LONG
    if "unexpected end of data" in str(error):
        return "the row starts a quoted text whose closing quote is missing (is the file cut short?)"
    return str(error)
