"""Tables on other file systems than a folder of this machine: ``s3://bucket/reviews.parquet``, ``gs://``, ``file://``.

A table is one file, or a folder of files of one format: CSV, JSON lines or Parquet. It is copied as a stream into the
raw folder of its data set and then read like any file of a person. Parquet, which ``corpus.frames`` reads as a whole,
is written as JSON lines, some rows at a time: memory does not grow with the table.

pyarrow opens ``s3://``, ``gs://``, ``hdfs://`` and ``file://``; other addresses take fsspec, if it is installed.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from corpus.frames import as_text
from corpus.headers import header_place, names_columns
from corpus.parquet import groups_in, parquet_rows
from corpus.runners import ALONE, Runner
from corpus.tables import SAMPLE_CHARACTERS, SEPARATOR_LINE, Head, parse_head, read_head
from utils import DataPaths, UserError, atomic_write, brief, dataset_name, human_size, log, refuse_keys

PIECE = 1 << 22
LINES_AT_ONCE = 1 << 16  # bytes of lines that are handed on together
LONGEST_SHOWN = 200  # characters of a header, an address or an error of a library in a message
RETRY_SECONDS = 60  # of Google's library, which otherwise tries for a quarter of an hour
ENDINGS = {
    ".csv": ".csv",
    ".tsv": ".tsv",
    ".jsonl": ".jsonl",
    ".ndjson": ".jsonl",
    ".parquet": ".jsonl",
}  # of the parts of a table, and of the copy


def is_address(text: str) -> bool:
    """Whether a person has typed an address, not the name of a data set or a path."""
    return "://" in text


def name_of_table(address: str) -> str:
    """The name of the data set: ``reviews`` for ``s3://bucket/reviews.parquet`` and for ``s3://bucket/reviews/``.

    Options of the address, such as ``?endpoint_override=localhost:9000&scheme=http``, are no part of it.
    """
    return dataset_name(address.partition("?")[0].rstrip("/"))


def fetch(address: str, paths: DataPaths, runner: Runner = ALONE) -> Path:
    """Copies a table into the raw folder of its data set; returns the copy. ``runner`` decodes Parquet.

    Raises:
        UserError: There is no such table, its files are of several formats, or the address has a key in it.
    """
    refuse_keys(address)
    with errors_in_one_line(address, paths.data_dir):
        return copy_of_table(address, paths, runner)


@contextlib.contextmanager
def errors_in_one_line(address: str, data_dir: Path) -> Iterator[None]:
    """Turns what a file system raises into a :class:`UserError`, but not errors of the disk of ``data_dir``."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # each file system has errors of its own
        if isinstance(error, OSError) and error.filename and is_in(Path(str(error.filename)), data_dir):
            raise
        reason, place = brief(str(error), LONGEST_SHOWN), brief(address, LONGEST_SHOWN)
        raise UserError(f"{place} cannot be read ({reason}); check the address and the right to read it") from error


def is_in(file: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, however the two are written: ``--data_dir .``"""
    return file.resolve().is_relative_to(folder.resolve())


def copy_of_table(address: str, paths: DataPaths, runner: Runner) -> Path:
    """As :func:`fetch`, with the errors of the file system."""
    files = open_file_system(address)
    parts = [files.path] if files.size(files.path) is not None else parts_of_table(files)
    kinds = sorted({ending_of(part) for part in parts})
    if len(kinds) != 1 or kinds[0] not in ENDINGS:
        found = f"files of the kinds {', '.join(kinds)}" if kinds else "no file"
        raise UserError(
            f"{address} has {found}, and one of {', '.join(ENDINGS)} is needed; name a file or a folder of it"
        )
    copy = paths.raw / f"{paths.dataset}{ENDINGS[kinds[0]]}"
    with atomic_write(copy, "wb") as output:
        if kinds[0] == ".parquet":
            calls = parquet_calls(files, parts, address, paths.data_dir.resolve(), runner.divides)
            output.writelines(piece for _, piece in runner.each(parquet_pieces, calls))
        else:
            copy_lines(files, parts, output)
    log.info("%s: %s files, copied to %s (%s)", address, f"{len(parts):,}", copy, human_size(copy.stat().st_size))
    return copy


class FileSystem(NamedTuple):
    """A file system, and a place in it.

    Attributes:
        path: The file or folder that an address names.
        open: Opens a file by its path, for reading bytes.
        size: Bytes of a file; ``None`` where there is none of this path.
        files_in: The paths of all files in a folder and in the folders within.
    """

    path: str
    open: Callable[[str], Any]
    size: Callable[[str], int | None]
    files_in: Callable[[str], list[str]]


def open_file_system(address: str) -> FileSystem:
    """The file system of an address."""
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(with_limit(address))
    except (ValueError, NotImplementedError) as error:
        if "nrecognized filesystem type" not in str(error):
            raise
        return open_with_fsspec(address)

    def size(file: str) -> int | None:
        info = system.get_file_info(file)
        return info.size if info.type == fs.FileType.File else None

    def files_in(folder: str) -> list[str]:
        return [one.path for one in system.get_file_info(fs.FileSelector(folder, recursive=True)) if one.is_file]

    return FileSystem(path, system.open_input_file, size, files_in)


def with_limit(address: str) -> str:
    """An address of Google's store with a limit for the time that is spent on trying again, unless it has one."""
    if address.partition("://")[0] not in {"gs", "gcs"} or "retry_limit_seconds=" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}retry_limit_seconds={RETRY_SECONDS}"


