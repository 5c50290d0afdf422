"""Records at an address (``--data_dir s3://bucket/data``): copied to this machine, once, before they are read.

A training reads single documents in random order, epoch after epoch. From an object store that would be a request for
each document and epoch; a copy is one request for each file, once, and everything else reads it like records that were
made here. The manifest knows the size and the SHA-256 of each file: a copy that was interrupted is continued, and what
arrived damaged is refused. The copied manifest is written last, so that its presence means that the copy is complete.

No TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
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


def data_set(dataset: str, data_dir: Path, texts: bool = False) -> DataPaths:
    """The files of a data set; where they are at an address, the copies of them, which are made first.

    Args:
        dataset: Its name.
        data_dir: From :func:`utils.data_folder`.
        texts: Whether the CSV file is needed as well, which is several times as large as the records.

    Raises:
        UserError: There are no complete records at the address, it cannot be read, or the disk has too little room.
    """
    paths = DataPaths(dataset, data_dir)
    if address := address_of(data_dir):
        with exclusive_lock(paths.folder / ".copies.lock"):
            bring(paths, address, texts)
    return paths


def bring(paths: DataPaths, address: str, texts: bool) -> None:
    """Copies what is missing or has changed. If the address cannot be read, a complete copy is used, with a warning."""
    try:
        with errors_in_one_line(address, paths.data_dir):
            store = open_file_system(address)
            content = manifest_at(store, address, paths)
    except UserError as error:
        if not paths.manifest.is_file() or (texts and not paths.csv.is_file()):
            raise
        log.warning("%s; the copy in %s is used", error, paths.folder)
        return
    with errors_in_one_line(address, paths.data_dir):
        is_new = not paths.manifest.is_file() or paths.manifest.read_bytes() != content
        manifest = checked_manifest(content, address, paths)
        if is_new:
            paths.manifest.unlink(missing_ok=True)
            remove_others(paths, manifest)
        parts = list(parts_of_records(store, manifest, paths)) if is_new else []
        if texts and not paths.csv.is_file():
            parts.append(part_at(store, paths, paths.csv.name, manifest["csv"]["sha256"], address))
        if parts:
            copy_parts(store, address, parts, paths)
        if is_new:
            with atomic_write(paths.manifest, "wb") as file:
                file.write(content)


def place_at(store: FileSystem, paths: DataPaths, name: str) -> str:
    """The path at the address of a file of the data set."""
    return f"{store.path.rstrip('/')}/{paths.dataset}/{name}"


def manifest_at(store: FileSystem, address: str, paths: DataPaths) -> bytes:
    """The content of the records' manifest at an address."""
    place = place_at(store, paths, f"records/{MANIFEST_FILE}")
    if store.size(place) is None:
        raise UserError(
            f"{address} has no {paths.dataset}/records/{MANIFEST_FILE}; copy the folder {paths.dataset} there, which "
            "serialize_data.py wrote into, the manifest last"
        )
    with store.open(place) as file:
        return bytes(file.read())


def checked_manifest(content: bytes, address: str, paths: DataPaths) -> dict[str, Any]:
    """The manifest, with names of files that lead nowhere else.

    Raises:
        UserError: It is damaged.
    """
    source, remedy = f"{address}: {paths.dataset}/records/{MANIFEST_FILE}", "copy the records there again"
    try:
        value = json.loads(content)
    except ValueError as error:
        raise UserError(f"{source} is damaged ({error}); {remedy}") from error
    schema.checked(value, ManifestFile, source, remedy)
    if other := next((name for name in value["files"] if "/" in name or name[:1] in {"", "."}), None):
        raise UserError(f"{source} is damaged: {ascii(other)[:60]} is no name of a file; {remedy}")
    return dict(value)


def remove_others(paths: DataPaths, manifest: dict[str, Any]) -> None:
    """Deletes the copies that are not those of this manifest: other shards, other texts, what a kill left."""
    for file in paths.records.glob("*"):
        if file.name not in manifest["files"]:
            file.unlink()
    for file in paths.folder.glob(".*.tmp"):
        file.unlink()
    for name in BESIDE_RECORDS:
        (paths.folder / name).unlink(missing_ok=True)
    if paths.csv.is_file() and sha256_of_file(paths.csv) != manifest["csv"]["sha256"]:
        paths.csv.unlink()


def parts_of_records(store: FileSystem, manifest: dict[str, Any], paths: DataPaths) -> Iterator[Part]:
    """The files that are not copied yet: of the records, and what is beside them."""
    for name, facts in manifest["files"].items():
        file = paths.records / name
        whole = file.is_file() and file.stat().st_size == facts["bytes"] and sha256_of_file(file) == facts["sha256"]
        if not whole:
            yield Part(f"records/{name}", facts["bytes"], facts["sha256"])
    for name in BESIDE_RECORDS:
        size = store.size(place_at(store, paths, name))
        if size is not None:
            yield Part(name, size)


def part_at(store: FileSystem, paths: DataPaths, name: str, sha256: str, address: str) -> Part:
    """A file whose size only the address knows."""
    size = store.size(place_at(store, paths, name))
    if size is None:
        raise UserError(f"{address} has no {paths.dataset}/{name}, which is needed here; copy it there as well")
    return Part(name, size, sha256)


def copy_parts(store: FileSystem, address: str, parts: Iterable[Part], paths: DataPaths) -> None:
    """Copies files side by side.

    Raises:
        UserError: There is too little room, or a file is not the one of the manifest.
    """
    parts = list(parts)
    size = sum(part.bytes for part in parts)
    free = shutil.disk_usage(paths.folder).free
    if size + KEPT_FREE > free:
        raise UserError(
            f"{paths.dataset} needs {human_size(size)} on this machine and {human_size(free)} are free; free some "
            f"space, or make {paths.data_dir.parent} a link to a folder on a larger disk"
        )
    log.info("copying %s files (%s) from %s to %s", f"{len(parts):,}", human_size(size), address, paths.folder)
    started, stop = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(copy_part, store, address, part, paths, stop) for part in parts]
        try:
            for job in progress(as_completed(jobs), len(jobs), "copying", "files"):
                job.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    seconds = time.monotonic() - started
    log.info("copied in %.1f s, %s a second", seconds, human_size(size / max(seconds, 0.001)))


def copy_part(store: FileSystem, address: str, part: Part, paths: DataPaths, stop: threading.Event) -> None:
    """Copies one file, whole or not at all; not at all where another has failed meanwhile, or Ctrl-C was typed."""
    found = hashlib.sha256()
    with store.open(place_at(store, paths, part.name)) as source, atomic_write(paths.folder / part.name, "wb") as file:
        while piece := source.read(PIECE):
            if stop.is_set():
                raise UserError(f"{part.name} is not copied to its end; run the same command again")
            found.update(piece)
            file.write(piece)
        if part.sha256 and found.hexdigest() != part.sha256:
            raise UserError(
                f"{address}: {paths.dataset}/{part.name} is not what the manifest says (its SHA-256 differs); copy the "
                "records there again"
            )
