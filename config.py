"""Settings, each declared once: the type, the default and the help text make the flag, the JSON and the documentation.

A settings class is a frozen dataclass whose fields are made with :func:`setting`. From it follow

* command-line flags (:func:`add_flags`, :func:`settings_from_flags`), spelled with underscores,
* JSON to store beside the results (:func:`to_json`, :func:`from_json`), where a misspelt name is an error,
* the difference between two sets of settings in words (:func:`differences`).

The settings of all models stand side by side in :class:`ModelSettings`; :func:`model_settings_from_flags` takes those
that the chosen model has and refuses the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from utils import UserError, parse_bool

Settings = TypeVar("Settings")
Entry = TypeVar("Entry")

# What no setting may exceed, stated range or not: whole numbers reach TensorFlow and NumPy as 32-bit integers.
LARGEST_INT = 2**31 - 1
EMBEDDING_DIM = 200
NGRAM_WORD_BITS = 21  # of the number by which an n-gram is known; three words fill 63 bits, so that it is positive

HASH = re.compile(r"\b[0-9a-f]{64}\b")


def entry(table: Mapping[str, Entry], name: str, what: str) -> Entry:
    """The entry of a table by its name; :class:`ValueError` for a name that the table does not have.

    Args:
        table: Entries by name.
        name: Of the entry.
        what: What the table holds, for the message, for example ``optimizer``.
    """
    if name not in table:
        raise ValueError(f"{what} {name!r} is unknown; choose from {', '.join(table)}")
    return table[name]


# ---------------------------------------------------------------------------------------------------------------------
# The networks


@dataclass(frozen=True)
class NetworkEntry:
    """A network that ``--model`` can name; it fulfils :class:`network.contract.Network`.

    Attributes:
        source: Its class as ``module:Class``, which ``runtime/networks.py`` imports when the network is built: this
            table is read without TensorFlow.
        title: What the field calls the network with these settings, for example ``HAN-GRU``.
        attends: Whether it has attention over words and sentences.
    """

    source: str
    title: Callable[[ModelSettings], str]
    attends: bool


def han_title(settings: ModelSettings) -> str:
    """``HAN-GRU``, ``HN-AVE-GRU``, ``HN-MAX-LSTM``: the name of the pooling, and the cell."""
    return f"{entry(POOLINGS, settings.pooling, 'pooling')}-{settings.cell.upper()}"


NETWORKS = {
    "han": NetworkEntry("han:HAN", han_title, attends=True),
    "bilstm": NetworkEntry("network.bilstm:BiLSTM", lambda settings: "BiLSTM", attends=False),
    "cnn": NetworkEntry("network.cnn:CNN", lambda settings: "CNN", attends=False),
}
MODELS = tuple(NETWORKS)

# ---------------------------------------------------------------------------------------------------------------------
# What settings can name. Only names and descriptions: this module answers --help without TensorFlow. The functions are
# in tables of the same names in ``han.py``, ``training/optimizers.py`` and ``training/schedules.py``; a test compares
# them.

# The HAN's title with each pooling; these are the paper's.
POOLINGS = {
    "attention": "HAN",
    "mean": "HN-AVE",
    "max": "HN-MAX",
}
# What is special about each optimizer, for --help.
OPTIMIZERS = {
    "adam": "",
    "adamw": "decoupled weight decay",
    "sgd": "Nesterov momentum",
}
DECAYS = ("cosine", "linear", "none")
CYCLES = ("triangular", "triangular2", "exp_range")
SCALES = ("exponential", "linear")
NGRAMS_FROM = ("both", "run", "new")  # documents whose n-grams a training has that goes on from a run (--from_run)
NEW_WORDS = ("unk", "word2vec")  # what the vectors of words begin with that a run is given by --from_run --new_words


def listed(names: Mapping[str, str]) -> str:
    """``adam, adamw (decoupled weight decay) or sgd (Nesterov momentum)``"""
    *first, last = (f"{name} ({description})" if description else name for name, description in names.items())
    return f"{', '.join(first)} or {last}"


# ---------------------------------------------------------------------------------------------------------------------
# How a setting is declared


def setting(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    check: Callable[[str], object] | None = None,
    models: tuple[str, ...] = MODELS,
    before: Any = None,
) -> Any:
    """Declares one setting: a dataclass field that knows its help text, choices or range (inclusive) and models.

    ``check`` raises :class:`ValueError` for a text that is no value of this setting and says what is one. ``before`` is
    what was done before the setting was declared, for files that do not have it; the default where not given.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "min": minimum,
            "max": maximum,
            "check": check,
            "models": models,
            "before": default if before is None else before,
        },
    )


