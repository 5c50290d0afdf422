"""Fetches the archive of a data set, checks it and puts it in place.

    python download.py imdb                                     from its publisher
    python download.py imdb --source ~/aclImdb_v1.tar.gz        from a file
    python download.py imdb --source https://mirror/a.tar.gz    from another address
    python download.py ag_news --source ~/ag_news_csv           from a folder with train.csv and test.csv

Writes, under ``data/<dataset>/raw/``, the archive and ``source.json`` (where it came from, its hash, whether the hash
was known beforehand). While a download is under way there are also ``<archive>.part`` and ``<archive>.part.json`` (the
address and the version of the file that it is a part of); the same command resumes the download.

The archive appears under its name when it is complete and checked, not before: against the published hash, against
``--sha256``, or, when a ``--source`` is neither, by reading it to its end. A file that was there stays until then.
A folder becomes a ``.tar`` that is the same to the byte whenever it is made of the same files.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

import schema
from corpus.corpora import Corpus, command_line, find_corpus, own_source
from corpus.corpus_formats import GZIP_MAGIC, ZIP_MAGIC, DamagedArchive
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    dataset_name,
    exclusive_lock,
    folder_flags,
    human_size,
    log,
    remove_leftovers,
    run_script,
    sha256_of_file,
    sync_folder,
    write_json,
)

if TYPE_CHECKING:  # requests takes long to import, and --help does without it
    import requests

CHUNK = 1 << 17  # bytes
VERSION_HEADERS = ("ETag", "Last-Modified")
TAR_MAGIC = (257, b"ustar")  # place and bytes
PACKED_FILES = ("train.csv", "test.csv")


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    Attributes:
        connect_seconds: For a connection.
        read_seconds: For the next bytes.
        failures: Failures in a row, without a new byte between them, before giving up.
        pause_seconds: Before the second try; doubled with every further failure.
        longest_pause_seconds: Where the doubling ends.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    failures: int = 5
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0


class Interrupted(Exception):
    """The transfer broke off for a reason that may pass."""


class Rejected(UserError):
    """What arrived is not the archive; ``reason`` says why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description="Fetch the archive of a data set, check it and put it in place.")
    parser.add_argument("dataset", help="name of the data set, for example imdb")
    parser.add_argument("--source", metavar="FILE_OR_URL", help="take the archive from here, not from its publisher")
    parser.add_argument("--sha256", metavar="HEX", help="accept only an archive with this hash")
    add_folder_flags(parser, runs=False, writes=True)
    return parser


def main(arguments: argparse.Namespace, patience: Patience | None = None) -> None:
    """Does nothing if the right archive is there, and fetches it otherwise."""
    if own_source(arguments.dataset, DataPaths(dataset_name(arguments.dataset), arguments.data_dir)):
        command = shlex.join(["python", "create_csv.py", arguments.dataset, *folder_flags(arguments.data_dir)])
        log.info("%s is your own and is read where it is; next: %s", arguments.dataset, command)
        return
    corpus = find_corpus(arguments.dataset)
    raw = DataPaths(corpus.name, arguments.data_dir).raw
    next_command = command_line("create_csv.py", corpus.name, raw)
    if corpus.url is None:
        log.info("%s needs no download: it is made by create_csv.py; next: %s", corpus.name, next_command)
        return
    order = Order(corpus, raw, arguments.source, checked_sha256(arguments.sha256), patience or Patience())
    file = order.local_file
    if not corpus.sha256 and not arguments.source:
        log.info("no hash of this archive is published: it is checked by reading it to its end")
    clear_leftovers(order)
    if not is_present(order):  # nothing is locked or written to find out: the folder may be read-only
        with exclusive_lock(
            raw / ".download.lock", f"another download.py is at work in {raw}; wait until it has ended"
        ):
            take_file(order, file) if file else take_url(order, order.source or corpus.url)
    log.info("next: %s", next_command)


