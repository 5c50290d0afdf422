"""The project as a library: predictions as a table, explanations in a notebook, a classifier for scikit-learn.

    from predictor import load
    model = load("runs/imdb-han")
    model.predict(["A dull film.", "What acting!"])         # a DataFrame
    model.explain("The plot is thin, but what acting!")     # shaded text, where it is the last line of a cell

    from predictor import HANClassifier
    cross_val_score(HANClassifier("work"), texts, labels)

Texts come as a list, a pandas Series, a NumPy array or a DataFrame with a column of text. A mistake in them is a
``ValueError`` of one line.

    B texts   C classes
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from config import check_range
from corpus.headers import MISSING, TEXT_NAMES, comparable_name, is_number
from corpus.several_labels import BETWEEN, NO_LABELS
from explaining.explained_text import Explanation, explain_text
from explaining.explanations import METHODS
from explaining.exploration import Page, page_height
from explaining.faithfulness import default_method, trust_in_words
from explaining.pages import explanation_page
from report.run_table import as_frame, run_rows
from runtime.decisions import chosen_names
from runtime.devices import start_for_runs
from runtime.run_folder import RunFolder, find_run
from text.text_reader import remarks_on
from utils import DataPaths, UserError, log, write_jsonl

if TYPE_CHECKING:
    from runtime.predictor import Predictor

Texts: TypeAlias = "Iterable[str] | pd.Series[Any] | pd.DataFrame | np.ndarray"
SCRIPT = Path(__file__).with_name("run_all.py")
LOG_FILE = "run_all.txt"
AS_MATRIX = "give a matrix of 0 and 1 (sklearn.preprocessing.MultiLabelBinarizer makes one of lists)"


def load(run: str | Path, runs_dir: str | Path = "runs", device: str = "auto") -> Model:
    """Loads a trained network.

    Args:
        run: A run folder, or its name in ``runs_dir``.
        runs_dir: Folder of the runs.
        device: ``cpu``, ``gpu``, or ``auto``: what the run was trained on, if it is here.

    Raises:
        UserError: There is no such run, it has no weights yet, or something in it is damaged.
    """
    folder = find_run(str(run), Path(runs_dir))
    chosen = start_for_runs([folder], device, lean=False)
    from runtime.predictor import Predictor, unfinished

    predictor = Predictor.load(folder, chosen)
    if remark := unfinished(folder):
        log.warning("%s (step %d)", remark, predictor.step)
    return Model(folder, predictor)


def results(runs_dir: str | Path = "runs", runs: Sequence[str] = (), split: str = "test") -> pd.DataFrame:
    """The results of runs as a table, as ``results.py --csv`` prints them.

    Args:
        runs_dir: Folder of the runs.
        runs: Names of those wanted; all of them if none is named.
        split: ``test`` or ``valid``.
    """
    return as_frame(run_rows(Path(runs_dir), runs, split))


class Model:
    """A trained network that reads texts.

    Args:
        run: The run folder.
        predictor: The network with its text processing.
    """

    def __init__(self, run: RunFolder, predictor: Predictor) -> None:
        self.run, self.predictor = run, predictor

    def __repr__(self) -> str:
        return f"{self.run.path}: {self.run.config().title()}, classes {', '.join(self.classes)}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the C classes, in the order of the probabilities."""
        return self.predictor.class_names

    def predict(self, texts: Texts, text_column: str = "", abstain: float = 0.0) -> pd.DataFrame:
        """Classifies texts.

        Args:
            texts: [B]; a missing one (None, NaN) counts as a text without a word, and their number is logged.
            text_column: Of a DataFrame; detected by its name if not given.
            abstain: Confidence, from 0 to 1, below which ``label`` is missing and ``abstained`` true.

        Returns:
            One row per text, with the index of ``texts`` if it has one. ``label`` (missing for a text without a word),
            ``probability_<class>`` of each class, ``confidence`` (the largest of them), ``abstained``, ``words``,
            ``unknown_words`` and ``remarks``, separated by semicolons (:func:`text.text_reader.remarks_on`); empty for
            most texts. Where a text may have several labels, ``label`` is the list of them.

        Raises:
            UserError: A text is not a string, or it is not clear which column is the text.
        """
        check_range("abstain", abstain, 0, 1)
        if abstain and self.predictor.thresholds is not None:
            raise UserError(
                "abstain is for one label a text, and the texts of this run may have several; leave it out: each label "
                "has its column of probabilities"
            )
        given = given_texts(texts, text_column)
        readings = [self.predictor.read(text) for text in given.texts]
        probabilities = self.predictor.probabilities(reading.document for reading in readings).astype(np.float64)
        has_words = np.array([reading.words > 0 for reading in readings], bool)
        probabilities[~has_words] = np.nan
        confidence, short = probabilities.max(axis=1), self.predictor.short_text
        abstained = has_words & (confidence < abstain)
        return pd.DataFrame(
            {
                "label": self.labels(probabilities, has_words & ~abstained, given.index),
                **{f"probability_{name}": probabilities[:, place] for place, name in enumerate(self.classes)},
                "confidence": confidence,
                "abstained": abstained,
                "words": np.array([reading.words for reading in readings], np.int64),
                "unknown_words": np.array([reading.unknown_words for reading in readings], np.int64),
                "remarks": pd.Series(["; ".join(remarks_on(one, short)) for one in readings], given.index, "str"),
            },
            index=given.index,
        )

    def labels(self, probabilities: np.ndarray, answered: np.ndarray, index: pd.Index[Any]) -> pd.Series[Any]:
        """The predicted labels, lists where a text may have several; missing where ``answered``, bool [B], is not."""
        if self.predictor.thresholds is None:
            best = np.array(self.classes, object)[probabilities.argmax(axis=1)]
            return pd.Series(best, index, "str").where(answered)
        lists = [chosen_names(row >= self.predictor.thresholds, self.classes) for row in probabilities]
        return pd.Series(lists, index, object).where(answered)

    def probabilities(self, texts: Texts, text_column: str = "") -> np.ndarray:
        """float32 [B, C]; of a text without a word what the network says of an empty one. Errors as for ``predict``."""
        given = given_texts(texts, text_column)
        return self.predictor.probabilities(self.predictor.read(text).document for text in given.texts)

    def explain(self, text: str, method: str = "", label: str = "") -> Explained:
        """Explains the prediction for one text.

        Args:
            text: The text.
            method: One of ``explaining.explanations.METHODS``; the best one known for this run if not given.
            label: The class to explain; the predicted one if not given.

        Raises:
            UserError: The text has no word, or there is no such method or class.
        """
        best, findings = default_method(self.predictor, self.run.path)
        chosen = method or best
        if label and label not in self.classes:
            raise UserError(f"there is no class {label!r}; choose from: {', '.join(self.classes)}")
        [only] = given_texts([text]).texts
        try:
            explanation = explain_text(self.predictor, only, chosen, self.classes.index(label) if label else None)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(str(error)) from error
        return Explained(explanation, self.run.path.name, trust_in_words(chosen, findings))