def numbers_in(text: str) -> tuple[int, ...]:
    """``"3,4,5"`` -> ``(3, 4, 5)``: different whole numbers from 1 to 20, with commas between them."""
    parts = text.replace(" ", "").split(",")
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdecimal())
    if len(set(numbers)) < len(parts) or not all(1 <= number <= 20 for number in numbers):
        raise ValueError("give different numbers from 1 to 20 with commas between them, for example 3,4,5")
    return numbers


def embeddings_source(text: str) -> tuple[str, str]:
    """``"glove:FILE"`` -> ``("glove", "FILE")``; ``"word2vec"`` and ``"random"`` have no file."""
    method, _, file = text.partition(":")
    if text not in {"word2vec", "random"} and not (method == "glove" and file):
        raise ValueError("choose from word2vec, random, glove:FILE")
    return method, file


# ---------------------------------------------------------------------------------------------------------------------
# The settings of each stage


@dataclass(frozen=True)
class CsvSettings:
    """How a corpus becomes one CSV file (``create_csv.py``)."""

    binary: bool = setting(True, "two classes (True) or every rating a class (False)")
    valid_share: float = setting(0.1, "share of the training split set aside for validation", minimum=0, maximum=0.9)
    test_share: float = setting(
        0.2,
        "share of the documents set aside for testing, where there is no test split; 0: no such split",
        minimum=0,
        maximum=0.9,
    )
    split_seed: int = setting(1, "seed of the splits that are made", minimum=0)
    drop_seen: bool = setting(
        False, "leave out training, validation and unlabelled documents whose text is also in the test split"
    )
    text_column: str = setting("", "own data: column of the text, by name or number; detected if not given")
    label_column: str = setting("", "own data: column of the label; detected if not given")
    split_column: str = setting(
        "", "own data: column that says train, valid or test; detected by its name if not given"
    )
    ordinal: bool = setting(
        False,
        "the classes are in an order, as stars are: reports also have the error in steps and the quadratic kappa; "
        "labels have to be numbers",
    )
    multi_label: bool = setting(False, "own data: a text may have several labels, or none")
    label_separator: str = setting(
        "", "with --multi_label: what is between the names in the label column; detected among | ; and ,"
    )
    label_columns: str = setting(
        "", "with --multi_label: the columns of 0 and 1 that are the labels, with commas between their names"
    )
    encoding: str = setting("", "own data: for example cp1251 or gb18030; detected if not given")


@dataclass(frozen=True)
class TextSettings:
    """How text becomes ids and initial word vectors (``serialize_data.py``)."""

    min_count: int = setting(
        6, "keep words seen at least this often in the training split (the paper: more than 5 times)", minimum=1
    )
    max_words_per_sentence: int = setting(60, "a longer sentence is split; no word is lost", minimum=2)
    max_sentences_per_document: int = setting(400, "sentences after this many are cut off", minimum=1)
    splitter_documents: int = setting(3000, "training documents that Punkt learns abbreviations from", minimum=0)
    embeddings: str = setting(
        "word2vec",
        "initial word vectors: word2vec, trained on the training and unlabelled text; glove:FILE, looked up in a text "
        "file of GloVe or word2vec, .gz too, by the lower-cased word; or random",
        check=embeddings_source,
    )
    embedding_dim: int = setting(
        0, f"size of a word vector; 0: {EMBEDDING_DIM}, or the size in the glove file", minimum=0
    )
    word2vec_epochs: int = setting(
        0, "passes of word2vec over the text; 0: 5, and up to 100 for a text of less than two million words", minimum=0
    )
    seed: int = setting(1, "seed of word vectors and of everything else drawn at random in this stage", minimum=0)


