"""Two tiny runs with their data set, as the page needs them, and a server for browsers."""

from __future__ import annotations

import contextlib
import csv
import re
import threading
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi.testclient import TestClient

from attention_viewer import MOST_HEADER_BYTES, listening_socket
from page.answers import ServedRun
from page.connections import ImpatientProtocol
from page.split_documents import SplitDocuments
from page.viewer import make_app
from runtime.documents import join
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from utils import DataPaths

DOCUMENTS = 40
TEXT = "A good word01! Bad word02, unheard.\nQuite good word03 and word04? word05."


def write_folder(folder: Path) -> Path:
    """Writes ``data/tiny`` with a CSV and ``runs`` with two runs that differ in what they predict."""
    records = folder / "data" / "tiny" / "records"
    write_tiny_records(records)
    generator = np.random.default_rng(2)
    with (folder / "data" / "tiny" / "tiny.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "split", "label", "rating", "text"])
        for split in ("train", "test"):
            for number in range(DOCUMENTS):
                words = [f"word{n:02d}" if n < 40 else "<br />qqq." for n in generator.integers(0, 60, 2 + 3 * number)]
                label = ("negative", "positive")[number % 2]
                table.writerow([f"{split}/{number}", split, label, 0, " ".join(words)])
    for seed, name in zip((6, 7), ("tiny-han", "tiny-other"), strict=True):
        write_tiny_run(folder / "runs" / name, records, seed)
    return folder


def load_run(folder: Path, name: str) -> ServedRun:
    served = ServedRun.load(RunFolder(folder / "runs" / name), DataPaths("tiny", folder / "data"))
    write_predictions(served)
    return served


def load_run_of_other_data(folder: Path) -> ServedRun:
    """A run of a second data set, whose documents have the same ids as those of the first, and other labels."""
    first, second = folder / "data" / "tiny" / "tiny.csv", folder / "data" / "second" / "second.csv"
    second.parent.mkdir()
    swapped = {"negative": "positive", "positive": "negative"}
    with first.open(encoding="utf-8", newline="") as file, second.open("w", encoding="utf-8", newline="") as copy:
        header, *rows = csv.reader(file)
        others = [[name, split, swapped[label], rating, f"Other {text}"] for name, split, label, rating, text in rows]
        csv.writer(copy, lineterminator="\n").writerows([header, *others])
    run = write_tiny_run(folder / "runs" / "second-han", folder / "data" / "tiny" / "records", 8)
    served = ServedRun.load(run, DataPaths("second", folder / "data"))
    write_predictions(served)
    return served


MANY_CLASSES = tuple(
    f"{goods}, {opinion}, {length} review"
    for goods in (
        "books and other printed matter",
        "kitchen and household goods",
        "consumer electronics",
        "toys",
        "music",
    )
    for opinion in ("very disappointed", "rather pleased")
    for length in ("short", "long")
)


def load_run_of_many_classes(folder: Path) -> ServedRun:
    """A run of twenty classes with long names, and its data set."""
    first, many = folder / "data" / "tiny" / "tiny.csv", folder / "data" / "many" / "many.csv"
    many.parent.mkdir()
    with first.open(encoding="utf-8", newline="") as file, many.open("w", newline="", encoding="utf-8") as copy:
        header, *rows = csv.reader(file)
        named = [[row[0], row[1], MANY_CLASSES[number % 20], *row[3:]] for number, row in enumerate(rows)]
        csv.writer(copy, lineterminator="\n").writerows([header, *named])
    records = folder / "data" / "tiny" / "records"
    run = write_tiny_run(folder / "runs" / "many-han", records, 9, class_names=MANY_CLASSES)
    served = ServedRun.load(run, DataPaths("many", folder / "data"))
    write_predictions(served)
    return served


def write_predictions(served: ServedRun) -> None:
    """What the tester writes, from the network itself."""
    documents = SplitDocuments(RunFolder(Path("nowhere")), served.documents.data, "").all().values()
    names = served.predictor.class_names
    with served.documents.predictions_file.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "label", "prediction", *(f"probability_{name}" for name in names)])
        for document in documents:
            values = probabilities(served.predictor, document.text)
            table.writerow([document.id, document.label, names[int(values.argmax())], *(f"{v:.6f}" for v in values)])


def probabilities(predictor: Predictor, text: str) -> np.ndarray:
    """From the model itself, in float64."""
    logits = predictor.model(join([predictor.read(text).document])).numpy()[0].astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum()


@contextlib.contextmanager
def serving(runs: Sequence[ServedRun]) -> Iterator[str]:
    """A real server on a free port; yields its address."""
    with listening_socket("127.0.0.1", 0) as listening:
        config = uvicorn.Config(
            make_app(runs),
            http=ImpatientProtocol,
            log_level="error",
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def wait_for_table(client: TestClient, source: str = "test", run: str = "", seconds: float = 60) -> dict[str, Any]:
    """Asks for a table and waits until it is scored; returns its progress."""
    asked = {"source": source, "run": run}
    assert client.get("/documents", params=asked).status_code == 200
    end = time.monotonic() + seconds
    while (progress := client.get("/progress", params=asked).json())["state"] in {"waiting", "working"}:
        assert time.monotonic() < end, progress
        time.sleep(0.02)
    return dict(progress)


class Page(HTMLParser):
    """Tags with their attributes, and the words that are shown, read as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.shown.append(data.strip())

    def named(self, name: str) -> str:
        return next(attributes["value"] or "" for _, attributes in self.tags if attributes.get("name") == name)

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def ask(client: TestClient, **values: str) -> Page:
    response = client.post("/answer", data=values)
    assert response.status_code == 200, response.text
    return Page(response.text)


def percentages(page: Page) -> list[str]:
    return [text for text in page.shown if re.fullmatch(r"\d+\.\d%", text)]


def expected(predictor: Predictor, text: str) -> list[str]:
    return [f"{100 * value:.1f}%" for value in sorted(probabilities(predictor, text), reverse=True)]