# ---------------------------------------------------------------------------------------------------------------------
# What is wanted, and is it there?


@dataclass(frozen=True)
class Order:
    """What the person asked for.

    Attributes:
        corpus: The data set.
        raw: The folder that the archive goes to.
        source: What stood after ``--source``.
        sha256: What stood after ``--sha256``.
        patience: With the network.
    """

    corpus: Corpus
    raw: Path
    source: str | None
    sha256: str | None
    patience: Patience

    @property
    def target(self) -> Path:
        """Where the archive lies, or will lie if it comes from its publisher."""
        return self.corpus.source_file(self.raw)

    def place_of(self, file: Path) -> Path:
        """Where a file belongs; that depends on what it is, since some data sets come in several shapes."""
        kind = kind_of(file)
        names = [name for name in (self.corpus.archive, *self.corpus.other_files) if kind_of_name(name) == kind]
        same = [name for name in names if Path(name).suffix == file.suffix]
        return self.raw / (same or names or [self.corpus.archive])[0]

    @property
    def record(self) -> Path:
        return self.raw / "source.json"

    @property
    def binding_sha256(self) -> str | None:
        """The hash without which nothing is accepted; None when a ``--source`` is taken as it is."""
        return self.sha256 or (None if self.source else self.corpus.sha256)

    @property
    def local_file(self) -> Path | None:
        """The file that ``--source`` names; None if it is an address."""
        if not self.source or re.match("https?://", self.source, re.IGNORECASE):
            return None
        path = unquote(urlsplit(self.source).path) if self.source.startswith("file://") else self.source
        file = Path(path).expanduser()
        if file.is_dir() and self.takes_folders:
            missing = [name for name in PACKED_FILES if not (file / name).is_file()]
            if missing:
                raise UserError(f"--source {self.source}: {missing[0]} is not in that folder; it needs both splits")
        elif not file.is_file():
            kind = "is a folder, not a file" if file.is_dir() else "is not there"
            raise UserError(
                f"--source {self.source} {kind}; give the path of {self.corpus.archive}, or an http(s) address"
            )
        return file

    @property
    def takes_folders(self) -> bool:
        """Whether the data set may come unpacked, as two files in a folder."""
        return any(kind_of_name(name) == "tar" for name in self.corpus.other_files)

    @property
    def way_out(self) -> str:
        """What to type when the address does not give the archive."""
        command = command_line("download.py", self.corpus.name, self.raw)
        elsewhere = f" (for example from {self.corpus.publisher})" if self.corpus.publisher else ""
        return f"if you have the file{elsewhere}, or know a mirror: {command} --source FILE_OR_URL"


def kind_of_name(name: str) -> str:
    """``gzip``, ``zip``, ``tar`` or ``text``, by the ending of a file's name."""
    return {".gz": "gzip", ".tgz": "gzip", ".zip": "zip", ".tar": "tar"}.get(Path(name).suffix, "text")


def kind_of(file: Path) -> str:
    """The same by the first bytes of a file."""
    with file.open("rb") as opened:
        return kind_of_bytes(opened.read(512))


def kind_of_bytes(head: bytes) -> str:
    """The same by the bytes themselves."""
    for kind, start, magic in (("gzip", 0, GZIP_MAGIC), ("zip", 0, ZIP_MAGIC), ("tar", *TAR_MAGIC)):
        if head and head[start : start + len(magic)] == magic[: max(len(head) - start, 1)]:
            return kind
    return "text"


def checked_sha256(text: str | None) -> str | None:
    """The hash after ``--sha256`` in lower case; a :class:`UserError` if it cannot be one."""
    if text is None or re.fullmatch("[0-9a-fA-F]{64}", text):
        return text and text.lower()
    raise UserError(f"--sha256 {text} is not a sha256, which has 64 digits from 0 to f; see: sha256sum FILE")