@dataclass(frozen=True)
class ModelSettings:
    """The shape of the network (``han.py``, ``network/``). A setting belongs to all models or to those it names.

    The paper has 50 units per direction and attention of 100; Kim (2014) has the three filter widths and 100 filters.
    """

    cell: str = setting("gru", "recurrent cell at both levels", choices=("gru", "lstm"), models=("han",))
    pooling: str = setting(
        "attention",
        "how words become a sentence and sentences a document: the paper's HN-ATT, HN-AVE, HN-MAX",
        choices=tuple(POOLINGS),
        models=("han",),
    )
    word_units: int = setting(100, "units per direction of the word encoder", minimum=1, models=("han", "bilstm"))
    sentence_units: int = setting(100, "units per direction of the sentence encoder", minimum=1, models=("han",))
    attention_dim: int = setting(
        200, "size of the attention's hidden layer and context vectors", minimum=1, models=("han",)
    )
    filter_widths: str = setting("3,4,5", "words in a window of the convolutions", check=numbers_in, models=("cnn",))
    filters: int = setting(100, "filters of each width", minimum=1, models=("cnn",))
    ngrams: str = setting(
        "on",
        "add a linear classifier on runs of one to three words, whose weight is fitted on validation; off: the network "
        "alone, as in the paper",
        choices=("on", "off"),
        before="off",
    )


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained (``han_trainer.py``)."""

    optimizer: str = setting("adam", listed(OPTIMIZERS), choices=tuple(OPTIMIZERS))
    momentum: float = setting(0.9, "Nesterov momentum of sgd, beta_1 of adam and adamw", minimum=0, maximum=0.99)
    weight_decay: float = setting(
        0.01, "adamw: share of each weight, times the learning rate, that it loses per step", minimum=0
    )
    batch_size: int = setting(64, "documents in a batch", minimum=1)
    batch_words: int = setting(
        0, "maximum number of words in a batch, in place of --batch_size; 0: use --batch_size", minimum=0
    )
    bucket_by: str = setting(
        "sentences",
        "group documents of similar length: by their number of sentences or of words, or not at all",
        choices=("sentences", "words", "none"),
    )
    max_sentences: int = setting(0, "sentences of a document that training reads at most; 0: all", minimum=0)
    max_words: int = setting(0, "words of a sentence that training reads at most; 0: all", minimum=0)
    num_epochs: int = setting(3, "passes over the training split at most", minimum=1)
    learning_rate: float = setting(0.002, "peak learning rate", minimum=0)
    warmup_steps: int = setting(100, "steps in which the learning rate rises linearly from zero", minimum=0)
    decay: str = setting("cosine", "how the learning rate falls after warm-up", choices=DECAYS)
    cycle: str = setting(
        "none",
        "cyclical learning rate in place of warm-up and decay (Smith 2017)",
        choices=("none", *CYCLES),
    )
    cycle_steps: int = setting(0, "steps of a whole cycle, up and down; 0: those of an epoch", minimum=0)
    cycle_gamma: float = setting(0.999, "exp_range: factor per step on the height of a cycle", minimum=0.5, maximum=1)
    min_learning_rate: float = setting(
        0.0, "lowest learning rate of a cycle; 0: a tenth of --learning_rate, the highest", minimum=0
    )
    cycle_momentum: bool = setting(
        False, "with --cycle: momentum from --max_momentum at the lowest rate to --min_momentum at the highest"
    )
    min_momentum: float = setting(0.85, "momentum at the highest learning rate of a cycle", minimum=0, maximum=0.99)
    max_momentum: float = setting(0.95, "momentum at the lowest learning rate of a cycle", minimum=0, maximum=0.99)
    max_grad_norm: float = setting(5.0, "clip the gradient's global norm to this", minimum=0)
    dropout_keep_proba: float = setting(
        0.5, "share of units kept by dropout on words, sentences and document (cnn: document)", minimum=0.01, maximum=1
    )
    freeze_embeddings: bool = setting(False, "do not train the word vectors")
    word_dropout: float = setting(0.0, "share of words replaced by <unk> in training", minimum=0, maximum=0.99)
    l2: float = setting(
        0.0,
        "weight of L2 regularisation in the loss: all weights except biases; of the word vectors, those in the batch",
        minimum=0,
    )
    label_smoothing: float = setting(
        0.0, "share of the label that is spread evenly over all classes", minimum=0, maximum=0.9
    )
    evidence_weight: float = setting(
        0.0,
        "weight in the loss of a term that draws attention to what evidence.jsonl marks in the training documents; "
        "0: the evidence is not read",
        minimum=0,
    )
    class_weights: str = setting(
        "none",
        "balanced: a document weighs documents / (classes * documents of its class)",
        choices=("none", "balanced"),
    )
    evaluate_every: int = setting(0, "steps between validations; 0: twice an epoch", minimum=0)
    patience: int = setting(6, "stop after this many validations without improvement; 0: never", minimum=0)
    mixed_precision: bool = setting(False, "bfloat16 arithmetic, float32 weights")
    seed: int = setting(1, "seed of initial weights, order of documents and dropout", minimum=0)

    def check_together(self) -> None:
        """Raises :class:`UserError` for values that do not go together."""
        if self.cycle == "none":
            if self.cycle_momentum:
                raise UserError("--cycle_momentum needs a cycle; add for example --cycle triangular")
            return
        if self.cycle_steps == 1:
            raise UserError("--cycle_steps 1 is too short for a cycle; give at least 2, or 0 for one epoch")
        if self.min_learning_rate > self.learning_rate:
            raise UserError(
                f"--min_learning_rate {self.min_learning_rate} is above --learning_rate {self.learning_rate}, which is "
                "the highest of a cycle; lower the one or raise the other"
            )
        if self.cycle_momentum and self.min_momentum > self.max_momentum:
            raise UserError(
                f"--min_momentum {self.min_momentum} is above --max_momentum {self.max_momentum}; change one of them"
            )


@dataclass(frozen=True)
class RangeTestSettings:
    """How the learning rate rises in a range test (``han_trainer.py --run_type lr_range``, ``lr_range.py``)."""

    lr_min: float = setting(1e-5, "range test: learning rate at the start", minimum=1e-12)
    lr_max: float = setting(1.0, "range test: learning rate at the end", minimum=1e-12)
    lr_steps: int = setting(200, "range test: number of steps", minimum=20)
    lr_scale: str = setting("exponential", "range test: how the learning rate rises", choices=SCALES)

    def check_together(self) -> None:
        """Raises :class:`UserError` for values that do not go together."""
        if self.lr_max <= self.lr_min:
            raise UserError(f"--lr_max {self.lr_max} is not above --lr_min {self.lr_min}; give it a higher value")


@dataclass(frozen=True)
class TesterOperation:
    """How the tester works (``han_tester.py``). None of these changes a result."""

    evaluation_batch_words: int = setting(
        40_000, "maximum number of words in a batch of validation or testing: limits its memory", minimum=1
    )


@dataclass(frozen=True)
class TrainerOperation(TesterOperation):
    """How the trainer works (``han_trainer.py``). None of these changes a run: the same weights come out."""

    log_summaries_every: int = setting(50, "steps between summaries", minimum=1)
    checkpoint_every: int = setting(200, "steps between checkpoints", minimum=1)
    num_checkpoints: int = setting(3, "number of checkpoints to keep", minimum=1)
    per_process_gpu_memory_fraction: float = setting(
        0.0, "maximum share of the GPU's memory to use; 0: grow as needed", minimum=0, maximum=1
    )
    workers_per_machine: int = setting(
        1, "processes of this machine that share each batch, each with a GPU or with its share of the cores", minimum=1
    )
    wait_for_workers: float = setting(600.0, "seconds to wait for the other machines in TF_CONFIG", minimum=1)


# ---------------------------------------------------------------------------------------------------------------------
# Flags


def add_flags(
    parser: argparse.ArgumentParser, settings_class: type, unset: bool = False, leave_out: frozenset[str] = frozenset()
) -> None:
    """Adds one flag per setting of ``settings_class``.

    Args:
        parser: Gets the flags, in a group of their own.
        settings_class: Whose settings.
        unset: Leave a flag that is not given out of the parsed arguments, for a script that only hands flags on.
        leave_out: Settings that get no flag.
    """
    group = parser.add_argument_group((settings_class.__doc__ or "").split("\n")[0].split(" (")[0].rstrip("."))
    types = get_type_hints(settings_class)
    for field in dataclasses.fields(settings_class):
        if field.name in leave_out:
            continue
        is_bool = types[field.name] is bool
        without_value: dict[str, Any] = {"nargs": "?", "const": True} if is_bool else {}
        group.add_argument(
            f"--{field.name}",
            type=parse_bool if is_bool else types[field.name],
            default=argparse.SUPPRESS if unset else field.default,
            choices=field.metadata["choices"],
            help=flag_help(field),
            **without_value,
        )


def add_model_flag(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds ``--model``, by which every script finds the run."""
    parser.add_argument("--model", default=MODELS[0], choices=MODELS, help=f"{help} (default: {MODELS[0]})")


