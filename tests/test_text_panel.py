"""What TensorBoard makes of the shaded documents, hostile ones among them."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.plugin_util import markdown_to_safe_html

from config import ModelSettings
from han import HAN
from network.contract import NetworkArguments
from report.shading import shade
from runtime.input_pipeline import Split
from tests.helpers import EMBEDDING_DIM, VOCABULARY, tiny_documents, write_tiny_records
from training.text_panel import TextPanel, chosen, page
from utils import DataPaths, read_json, sha256_of_file, write_json

HOSTILE = (
    "<script>alert(1)</script> ![x](http://example.org/x.png) [y](javascript:alert(2)) **bold** `code` a|b "
    "# head _under_ \\*star ~~~ http://example.org &lt;b&gt; \u202egnortsz \x1b[31m \x02\x03 ``` <img src=x>"
)


class Reader(HTMLParser):
    """Tags, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        assert not attributes
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def model() -> HAN:
    return HAN(
        NetworkArguments(
            len(VOCABULARY), EMBEDDING_DIM, 2, ModelSettings(word_units=3, sentence_units=4, attention_dim=5), seed=1
        )
    )


@pytest.fixture
def data(tmp_path: Path) -> DataPaths:
    data = DataPaths("tiny", tmp_path)
    write_tiny_records(data.records)
    return data


@pytest.fixture
def split(data: DataPaths) -> Iterator[Split]:
    with contextlib.closing(Split(data.records, "valid")) as split:
        yield split


def test_a_hostile_text_is_shown_letter_by_letter_and_nothing_in_it_acts() -> None:
    words = HOSTILE.split(" ")
    spans, place = [], 0
    for word in words:
        spans.append((place, place + len(word)))
        place += len(word) + 1
    weights = np.linspace(1, 0, len(words))
    shown = shade(HOSTILE, [spans], weights / weights.sum(), [len(words)], [1.0])
    read = Reader(markdown_to_safe_html(page(shown, np.array([0.3, 0.7]), 0, ["<b>no", "*yes*"])))
    assert read.tags == {"p", "strong", "em", "table", "tbody", "tr", "td", "pre"}
    assert "*yes* (70.0%), wrong, it is labelled <b>no" in read.text
    plain = read.text.replace("▒", "").replace("░", "")
    expected = HOSTILE.replace("\x1b", "␛").replace("\x02\x03", "␂␃").replace("\u202e", "")
    assert expected in plain


def test_every_level_of_shade_looks_different() -> None:
    spans = [(2 * n, 2 * n + 1) for n in range(6)]
    weights = np.array([0.05, 0.15, 0.3, 0.5, 0.7, 1.0])
    shown = shade("a b c d e f", [spans], weights, [6], [1.0])
    html = page(shown, np.array([0.9, 0.1]), 0, ["no", "yes"])
    assert "a b <em>c</em> <strong>d</strong> ░<strong>e</strong>░ ▒<strong>f</strong>▒" in html


def test_the_documents_are_of_each_class_in_turn_short_and_always_the_same() -> None:
    index = np.zeros(40, [("label", int), ("sentences", int), ("words", int)])
    index["label"] = np.arange(40) % 3
    index["sentences"], index["words"] = 99, 999
    index["sentences"][:20] = 4
    index["words"][7] = 1
    numbers = chosen(index)
    assert sorted(index["label"][numbers].tolist()) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2])
    assert (index["sentences"][numbers] == 4).all() and chosen(index).tolist() == numbers.tolist()
    assert 7 not in chosen(index, 40) and len(chosen(index, 40)) == 39
    assert len(chosen(index[:0])) == 0


def test_without_the_csv_file_the_words_of_the_vocabulary_are_shown(data: DataPaths, split: Split) -> None:
    panel = TextPanel(split, data, data.records, ["negative", "positive"])
    shaded = panel.shaded(model())
    assert list(shaded) == [f"attention/{name}" for name in split.ids(panel.numbers)] and len(shaded) == 4
    known = {document.id: document for document in tiny_documents("valid", 30)}
    for (tag, html), (text, spans) in zip(shaded.items(), panel.texts, strict=True):
        document = known[tag.removeprefix("attention/")]
        assert [[text[a:b] for a, b in sentence] for sentence in spans] == [
            [VOCABULARY[word] for word in sentence] for sentence in document.sentences
        ]
        assert f"labelled {['negative', 'positive'][document.label]}" in html or ", right</p>" in html
        cells = [part.split()[0] for part in html.split("<tr><td><pre>")[1:]]
        assert sum(map(float, cells)) == pytest.approx(1, abs=0.01 * len(cells))


def test_the_text_that_was_written_is_shown_where_the_csv_file_is_that_of_the_records(
    data: DataPaths, split: Split
) -> None:
    with data.csv.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "label", "rating", "text"])
        for document in tiny_documents("valid", 30):
            sentences = (" ".join(VOCABULARY[word] for word in sentence) for sentence in document.sentences)
            text = "\n\n".join(sentence.capitalize() for sentence in sentences)  # capitals are the person's own
            rows.writerow([document.id, "valid", ["negative", "positive"][document.label], 0, text])
    manifest = read_json(data.records / "manifest.json")
    write_json(data.records / "manifest.json", manifest | {"csv": {"sha256": sha256_of_file(data.csv)}})
    shaded = TextPanel(split, data, data.records, ["negative", "positive"]).shaded(model())
    assert len(shaded) == 4
    assert all("Word" in html or "Good" in html or "Bad" in html for html in shaded.values())


def test_a_network_without_attention_shows_nothing(data: DataPaths, split: Split) -> None:
    assert TextPanel(split, data, data.records, ["negative", "positive"]).shaded(SimpleNamespace(attends=False)) == {}