def clear_leftovers(order: Order) -> None:
    """Deletes what a killed download left of ``source.json``, unless another download is at work."""
    if any(order.raw.glob(f".{order.record.name}.*.tmp")):
        with contextlib.suppress(UserError, PermissionError), exclusive_lock(order.raw / ".download.lock", "at work"):
            remove_leftovers(order.record)


class SourceRecord(TypedDict):
    """What is read of ``source.json``."""

    sha256: NotRequired[str]
    source: NotRequired[str]


def is_present(order: Order) -> bool:
    """Whether the archive that was asked for is in place already; completes its record if that is missing or older."""
    if not order.target.is_file():
        return False
    found = sha256_of_file(order.target)
    record = schema.read_json(order.record, SourceRecord) if order.record.exists() else {}
    if order.sha256:
        right = found == order.sha256
    elif order.local_file:
        right = found == sha256_of_local(order.local_file)
    elif order.source:
        right = found == record.get("sha256") and order.source == record.get("source")
    else:
        known = {order.corpus.sha256, record.get("sha256")} - {"", None}
        right = found in known or not known  # put there by hand, and no hash is known: create_csv.py will check it
        if not right:
            log.warning("%s is neither the published archive nor the recorded one; it is fetched again", order.target)
    if right:
        tell_present(order, found)
    if right and found != record.get("sha256"):
        with contextlib.suppress(PermissionError):
            write_record(order, order.source or "was there", found)
    return right


def tell_present(order: Order, found: str) -> None:
    """Says that nothing is done, and how far the archive can be trusted."""
    log.info("%s is there already; nothing to do", order.target)
    if found == order.corpus.sha256:
        log.info("its sha256 is the published one")
    elif order.corpus.sha256:
        log.warning("its sha256 is not the published one, but %s (see %s)", found, order.record)


def write_record(order: Order, source: str, sha256: str) -> None:
    """Writes ``source.json``: where the archive came from and how far it can be trusted."""
    published = order.corpus.sha256
    record = {
        "dataset": order.corpus.name,
        "file": order.target.name,
        "source": source,
        "sha256": sha256,
        "size": order.target.stat().st_size,
        "published_sha256": published,
        "verified": sha256 in (published, order.sha256),
    }
    write_json(order.record, record)


# ---------------------------------------------------------------------------------------------------------------------
# Check and put in place


def check(order: Order, file: Path, source: str, sha256: str) -> None:
    """Raises :class:`Rejected` unless ``file``, which came from ``source`` and has this hash, can be accepted."""
    wanted = order.binding_sha256
    if sha256 == wanted or (not wanted and sha256 == order.corpus.sha256):
        return
    with file.open("rb") as opened:
        reason = tell_foreign(order.corpus, opened.read(512))
    if not reason and wanted:
        reason = f"its sha256 is {sha256}, not {wanted}"
    if not reason:
        log.info("%sreading the archive to its end", "not the published sha256: " if order.corpus.sha256 else "")
        try:
            order.corpus.check(file)
        except DamagedArchive as error:
            reason = f"it is damaged or cut short ({error.reason})"
        except UserError as error:
            reason = str(error).removeprefix(f"{file}: ").rpartition(";")[0]
    if reason:
        raise Rejected(f"{source} is not the archive of {order.corpus.name}: {reason}; {order.way_out}", reason)


def tell_foreign(corpus: Corpus, head: bytes) -> str:
    """What the first bytes of a file betray, in words; empty if they could be those of the archive."""
    if not head:
        return "it is empty"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "it is a web page (perhaps the log-in page of a network)"
    kinds = {kind_of_name(name) for name in (corpus.archive, *corpus.other_files)}
    too_short_to_tell = "tar" in kinds and len(head) < 512
    if kind_of_bytes(head) not in kinds and not too_short_to_tell:
        return f"it is not a {' or '.join(sorted(kinds))} file"
    return ""


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Gives the name of the file to an error of writing, which has none: "the disk is full" should say where."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(file)
        raise


