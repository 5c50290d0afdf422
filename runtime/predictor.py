"""A trained network that reads text: rebuilt from its run folder alone, it scores whatever a person wrote.

    predictor = Predictor.load(RunFolder(Path("runs/imdb-han")))
    [verdict] = predictor.score([predictor.read("A dull film.").document])

The text goes through the tokeniser that made the training records, with the limits and the vocabulary of the run. The
object changes nothing after it is loaded, so that many threads may use one; the same documents in the same call give
the same bits on a CPU.

    N words   S sentences   C classes   D size of a document vector
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_processing import Span
from network.layers import Documents
from runtime.checkpoints import Checkpoint, read_checkpoint, restore
from runtime.input_pipeline import evaluation_batches
from runtime.networks import build_model
from runtime.run_folder import RunFolder
from runtime.scoring import inference
from text.text_reader import EncodedDocument, Reading, TextReader
from utils import UserError

BATCH_WORDS = 40_000  # most words in a batch: the ceiling of its memory; the tester's default
WINDOW_WORDS = 1_000_000  # documents are sorted by length within windows of this many words


class Verdict(NamedTuple):
    """What the network says of one document, and what it attended to.

    Attributes:
        logits: float32 [C].
        probabilities: float32 [C].
        word_weights: float32 [N], adding up to 1 within each sentence; ``None`` for a network without attention.
        sentence_weights: float32 [S], adding up to 1; ``None`` for a network without attention.
        vector: float32 [D], what the last layer classifies; ``None`` for a network that does not tell.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    word_weights: np.ndarray | None
    sentence_weights: np.ndarray | None
    vector: np.ndarray | None = None


