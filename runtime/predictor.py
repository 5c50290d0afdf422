"""A trained network that reads text: rebuilt from its run folder alone, it scores any text.

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

from data_processing import Span
from network.contract import Documents, Network, thresholds_of
from runtime.abandoning import between_batches
from runtime.checkpoints import best_checkpoint, restore
from runtime.documents import DocumentBorders, join
from runtime.input_pipeline import evaluation_batches
from runtime.networks import network_of
from runtime.run_folder import RunFolder
from runtime.scoring import Inferred, inference
from text.text_reader import EncodedDocument, Reading, TextReader

BATCH_WORDS = 40_000  # maximum number of words in a batch, which limits its memory; the tester's default
WINDOW_WORDS = 1_000_000  # documents are sorted by length within windows of this many words


class Verdict(NamedTuple):
    """The outputs of the network for one document.

    Attributes:
        logits: float32 [C].
        probabilities: float32 [C].
        word_weights: float32 [N], adding up to 1 within each sentence; ``None`` for a network without attention.
        sentence_weights: float32 [S], adding up to 1; ``None`` for a network without attention.
        vector: float32 [D], what the last layer classifies.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    word_weights: np.ndarray | None
    sentence_weights: np.ndarray | None
    vector: np.ndarray


class Predictor:
    """A network with the text processing it was trained with.

    Args:
        model: The network.
        reader: Makes documents of texts.
        class_names: In order of the labels.

    Attributes:
        step: Training step of the weights, -1 if unknown.
        weights_sha256: Their hash, "" if unknown.
        short_text: Words below which a text is shorter than almost all training texts, 0 if unknown.
        has_attention: Whether the network has attention.
        thresholds: float32 [C], where a text may have several labels; else ``None``.
    """

    def __init__(
        self,
        model: Network,
        reader: TextReader,
        class_names: Sequence[str],
        step: int = -1,
        weights_sha256: str = "",
        short_text: int = 0,
    ) -> None:
        self.model, self.reader = model, reader
        self.class_names = tuple(class_names)
        self.step, self.weights_sha256, self.short_text = step, weights_sha256, short_text
        self.has_attention = model.attends
        thresholds = thresholds_of(model)
        self.thresholds: np.ndarray | None = None if thresholds is None else np.asarray(thresholds.numpy())
        self._infer = inference(model)

    @classmethod
    def load(cls, run: RunFolder, device: str = "cpu") -> Predictor:
        """Rebuilds the best network of a run.

        Args:
            run: The folder; nothing outside it is read.
            device: ``"cpu"`` or ``"gpu"``, as :func:`runtime.devices.start_tensorflow` returned it.

        Raises:
            UserError: There is no run, it has no weights yet, or something in it is damaged.
        """
        run.check_files()
        config = run.config()
        checkpoint = best_checkpoint(run)
        model = network_of(run, config, padded=device == "gpu")
        restore(checkpoint, model)
        reader = TextReader.load(run.path)
        progress, weights_sha256 = checkpoint.progress, checkpoint.weights_sha256
        return cls(model, reader, config.class_names, progress.step, weights_sha256, run.short_text())

    # -- text ---------------------------------------------------------------------------------------------------------

    def read(self, text: str) -> Reading:
        """Splits a text into sentences and words and looks the words up."""
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
        between_batches()
        batch = join(documents)
        yield from self.verdicts(batch, self._infer(batch))

    def verdicts(self, batch: Documents, inferred: Inferred) -> Iterator[Verdict]:
        """Yields the outputs of the network for a batch, document by document."""
        logits, probabilities, words, sentences, vectors = (tensor.numpy() for tensor in inferred)
        word_weights: Sequence[np.ndarray | None] = [None] * len(logits)
        sentence_weights = word_weights
        if self.has_attention:
            borders = DocumentBorders(batch)
            word_weights, sentence_weights = borders.cut_words(words), borders.cut_sentences(sentences)
        yield from map(Verdict, logits, probabilities, word_weights, sentence_weights, vectors)

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
                between_batches()
                inferred = self._infer(join([window[number] for number in numbers]))
                values[numbers] = getattr(inferred, output).numpy()
            parts.append(values)
        return np.concatenate(parts)


def unfinished(run: RunFolder) -> str | None:
    """A remark about a run whose training is not finished; ``None`` for a finished one."""
    if not (state := run.unfinished()):
        return None
    return f"{run.path} {state}: these are the weights of its best validation so far"


# ---------------------------------------------------------------------------------------------------------------------
# Batches


def batches(documents: Sequence[EncodedDocument], max_words: int = BATCH_WORDS) -> list[np.ndarray]:
    """Groups documents of similar length into batches of at most ``max_words`` words: positions, int64 each."""
    index = np.zeros(len(documents), [("words", np.int64), ("sentences", np.int64)])
    index["words"] = [len(document.token_ids) for document in documents]
    index["sentences"] = [len(document.words_per_sentence) for document in documents]
    return evaluation_batches(index, max_words)


def windows(documents: Iterable[EncodedDocument], max_words: int = WINDOW_WORDS) -> Iterator[list[EncodedDocument]]:
    """Splits a stream into lists of about ``max_words`` words."""
    stream = iter(documents)
    while first := list(itertools.islice(stream, 1)):
        window, words = first, len(first[0].token_ids)
        while words < max_words and (more := next(stream, None)) is not None:
            window.append(more)
            words += len(more.token_ids)
        yield window
