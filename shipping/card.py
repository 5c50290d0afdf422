"""The model card of a bundle: what the network was made from, how good it is, what it must not be used for.

Nothing of the machine on which the run was made: no command lines, no paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

import schema
from config import NETWORKS
from explaining.faithfulness import faithfulness_file, read_findings, verdict_in_words
from shipping.bundle import ExportedRun
from shipping.quantization import Cost

VECTORS = {"fp16": "16-bit floating point", "int8": "8-bit integers with a scale for each word"}


class ResultRow(TypedDict):
    """What a card takes from a line of ``results.jsonl``; rates are shares."""

    split: str
    weights_sha256: str
    documents: int
    accuracy: float
    accuracy_interval: list[float]
    loss: float
    macro_f1: float
    micro_f1: NotRequired[float]
    average_precision: NotRequired[float | None]
    auc: NotRequired[float | None]
    calibration_error: NotRequired[float | None]


def model_card(source: ExportedRun, quantize: str = "none", cost: Cost | None = None, form: str = "onnx") -> str:
    """The card as Markdown.

    Args:
        source: The run.
        quantize: How the word vectors are stored.
        cost: What that costs; None where it was not measured, or nothing was quantised.
        form: ``onnx``, ``savedmodel`` or ``web``.

    Raises:
        UserError: ``results.jsonl`` or ``faithfulness.json`` of the run is damaged.
    """
    uses = {"onnx": use, "savedmodel": lambda: use_of_saved_model(source), "web": use_of_web_page}
    how = uses[form]()
    sections = (heading(source, form), how, results(source, quantize, cost), explanations(source), limits(source))
    return "\n".join(line for section in (*sections, settings(source)) for line in (*section, ""))


def heading(source: ExportedRun, form: str) -> Iterator[str]:
    """What it is."""
    runs = {
        "onnx": "`model.onnx` runs in any ONNX runtime of opset 17 or newer.",
        "web": "`index.html` and the files beside it run `model.onnx` in the browser, with ONNX Runtime (MIT License).",
        "savedmodel": "The folder `1` is a SavedModel for TensorFlow Serving and TensorFlow.",
    }
    config = source.config
    several = ", of which a text may have several or none" if config.several_labels else ""
    yield f"# {source.run.path.name}: {config.title()} for the data set {config.dataset}"
    yield ""
    yield (
        f"A text classifier with {len(config.class_names)} classes ({', '.join(config.class_names)}){several}, trained "
        f"on the data set {config.dataset} from texts with a vocabulary of {config.vocabulary_size:,} words."
    )
    yield (
        f"{runs[form]} Licence of the code: Apache License 2.0 (`LICENSE`). The folder holds no text of the data set, "
        "but its frequent words and what was learnt from it: its terms may apply to the weights."
    )


def use() -> Iterator[str]:
    """How to run it."""
    yield "## Use"
    yield ""
    yield from (
        "```sh",
        "python -m pip install -r requirements.txt        # Python 3.11 or newer",
        'python classify.py "A text to classify."         # or a text on standard input; --json',
        "python classify.py --csv texts.csv > predictions.csv",
        "python classify.py --serve 8000                  # another program sends its texts:",
        """curl -s -d '{"text": "A text to classify.", "explain": true}' http://127.0.0.1:8000/predict""",
        "```",
        "",
        "```python",
        "from classify import Classifier",
        "",
        "classifier = Classifier()",
        'classifier.predict(["A text to classify."])       # label, confidence, probabilities, remarks',
        'classifier.explain("A text to classify.")         # shares of sentences, attention, strongest n-grams',
        "```",
        "",
        "`classify.py` compares `model.onnx`, `text.json` and `ngrams.npy` with `sha256sums` whenever it loads them; "
        "`sha256sum -c sha256sums` checks all files.",
    )