@dataclass(frozen=True)
class Explained:
    """A text with its explanation; a notebook shows it shaded.

    Attributes:
        explanation: Text, verdict and scores.
        run: Name of the run.
        trust: How far the method can be trusted, a sentence; empty where that was not measured.
    """

    explanation: Explanation
    run: str
    trust: str = ""

    def __repr__(self) -> str:
        return f"{self.heading()}, explained by {METHODS[self.explanation.method].title}"

    def heading(self) -> str:
        """``imdb-han: positive (97.3%)``."""
        names, probabilities = self.explanation.class_names, self.explanation.verdict.probabilities
        if self.explanation.thresholds is not None:
            return f"{self.run}: {self.explanation.predicted}"
        return f"{self.run}: {names[int(probabilities.argmax())]} ({probabilities.max():.1%})"

    def to_html(self) -> str:
        """A self-contained page, as ``explain.py --html`` writes it."""
        explanation = self.explanation
        named = f" {explanation.class_names[explanation.target]}." if explanation.scores.signed else ""
        return explanation_page(
            explanation, self.heading(), f"{METHODS[explanation.method].note}{named} {self.trust}".rstrip()
        )

    def _repr_html_(self) -> str:
        return Page(self.to_html(), page_height(self.explanation, self.heading(), self.trust))._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON, as ``explain.py --json`` prints it."""
        return self.explanation.to_json()

    def words(self) -> pd.DataFrame:
        """One row per word: ``word``, ``sentence`` (from 0), ``start`` and ``end`` in the text, ``score``."""
        sentences = self.to_json()["sentences"]
        rows = [{"sentence": place, **word} for place, one in enumerate(sentences) for word in one["words"]]
        return pd.DataFrame(rows)[["word", "sentence", "start", "end", "score"]]


# ---------------------------------------------------------------------------------------------------------------------
# Texts


class GivenTexts(NamedTuple):
    """Texts as the network takes them, and the index of the table that they come from."""

    texts: list[str]
    index: pd.Index[Any]


def given_texts(texts: Texts, text_column: str = "") -> GivenTexts:
    """The texts of a list, an array, a Series or a column of a DataFrame; missing ones are empty and counted.

    Raises:
        UserError: There is one string instead of several, something else than a string, or no column of text.
    """
    if isinstance(texts, str):
        raise UserError("a single text was given where several are expected; write [text]")
    if isinstance(texts, pd.DataFrame):
        texts = texts[column_of(texts, text_column)]
    if isinstance(texts, np.ndarray) and texts.ndim > 1:
        if texts.shape[1:] != (1,):
            raise UserError(f"an array of texts has one dimension, and this one has the shape {texts.shape}")
        texts = texts.ravel()
    values = list(texts)
    index = texts.index if isinstance(texts, pd.Series) else pd.RangeIndex(len(values))
    missing = [value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value))) for value in values]
    for number, (value, absent) in enumerate(zip(values, missing, strict=True)):
        if not absent and not isinstance(value, str):
            raise UserError(f"text {number} is {value!r:.40}, of the type {type(value).__name__}; give strings")
    if any(missing):
        log.warning("%s of %s texts are missing; they count as texts without a word", sum(missing), len(values))
    return GivenTexts(["" if absent else str(value) for value, absent in zip(values, missing, strict=True)], index)


def column_of(table: pd.DataFrame, wanted: str) -> Any:
    """The column of the text: the one named, else the only one, else the only one with a usual name."""
    names = list(table.columns)
    usual = [name for name in names if comparable_name(str(name)) in TEXT_NAMES]
    found = [name for name in names if name == wanted] if wanted else names if len(names) == 1 else usual
    if len(found) != 1:
        problem = f"no column {wanted!r}" if wanted else "no column that is clearly the text"
        raise UserError(f"the table has {problem}; give text_column, one of: {', '.join(map(str, names))[:200]}")
    return found[0]


# ---------------------------------------------------------------------------------------------------------------------
# scikit-learn


class TemporaryFolder:
    """A folder that is deleted with this object.

    Scikit-learn drops its copies of a classifier as a matter of course, for which :class:`tempfile.TemporaryDirectory`
    has a warning.

    Attributes:
        path: Of the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="han-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class HANClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of texts for scikit-learn. ``fit`` runs the stages of ``run_all.py`` up to the trained network.

    Every fit has a sub-folder of its own in ``folder``, so that the fits of a cross-validation do not meet; it holds
    the records, the run, and what the stages printed (``run_all.txt``). Its validation documents, on which the epoch is
    chosen, are a share of those given.

    Args:
        folder: Where data and runs are kept; ``None``: in a temporary folder, as long as this object exists.
        model: ``han``, ``bilstm`` or ``cnn``.
        preset: ``fast`` or ``default`` of ``run_all.py``.
        valid_share: Of the documents, for validation.
        seed: Of everything that is drawn at random.
        settings: Further flags of ``run_all.py`` by their names, for example ``{"num_epochs": 2}``.
        verbose: Whether to show what the stages print.

    Attributes:
        classes_: [C], the labels, sorted; of a matrix of several labels a text its columns, by name or number.
        run_: Path of the trained run, which :func:`load` and every script take.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        model: str = "han",
        preset: str = "default",
        valid_share: float = 0.1,
        seed: int = 1,
        settings: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.folder = folder
        self.model = model
        self.preset = preset
        self.valid_share = valid_share
        self.seed = seed
        self.settings = settings
        self.verbose = verbose

    def fit(self, X: Texts, y: Sequence[Any] | np.ndarray) -> HANClassifier:
        """Trains a network.

        Args:
            X: [B] texts; those without any character are left out.
            y: [B] labels of any kind, at least two different ones. Where a text may have several labels, or none, a
                matrix [B, C] of 0 and 1: an array, a sparse matrix, or a DataFrame, whose columns name the labels.

        Raises:
            UserError: Texts and labels do not fit together, or a stage refuses them; the line is the stage's.
        """
        texts = given_texts(X).texts
        given = given_labels(y, len(texts))
        if (self.settings or {}).get("multi_label") and not given.several:
            raise UserError(f"multi_label is for several labels a text; {AS_MATRIX}, or leave it out")
        check_range("valid_share", self.valid_share, 0.01, 0.9)
        self.classes_, self.several_ = given.classes, given.several
        self.temporary_ = TemporaryFolder() if self.folder is None else None
        parent = Path(self.temporary_.path if self.temporary_ else self.folder or ".").resolve()
        parent.mkdir(parents=True, exist_ok=True)
        self.run_ = self.train(Path(tempfile.mkdtemp(dir=parent, prefix="fit-")), texts, given.labels)
        self.order_ = [given.names.index(name) for name in self.loaded().classes]
        return self

    def train(self, folder: Path, texts: Sequence[str], labels: Sequence[str] | Sequence[list[str]]) -> Path:
        """Runs the stages in ``folder``; returns the path of the run.

        Args:
            folder: An empty one.
            texts: [B].
            labels: [B] names, or lists of names where a text may have several.
        """
        source, data = folder / "texts.jsonl", DataPaths("texts", folder / "data")
        pairs = zip(texts, labels, strict=True)
        write_jsonl(source, ({"text": text, "label": label} for text, label in pairs))
        flags = {
            "text_column": "text",
            "label_column": "label",
            "data_dir": data.data_dir,
            "runs_dir": folder,
            "run": "run",
            "until": "train",
            "test_share": 0,
            "valid_share": self.valid_share,
            "model": self.model,
            "preset": self.preset,
            "seed": self.seed,
            **({"multi_label": True} if self.several_ else {}),
            **(self.settings or {}),
        }
        arguments = [item for name, value in flags.items() for item in (f"--{name}", str(value))]
        log_file = folder / LOG_FILE
        with log_file.open("w", encoding="utf-8") as file:
            output = None if self.verbose else file
            command = [sys.executable, str(SCRIPT), str(source), *arguments]
            code = subprocess.run(command, stdout=output, stderr=output).returncode
        if code:
            raise UserError(reason(log_file, code))
        return folder / "run"

    def predict_proba(self, X: Texts) -> np.ndarray:
        """float64 [B, C], the probability of each of ``classes_``; of a text without a word that of an empty one.

        Of several labels each probability is one of its own, and they do not add up to 1.
        """
        check_is_fitted(self, "run_")
        probabilities = np.empty((len(texts := given_texts(X).texts), len(self.classes_)))
        probabilities[:, self.order_] = self.loaded().probabilities(texts)
        return probabilities

    def predict(self, X: Texts) -> np.ndarray:
        """[B], the likeliest of ``classes_`` for each text; of several labels int64 [B, C], 1 for those predicted."""
        probabilities = self.predict_proba(X)
        thresholds = self.loaded().predictor.thresholds
        if thresholds is None:
            return self.classes_[probabilities.argmax(axis=1)]
        ordered = np.empty(len(self.classes_))
        ordered[self.order_] = thresholds
        return (probabilities >= ordered).astype(np.int64)

    def loaded(self) -> Model:
        """The trained network, loaded once in each process."""
        return load_once(Path(self.run_))

    def __getstate__(self) -> dict[str, Any]:
        if getattr(self, "temporary_", None) is not None:
            raise UserError(
                "a classifier in a temporary folder cannot be saved; give it a folder: HANClassifier('work')"
            )
        state: dict[str, Any] = super().__getstate__()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_label = True
        return tags


