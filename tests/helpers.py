"""Small records with a planted cause, made without the text stages: one clue word decides the label."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from config import ModelSettings, TrainingSettings
from corpus.corpora import CSV_COLUMNS
from corpus.splits import TEXT, TRAIN, Survey, new_survey
from data_processing import TextProcessor
from network.ngrams import NgramTable, ngram_key
from runtime.checkpoints import save_weights
from runtime.networks import network_of
from runtime.ngram_tables import save_table
from runtime.predictor import Predictor
from runtime.run_folder import Progress, RunConfig, RunFolder
from text.records import NO_LABEL, RecordBatch, RecordWriter, describe_files, write_index
from utils import FORMAT_VERSION, DataPaths, read_json, sha256_of_file, sha256_of_json, write_json, write_jsonl

VOCABULARY = ["<pad>", "<unk>", "bad", "good", *(f"word{n:02d}" for n in range(40))]
CLUES = (2, 3)
EMBEDDING_DIM = 6


class TinyDocument(NamedTuple):
    id: str
    label: int
    sentences: list[list[int]]


def tiny_documents(split: str, count: int) -> list[TinyDocument]:
    generator = np.random.default_rng(sum(map(ord, split)))
    documents = []
    for number in range(count):
        sentences = [
            generator.integers(4, len(VOCABULARY), generator.integers(1, 7)).tolist()
            for _ in range(generator.integers(1, 6))
        ]
        label = int(generator.integers(2))
        sentences[int(generator.integers(len(sentences)))][0] = CLUES[label]
        documents.append(TinyDocument(f"{split}/{number:04d}", label, sentences))
    return documents


def write_tiny_records(folder: Path, documents: int = 90, unlabelled: int = 0) -> dict[str, list[TinyDocument]]:
    """Writes a complete records folder and returns what it holds; ``valid`` and ``test`` have a third as many."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": documents, "valid": documents // 3, "test": documents // 3, "unlabelled": unlabelled}
    splits = {name: tiny_documents(name, count) for name, count in sizes.items() if count}
    counts: dict[str, Any] = {}
    for name, texts in splits.items():
        sentences = [sentence for text in texts for sentence in text.sentences]
        with RecordWriter(folder, name, 0, 1) as writer:
            writer.write(
                RecordBatch(
                    [text.id.encode() for text in texts],
                    np.array([NO_LABEL if name == "unlabelled" else text.label for text in texts]),
                    np.array([word for sentence in sentences for word in sentence]),
                    np.array([len(sentence) for sentence in sentences]),
                    np.array([len(text.sentences) for text in texts]),
                )
            )
            write_index(folder, name, [writer.index])
        counts[name] = {"documents": len(texts), "words": sum(map(len, sentences)), "cut_words": 0}
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "labels.txt").write_text("negative\npositive\n", encoding="utf-8")
    TextProcessor().save(folder / "sentence_splitter.json")
    vectors = np.random.default_rng(0).normal(size=(len(VOCABULARY), EMBEDDING_DIM)).astype(np.float32)
    np.save(folder / "embeddings.npy", vectors)
    files = [path.name for path in folder.iterdir() if path.name != "manifest.json"]
    write_json(
        folder / "manifest.json",
        {
            "format_version": FORMAT_VERSION,
            "splits": counts,
            "csv": {"sha256": "there is no CSV"},
            "files": describe_files(folder, files),
        },
    )
    return splits


def write_marked_texts(data: DataPaths, splits: dict[str, list[TinyDocument]], marked: str) -> None:
    """The CSV file of tiny records, and evidence: the word that decides each document of a split, but for its last."""
    texts = {
        one.id: " ".join(VOCABULARY[word] for sentence in one.sentences for word in sentence)
        for documents in splits.values()
        for one in documents
    }
    with data.csv.open("w", newline="", encoding="utf-8") as file:
        rows = [(name, name.split("/")[0], "negative", 1, text) for name, text in texts.items()]
        csv.writer(file).writerows([CSV_COLUMNS, *rows])
    write_json(data.manifest, {**read_json(data.manifest), "csv": {"sha256": sha256_of_file(data.csv)}})
    clues = [(one.id, re.search("good|bad", texts[one.id])) for one in splits[marked][:-1]]
    write_jsonl(data.evidence, [{"id": name, "evidence": [found.span()]} for name, found in clues if found])


def write_tiny_run(
    path: Path,
    records: Path,
    seed: int = 6,
    architecture: str = "han",
    ngrams: bool = False,
    class_names: tuple[str, ...] = ("negative", "positive"),
    **settings: Any,
) -> RunFolder:
    """A finished run on ``records`` with random weights, which answers like any other; its data set is called ``tiny``.

    With ``ngrams`` it has every single word and every pair of words in its n-gram lane. ``settings`` are further ones
    of the network.
    """
    config = RunConfig(
        "tiny",
        architecture,
        ModelSettings(word_units=3, sentence_units=3, attention_dim=3, ngrams="on" if ngrams else "off", **settings),
        TrainingSettings(),
        class_names,
        len(VOCABULARY),
        EMBEDDING_DIM,
        sha256_of_json(read_json(records / "manifest.json")),
    )
    run = RunFolder(path)
    run.create(config, records)
    generator = np.random.default_rng(seed)
    if ngrams:
        save_table(run, random_ngrams(generator))
    network = network_of(run, config)
    for name, weight in network.named_weights().items():
        weight.assign([0.7, 1.3] if name == "ngrams/scales" else generator.normal(size=weight.shape))
    save_weights(run.best, network, Progress(step=7), run=run.identity())
    write_json(run.finished, {})
    return run


def survey_of(
    hashes: np.ndarray, classes: np.ndarray, splits: np.ndarray | int = TRAIN, sets: np.ndarray | None = None
) -> Survey:
    """A survey of documents whose texts have these hashes."""
    survey = new_survey([], int(classes.max()) + 1 if sets is None else len(sets), Path("."), sets)
    rows = np.empty(len(hashes), TEXT)
    rows["key"], rows["number"], rows["class"], rows["split"] = hashes, np.arange(len(hashes)), classes, splits
    np.add.at(survey.counts, (rows["split"], rows["class"]), 1)
    for begin in range(0, len(rows), 33):
        survey.texts.add(rows[begin : begin + 33])
    return survey


def splits_of(survey: Survey) -> np.ndarray:
    """uint8 [documents], the codes of their splits, in the order of the documents."""
    rows = np.concatenate(list(survey.texts))
    return rows["split"][np.argsort(rows["number"])]


def random_ngrams(generator: np.random.Generator) -> NgramTable:
    """Single words and pairs of the tiny vocabulary, with random weights for two classes."""
    words = range(2, len(VOCABULARY))
    keys = np.array(sorted(map(ngram_key, [(a,) for a in words] + [(a, b) for a in words for b in words])), np.int64)
    weights = generator.normal(size=(len(keys), 2)).astype(np.float32)
    return NgramTable(
        keys, generator.uniform(1, 4, len(keys)).astype(np.float32), weights, np.array([0.3, -0.2], np.float32)
    )


class InThisProcess(Executor):
    """Does each task at once; the state of a worker is that of this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def tf_config(index: object = 0, kind: str = "worker", **jobs: object) -> str:
    cluster = jobs or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


@contextlib.contextmanager
def loaded_once(predictor: Predictor, path: Path) -> Iterator[None]:
    """Every command gets this network for the run in ``path``: TensorFlow traces it once."""
    load = Predictor.load

    def load_once(run: RunFolder, device: str = "cpu") -> Predictor:
        return predictor if run.path == path else load(run, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "load", load_once)
        yield