def need_space(folder: Path, size: int) -> None:
    """A :class:`UserError` when ``size`` more bytes would not fit, before the first of them is written."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{human_size(size)} are needed in {folder} and {human_size(free)} are free; free some space and run the "
            "same command again, or name another folder with --data_dir"
        )


def put_in_place(order: Order, file: Path, source: str, sha256: str) -> None:
    """Renames a checked file to the archive's name and records it; equal content is left as it is."""
    if order.target.is_file() and sha256_of_file(order.target) == sha256:
        file.unlink()
        log.info("%s is the same archive that was there already", source)
    else:
        place = order.place_of(file)
        file.replace(place)
        for name in (order.corpus.archive, *order.corpus.other_files):
            if name != place.name:  # another shape of the data set, which would be read in its place
                (order.raw / name).unlink(missing_ok=True)
        sync_folder(order.raw)
        log.info("wrote %s (%s)", place, human_size(place.stat().st_size))
    write_record(order, source, sha256)
    if sha256 == order.corpus.sha256:
        log.info("its sha256 is the published one")
    elif sha256 == order.sha256:
        log.info("its sha256 is the one that was asked for")
    elif not order.corpus.sha256:
        log.info("it is complete; %s records its sha256", order.record)
    else:
        log.warning("its sha256 is not the published one; %s records it", order.record)
        log.warning("to accept this archive and no other: --sha256 %s", sha256)


# ---------------------------------------------------------------------------------------------------------------------
# A local file or folder


def take_file(order: Order, source: Path) -> None:
    """Copies a file (packs a folder), checks the copy, puts it in place."""
    ending = ".tar" if source.is_dir() else source.suffix
    copy = order.raw / f".{Path(order.corpus.archive).stem}.copy{ending}"
    files = [source / name for name in PACKED_FILES] if source.is_dir() else [source]
    need_space(order.raw, sum(file.stat().st_size for file in files))
    try:
        sha256 = pack_folder(source, copy) if source.is_dir() else copy_file(source, copy)
        check(order, copy, str(source), sha256)
        put_in_place(order, copy, str(source.resolve()), sha256)
    finally:
        copy.unlink(missing_ok=True)


