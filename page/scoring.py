"""Tables of documents that are scored in the background, one after the other; uploaded files and their end.

Nothing here outlives the server: tables and uploaded files are in a folder of their own, which is deleted when the
server ends, or by the next one where it was killed.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from corpus.several_labels import detected_separator, names_in
from page.answers import ServedRun
from page.questions import Refusal
from page.sources import SPLITS, Source, SplitSource, UploadedFile
from page.table import DocumentTable, TableRow
from report.shading import printable
from runtime.abandoning import Abandoned, pausing_with, stop_if_abandoned, stopping_when
from runtime.decisions import in_words, predicted_name
from runtime.devices import explain_memory
from runtime.streaming import Scored, score_rows
from utils import UserError, human_size, log

PREFIX = "han-tables-"
UPLOAD = "upload-"  # with which the key of an uploaded file begins
RESERVE_BYTES = 1_000_000_000  # of the disk, which stay free
MOST_UPLOADS = 20
KEEP_SECONDS = 12 * 3600  # of an uploaded file that nobody looked at
SWEEP_SECONDS = 300.0
YOUNG_SECONDS = 60  # a folder so young may belong to a server that has not locked it yet
PAUSE_SECONDS = 1.0  # that scoring pauses before a batch at most, so that it ends in any case
ADDED_AT_ONCE = 500  # rows


class Scoring:
    """A table that is scored, or was.

    Attributes:
        served: The run.
        source: The documents.
        table: What was scored so far.
        state: ``waiting``, ``working``, ``done``, ``cancelled`` or ``failed``.
        problem: Why it failed.
        done: Documents so far.
        seconds: That the scoring took.
    """

    def __init__(self, served: ServedRun, source: Source, table: DocumentTable) -> None:
        self.served, self.source, self.table = served, source, table
        self.state, self.problem = "waiting", ""
        self.done, self.seconds = 0, 0.0
        self._size, self._started = 0, 0.0
        self._cancelled = threading.Event()

    @property
    def running(self) -> bool:
        """Whether more documents will come."""
        return self.state in {"waiting", "working"}

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1; ``None`` where it is not known."""
        if not self.running:
            return 1.0
        return min(self._size / self.source.size, 0.999) if self.source.size else None

    def progress(self) -> dict[str, object]:
        """For the script of the page."""
        values = {"state": self.state, "documents": self.done, "share": self.share, "words": self.in_words()}
        return {**values, "problem": self.problem}

    def in_words(self) -> str:
        """How far it is."""
        speed = f", {self.done / self.seconds:,.0f} a second" if self.seconds > 0.5 else ""
        return {
            "waiting": "Waiting for another table to be scored.",
            "working": f"{self.done:,} documents scored so far{speed}.",
            "cancelled": f"Cancelled after {self.done:,} documents.",
            "failed": f"Stopped after {self.done:,} documents.",
        }.get(self.state, f"{self.done:,} documents scored in {self.seconds:.1f} s{speed}.")

    def cancel(self) -> None:
        """Stops it before its next batch."""
        self._cancelled.set()
        if self.state == "waiting":
            self.state = "cancelled"

    def work(self, check_space: Callable[[int], None], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Scores all documents, and keeps what was scored where it fails.

        Args:
            check_space: Called while the table grows; raises where the disk is full.
            meanwhile: Called again and again, to do what is more urgent.
        """
        if self._cancelled.is_set():
            return
        self.state, self._started = "working", time.monotonic()
        try:
            with stopping_when(self._cancelled.is_set), pausing_with(self._let_pass):
                self._score(check_space, meanwhile)
            self.state = "done"
        except Abandoned:
            self.state = "cancelled"
        except (UserError, Refusal) as error:
            self.state, self.problem = "failed", printable(f"{error}".rstrip(".") + ".")
        except Exception as error:  # whatever an uploaded file does, the server goes on
            log.exception("%s could not be scored", self.source.title)
            self.state, self.problem = "failed", printable(f"{type(error).__name__}: {error}")
        self.seconds = time.monotonic() - self._started

    def _score(self, check_space: Callable[[int], None], meanwhile: Callable[[], object]) -> None:
        rows = self.source.rows()
        numbers = itertools.count(1)
        folder = self.served.documents.run.path
        with (
            explain_memory("end other programs"),
            contextlib.closing(score_rows(self.served.predictor, folder, rows, False)) as scored,
            self.table.adding() as writer,
        ):
            while part := list(itertools.islice(scored, ADDED_AT_ONCE)):
                check_space(0)
                writer.add(self._row(next(numbers), one) for one in part)
                self._size += sum(one.row.size for one in part)
                self.done += len(part)
                self.served.rows_scored += len(part)
                self.seconds = time.monotonic() - self._started
                stop_if_abandoned()
                meanwhile()
                self._started = time.monotonic() - self.seconds

    def _row(self, number: int, scored: Scored) -> TableRow:
        row, reading = scored.row, scored.reading
        predicted = reading.words > 0 or self.source.empty_counts
        names, thresholds = self.served.predictor.class_names, self.served.predictor.thresholds
        prediction = predicted_name(scored.probabilities, names, thresholds) if predicted else ""
        label = named_as(names, row.label) if thresholds is None else several_named_as(names, row.label)
        values = (storable(label), prediction, scored.probabilities, reading.words, reading.unknown_words)
        return TableRow(number, storable(row.id), *values, storable(row.text))

    def _let_pass(self) -> None:
        self.served.batcher.wait_until_idle(PAUSE_SECONDS)
        self.served.lines.wait_until_empty(PAUSE_SECONDS)


def named_as(names: Sequence[str], label: str) -> str:
    """The class that a label names, upper and lower case alike; the label where there is none."""
    return next((name for name in names if name.casefold() == label.casefold()), label)


def several_named_as(names: Sequence[str], cell: str) -> str:
    """Several labels as they are shown, in the order of the classes; empty for a cell without any."""
    if not cell.strip():
        return ""
    try:
        found = {named_as(names, one) for one in names_in(cell, detected_separator([cell]))}
    except ValueError:
        return cell
    return in_words([*(name for name in names if name in found), *sorted(found.difference(names))])


def storable(text: str) -> str:
    """A text without halves of signs, which JSON can hold and a database cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Desk:
    """All tables of a server. Each method may be called from any thread.

    Args:
        runs: That are served.
        most_upload_bytes: Of a file, compressed or not; ``None``: what the disk takes; 0: no uploads.
        reserve_bytes: Of the disk, which stay free.

    Attributes:
        token: Which the forms of this server carry, so that no page of another site can send one.
    """

    def __init__(
        self, runs: Sequence[ServedRun], most_upload_bytes: int | None = None, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.runs, self._reserve = list(runs), reserve_bytes
        self.most_upload_bytes = most_upload_bytes
        self.token = secrets.token_urlsafe(24)
        remove_leftovers()
        self._folder: tuple[Path, IO[str]] | None = None
        self._changed = threading.Condition(threading.RLock())
        self._scorings: dict[tuple[str, str], Scoring] = {}
        self._uploads: dict[str, UploadedFile] = {}
        self._looked_at: dict[str, float] = {}
        self._queue: collections.deque[Scoring] = collections.deque()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def folder(self) -> Path:
        """Of tables and uploaded files."""
        with self._changed:
            if self._folder is None:
                folder = Path(tempfile.mkdtemp(prefix=PREFIX))
                self._folder = folder, locked(folder)
            return self._folder[0]

    # -- sources ------------------------------------------------------------------------------------------------------

    def source(self, served: ServedRun, key: str) -> Source:
        """A split of a run's data set, or an uploaded file.

        Raises:
            Refusal: There is none of that name, or not any more.
        """
        if key in SPLITS:
            return SplitSource(served.documents.data, key)
        with self._changed:
            if key in self._uploads:
                self._looked_at[key] = time.monotonic()
                return self._uploads[key]
        raise Refusal(404, "This file is not here any more, or never was; upload it again.")

    def upload_folder(self) -> tuple[str, Path]:
        """A key for a file that is uploaded, and its folder.

        Raises:
            Refusal: Uploads are not allowed, or there are too many files.
        """
        if self.most_upload_bytes == 0:
            raise Refusal(403, "This server takes no files (--max_upload_mb 0).")
        if len(self._uploads) >= MOST_UPLOADS:
            raise Refusal(503, f"There are {MOST_UPLOADS} uploaded files already; delete one first.", 60)
        key = f"{UPLOAD}{secrets.token_urlsafe(18)}"
        folder = self.folder / key
        folder.mkdir()
        return key, folder

    def add(self, upload: UploadedFile) -> None:
        """Takes a file that has arrived, and scores it with the first run."""
        with self._changed:
            self._uploads[upload.key] = upload
            self._looked_at[upload.key] = time.monotonic()
        self.start(self.runs[0], upload)

    def uploads(self, keys: Sequence[str]) -> list[UploadedFile]:
        """Those files of these keys that are here."""
        with self._changed:
            return [self._uploads[key] for key in keys if key in self._uploads]

    def remove(self, key: str) -> None:
        """Deletes an uploaded file and its tables."""
        with self._changed:
            upload = self._uploads.pop(key, None)
            self._looked_at.pop(key, None)
            scorings = [self._scorings.pop(pair) for pair in list(self._scorings) if pair[0] == key]
        for scoring in scorings:
            scoring.cancel()
            scoring.table.remove()
        if upload is not None:
            shutil.rmtree(upload.folder, ignore_errors=True)

    def check_space(self, total: int, missing: int = 0) -> None:
        """Raises :class:`Refusal` where there is no room.

        Args:
            total: Bytes of the file so far.
            missing: Bytes of it that are not on the disk yet.
        """
        most = self.most_upload_bytes
        if most and total > most:
            raise Refusal(413, f"The file is larger than {human_size(most)}, the limit here (--max_upload_mb).")
        if shutil.disk_usage(self.folder).free - self._reserve < missing:
            raise Refusal(
                507, f"The disk has less than {human_size(self._reserve)} free, no room for the file or its table."
            )

    # -- tables -------------------------------------------------------------------------------------------------------

    def scoring(self, served: ServedRun, key: str) -> Scoring | None:
        """The table of a source by a run; ``None`` where it was not asked for."""
        with self._changed:
            return self._scorings.get((key, served.name))

    def start(self, served: ServedRun, source: Source) -> Scoring:
        """Scores a source with a run, after those that wait already; one that failed or was cancelled starts again."""
        with self._changed:
            before = self._scorings.get((source.key, served.name))
            if before is not None and before.state not in {"failed", "cancelled"}:
                return before
            if before is not None:
                before.table.remove()
            file = self.folder / f"{secrets.token_hex(8)}.sqlite"
            scoring = Scoring(
                served, source, DocumentTable(file, served.predictor.class_names, served.predictor.thresholds)
            )
            self._scorings[source.key, served.name] = scoring
            self._queue.append(scoring)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
                self._thread.start()
            return scoring

    def close(self) -> None:
        """Stops what is scored and deletes everything."""
        with self._changed:
            self._closed = True
            for scoring in self._scorings.values():
                scoring.cancel()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._folder is not None:
            folder, lock = self._folder
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()

    def sweep(self, keep_seconds: float = KEEP_SECONDS) -> None:
        """Deletes uploaded files that nobody has looked at for a long time."""
        now = time.monotonic()
        with self._changed:
            old = [key for key, seen in self._looked_at.items() if now - seen > keep_seconds]
        for key in old:
            self.remove(key)

    def _work(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed, SWEEP_SECONDS)
                scoring = self._queue.popleft() if self._queue and not self._closed else None
            if scoring is not None and scoring.source.key in SPLITS:  # nobody chose it: opening the page starts it
                scoring.work(self.check_space, self._score_uploads)
            elif scoring is not None:
                scoring.work(self.check_space)
            self.sweep()

    def _score_uploads(self) -> None:
        """Scores the files that wait: a person's own do not wait for a split of 25,000 documents."""
        while not self._closed:
            with self._changed:
                scoring = next((each for each in self._queue if each.source.key not in SPLITS), None)
                if scoring is None:
                    return
                self._queue.remove(scoring)
            scoring.work(self.check_space)


# ---------------------------------------------------------------------------------------------------------------------
# Folders that outlive a server that was killed


def locked(folder: Path) -> IO[str]:
    """A file in a folder, locked as long as this process lives and the file is open."""
    file = (folder / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def remove_leftovers() -> None:
    """Deletes the folders of servers that do not live any more."""
    for folder in leftovers():
        shutil.rmtree(folder, ignore_errors=True)


def leftovers() -> Iterator[Path]:
    """Yields the folders of this user that no server holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if folder.is_symlink() or facts.st_uid != os.getuid() or time.time() - facts.st_mtime < YOUNG_SECONDS:
                continue
            with (folder / "lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