class Predictor:
    """A network with the text processing it was trained with.

    Args:
        model: ``logits = model(documents)``; with ``attend(documents)``, where it has attention.
        reader: Makes documents of texts.
        class_names: In order of the labels.

    Attributes:
        step: Training step of the weights, -1 if unknown.
        weights_sha256: Their hash, "" if unknown.
        has_attention: Whether the network tells what it attended to.
    """

    def __init__(
        self,
        model: Any,
        reader: TextReader,
        class_names: Sequence[str],
        step: int = -1,
        weights_sha256: str = "",
    ) -> None:
        self.model, self.reader = model, reader
        self.class_names = tuple(class_names)
        self.step, self.weights_sha256 = step, weights_sha256
        self.has_attention = hasattr(model, "attend")
        self._infer = inference(model)

    @classmethod
    def load(cls, run: RunFolder, device: str = "cpu") -> Predictor:
        """Rebuilds the best network of a run.

        Args:
            run: The folder; nothing outside it is read.
            device: ``"cpu"`` or ``"gpu"``, as :func:`runtime.devices.start_tensorflow` said.

        Raises:
            UserError: There is no run, it has no weights yet, or something in it is damaged.
        """
        config = run.config()
        checkpoint = best_checkpoint(run)
        model = build_model(config, padded=device == "gpu")
        restore(checkpoint, model)
        reader = TextReader.load(run.path)
        return cls(model, reader, config.class_names, checkpoint.progress.step, checkpoint.weights_sha256)

    # -- text ---------------------------------------------------------------------------------------------------------

    def read(self, text: str) -> Reading:
        """Cuts a text into sentences and words and looks the words up."""
        return self.reader.read(text)

    def spans(self, text: str) -> list[list[Span]]:
        """[S] sentences, each the (start, end) of its words in ``text``; empty for a text without a word."""
        return self.reader.spans(text)

    # -- scores -------------------------------------------------------------------------------------------------------

    def score(self, documents: Sequence[EncodedDocument]) -> list[Verdict]:
        """Scores documents, in batches of similar length.

        Args:
            documents: Any number; at most :data:`BATCH_WORDS` words go into a batch.

        Returns:
            One verdict per document, in the order given.
        """
        verdicts: list[Any] = [None] * len(documents)
        for numbers in batches(documents):
            chosen = [documents[number] for number in numbers]
            for number, verdict in zip(numbers, self.score_batch(chosen), strict=True):
                verdicts[number] = verdict
        return verdicts

    def score_batch(self, documents: Sequence[EncodedDocument]) -> Iterator[Verdict]:
        """Yields the verdicts of documents that make one batch."""
        outputs = (tensor.numpy() for tensor in self._infer(join(documents)))
        logits, probabilities, words, sentences, vectors = outputs
        word, sentence = 0, 0
        for row, (token_ids, lengths) in enumerate(documents):
            if self.has_attention:
                weights = words[word : word + len(token_ids)], sentences[sentence : sentence + len(lengths)]
                word, sentence = word + len(token_ids), sentence + len(lengths)
            else:
                weights = None, None
            yield Verdict(logits[row], probabilities[row], *weights, vectors[row] if vectors.size else None)

    def logits(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        """float32 [documents, C]; reads any number of documents as a stream, in memory that does not grow."""
        return self.stacked(documents, "logits")

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        """float32 [documents, C]; reads any number of documents as a stream, in memory that does not grow."""
        return self.stacked(documents, "probabilities")

    def stacked(self, documents: Iterable[EncodedDocument], output: str) -> np.ndarray:
        """One output of :class:`runtime.scoring.Inferred` for a stream of documents: float32 [documents, C]."""
        parts = [np.zeros((0, len(self.class_names)), np.float32)]
        for window in windows(documents):
            values = np.zeros((len(window), len(self.class_names)), np.float32)
            for numbers in batches(window):
                inferred = self._infer(join([window[number] for number in numbers]))
                values[numbers] = getattr(inferred, output).numpy()
            parts.append(values)
        return np.concatenate(parts)


def best_checkpoint(run: RunFolder) -> Checkpoint:
    """The weights of the best validation so far, checked to be this run's.

    Raises:
        UserError: There are none yet, or they are damaged or another run's.
    """
    if not run.best.exists():
        when = "its first validation has not come yet; try again in a while" if run.is_training() else "train it anew"
        raise UserError(f"{run.path} has no weights: {when}")
    checkpoint = read_checkpoint(run.best)
    if checkpoint.run != run.identity():
        raise UserError(f"{checkpoint.path} belongs to another run than {run.path}; put the right file in its place")
    return checkpoint


def unfinished(run: RunFolder) -> str | None:
    """A remark about a run whose training has not ended; ``None`` for a finished one."""
    if run.finished.exists():
        return None
    state = "is still training" if run.is_training() else "was broken off in training"
    return f"{run.path} {state}: these are the weights of its best validation so far"


# ---------------------------------------------------------------------------------------------------------------------
# Batches


def join(documents: Sequence[EncodedDocument]) -> Documents:
    """Documents one after another, as the network takes them."""
    token_ids, lengths = zip(*documents, strict=True)
    return Documents(
        tf.constant(np.concatenate(token_ids), tf.int32),
        tf.constant(np.concatenate(lengths), tf.int32),
        tf.constant([len(sentences) for sentences in lengths], tf.int32),
    )


def parted(documents: Documents) -> Iterator[EncodedDocument]:
    """Yields the documents of a batch: the reverse of :func:`join`."""
    token_ids, lengths, sentences = (vector.numpy() for vector in documents)
    ends = np.cumsum(sentences)
    word_ends = np.cumsum(lengths)[ends - 1]
    yield from map(EncodedDocument, np.split(token_ids, word_ends[:-1]), np.split(lengths, ends[:-1]))


def batches(documents: Sequence[EncodedDocument], max_words: int = BATCH_WORDS) -> list[np.ndarray]:
    """Deals documents of similar length into batches of at most ``max_words`` words: positions, int64 each."""
    index = np.zeros(len(documents), [("words", np.int64), ("sentences", np.int64)])
    index["words"] = [len(document.token_ids) for document in documents]
    index["sentences"] = [len(document.words_per_sentence) for document in documents]
    return evaluation_batches(index, max_words)


def windows(documents: Iterable[EncodedDocument], max_words: int = WINDOW_WORDS) -> Iterator[list[EncodedDocument]]:
    """Cuts a stream into lists of about ``max_words`` words."""
    stream = iter(documents)
    while first := list(itertools.islice(stream, 1)):
        window, words = first, len(first[0].token_ids)
        while words < max_words and (more := next(stream, None)) is not None:
            window.append(more)
            words += len(more.token_ids)
        yield window