def copy_file(source: Path, copy: Path) -> str:
    """Copies and flushes to disk; returns the hash of what was written."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, naming(copy), copy.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def pack_folder(source: Path, copy: Path) -> str:
    """Packs the two files of a folder, their dates and owners left out, and flushes to disk; returns the hash."""
    with naming(copy), copy.open("wb") as writer:
        write_tar(source, writer)
        writer.flush()
        os.fsync(writer.fileno())
    return sha256_of_file(copy)


def write_tar(source: Path, writer: Any) -> None:
    """Writes the two files of a folder as a tar archive that depends on nothing but their content."""
    with tarfile.open(fileobj=writer, mode="w|") as tar:
        for name in PACKED_FILES:
            with (source / name).open("rb") as file:
                member = tarfile.TarInfo(name)
                member.size = os.fstat(file.fileno()).st_size
                tar.addfile(member, file)


def sha256_of_local(source: Path) -> str:
    """Hash of a file, or of the archive that a folder would become."""
    if source.is_file():
        return sha256_of_file(source)
    digest = HashingWriter()
    write_tar(source, digest)
    return digest.hash.hexdigest()


class HashingWriter:
    """A file that keeps nothing but the hash of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Takes in some bytes."""
        self.hash.update(content)
        return len(content)


# ---------------------------------------------------------------------------------------------------------------------
# An address


def take_url(order: Order, url: str) -> None:
    """Downloads, checks and puts in place. If pieces of several tries do not make up the archive, all starts over."""
    log.info("fetching %s (%s) from %s", order.corpus.title, order.corpus.archive, url)
    part = Part(order.raw / f"{order.corpus.archive}.part", url)
    for _ in range(2):
        in_pieces = download(order, part)
        sha256 = sha256_of_file(part.path)
        try:
            check(order, part.path, url, sha256)
        except Rejected as error:
            part.discard()
            if not in_pieces:
                raise
            log.warning("the pieces do not form the archive (%s): the download starts from the beginning", error.reason)
        else:
            put_in_place(order, part.path, url, sha256)
            part.discard()
            return
    raise UserError(f"cannot download {order.corpus.archive} from {url}: its pieces do not fit; {order.way_out}")


@dataclass(frozen=True)
class Part:
    """The beginning of a download, and beside it a note of what it is the beginning of."""

    path: Path
    url: str

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes that arrived so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> dict[str, str | None]:
        """The ETag and date that the server gave to the file that this is a part of; empty if that is not known."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return note["version"] if note["url"] == self.url and self.size else {}
        except (OSError, ValueError, KeyError, TypeError):  # no note, or one that a crash cut short
            return {}

    def begin(self, version: dict[str, str | None]) -> None:
        """Notes what is about to be written, after what belonged to another version has gone."""
        self.discard()
        write_json(self.note, {"url": self.url, "version": version})

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(order: Order, part: Part) -> bool:
    """Fetches the whole of ``part.url`` into ``part.path``, however often the connection breaks.

    Returns:
        Whether the file was put together from the bodies of several responses.

    Raises:
        UserError: The server refuses, or nothing new has come in several tries; what has come is kept.
    """
    patience, failures, most = order.patience, 0, part.size
    while True:
        try:
            return fetch_rest(order, part)
        except Interrupted as error:
            # Progress is a byte never seen before: with a server that always starts over and breaks off, this ends.
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures >= patience.failures:
                kept = f" ({human_size(part.size)} are kept; the same command resumes from there)" if part.size else ""
                raise refusal(order, part.url, f"{error}{kept}") from error
            pause = min(patience.pause_seconds * 2 ** (failures - 1), patience.longest_pause_seconds)
            log.warning("%s; trying again in %g s (failure %d of %d)", error, pause, failures, patience.failures)
            time.sleep(pause)


def refusal(order: Order, url: str, reason: str) -> UserError:
    """The error of a download that cannot be resumed."""
    return UserError(f"cannot download {order.corpus.archive} from {url}: {reason}; {order.way_out}")


def fetch_rest(order: Order, part: Part) -> bool:
    """One request: asks for what is missing and writes it. Returns whether there was something to append it to."""
    version = part.version()
    have = part.size if version else 0
    with ask(order, part.url, range_headers(have, version)) as response:
        status, total = response.status_code, total_size(response)
        offered = {name: response.headers.get(name) for name in VERSION_HEADERS}
        if have and status in (206, 416):
            fits = total == have if status == 416 else range_start(response) == have
            if not (fits and same_version(offered, version)):
                part.discard()
                raise Interrupted("the file on the server is no longer the one that was begun: starting over")
            if status == 416:  # nothing is missing
                return True
        if status not in ((200, 206) if have else (200,)):
            refuse_status(order, part.url, status)
        if have and status == 200:
            log.warning("the server sends the file from its start; the part that was there is not used")
        receive(order, part, response, have if status == 206 else 0, total, offered)
        return status == 206


def range_headers(have: int, version: dict[str, str | None]) -> dict[str, str]:
    """Headers that ask for the bytes from ``have`` on, or for the whole file if it is another version by now."""
    headers = {"Accept-Encoding": "identity"}  # the archive's own bytes, not packed once more for the journey
    if have:
        headers["Range"] = f"bytes={have}-"
        etag, date = version.get("ETag"), version.get("Last-Modified")
        validator = etag if etag and not etag.startswith("W/") else date  # a weak ETag is not allowed in If-Range
        if validator:
            headers["If-Range"] = validator
    return headers


