"""A form with a file, as browsers send it (multipart/form-data), read piece by piece: the file goes to disk.

One file and a few short fields are accepted; nothing of the file is kept in memory, and its name is never part of a
path.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
from fastapi import Request

from page.questions import Refusal
from page.scoring import Desk
from page.sources import UploadedFile, ending_of
from utils import UserError

FILE_FIELD = "file"
MOST_FIELDS = 10
MOST_FIELD_BYTES = 1_000
MOST_HEADER_BYTES = 4_000  # of one part
WRITE_BYTES = 1 << 20
BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70})(?![^\s;]))', re.I)
NOT_A_FORM = "This is not a form with a file."


class FormReader:
    """Takes a form apart as its pieces arrive.

    Args:
        boundary: Between its parts.

    Attributes:
        fields: Of the form, without the file, by name.
        file_name: As the browser gave it; ``None`` before the file has begun.
        complete: Whether the last boundary was read.
    """

    def __init__(self, boundary: str) -> None:
        self._line = f"\r\n--{boundary}".encode("latin-1")
        self._buffer = b"\r\n"  # the first boundary has no line before it
        self._state = "start"
        self._name = ""
        self.fields: dict[str, bytes] = {}
        self.file_name: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the last boundary was read."""
        return self._state == "end"

    def field(self, name: str) -> str:
        """The value of a field, empty where the form has none."""
        return self.fields.get(name, b"").decode("utf-8", "replace").strip()

    def feed(self, piece: bytes) -> bytes:
        """Reads a piece of the form; returns what is of the file.

        Raises:
            Refusal: It is not such a form, or has more or longer fields than expected.
        """
        self._buffer += piece
        found: list[bytes] = []
        while self._step(found):
            continue
        return b"".join(found)

    def _step(self, found: list[bytes]) -> bool:
        """Reads one part of a part; false where more of the form is needed."""
        return {"start": self._begin, "boundary": self._after_boundary, "header": self._header}.get(
            self._state, lambda: self._content(found)
        )()

    def _begin(self) -> bool:
        if len(self._buffer) < len(self._line):
            return False
        if not self._buffer.startswith(self._line):
            raise Refusal(400, NOT_A_FORM)
        self._buffer, self._state = self._buffer[len(self._line) :], "boundary"
        return True

    def _after_boundary(self) -> bool:
        if len(self._buffer) < 2:
            return False
        after, self._buffer = self._buffer[:2], self._buffer[2:]
        if after not in {b"--", b"\r\n"}:
            raise Refusal(400, NOT_A_FORM)
        self._state = "end" if after == b"--" else "header"
        return True

    def _header(self) -> bool:
        header, end, rest = self._buffer.partition(b"\r\n\r\n")
        if len(header) > MOST_HEADER_BYTES:
            raise Refusal(400, NOT_A_FORM)
        if not end:
            return False
        self._buffer, self._state = rest, "content"
        text = header.decode("utf-8", "replace")
        name = re.search(r'[;\s]name="([^"]*)"', text)
        file_name = re.search(r'[;\s]filename="([^"]*)"', text)
        if name is None or (name[1] == FILE_FIELD) != (file_name is not None):
            raise Refusal(400, NOT_A_FORM)
        if file_name is not None:
            if self.file_name is not None:
                raise Refusal(400, "The form has more than one file; upload one at a time.")
            self.file_name = file_name[1]
        elif len(self.fields) >= MOST_FIELDS:
            raise Refusal(400, "The form has too many fields.")
        else:
            self.fields[name[1]] = b""
        self._name = name[1]
        return True

    def _content(self, found: list[bytes]) -> bool:
        if self.complete:
            self._buffer = b""
            return False
        place = self._buffer.find(self._line)
        ready = place if place >= 0 else max(len(self._buffer) - len(self._line) + 1, 0)
        content, self._buffer = self._buffer[:ready], self._buffer[ready:]
        if self._name == FILE_FIELD:
            found.append(content)
        else:
            self.fields[self._name] += content
            if len(self.fields[self._name]) > MOST_FIELD_BYTES:
                raise Refusal(400, "A field of the form is too long.")
        if place < 0:
            return False
        self._buffer, self._state = self._buffer[len(self._line) :], "boundary"
        return True


async def receive(request: Request, desk: Desk) -> UploadedFile:
    """Stores the file of a form, while it arrives.

    Raises:
        Refusal: The form, the file's name or its size is not accepted; nothing of it stays.
    """
    match = BOUNDARY.match(request.headers.get("content-type", ""))
    if match is None:
        raise Refusal(415, "Send the file as a form (multipart/form-data).")
    length = request.headers.get("content-length", "0")
    desk.check_space(0, int(length) if length.isdecimal() else 0)
    key, folder = desk.upload_folder()
    try:
        form = FormReader(match[1] or match[2])
        await store(request.stream(), form, folder / "arriving", desk)
        if not form.complete or form.file_name is None:
            raise Refusal(400, NOT_A_FORM)
        columns = form.field("text_column"), form.field("label_column")
        upload = UploadedFile(key, folder, form.file_name, *columns, desk.check_space)
        (folder / "arriving").rename(upload.file)
        return upload
    except BaseException as error:  # also a client that went away
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UserError):
            raise Refusal(415, f"{error}.") from error
        raise


async def store(stream: AsyncIterator[bytes], form: FormReader, place: Path, desk: Desk) -> None:
    """Writes the file of a form to disk as it arrives."""
    waiting, written = b"", 0
    with place.open("wb") as file:
        async for piece in stream:
            waiting += form.feed(piece)
            if form.file_name is not None and not written:
                ending_of(form.file_name)  # refused before the rest of it arrives
            written += len(waiting) if len(waiting) >= WRITE_BYTES else 0
            if len(waiting) >= WRITE_BYTES:
                desk.check_space(written)
                await anyio.to_thread.run_sync(file.write, waiting)
                waiting = b""
        desk.check_space(written + len(waiting))
        file.write(waiting)


class Receptions:
    """How many files arrive at once."""

    def __init__(self, most: int) -> None:
        self._most, self._arriving = most, 0

    async def receive(self, request: Request, desk: Desk) -> UploadedFile:
        """As :func:`receive`; a :class:`Refusal` where too many files arrive."""
        if self._arriving >= self._most:
            raise Refusal(503, "Other files are arriving. Try again in a few seconds.", 5)
        self._arriving += 1
        try:
            return await receive(request, desk)
        finally:
            self._arriving -= 1
