"""Records at an address (``--data_dir s3://bucket/data``): copied to this machine, once, before they are read.

A training reads single documents in random order, epoch after epoch. From an object store that would be a request for
each document and epoch; a copy is one request for each file, once, and everything else reads it like records that were
made here. The manifest knows the size and the SHA-256 of each file: a copy that was interrupted is continued, and what
arrived damaged is refused. The copied manifest is written last, so that its presence means that the copy is complete.

No TensorFlow.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import schema
from corpus.remote import PIECE, FileSystem, errors_in_one_line, open_file_system
from text.records import ManifestFile
from utils import (
    MANIFEST_FILE,
    DataPaths,
    UserError,
    address_of,
    atomic_write,
    exclusive_lock,
    human_size,
    log,
    progress,
    sha256_of_file,
)

AT_ONCE = 8  # files that are copied side by side: a store answers each request late, and many at a time
KEPT_FREE = 100 << 20  # bytes that a copy leaves free on the disk
BESIDE_RECORDS = ("labels.txt", "csv_manifest.json", "evidence.jsonl")  # read where they are there
SMALL = 1 << 20  # bytes; of the files beside the records, smaller ones are compared whole, others by their size
LONGEST_NAME = 200  # bytes of the name of a file; a temporary one has a few more, and most file systems allow 255
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """A file of a data set.

    Attributes:
        name: Its path in the folder of the data set.
        bytes: Its size.
        sha256: Its hash; empty where it is not known.
    """

    name: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Source:
    """The files of a data set at an address. What the store raises becomes one line; errors of this program stay.

    Attributes:
        address: The folder of all data sets.
        paths: Where the copies of this one are.
    """

    address: str
    paths: DataPaths

    @functools.cached_property
    def store(self) -> FileSystem:
        with self.errors():
            return open_file_system(self.address)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """For a call of the store."""
        return errors_in_one_line(self.address, self.paths.data_dir)

    def place(self, name: str) -> str:
        """The path at the address of a file of the data set."""
        return f"{self.store.path.rstrip('/')}/{self.paths.dataset}/{name}"

    def size(self, name: str) -> int | None:
        """Bytes of a file; ``None`` where it is not there."""
        place = self.place(name)
        with self.errors():
            return self.store.size(place)

    def pieces(self, name: str) -> Generator[bytes, None, None]:
        """The content of a file, piece by piece."""
        place = self.place(name)
        with self.errors(), self.store.open(place) as file:
            while piece := file.read(PIECE):
                yield bytes(piece)

    def content(self, name: str) -> bytes:
        """The content of a small file."""
        return b"".join(self.pieces(name))


def data_set(dataset: str, data_dir: Path, texts: bool = False, evidence: bool = False) -> DataPaths:
    """The files of a data set; where they are at an address, the copies of them, which are made first.

    Args:
        dataset: Its name.
        data_dir: From :func:`utils.data_folder`.
        texts: Whether the CSV file is needed as well, which is several times as large as the records.
        evidence: Whether it is wanted where there is an ``evidence.jsonl``, to find the words that this marks.

    Raises:
        UserError: There are no complete records at the address, it cannot be read, or the disk has too little room.
    """
    paths = DataPaths(dataset, data_dir)
    if address := address_of(data_dir):
        source = Source(address, paths)
        if not paths.folder.is_dir():
            checked_manifest(manifest_at(source), source)  # an address that is mistyped leaves no folder behind
        with exclusive_lock(paths.folder / ".copies.lock"):
            bring(source, texts, evidence)
    return paths


def bring(source: Source, texts: bool, evidence: bool) -> None:
    """Copies what is missing or has changed. If the address cannot be read, a complete copy is used, with a warning."""
    paths = source.paths
    try:
        content = manifest_at(source)
        is_new = not paths.manifest.is_file() or paths.manifest.read_bytes() != content
        beside = list(parts_beside(source, every=is_new))
    except UserError as error:
        if not paths.manifest.is_file() or (texts and not paths.csv.is_file()):
            raise
        log.warning("%s; the copy in %s is used", error, paths.folder)
        return
    manifest = checked_manifest(content, source)
    if is_new:
        paths.manifest.unlink(missing_ok=True)
        remove_others(paths, manifest)
    parts = [*parts_of_records(manifest, paths), *beside] if is_new else beside
    is_marked = paths.evidence.is_file() or any(part.name == paths.evidence.name for part in beside)
    if texts or (evidence and is_marked):
        parts += part_of_texts(source, manifest, needed=texts)
    if parts:
        copy_parts(source, parts)
    if is_new:
        with atomic_write(paths.manifest, "wb") as file:
            file.write(content)


def manifest_at(source: Source) -> bytes:
    """The content of the records' manifest at an address."""
    name = f"records/{MANIFEST_FILE}"
    if source.size(name) is None:
        dataset = source.paths.dataset
        raise UserError(
            f"{source.address} has no {dataset}/{name}; copy the folder {dataset} there, which serialize_data.py wrote "
            "into, the manifest last"
        )
    return source.content(name)


def checked_manifest(content: bytes, source: Source) -> dict[str, Any]:
    """The manifest, with names of files that lead nowhere else, sizes and hashes.

    Raises:
        UserError: It is damaged.
    """
    name = f"{source.address}: {source.paths.dataset}/records/{MANIFEST_FILE}"
    remedy = "copy the records there again"
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is damaged ({error}); {remedy}") from error
    schema.checked(value, ManifestFile, name, remedy)
    if damage := next(damages_of(value), None):
        raise UserError(f"{name} is damaged: {damage}; {remedy}")
    return dict(value)