def open_with_fsspec(address: str) -> FileSystem:
    """The same for an address that pyarrow does not know."""
    try:
        import fsspec
    except ImportError as error:
        kind = address.partition("://")[0]
        raise UserError(f"{kind}:// needs the package fsspec; type: python -m pip install fsspec") from error
    system, path = fsspec.core.url_to_fs(address)
    return FileSystem(
        path,
        system.open,
        lambda file: system.size(file) if system.isfile(file) else None,
        lambda folder: list(system.find(folder)),
    )


same_file_system = functools.lru_cache(maxsize=1)(open_file_system)  # for many parts of one table


def parts_of_table(files: FileSystem) -> list[str]:
    """The files in a folder that belong to a table, by name; not ``_SUCCESS`` and hidden ones, as Spark leaves them."""
    inner = {path: PurePosixPath(path[len(files.path) :].lstrip("/")) for path in files.files_in(files.path)}
    return sorted(path for path, name in inner.items() if not any(part[0] in "._" for part in name.parts))


def ending_of(path: str) -> str:
    """``.parquet`` for ``part-00000.snappy.parquet``."""
    return PurePosixPath(path).suffix.lower()


def copy_lines(files: FileSystem, parts: list[str], output: IO[bytes]) -> None:
    """Copies the parts of a table, one behind the other; a single one stays as it is.

    A header that comes again with each part is left out when the table is read; one that is not the same would be read
    as a row, and the rows below it by the places of other columns. Of JSON lines each has the names with it.

    Raises:
        UserError: A part has another header than the first one, or is not in UTF-8.
    """
    head, first_part = None, ""  # of the first part that is not empty
    last = b"\n"
    for part in parts:
        with files.open(part) as file:
            piece = file.read(PIECE)
            if len(parts) > 1:
                refuse_wide(part, piece)
                piece = piece.removeprefix(codecs.BOM_UTF8)
                if piece.strip() and ENDINGS[ending_of(part)] != ".jsonl":
                    first_part = first_part or part
                    head = checked_head(part, piece, first_part, head)
            if piece and last != b"\n":
                output.write(b"\n")
            while piece:
                output.write(piece)
                last = piece[-1:]
                piece = file.read(PIECE)


def refuse_wide(part: str, piece: bytes) -> None:
    """Raises :class:`UserError` for a part whose characters take two bytes or more: ends of lines differ, too."""
    if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{part} is in UTF-16, and a table of several parts has to be in UTF-8; save its parts again")


def checked_head(part: str, piece: bytes, first_part: str, head: Head | None) -> Head:
    """The first rows of the first part, once those of a part are known to go with them."""
    text = piece[:SAMPLE_CHARACTERS].decode("utf-8", "replace")
    whole = len(piece) < SAMPLE_CHARACTERS
    if head is None:
        return read_head(Path(part), text, whole)
    rows = parse_head(SEPARATOR_LINE.sub("", text, count=1), whole, head.dialect)
    place = header_place(rows)
    header = head.rows[head.first] if head.with_header else []
    if rows and rows[place] != header and names_columns(rows[place], rows[place + 1 :], header):
        wanted = f"the columns {shown(header)}" if header else "no header"
        raise UserError(
            f"{part} has the columns {shown(rows[place])}, and {first_part} has {wanted}; give all parts the same "
            "first line, or read them one by one"
        )
    return head


def shown(header: list[str]) -> str:
    """A header in a message of one line."""
    return " ".join(", ".join(header).split())[:LONGEST_SHOWN]


def parquet_calls(
    files: FileSystem, parts: list[str], address: str, data_dir: Path, divides: bool
) -> Iterator[tuple[Any, ...]]:
    """Arguments of :func:`parquet_pieces` for a whole table: a call for each part, or for each group of its rows."""
    for part in parts:
        groups: Iterable[int | None] = [None]
        if divides:
            with files.open(part) as file:
                groups = range(groups_in(file))
        yield from ((part, group, address, data_dir) for group in groups)


def parquet_pieces(part: str, group: int | None, address: str, data_dir: Path) -> Iterator[bytes]:
    """A part of a table as JSON lines, or a group of its rows; many lines at a time.

    Raises:
        UserError: As :func:`fetch`; ``address`` and ``data_dir`` are as there.
    """
    with errors_in_one_line(address, data_dir), same_file_system(address).open(part) as file:
        lines, size = list[bytes](), 0
        for line in lines_of_parquet(file, part, group):
            lines.append(line)
            size += len(line)
            if size > LINES_AT_ONCE:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)


def lines_of_parquet(file: Any, name: str, group: int | None = None) -> Iterator[bytes]:
    """The rows of a Parquet file, or of a group of them, as JSON lines, with the cells that a CSV file would hold."""
    names, rows = parquet_rows(file, name, group=group)
    for cells in rows:
        row = {name: as_text(cell) for name, cell in zip(names, cells, strict=True)}
        yield (json.dumps(row, ensure_ascii=False) + "\n").encode()