@functools.lru_cache(maxsize=4)
def load_once(run: Path) -> Model:
    """The network of a run; every fit has a folder of its own, so a path is one network for good."""
    return load(run)


class GivenLabels(NamedTuple):
    """Labels as scikit-learn has them and as the run has them.

    Attributes:
        classes: [C], the labels, or the columns of a matrix of several labels.
        names: [C], their names in the run.
        labels: [B] names, or lists of names where a text may have several.
        several: Whether a text may have several.
    """

    classes: np.ndarray
    names: list[str]
    labels: list[Any]
    several: bool


def given_labels(y: Any, texts: int) -> GivenLabels:
    """The labels of so many texts: one each, or a matrix of 0 and 1 where a text may have several.

    Raises:
        UserError: They do not fit the texts, are all the same, or are lists of names.
    """
    columns = list(y.columns) if isinstance(y, pd.DataFrame) else None
    try:
        labels = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"labels are lists, not one label per text; {AS_MATRIX}") from error
    if labels.dtype == object and any(isinstance(one, (list, tuple, set)) for one in labels.flat):
        raise UserError(f"labels are lists, not one label per text; {AS_MATRIX}")
    if labels.ndim == 2 and labels.shape[0] == texts and labels.shape[1] > 1:
        return labels_of_matrix(labels, np.arange(labels.shape[1]) if columns is None else np.array(columns, object))
    if labels.shape != (texts,):
        raise UserError(f"{texts} texts and labels of the shape {labels.shape}; give one label per text")
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"all labels are {labels.tolist()[0]!r}; give texts of two classes at least")
    names = names_of(classes)
    return GivenLabels(classes, names, [names[number] for number in numbers], False)