def damages_of(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the values of a manifest of the right shape."""
    for name, facts in manifest["files"].items():
        shown = ascii(name)[:60]
        if "/" in name or name[:1] in {"", "."} or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
            yield f"{shown} is no name of a file"
        if name == MANIFEST_FILE:
            yield "it lists itself"
        if type(facts["bytes"]) is not int or facts["bytes"] < 0:
            yield f"{shown} has {facts['bytes']} bytes"
        if not SHA256.fullmatch(facts["sha256"]):
            yield f"{shown} has the SHA-256 {ascii(facts['sha256'])[:80]}"
    if not SHA256.fullmatch(manifest["csv"]["sha256"]):
        yield f"the CSV file has the SHA-256 {ascii(manifest['csv']['sha256'])[:80]}"


def remove_others(paths: DataPaths, manifest: dict[str, Any]) -> None:
    """Deletes the copies that are not those of this manifest: other shards, other texts, what a kill left."""
    for file in paths.records.glob("*"):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        elif file.name not in manifest["files"]:
            file.unlink()
    for file in paths.folder.glob(".*.tmp"):
        file.unlink()
    if paths.csv.is_file() and sha256_of_file(paths.csv) != manifest["csv"]["sha256"]:
        paths.csv.unlink()


def parts_of_records(manifest: dict[str, Any], paths: DataPaths) -> Iterator[Part]:
    """The files of the records that are not copied yet."""
    for name, facts in manifest["files"].items():
        file = paths.records / name
        whole = file.is_file() and file.stat().st_size == facts["bytes"] and sha256_of_file(file) == facts["sha256"]
        if not whole:
            yield Part(f"records/{name}", facts["bytes"], facts["sha256"])


def parts_beside(source: Source, every: bool) -> Iterator[Part]:
    """The files beside the records that are not copied yet or have changed; copies of those that are gone are deleted.

    The manifest of the records says nothing of them.

    Args:
        source: Where they are.
        every: Whether the records are new, and these files with them.
    """
    for name in BESIDE_RECORDS:
        file, size = source.paths.folder / name, source.size(name)
        if size is None:
            file.unlink(missing_ok=True)
        elif every or not is_copy(source, name, size):
            yield Part(name, size)


def is_copy(source: Source, name: str, size: int) -> bool:
    """Whether the file that is here is that of the address; of a large one its size has to tell."""
    file = source.paths.folder / name
    if not file.is_file() or file.stat().st_size != size:
        return False
    return size > SMALL or file.read_bytes() == source.content(name)


def part_of_texts(source: Source, manifest: dict[str, Any], needed: bool) -> list[Part]:
    """The CSV file, whose size only the address knows, if it is not copied yet.

    Args:
        source: Where it is.
        manifest: Knows its hash.
        needed: Whether it has to be there; else one line says what is left out without it.
    """
    paths = source.paths
    if paths.csv.is_file():
        return []
    size = source.size(paths.csv.name)
    if size is not None:
        return [Part(paths.csv.name, size, manifest["csv"]["sha256"])]
    absent = f"{source.address} has no {paths.dataset}/{paths.csv.name}"
    if needed:
        raise UserError(f"{absent}, which is needed here; copy it there as well")
    log.warning("%s: nothing is compared with the evidence; copy it there as well", absent)
    return []


def copy_parts(source: Source, parts: Iterable[Part]) -> None:
    """Copies files side by side.

    Raises:
        UserError: There is too little room, or a file is not the one of the manifest.
    """
    parts, paths = list(parts), source.paths
    size = sum(part.bytes for part in parts)
    free = shutil.disk_usage(paths.folder).free
    if size + KEPT_FREE > free:
        raise UserError(
            f"{paths.dataset} needs {human_size(size)} on this machine and {human_size(free)} are free; free some "
            f"space, or make {paths.data_dir.parent} a link to a folder on a larger disk"
        )
    log.info("copying %s files (%s) from %s to %s", f"{len(parts):,}", human_size(size), source.address, paths.folder)
    started, stop = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(copy_part, source, part, stop) for part in parts]
        try:
            for job in progress(as_completed(jobs), len(jobs), "copying", "files"):
                job.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    seconds = time.monotonic() - started
    log.info("copied in %.1f s, %s a second", seconds, human_size(size / max(seconds, 0.001)))


def copy_part(source: Source, part: Part, stop: threading.Event) -> None:
    """Copies one file, whole or not at all; not at all where another has failed meanwhile, or Ctrl-C was typed.

    Raises:
        UserError: It is not what was to come; a longer one fills no disk.
    """
    found, size = hashlib.sha256(), 0
    target = source.paths.folder / part.name
    with contextlib.closing(source.pieces(part.name)) as pieces, atomic_write(target, "wb") as file:
        for piece in pieces:
            if stop.is_set():
                raise UserError(f"{part.name} is not copied to its end; run the same command again")
            size += len(piece)
            if size > part.bytes:
                raise another_file(source, part, f"it has more than {part.bytes:,} bytes")
            found.update(piece)
            file.write(piece)
        if size < part.bytes:
            raise another_file(source, part, f"it has {size:,} bytes, not {part.bytes:,}")
        if part.sha256 and found.hexdigest() != part.sha256:
            raise another_file(source, part, "its SHA-256 differs")


def another_file(source: Source, part: Part, why: str) -> UserError:
    """The error for a file that is not what was to come."""
    name = f"{source.address}: {source.paths.dataset}/{part.name}"
    if part.sha256:
        return UserError(f"{name} is not what the manifest says ({why}); copy the records there again")
    return UserError(f"{name} has changed while it was copied ({why}); run the same command again")
