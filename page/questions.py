"""A question to the page: a text, how to explain it, and what was edited or left out; read from a form or a link.

A question holds everything that an answer depends on, so that a link repeats it. What cannot be asked is a
:class:`Refusal`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from data_processing import Span
from page.split_documents import LabelledDocument
from report.shading import printable

MOST_TEXT_BYTES = 1_000_000  # a text of so many is refused
MOST_LINK_BYTES = 60_000  # of a permalink; longer texts have none


class Refusal(Exception):
    """A question that is not answered.

    Args:
        status: HTTP's code for the reason.
        detail: A sentence for the person who asked.
        retry_seconds: After which it may be asked again; of a question that is refused for what it is, 0.
    """

    def __init__(self, status: int, detail: str, retry_seconds: int = 0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_seconds = status, printable(detail), retry_seconds


class Question(NamedTuple):
    """What a person asks.

    Attributes:
        text: The text, its line ends as newlines.
        method: How to explain; empty for the default of the first run.
        without: Ranges (start, end) of the text whose words are left out.
        original: The text before words were edited; empty where none was.
        id: The document of the test split that the text was taken from; empty for a person's own.
        target: Name of the class to explain; empty for the predicted one.
        dataset: The data set of ``id``; empty without one.
    """

    text: str = ""
    method: str = ""
    without: tuple[Span, ...] = ()
    original: str = ""
    id: str = ""
    target: str = ""
    dataset: str = ""

    def link(self) -> str:
        """A relative address that asks this again; empty where it would be too long."""
        values = {"id": self.id, "data": self.dataset} if self.id else {"text": self.text}
        values |= {"method": self.method, "target": self.target}
        values |= {"without": format_ranges(self.without), "original": self.original}
        link = "?" + urlencode({name: value for name, value in values.items() if value})
        return link if len(link) <= MOST_LINK_BYTES else ""

    def of_document(self, document: LabelledDocument) -> str:
        """A relative address that asks the same of a document of a test split."""
        return Question(id=document.id, method=self.method, target=self.target, dataset=document.dataset).link()

    def left_out(self) -> str:
        """The ranges as one string."""
        return format_ranges(self.without)

    def mark(self) -> str:
        """Of the text that the places in an answer refer to, so that an answer to another text changes nothing."""
        return mark_of(self.text)


def parse_question(values: dict[str, str], document: LabelledDocument | None) -> Question:
    """Reads a form or the query of a link.

    Args:
        values: By name; ``toggle`` is a range to leave out or to take back, ``undo`` takes all edits back. All of
            these, and ``without`` and ``original``, are ignored where ``mark`` is that of another text: somebody typed
            into the text since it was answered.
        document: That ``id`` names.

    Raises:
        Refusal: A text that is too long, or a damaged range.
    """
    text, original = (plain_newlines(values.get(name, "")) for name in ("text", "original"))
    if document and not text:
        text = plain_newlines(document.text)
    for each in (text, original):
        if len(each.encode(errors="replace")) >= MOST_TEXT_BYTES:
            raise Refusal(413, f"The text is too long: {MOST_TEXT_BYTES:,} bytes or more. Give a part of it.")
    if values.get("mark", mark_of(text)) != mark_of(text):
        values, original = {**values, "without": "", "toggle": "", "undo": ""}, ""
    without = set(parse_ranges(values.get("without", "")))
    if values.get("undo") and original:
        text, original, without = original, "", set()
    without ^= set(parse_ranges(values.get("toggle", "")))
    same = document is not None and text == plain_newlines(document.text)
    return Question(
        text,
        values.get("method", ""),
        tuple(sorted(without)),
        "" if original == text else original,
        document.id if document and same else "",
        values.get("target", ""),
        document.dataset if document and same else "",
    )


def mark_of(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def plain_newlines(text: str) -> str:
    """Line ends as a text box gives them, so that places in the text are the same here and there."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_ranges(text: str) -> list[Span]:
    """``"0-12,40-51"`` -> ``[(0, 12), (40, 51)]``."""
    try:
        pairs = [part.split("-") for part in text.split(",") if part]
        ranges = [(int(start), int(end)) for start, end in pairs]
        if any(start >= end for start, end in ranges):
            raise ValueError("a range ends before it starts")
        return ranges
    except ValueError as error:
        raise Refusal(400, "What is left out is given as ranges of the text, such as 0-12,40-51.") from error


def format_ranges(ranges: Sequence[Span]) -> str:
    """The inverse of :func:`parse_ranges`."""
    return ",".join(f"{start}-{end}" for start, end in ranges)