def labels_of_matrix(matrix: np.ndarray, columns: np.ndarray) -> GivenLabels:
    """The labels that a matrix of 0 and 1 stands for.

    Args:
        matrix: [B, C].
        columns: [C], names or numbers of the labels.
    """
    if not np.isin(matrix, (0, 1)).all():
        raise UserError(f"the matrix of labels holds other values than 0 and 1; {AS_MATRIX}")
    called = [str(one) for one in columns.tolist()]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise UserError(f"two columns of the matrix of labels have the name {twice}; give each label a name of its own")
    names = names_of(columns)
    if any(BETWEEN.strip() in name or name.casefold() == NO_LABELS for name in names):
        names = [str(number) for number in range(len(names))]
    lists = [[name for name, one in zip(names, row, strict=True) if one] for row in matrix.tolist()]
    return GivenLabels(columns, names, lists, True)


def names_of(classes: np.ndarray) -> list[str]:
    """What labels are called in the run: as they are, where a table keeps them apart as they are; else by number."""
    names = [str(one) for one in classes.tolist()]
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in classes.tolist())
    kept = {" ".join(name.split()).casefold() for name in names}
    plain = all(isinstance(one, str) and one == " ".join(one.split()) and one.isprintable() for one in classes.tolist())
    words = plain and len(kept) == len(names) and not kept & MISSING and not any(map(is_number, names))
    return names if words or whole else [str(number) for number in range(len(names))]


def reason(log_file: Path, code: int) -> str:
    """Why the stages ended with an exit code: the error line of the stage, or where to look."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
    where = f"its output is in {log_file}" if lines else "its output is above"
    return errors[-1] if errors else f"the training ended with exit code {code}; {where}"