def use_of_saved_model(source: ExportedRun) -> Iterator[str]:
    """How to serve a SavedModel, and how to ask it."""
    name = source.run.path.name
    yield "## Use"
    yield ""
    yield from (
        "```sh",
        f'docker run -p 127.0.0.1:8501:8501 -v "$PWD:/models/{name}" -e MODEL_NAME={name} tensorflow/serving',
        "```",
        "",
        "```python",
        "import json, urllib.request",
        "from ids import TextReader, padded_sentences     # this folder; python -m pip install -r requirements.txt",
        "",
        'reader = TextReader(json.load(open("text.json", encoding="utf-8")))',
        'ids = padded_sentences(reader.read("A text to classify."))',
        'body = json.dumps({"inputs": {"token_ids": [ids.tolist()]}}).encode()',
        f'answer = urllib.request.urlopen("http://127.0.0.1:8501/v1/models/{name}:predict", body)',
        f'json.load(answer)["outputs"]["probabilities"]    # of {", ".join(source.config.class_names)}',
        "```",
        "",
        "The input `token_ids` is int32 [documents, sentences, words], 0 behind the last word of a sentence and for "
        "sentences that a document does not have. Outputs: `logits`, `probabilities` [documents, classes], "
        "`document_vector`, and for a network with attention `word_weights` [documents, sentences, words] and "
        "`sentence_weights` [documents, sentences]. `sha256sum -c sha256sums` checks all files.",
    )


def use_of_web_page() -> Iterator[str]:
    """How to publish the page, and how to call it from another one."""
    yield "## Use"
    yield ""
    yield from (
        "```sh",
        "python -m http.server --bind 127.0.0.1 8000      # in this folder; then open http://127.0.0.1:8000/",
        "```",
        "",
        "Any host of static files can serve this folder, at any address; opened as a file it does not run. Texts stay "
        "in the browser: the page's Content-Security-Policy allows requests to its own host only, and it requests "
        "nothing but its files.",
        "",
        "`classify.js` exports `Classifier` and `TextReader` for pages of your own; `page.js` shows how they are "
        "called. `sha256sum -c sha256sums` checks all files.",
    )


def results(source: ExportedRun, quantize: str, cost: Cost | None) -> Iterator[str]:
    """What was measured."""
    yield "## Results"
    yield ""
    rows = measured(source)
    if rows and source.config.several_labels:
        yield from results_of_several(source, rows)
    elif rows:
        yield "| split | documents | accuracy | 95% interval | loss | macro F1 | AUC | calibration error |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from map(result_line, rows)
        yield ""
        yield (
            "Of the network with the trained word vectors. The interval is Wilson's and covers the choice of "
            "documents, not that of the seed. Calibration error: expected, 15 bins."
        )
    else:
        yield "The run was not tested with these weights."
    if quantize != "none":
        yield ""
        yield f"Word vectors are stored as {VECTORS[quantize]}: {cost or 'what that costs was not measured'}."


def results_of_several(source: ExportedRun, rows: list[ResultRow]) -> Iterator[str]:
    """What was measured where a text may have several labels, and the thresholds."""
    yield "| split | documents | all labels right | 95% interval | loss | micro F1 | macro F1 | average precision |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        low, high = row["accuracy_interval"]
        precision = row.get("average_precision")
        yield (
            f"| {row['split']} | {row['documents']:,} | {row['accuracy']:.2%} | {low:.2%} to {high:.2%} | "
            f"{row['loss']:.4f} | {row.get('micro_f1', 0.0):.4f} | {row['macro_f1']:.4f} | "
            f"{'' if precision is None else f'{precision:.4f}'} |"
        )
    yield ""
    thresholds = source.checkpoint.weights["thresholds"].tolist()
    pairs = ", ".join(f"{name} {one:.3f}" for name, one in zip(source.config.class_names, thresholds, strict=True))
    yield f"Thresholds, chosen on validation by the F1 of each label: {pairs}."