def add_ngrams_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--ngrams_from``, which goes with ``--from_run``."""
    parser.add_argument(
        "--ngrams_from",
        choices=NGRAMS_FROM,
        help="with --from_run: n-grams of the run and of the new documents put together (both, the default), those of "
        "the run as they are (run), or of the new documents alone (new)",
    )


def flag_help(field: dataclasses.Field[Any]) -> str:
    """The help text of a flag, at its end the models that have it, if not all have, and its default."""
    models = field.metadata["models"]
    notes = [] if models == MODELS else [", ".join(models)]
    notes += [f"default: {field.default}"] if field.default != "" else []
    return (f"{field.metadata['help']} ({'; '.join(notes)})" if notes else field.metadata["help"]).replace("%", "%%")


def settings_from_flags(settings_class: type[Settings], arguments: argparse.Namespace) -> Settings:
    """Picks the settings of one class out of parsed flags and checks their ranges."""
    names = [field.name for field in dataclasses.fields(settings_class)]  # type: ignore[arg-type]
    return checked(settings_class(**{name: getattr(arguments, name) for name in names}))


def model_settings_from_flags(arguments: argparse.Namespace) -> ModelSettings:
    """The settings of the model ``arguments.model``.

    Args:
        arguments: Parsed flags that hold only those settings that were given (``add_flags`` with ``unset=True``).

    Raises:
        UserError: One was given that this model does not have, or a value out of range.
    """
    for field in dataclasses.fields(ModelSettings):
        if hasattr(arguments, field.name) and not has_setting(arguments.model, field.name):
            raise UserError(
                f"--{field.name} does not apply to --model {arguments.model}, only to "
                f"{' and '.join(field.metadata['models'])}; leave it out, or choose another --model"
            )
    return given_settings(ModelSettings, arguments)


def given_settings(settings_class: type[Settings], arguments: argparse.Namespace) -> Settings:
    """The settings of one class out of flags of which only those that were given are there; the rest by default."""
    names = [field.name for field in dataclasses.fields(settings_class)]  # type: ignore[arg-type]
    return checked(settings_class(**{name: getattr(arguments, name) for name in names if hasattr(arguments, name)}))


def has_setting(model: str, name: str) -> bool:
    """Whether a setting means anything to a model; those of data and of training do to every one."""
    fields = {field.name: field for field in dataclasses.fields(ModelSettings)}
    return name not in fields or model in fields[name].metadata["models"]


def model_settings_to_json(model: str, settings: ModelSettings) -> dict[str, Any]:
    """The settings that this model has."""
    return {name: value for name, value in to_json(settings).items() if has_setting(model, name)}


def model_title(model: str, settings: ModelSettings) -> str:
    """What the field calls such a network: ``HAN-GRU``, ``HN-AVE-GRU``, ``HN-MAX-LSTM``, ``BiLSTM``, ``CNN``."""
    return entry(NETWORKS, model, "model").title(settings) + (" with n-grams" if settings.ngrams == "on" else "")


def checked(settings: Settings) -> Settings:
    """Returns ``settings`` unchanged, or raises :class:`UserError` naming the first value that is not allowed."""
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        check_range(field.name, value, field.metadata["min"], field.metadata["max"])
        if field.metadata["choices"] and value not in field.metadata["choices"]:
            raise UserError(f"--{field.name} {value!r} is unknown; choose from {', '.join(field.metadata['choices'])}")
        if field.metadata["check"]:
            try:
                field.metadata["check"](value)
            except ValueError as error:
                raise UserError(f"--{field.name} {value!r} is unknown; {error}") from error
    if isinstance(settings, TrainingSettings | RangeTestSettings):
        settings.check_together()
    return settings


def check_range(name: str, value: Any, low: float | None = None, high: float | None = None) -> None:
    """Raises :class:`UserError` for a number outside [low, high], one that is not finite or a whole number too large.

    Args:
        name: Of the flag, without its hyphens.
        value: Anything that is not a number passes.
        low: The smallest value, if there is one.
        high: The largest value, if there is one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if isinstance(value, int) and high is None and value > LARGEST_INT:
        high = LARGEST_INT
    inside = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    if not inside:
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"--{name} {str(value)[:30]} is out of range; give a value {bounds}")


