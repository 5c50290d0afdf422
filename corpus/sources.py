"""Opens a file of texts as it is or unpacked: gzip, bzip2, xz, or a zip file with one table in it.

Nothing is written to disk: what is unpacked is read as a stream, like any other file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from utils import UserError

PIECE = 1 << 20
# What the readers below raise for a file that is damaged, cut short, or of another kind.
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)


def open_source(path: Path, encoding: str | None = None, **arguments: Any) -> IO[Any]:
    """Opens a file for reading, unpacked where its name says that it is compressed.

    Args:
        path: The file.
        encoding: Of the text; ``None`` gives bytes.
        **arguments: For :func:`open`, with an encoding.

    Raises:
        UserError: A zip file with another number of files than one, or one with a password.
    """
    opener = OPENERS.get(path.suffix.lower())
    binary = opener(path) if opener else path.open("rb")
    return binary if encoding is None else io.TextIOWrapper(binary, encoding=encoding, **arguments)


def open_zip(path: Path) -> IO[bytes]:
    """The only file in a zip file; closing it closes the zip file."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is no zip file, or it is damaged ({error}); save or fetch it again") from error
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX")]
    if len(members) != 1:
        archive.close()
        raise UserError(f"{path} holds {len(members)} files, and one is expected; unpack it and name the table")
    if members[0].flag_bits & 1:
        archive.close()
        raise UserError(f"{path} is encrypted; unpack it and name the table")
    file: IO[bytes] = archive.open(members[0])
    archive.close()  # the member keeps the file open until it is closed itself
    return file


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": open_zip,
}


def is_compressed(path: Path) -> bool:
    """Whether a file is unpacked when it is read."""
    return path.suffix.lower() in OPENERS


def plain_suffix(path: Path) -> str:
    """``.csv`` for ``reviews.csv`` and for ``Reviews.CSV.gz``."""
    return Path(path.stem if is_compressed(path) else path.name).suffix.lower()


def refuse_damaged(path: Path) -> None:
    """Reads a compressed file to its end.

    Raises:
        UserError: It is damaged, cut short, or not compressed as its name says.
    """
    try:
        with open_source(path) as file:
            while file.read(PIECE):
                pass
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path} is damaged, cut short, or no {path.suffix} file ({error}); fetch it again") from error
