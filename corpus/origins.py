"""Which file a person's data set was made from, so that no other file of the same name takes its place unnoticed.

Data sets have the names of their files: ``a/reviews.csv`` and ``b/reviews.csv`` would both be ``reviews``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NotRequired, TypedDict
from urllib.parse import parse_qs

import schema
from corpus.corpora import command_line, is_published, sha256_of_source
from corpus.remote import is_address, is_in, name_of_table
from utils import DataPaths, UserError, dataset_name, plain_name

OF_THE_PLACE = ("endpoint_override", "scheme")  # options of an address that lead to another store


class Origin(TypedDict):
    """What ``csv_manifest.json`` says of the file of a person's own data.

    Attributes:
        source: Its path, or that of the copy of an address.
        source_sha256: Its hash; of a folder that of its files.
        address: Where it was copied from.
    """

    source: NotRequired[str]
    source_sha256: NotRequired[str]
    address: NotRequired[str]


def origin_of(paths: DataPaths) -> Origin:
    """What is known of the file that a data set was made from; nothing before ``create_csv.py`` has run."""
    return schema.read_json(paths.csv_manifest, Origin) if paths.csv_manifest.is_file() else {}


def origin(source: Path, paths: DataPaths, address: str | None) -> dict[str, str]:
    """What ``csv_manifest.json`` is to say of a file, but its hash.

    Args:
        source: The file or folder.
        paths: Of the data set.
        address: Where the file was copied from just now; a copy that is read again keeps its address.
    """
    if source.resolve().parent == paths.raw.resolve():
        address = address or origin_of(paths).get("address")
    return {"source": str(source.resolve()), **({"address": address} if address else {})}


def add_name_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--name``."""
    parser.add_argument(
        "--name", help="own data: name of the data set, for a second file of the same name (default: that of the file)"
    )


def paths_of(typed: str, name: str | None, data_dir: Path) -> DataPaths:
    """The folder of the data set that a person means, by ``--name`` if that is given."""
    if name is not None:
        return DataPaths(plain_name("name", name), data_dir)
    return DataPaths(name_of_table(typed) if is_address(typed) else dataset_name(typed), data_dir)


def name_flag(typed: str, paths: DataPaths) -> list[str]:
    """The flag without which the file that is typed would become another data set."""
    return [] if dataset_name(typed) == paths.dataset else ["--name", paths.dataset]


def refuse_other_source(typed: str, paths: DataPaths) -> None:
    """Refuses a file, folder or address whose data set was made from another one, which is still there.

    A file that has grown or was moved may go on, and so may a copy of the same content.

    Raises:
        UserError: Says how to keep both.
    """
    if before := other_source(typed, paths):
        name = made_from(typed, paths.data_dir)
        keep = (
            f"{shlex.quote(name)}, the data set made from {typed}"
            if name
            else f"{free_name(typed, paths)} to keep both"
        )
        raise UserError(
            f"{paths.folder} was made from {before}, and {typed} is another file; add --name {keep}, or delete "
            f"{paths.folder} if the new one is to take its place"
        )


def refuse_unread_source(typed: str, paths: DataPaths) -> None:
    """Refuses the file of another data set, for a stage that works on one that ``create_csv.py`` has read.

    A word that is no path is the name of the data set, even where a file or folder is called so.

    Raises:
        UserError: Says what to type.
    """
    if not is_address(typed):
        file = Path(typed).expanduser()
        if ("/" not in typed and dataset_name(typed) == typed) or not file.exists() or is_in(file, paths.folder):
            return
        typed = str(file)
    before = "published data" if is_published(paths.dataset) else other_source(typed, paths)
    if not before:
        return
    if name := made_from(typed, paths.data_dir):
        what_next = f"type {shlex.quote(name)}, the data set made from {typed}"
    else:
        name = free_name(typed, paths)
        what_next = f"run first: {command_line('create_csv.py', typed, paths.raw)} --name {name}; then type {name}"
    raise UserError(f"{paths.folder} was made from {before}, and {typed} is another file; {what_next}")


def named_data_set(typed: str, data_dir: Path) -> str:
    """The name of the data set that a person means by its name, or by the file or address that it was made from.

    Raises:
        UserError: It was made from another file of that name, see :func:`refuse_unread_source`.
    """
    paths = paths_of(typed, None, data_dir)
    refuse_unread_source(typed, paths)
    return paths.dataset


def other_source(typed: str, paths: DataPaths) -> str:
    """What a data set was made from, where that is still there and something else than what is typed; else empty."""
    known = origin_of(paths)
    before = known.get("source", "")
    same = not before or (same_address(typed, known, paths) if is_address(typed) else same_file(Path(typed), known))
    return "" if same else known.get("address", before)


def made_from(typed: str, data_dir: Path) -> str | None:
    """The name of the data set that was made from just this file, folder or address; None where there is none."""
    for manifest in sorted(data_dir.glob("*/csv_manifest.json")):
        with contextlib.suppress(UserError):  # a damaged one is none of this command's business
            paths = DataPaths(manifest.parent.name, data_dir)
            known = origin_of(paths)
            before = Path(known.get("source", ""))
            if is_address(typed):
                found = "address" in known and same_address(typed, known, paths)
            else:
                found = "source" in known and before.exists() and Path(typed).samefile(before)
            if found:
                return paths.dataset
    return None


def same_address(address: str, known: Origin, paths: DataPaths) -> bool:
    """Whether an address may take the place of what a data set was made from. Its content is not known yet."""
    if "address" in known:
        return place_of(address) == place_of(known["address"])
    before = Path(known.get("source", ""))
    return before.parent == paths.raw.resolve() or not before.exists()  # earlier versions do not say which address


def place_of(address: str) -> list[object]:
    """What tells one address from another: its path, and the store where an option names it, but no other option."""
    path, _, options = address.partition("?")
    return [path.rstrip("/"), *map(parse_qs(options).get, OF_THE_PLACE)]


def same_file(source: Path, known: Origin) -> bool:
    """Whether a file or folder may take the place of what a data set was made from."""
    before = Path(known.get("source", ""))
    if not source.exists() or not before.exists() or source.samefile(before):
        return True
    return sha256_of_source(source) == known.get("source_sha256")


def free_name(typed: str, paths: DataPaths) -> str:
    """The first of :func:`free_names`, to be pasted into a shell."""
    return shlex.quote(next(free_names(typed, paths)))


def free_names(typed: str, paths: DataPaths) -> Iterator[str]:
    """Names for a second data set, that of the folder of its file first: ``reviews-may``, ``reviews-2``, ..."""
    parent = PurePosixPath(typed.partition("?")[0]).parent if is_address(typed) else Path(typed).resolve().parent
    for ending in itertools.chain([parent.name], map(str, itertools.count(2))):
        name = f"{paths.dataset[:80]}-{ending}"
        if len(name) <= 100 and name.isprintable() and ending and not DataPaths(name, paths.data_dir).folder.exists():
            yield name
