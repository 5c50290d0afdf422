"""How to read a table or a folder that somebody made: encoding, delimiter, header; then its records, one by one.

:func:`open_table` finds out what a file is, :func:`records` streams what stands in it. A row that cannot be read is a
record with a problem, not an error: ``own_data.py`` decides what to do about it.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from corpus.corpus_formats import MAX_TEXT_BYTES
from corpus.frames import JSON_LIST, READERS, is_json_list, read_frame, read_json_list
from corpus.headers import (
    NO_HEADER,
    SAMPLE_RECORDS,
    SPLIT_WORDS,
    column_names,
    has_header,
    header_place,
    titles_remark,
)
from corpus.sources import is_compressed, open_source, plain_suffix, refuse_damaged
from utils import UserError, human_size

SAMPLE_CHARACTERS = 2_000_000
SHOWN = 5  # examples in a message
DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "vertical bar"}
OTHER_CELLS = "another number of cells than the first row (a quotation mark or a delimiter too few or too many)"
BROKEN_QUOTES = "a quotation mark too few or too many, over several lines"
END_OF_FILE = "\ue000end of file\ue000"
JSON_ENDINGS = {".jsonl", ".ndjson", ".json"}
JSON_LINES = "JSON lines"


SEPARATOR_LINE = re.compile(r"\ufeff?sep=([\t;,|])\r?\n")  # which Excel writes for itself


class Record(NamedTuple):
    """One row as it is in the source.

    Attributes:
        row: Number of the record, as a spreadsheet counts them: the header is 1.
        line: Line of the file on which it begins.
        fields: Its cells, in the order of the columns; empty if there is a problem.
        problem: Why it cannot be read; empty if it can.
    """

    row: int
    line: int
    fields: list[str]
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """How a source is to be read.

    Attributes:
        path: The file or folder.
        kind: In words, for example ``semicolon-separated``.
        names: Names of the columns; ``column 2`` where there is no header.
        encoding: A codec's name; empty for a folder, whose files are decoded one by one.
        errors: ``strict``, or ``replace`` where some bytes are of another encoding.
        dialect: Arguments of :func:`csv.reader`; None where the source is no such table.
        header_row: Record number of the header; 0 where there is none.
        header: Its cells as they are written.
        remarks: What a person should know about it.
    """

    path: Path
    kind: str
    names: tuple[str, ...]
    encoding: str = ""
    errors: str = "strict"
    dialect: dict[str, Any] | None = None
    header_row: int = 0
    remarks: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


class TableBlock(NamedTuple):
    """Whole rows of a table, which can be read without those before them.

    Attributes:
        file: The absolute path: where it is read, the working folder is another.
        start: Of the first row, in bytes.
        size: In bytes; ``None`` for all that follows.
        line: Lines before it.
        row: Records before it.
    """

    file: str
    start: int
    size: int | None
    line: int
    row: int


def open_table(path: Path, encoding: str) -> Table:
    """Finds out how to read a source; one that is no table is a :class:`UserError` that says what to do.

    Delimited tables and JSON lines are streamed, compressed ones too; the formats of :mod:`corpus.frames` are read as a
    whole.
    """
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        near = sorted(other.name for other in path.parent.glob("*") if other.suffix.lower() == path.suffix.lower())
        beside = f"; its folder has: {', '.join(near[:SHOWN])}" if near else ""
        raise UserError(f"{path} is not there{beside}; give the path of your file")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; save it again, with a header and a row per document")
    if path.suffix.lower() in READERS:
        if encoding:
            raise UserError(f"--encoding {encoding} is for text, and {path} is none; leave it out")
        frame = read_frame(path)
        return Table(path, frame.kind, frame.names, remarks=frame.remarks)
    encoding, errors, remarks = find_encoding(path, encoding)
    if plain_suffix(path) in JSON_ENDINGS:
        open_json = open_json_list if is_json_list(path, encoding, errors) else open_json_lines
        return open_json(path, encoding, errors, remarks)
    return open_delimited(path, encoding, errors, remarks)


# ---------------------------------------------------------------------------------------------------------------------
# Encoding

MAGIC = {
    b"PK\x03\x04": "an Excel workbook or another zip file; give it the ending .xlsx or .zip, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV (in Excel: Save As, CSV UTF-8)",
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"ARROW1": "a Feather file; give it the ending .feather",
    b"\x1f\x8b": "compressed with gzip; give it the ending .gz, or unpack it: gunzip",
    b"%PDF": "a PDF; save its texts as CSV",
    b"SQLite format": "a database; export the table as CSV",
}
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
PIECE = 1 << 20
ASCII = bytes(range(128))
ASCII_LETTERS = bytes(byte for byte in ASCII if chr(byte).isalpha())


def find_encoding(path: Path, wanted: str) -> tuple[str, str, tuple[str, ...]]:
    """(codec, how to treat errors, remarks). The whole file is read: its only é may be in the last row."""
    if is_compressed(path):
        refuse_damaged(path)
    with open_source(path) as file:
        head = file.read(1 << 16)
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{path} is {what}")
    if head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is a web page; fetch the file itself, or open it in a spreadsheet and save it as CSV")
    if wanted:
        check_codec(path, wanted)
        return wanted, "strict", ()
    for mark, codec in MARKS.items():  # the longer marks come first: one begins like another
        if head.startswith(mark):
            return codec, "strict" if codec == "utf-8-sig" and is_utf8(path) else "replace", ()
    if head.count(0) > len(head) // 1000:  # a text may hold a stray one
        if codec := utf16_without_mark(head):
            return codec, "replace", ()
        raise UserError(f"{path} is not text (it holds zero bytes); save it as CSV or JSON lines")
    if is_utf8(path):
        return "utf-8", "strict", ()
    return not_utf8(path)


def check_codec(path: Path, wanted: str) -> None:
    """Refuses an ``--encoding`` that does not exist or does not fit."""
    try:
        "x".encode(wanted)  # refuses codecs that make no text, such as hex
        decoder = codecs.getincrementaldecoder(wanted)()
        with open_source(path) as file:
            while piece := file.read(PIECE):
                decoder.decode(piece)
    except (LookupError, AttributeError) as error:
        raise UserError(
            f"--encoding {wanted!r} is unknown; for example utf-8, cp1252, latin-1, utf-16, cp1251, gb18030, shift_jis"
        ) from error
    except UnicodeError as error:
        raise UserError(f"{path} is not in {wanted} ({error}); leave --encoding out to have it guessed") from error


def is_utf8(path: Path) -> bool:
    """Whether every byte of a file is part of valid UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_source(path) as file:
            while piece := file.read(PIECE):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def utf16_without_mark(head: bytes) -> str:
    """The codec of UTF-16 text that lacks its mark, in which every other byte of Latin letters is zero; else empty."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(len(head) // 2, 1)
    if odd > 0.3 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.3 * half and odd < 0.05 * half:
        return "utf-16-be"
    return ""


def not_utf8(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The encoding of a file that is not UTF-8 throughout: mostly UTF-8 all the same, or one byte per letter."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = beyond_ascii = letters = 0
    undefined = False
    with open_source(path) as file:
        while piece := file.read(PIECE):
            text = decoder.decode(piece)
            replaced = text.count("\ufffd")
            bad += replaced
            good += len(text) - len(text.encode("ascii", "ignore")) - replaced
            beyond_ascii += len(piece.translate(None, delete=ASCII))
            letters += len(piece) - len(piece.translate(None, delete=ASCII_LETTERS))
            undefined = undefined or any(byte in piece for byte in b"\x81\x8d\x8f\x90\x9d")
    if good > 10 * bad:
        return "utf-8", "replace", (f"{bad:,} characters are not UTF-8 and could not be read",)
    if beyond_ascii > 0.3 * (beyond_ascii + letters):
        raise UserError(
            f"{path} is not UTF-8, and too few of its letters are Latin to guess; name its --encoding (for example "
            "cp1251, gb18030, shift_jis, big5, euc-kr), or save it as UTF-8"
        )
    codec = "latin-1" if undefined else "cp1252"
    remark = f"not UTF-8: read as {codec} (Western European); if letters come out wrong, name the right --encoding"
    return codec, "strict", (remark,)


# ---------------------------------------------------------------------------------------------------------------------
# Tables with a delimiter


def open_delimited(path: Path, encoding: str, errors: str, remarks: tuple[str, ...]) -> Table:
    """Finds delimiter, quoting and header of a table."""
    with open_source(path, encoding, errors=errors, newline="") as file:
        head = file.read(SAMPLE_CHARACTERS)
        whole = not file.read(1)
    if not head.strip("\ufeff\r\n\t ;,"):
        raise UserError(f"{path} is empty; save it again, with a header and a row per document")
    dialect, rows, start, first, with_header = read_head(path, head, whole)
    remarks = (*remarks, *titles_remark(rows[start:first], first + 1))
    return Table(
        path=path,
        kind=f"{DELIMITERS[dialect['delimiter']]}-separated",
        names=column_names(rows[first] if with_header else [""] * len(rows[first])),
        encoding=encoding,
        errors=errors,
        dialect=dialect,
        header_row=first + 1 if with_header else 0,
        header=tuple(rows[first]) if with_header else (),
        remarks=remarks if with_header else (*remarks, NO_HEADER),
    )


class Head(NamedTuple):
    """What the first characters of a table with a delimiter tell.

    Attributes:
        dialect: Arguments of :func:`csv.reader`.
        rows: The first rows.
        start: The place of the first one that a person has written.
        first: The place of the first one that is no title.
        with_header: Whether it names the columns.
    """

    dialect: dict[str, Any]
    rows: list[list[str]]
    start: int
    first: int
    with_header: bool


def read_head(path: Path, head: str, whole: bool) -> Head:
    """The rows in the first characters of a table, which may be the whole of it."""
    said = SEPARATOR_LINE.match(head)
    dialect, rows = find_dialect(path, head, whole, said[1] if said else None)
    start = 1 if said else 0
    first = start + header_place(rows[start:])
    return Head(dialect, rows, start, first, has_header(rows[first], rows[first + 1 :]))


def find_dialect(path: Path, head: str, whole: bool, delimiter: str | None) -> tuple[dict[str, Any], list[list[str]]]:
    """Arguments for :func:`csv.reader` under which most rows have as many cells as the first, and those rows."""
    csv.field_size_limit(MAX_TEXT_BYTES)
    best: tuple[float, ...] = (0, 0, 0)
    chosen: tuple[dict[str, Any], list[list[str]]] | None = None
    for candidate in dialects(path, delimiter):
        if is_chance(candidate, head, whole):
            continue
        rows = parse_head(head, whole, candidate)
        rows_below = rows[bool(delimiter) :]
        rows_below = rows_below[header_place(rows_below) :]
        filled = [row for row in rows_below if any(cell.strip() for cell in row)]
        width = len(filled[0]) if filled else 0
        if width < 2:
            continue
        # The plain form of a dialect comes first: another one must be better, not as good. Half a pair of quotation
        # marks in a cell shows that a text was cut in two.
        fit = sum(len(row) == width for row in filled) / len(filled)
        cut = sum(any(map(is_cut, row)) for row in filled) / len(filled)
        quality = (round(fit, 2), -round(cut, 2), len(filled))
        if quality > best:
            best, chosen = quality, (candidate, rows)
    if chosen is None:
        refuse_quoted_rows(path, head)
        raise UserError(
            f"{path} has one column only (no comma, semicolon, tab or | separates its first row); it needs one with "
            "the text and one with the label"
        )
    return chosen


def is_chance(candidate: dict[str, Any], head: str, whole: bool) -> bool:
    """Whether a table that looks like one with backslashes, or without quoting, is an ordinary one.

    It is if all its quotation marks are where an ordinary writer puts them: then an odd number of them in a cell
    (``5" nails``) is no sign of the other form. Marks that are part of the text can look like that, too, and then some
    rows become one cell.
    """
    if not {"quoting", "escapechar"} & candidate.keys():
        return False
    sign = candidate["delimiter"]
    rows = parse_head(head, whole, {"delimiter": sign, "strict": True})
    swallowed = "quoting" in candidate and any(sign in cell and "\n" in cell for row in rows for cell in row)
    return bool(rows) and not swallowed


def is_cut(cell: str) -> bool:
    """Whether a cell looks as if its quotation marks were misread: half a pair, or a pair behind a space."""
    return cell.count('"') % 2 == 1 or (cell.startswith(" ") and cell.lstrip().startswith('"'))


def refuse_quoted_rows(path: Path, head: str) -> None:
    """Refuses a table whose rows are one quoted cell each: one that was opened as a single column and saved again."""
    row: list[str] = next((row for row in csv.reader(io.StringIO(head, newline="")) if row), [])
    if head.lstrip("\ufeff").startswith('"') and len(row) == 1 and any(sign in row[0] for sign in DELIMITERS):
        raise UserError(
            f"{path}: each row is in quotation marks as a whole, which makes it one column; open it in a "
            "spreadsheet, split the column (Data, Text to Columns) and save it again"
        )


def dialects(path: Path, delimiter: str | None) -> Iterator[dict[str, Any]]:
    """What tables come in: quotes doubled, or after a space, or after a backslash, and tabs without any quoting."""
    order = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda sign: sign != "\t" or path.suffix == ".csv")
    for sign in order:
        yield {"delimiter": sign}
    for sign in order:
        yield {"delimiter": sign, "skipinitialspace": True}
    for sign in order:
        yield {"delimiter": sign, "escapechar": "\\", "doublequote": True}
    if "\t" in order:
        yield {"delimiter": "\t", "quoting": csv.QUOTE_NONE}


def parse_head(head: str, whole: bool, dialect: dict[str, Any]) -> list[list[str]]:
    """The first rows under one dialect; the last one is left out where the piece of the file cuts it."""
    try:
        rows = list(itertools.islice(csv.reader(io.StringIO(head, newline=""), **dialect), SAMPLE_RECORDS))
    except csv.Error:
        return []
    return rows if whole or len(rows) >= SAMPLE_RECORDS else rows[:-1]


def open_rows(table: Table, block: TableBlock | None, newline: str | None) -> IO[str]:
    """Opens the text of a table, or a block of it, for reading; ``newline``: as for :func:`open`.

    Raises:
        UserError: The machine that runs this does not have the file.
    """
    if block is None:
        return open_source(table.path, table.encoding, errors=table.errors, newline=newline)
    try:
        file: IO[bytes] = open(block.file, "rb")  # noqa: SIM115  whoever gets it closes it
        file.seek(block.start)
        if block.size is not None:
            with file:
                file = io.BytesIO(file.read(block.size))
    except OSError as error:
        raise UserError(
            f"a machine of the Ray cluster cannot read {block.file} ({error.strerror}); put it into a folder that all "
            "machines share, at the same path; a table that has an address, such as s3://..., is copied to --data_dir"
        ) from error
    encoding = "utf-8" if block.start and is_utf8_with_mark(table.encoding) else table.encoding
    return io.TextIOWrapper(file, encoding=encoding, errors=table.errors, newline=newline)


def is_utf8_with_mark(encoding: str) -> bool:
    """Whether an encoding is UTF-8 behind a byte order mark, which is at the beginning of a file alone."""
    return codecs.lookup(encoding).name == "utf-8-sig"


def delimited_records(table: Table, block: TableBlock | None) -> Iterator[Record]:
    """The records of a table with a delimiter, the header left out."""
    csv.field_size_limit(MAX_TEXT_BYTES)
    header = list(table.header) if table.header_row else None
    lines: list[str] = []  # of the record that is being read
    row, before = (block.row, block.line) if block else (0, 0)
    with open_rows(table, block, "") as file:
        whole = itertools.chain(bounded_lines(file, table.path), [END_OF_FILE])
        reader = csv.reader(noted(whole, lines), **table.dialect or {})
        line = before + 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise UserError(f"{table.path}, line {line}: {unclosed(error)}") from error
            if fields is None:
                raise UserError(f"{table.path}, line {line}: {unclosed(None)}")
            if fields == [END_OF_FILE]:
                return
            if fields and fields[-1].endswith(END_OF_FILE):
                raise UserError(f"{table.path}, line {line}: {unclosed(None)}")
            row += 1
            if row > table.header_row:
                broken = len(lines) > 1 and breaks_quoting(lines, table.dialect or {})
                record = Record(row, line, [] if broken else fields, BROKEN_QUOTES if broken else "")
                yield record if broken else checked_record(table, record, header)
            line = before + reader.line_num + 1
            lines.clear()


def noted(lines: Iterable[str], note: list[str]) -> Iterator[str]:
    """The same lines, each of them added to ``note`` before it is handed out."""
    for line in lines:
        note.append(line)
        yield line


def breaks_quoting(lines: Sequence[str], dialect: dict[str, Any]) -> bool:
    """Whether text follows a closing quotation mark.

    Within one line it harms its own row at most, and often nothing (``5" nails``). Over several lines it is most likely
    a text without its closing mark, which includes the row after it, label and all.
    """
    try:
        for _ in csv.reader(lines, strict=True, **dialect):
            pass
    except csv.Error:
        return True
    return False


def unclosed(error: csv.Error | None) -> str:
    """What is wrong with a row that does not end."""
    if error is None or "field larger" in str(error):
        return "a quotation mark opens here and is never closed; close it or delete it"
    return f"{error}; correct that line"


def bounded_lines(file: IO[str], path: Path) -> Iterator[str]:
    """The lines of a file; one that never ends is not read into memory."""
    while line := file.readline(MAX_TEXT_BYTES):
        if len(line) == MAX_TEXT_BYTES:
            raise UserError(f"{path}: a line is longer than {human_size(MAX_TEXT_BYTES)}, more than any text")
        yield line


def checked_record(table: Table, record: Record, header: list[str] | None) -> Record:
    """A record with as many cells as there are columns, or with its problem."""
    fields, width = record.fields, len(table.names)
    if not any(cell.strip() for cell in fields):
        return record._replace(fields=[], problem="empty row")
    if fields == header:
        return record._replace(fields=[], problem="the header again")
    if len(fields) > width and not any(cell.strip() for cell in fields[width:]):
        fields = fields[:width]  # a spreadsheet's empty columns to the right
    if len(fields) < width or len(fields) > width:
        return record._replace(fields=[], problem=OTHER_CELLS)
    return record if fields is record.fields else record._replace(fields=fields)


# ---------------------------------------------------------------------------------------------------------------------
# JSON lines


def open_json_lines(path: Path, encoding: str, errors: str, remarks: tuple[str, ...]) -> Table:
    """Finds the keys of the objects in a file that has one per line."""
    names: dict[str, None] = {}
    with open_source(path, encoding, errors=errors) as file:
        for line in itertools.islice(bounded_lines(file, path), SAMPLE_RECORDS):
            value = parse_object(line)
            names.update(dict.fromkeys(value or {}))
    if len(names) < 2:
        raise UserError(f"{path} is not JSON lines: each line must be an object with a text and a label")
    return Table(path, JSON_LINES, tuple(names), encoding, errors, header_row=0, remarks=remarks)


def open_json_list(path: Path, encoding: str, errors: str, remarks: tuple[str, ...]) -> Table:
    """Finds the keys of the objects in one JSON list."""
    names = dict.fromkeys(name for row in read_json_list(path, encoding, errors) for name in row)
    return Table(path, JSON_LIST, tuple(names), encoding, errors, remarks=remarks)


def parse_object(line: str) -> dict[str, Any] | None:
    """The object on one line; None if there is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def json_records(table: Table, block: TableBlock | None) -> Iterator[Record]:
    """The records of a file with a JSON object per line."""
    with open_rows(table, block, None) as file:
        for number, line in enumerate(bounded_lines(file, table.path), start=1 + (block.row if block else 0)):
            if not line.strip():
                yield Record(number, number, [], "empty row")
            elif (value := parse_object(line)) is None:
                yield Record(number, number, [], "not a JSON object")
            else:
                yield Record(number, number, [json_cell(value.get(name)) for name in table.names])


def json_list_records(table: Table) -> Iterator[Record]:
    """The records of a JSON list; of an object, ``line`` is its number."""
    for number, value in enumerate(read_json_list(table.path, table.encoding, table.errors), start=1):
        yield Record(number, number, [json_cell(value.get(name)) for name in table.names])


def frame_records(table: Table) -> Iterator[Record]:
    """The records of a file that pandas reads, numbered as a spreadsheet counts them."""
    frame, header = read_frame(table.path), list(table.names)
    for number, fields in enumerate(frame.rows(), start=frame.first_row):
        problem = "the header again" if fields == header else "" if any(map(str.strip, fields)) else "empty row"
        yield Record(number, number, [] if problem else fields, problem)


def json_cell(value: Any) -> str:
    """A JSON value as a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # half a pair of surrogates may be written as \ud83d
    return json.dumps(value)


# ---------------------------------------------------------------------------------------------------------------------
# Folders


def open_folder(path: Path) -> Table:
    """A folder with a sub-folder per class, perhaps within sub-folders ``train`` and ``test``."""
    folders = sub_folders(path)
    if not folders:
        raise UserError(
            f"{path} has no sub-folders; give a folder with one per class (reviews/good/1.txt, reviews/bad/2.txt), "
            "or a file"
        )
    if all(folder.name.casefold() in SPLIT_WORDS for folder in folders):
        return Table(path, "folder with splits", ("id", "split", "label", "text"))
    return Table(path, "folder", ("id", "label", "text"))


def sub_folders(path: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, by name."""
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def folder_records(table: Table) -> Iterator[Record]:
    """A record per file; of a file, ``line`` is its number."""
    with_splits = "split" in table.names
    number = 0
    for outer in sub_folders(table.path):
        for folder in sub_folders(outer) if with_splits else [outer]:
            for file in sorted(folder.rglob("[!.]*")):
                if not file.is_file():
                    continue
                number += 1
                text, problem = read_text(file)
                identity = as_text(str(file.relative_to(table.path)))
                where = list(map(as_text, [outer.name, folder.name] if with_splits else [folder.name]))
                yield Record(number, number, [] if problem else [identity, *where, text], problem)


def as_text(name: str) -> str:
    """The name of a file in a text; bytes of it that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_text(file: Path) -> tuple[str, str]:
    """(text, problem) of one file, whatever its encoding."""
    if file.stat().st_size > MAX_TEXT_BYTES:
        return "", f"files longer than {human_size(MAX_TEXT_BYTES)}"
    content = file.read_bytes()
    for mark, codec in MARKS.items():
        if content.startswith(mark):
            return content.decode(codec, "replace"), ""
    if b"\0" in content:
        return "", "files that are not text"
    for codec in ("utf-8", "cp1252"):
        try:
            return content.decode(codec), ""
        except UnicodeDecodeError:
            pass
    return content.decode("latin-1"), ""


# ---------------------------------------------------------------------------------------------------------------------
# Records of any source


def records(table: Table, block: TableBlock | None = None) -> Iterator[Record]:
    """All records of a source, or of a block of it (:mod:`corpus.csv_blocks`); also those that cannot be used."""
    if table.dialect:
        return delimited_records(table, block)
    if table.kind == JSON_LINES:
        return json_records(table, block)
    if table.path.suffix.lower() in READERS and not table.path.is_dir():
        return frame_records(table)
    return json_list_records(table) if table.kind == JSON_LIST else folder_records(table)


def usable(table: Table, block: TableBlock | None = None) -> Iterator[Record]:
    """The records that can be read."""
    return (record for record in records(table, block) if not record.problem)