def measured(source: ExportedRun) -> list[ResultRow]:
    """The results of these weights, one for each split."""
    rows = schema.read_jsonl(source.run.results, ResultRow)
    of_these = [row for row in rows if row["weights_sha256"] == source.checkpoint.weights_sha256]
    return list({row["split"]: row for row in of_these}.values())


def result_line(row: ResultRow) -> str:
    """A row of the table."""
    low, high = row["accuracy_interval"]
    auc, error = row.get("auc"), row.get("calibration_error")
    cells = (
        row["split"],
        f"{row['documents']:,}",
        f"{row['accuracy']:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{row['loss']:.4f}",
        f"{row['macro_f1']:.4f}",
        "" if auc is None else f"{auc:.4f}",
        "" if error is None else f"{error:.2%}",
    )
    return f"| {' | '.join(cells)} |"


def explanations(source: ExportedRun) -> Iterator[str]:
    """What explanations mean, and how far they were examined."""
    yield "## Explanations"
    yield ""
    if NETWORKS[source.config.architecture].attends:
        yield (
            "The shares of the sentences and the rest (the bias) add up to the logits exactly; but a sentence is "
            "encoded with its neighbours, so that its share is not what the text would lose without it. Attention says "
            "where the network looked, not for or against which class."
        )
    else:
        yield "This network has no attention: what it adds to the logits is not divided among sentences."
    if source.ngrams:
        yield "What the n-gram lane adds is divided among n-grams, words and sentences exactly."
    yield ""
    findings = read_findings(faithfulness_file(source.run.path))
    if findings.get("weights_sha256") == source.checkpoint.weights_sha256:
        yield f"Examined on {findings['documents']:,} documents of the {findings['split']} split:"
        yield from verdict_in_words(findings)
    else:
        yield "Whether explanations name the words that decide was not measured for these weights."


def limits(source: ExportedRun) -> Iterator[str]:
    """What it cannot do."""
    processor = source.processor
    yield "## Limits"
    yield ""
    if source.config.several_labels:
        yield f"* It knows {len(source.config.class_names)} labels and no others, and may give none or too many."
    else:
        count = len(source.config.class_names)
        yield f"* It always answers with one of {count} classes, also for texts of another kind."
    yield (
        "* The results are those of texts from the same source as the training texts. On texts of another source, time "
        "or language accuracy is lower, and the confidence does not say so."
    )
    yield (
        f"* It reads the first {processor.max_sentences_per_document:,} sentences; a sentence of more than "
        f"{processor.max_words_per_sentence:,} words is split. `remarks` say what was not read."
    )
    yield "* Words outside the vocabulary all look the same to it. A text without a word gets no prediction."
    yield "* What the training texts say about groups of people, it may have learnt. Do not let it decide about people."
    if source.config.training.mixed_precision:
        yield (
            "* It was trained and tested in bfloat16 (`--mixed_precision`) and computes in float32 here: logits differ "
            "from those of the test by bfloat16's rounding."
        )


def settings(source: ExportedRun) -> Iterator[str]:
    """How it was trained."""
    origin: dict[str, Any] = dict(source.run.read_config()["origin"])
    versions = ", ".join(f"{name} {number}" for name, number in origin.get("versions", {}).items())
    progress = source.checkpoint.progress
    yield "## Training"
    yield ""
    yield f"* Weights of step {progress.step:,}, sha256 `{source.checkpoint.weights_sha256}`"
    if source.config.retraining is None and progress.best_step >= 0:
        what = "all labels right" if source.config.several_labels else "accuracy"
        yield f"* Chosen on validation: {what} {progress.best_accuracy:.2%}, loss {progress.best_loss:.4f}"
    yield f"* Commit {origin.get('commit', 'unknown')}, {origin.get('time', 'at an unknown time')}"
    if versions:
        yield f"* {versions}"
    yield ""
    yield "```json"
    yield json.dumps(source.config.to_json(), indent=2, ensure_ascii=False)
    yield "```"