def same_version(one: dict[str, str | None], other: dict[str, str | None]) -> bool:
    """Whether two responses agree in all that both state about their version."""
    return all(one.get(name) == other.get(name) for name in VERSION_HEADERS if one.get(name) and other.get(name))


def total_size(response: requests.Response) -> int | None:
    """Bytes of the whole file, if the server states them."""
    size = response.headers.get("Content-Length", "")
    if response.status_code in (206, 416):
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdecimal() else None


def range_start(response: requests.Response) -> int | None:
    """The first byte of a part that a server sends."""
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(start[1]) if start else None


def ask(order: Order, url: str, headers: dict[str, str]) -> requests.Response:
    """Sends the request; returns the response with its body still to come."""
    import requests

    patience = order.patience
    try:
        return requests.get(
            url, headers=headers, stream=True, timeout=(patience.connect_seconds, patience.read_seconds)
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):  # no use in trying again
            raise refusal(order, url, root_cause(error)) from error
        raise Interrupted(root_cause(error)) from error
    except requests.RequestException as error:
        raise refusal(order, url, root_cause(error)) from error


def refuse_status(order: Order, url: str, status: int) -> None:
    """Raises :class:`Interrupted` for a status that may pass, a :class:`UserError` for one that will not."""
    reason = f"the server answers {status} {http.client.responses.get(status, '')}".rstrip()
    if status >= 500 or status in (408, 425, 429):
        raise Interrupted(reason)
    raise refusal(order, url, reason)


def receive(
    order: Order, part: Part, response: requests.Response, have: int, total: int | None, version: dict[str, str | None]
) -> None:
    """Appends the body of a response to the part, which is written from its start if ``have`` is 0."""
    chunks = body(response)
    first = next(chunks, b"")  # looked at before what is there already is given up
    if not first:
        raise Interrupted("the server sent nothing")
    if not have and (reason := tell_foreign(order.corpus, first)):
        raise refusal(order, part.url, reason)
    need_space(order.raw, (total or 0) - have)
    if not have:
        with naming(part.note):
            part.begin(version)
    with naming(part.path), part.path.open("ab") as file, Meter(order.corpus.archive, have, total) as meter:
        for chunk in itertools.chain([first], chunks):
            file.write(chunk)
            meter.advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.size != total:
        raise Interrupted(f"{part.size:,} of {total:,} bytes came")


def body(response: requests.Response) -> Iterator[bytes]:
    """The bytes of a response as they come in, not unpacked whatever the server says about them."""
    from urllib3.exceptions import HTTPError

    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise Interrupted(root_cause(error)) from error


def root_cause(error: BaseException) -> str:
    """The innermost reason of a network error, without the names of the classes that it went through."""
    while inner := next(
        (e for e in (getattr(error, "reason", None), *error.args[::-1]) if isinstance(e, Exception)), None
    ):
        error = inner
    return re.sub(r"^(<.*?>|\w+\(.*?\)): ", "", str(error)) or type(error).__name__


# ---------------------------------------------------------------------------------------------------------------------
# Progress


class Meter:
    """A progress bar on a terminal; elsewhere a line at the start and one for every tenth of the way."""

    def __init__(self, name: str, have: int, total: int | None) -> None:
        self.bar: tqdm[Any] | None = None
        self.have, self.total = have, total
        self.step = total / 10 if total else 10 * 2**20
        if sys.stderr.isatty():
            self.bar = tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True, unit_divisor=1024)
        else:
            whole = human_size(total) if total else "size unknown"
            log.info("%s: %s%s", name, whole, f", resuming from {human_size(have)}" if have else "")

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, count: int) -> None:
        """Counts ``count`` more bytes."""
        before, self.have = self.have, self.have + count
        if self.bar is not None:
            self.bar.update(count)
        elif self.have // self.step > before // self.step:
            share = f"{self.have / self.total:4.0%}  " if self.total else ""
            log.info("%s%s", share, human_size(self.have))


if __name__ == "__main__":
    run_script(main, build_parser())
