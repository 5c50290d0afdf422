"""Small records with a planted cause, made without the text stages: one clue word decides the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_processing import TextProcessor
from records import DocumentBatch, RecordWriter, describe_files, write_index
from utils import FORMAT_VERSION, write_json

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


def write_tiny_records(folder: Path, documents: int = 90) -> dict[str, list[TinyDocument]]:
    """Writes a complete records folder and returns what it holds; ``valid`` and ``test`` have a third as many."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {
        name: tiny_documents(name, count)
        for name, count in (("train", documents), ("valid", documents // 3), ("test", documents // 3))
    }
    counts: dict[str, Any] = {}
    for name, texts in splits.items():
        sentences = [sentence for text in texts for sentence in text.sentences]
        with RecordWriter(folder, name, 0, 1) as writer:
            writer.write(
                DocumentBatch(
                    [text.id.encode() for text in texts],
                    np.array([text.label for text in texts]),
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