# ---------------------------------------------------------------------------------------------------------------------
# JSON


def to_json(settings: Any) -> dict[str, Any]:
    """A settings object as a plain dictionary, in the order of declaration."""
    return dataclasses.asdict(settings)


def from_json(settings_class: type[Settings], value: dict[str, Any], source: str) -> Settings:
    """Rebuilds settings; an unknown name is an error that names it and its file, ``source``.

    A setting that is not there was declared after the file was written, and takes the value that says what was done
    before there was one.
    """
    before = {field.name: field.metadata["before"] for field in dataclasses.fields(settings_class)}  # type: ignore[arg-type]
    if unknown := value.keys() - before.keys():
        raise UserError(
            f"{source}: unknown setting {', '.join(sorted(unknown))} in {settings_class.__name__}; "
            "was it written by another version of this project?"
        )
    return checked(settings_class(**(before | value)))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Names what differs between two JSON dictionaries, one phrase each: ``batch_size: 64 -> 32``."""
    names = [*old, *(name for name in new if name not in old)]
    changed = (name for name in names if old.get(name) != new.get(name))
    return [f"{name}: {shortened(old.get(name))} -> {shortened(new.get(name))}" for name in changed]


def shortened(value: Any) -> str:
    """A value for a message: of a hash the beginning, which is enough to see that it is another."""
    return HASH.sub(lambda match: match[0][:8], str(value))
