#!/usr/bin/env python3
"""Shows which sentences and words decided a trained network's prediction, and measures how faithful that is.

    python explain.py imdb-han --text "The plot is thin, but what acting!"
    python explain.py runs/imdb-han --file review.txt --method integrated_gradients --html review.html
    python explain.py imdb-han --split test --id test/neg/0_2 --json
    python explain.py imdb-han --faithfulness
    python explain.py imdb-han --global
    python explain.py sample-han --plausibility

RUN is a run folder or its name in `runs/`. --faithfulness deletes the words that each method names in validation
documents, asks the network again and writes `faithfulness.json` to the run folder; from then on the method that did
best there is the default for that run. With --split test it writes `faithfulness-test.json`, which chooses nothing.
--replacement also replaces words by <unk>; --other_runs compares the explanations with those of runs of other seeds.
--global explains every document of --split and lists the words and phrases that push each class, words whose sign
depends on their context, and what distinguishes the mistakes; it writes `global-SPLIT.json` and a figure in `plots/`.
--plausibility compares every method with what people marked, where the data set has it (`evidence.jsonl`), and writes
`plausibility-SPLIT.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import check_range
from corpus.corpora import SPLITS, read_csv
from corpus.several_labels import decoded
from explaining.explained_text import Explanation, WrittenText, explain_written, read_text
from explaining.explanations import METHODS, methods_of
from explaining.faithfulness import (
    CHOOSING_SPLIT,
    Findings,
    by_label,
    default_method,
    drawn_labels,
    examine,
    faithfulness_file,
    format_briefly,
    format_findings,
    read_findings,
    to_json,
    trust_in_words,
)
from explaining.pages import explanation_page, likeliest
from report.plots import png, whole_model_figure
from report.shading import printable, render, supports_colour
from runtime.decisions import in_words
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import find_run, origin
from text.copies import data_set
from text.text_reader import sentences_on
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    check_writable,
    log,
    progress,
    run_script,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from explaining.plausibility import Marked
    from explaining.whole_model import Labelled
    from runtime.input_pipeline import Split
    from runtime.predictor import Predictor
    from runtime.run_folder import RunFolder
    from text.text_reader import EncodedDocument


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="explain.py", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run folder, or its name in --runs_dir")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help="the text to explain")
    what.add_argument("--file", help="file with the text to explain; - is standard input")
    what.add_argument("--id", help="name of a document of --split in the run's data set")
    what.add_argument("--faithfulness", action="store_true", help="examine every method on a sample of --split")
    what.add_argument("--global", dest="whole", action="store_true", help="what counts over all documents of --split")
    what.add_argument(
        "--plausibility",
        action="store_true",
        help="compare every method, or --method, with marked evidence on a sample of --split",
    )
    parser.add_argument(
        "--split", choices=SPLITS, help=f"split of the data set (default: test; of many documents: {CHOOSING_SPLIT})"
    )
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        help="how to explain (default: the best for this run by --faithfulness, else contribution)",
    )
    parser.add_argument("--target", metavar="CLASS", help="class to explain (default: the predicted one)")
    parser.add_argument("--sentences", type=int, default=15, help="sentences to show at most; 0: all (default: 15)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a self-contained HTML page")
    parser.add_argument("--json", action="store_true", help="print JSON instead of shaded text")
    parser.add_argument("--brief", action="store_true", help="with --faithfulness: print what counts most")
    parser.add_argument(
        "--replacement",
        action="store_true",
        help="with --faithfulness: also replace words by <unk>, in place of deleting them",
    )
    parser.add_argument(
        "--other_runs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="with --faithfulness: runs of other seeds; how much their explanations agree with this run's",
    )
    parser.add_argument("--documents", type=int, default=200, help="size of the sample examined (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample and of random choices (default: 1)")
    add_folder_flags(parser)
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Explains one text, or examines the methods; returns the exit code."""
    for name, least in (("sentences", 0), ("documents", 2), ("seed", 0)):
        check_range(name, getattr(arguments, name), least)
    for name in ("replacement", "other_runs"):
        if getattr(arguments, name) and not arguments.faithfulness:
            raise UserError(f"--{name} goes with --faithfulness; add that, or leave it out")
    many = arguments.faithfulness or arguments.whole or arguments.plausibility
    arguments.split = arguments.split or (CHOOSING_SPLIT if many else "test")
    run = find_run(arguments.run, arguments.runs_dir)
    config = run.config()
    if arguments.target is not None and arguments.target not in config.class_names:
        raise UserError(f"--target {arguments.target!r} is not a class; choose from: {', '.join(config.class_names)}")
    data = DataPaths(config.dataset, arguments.data_dir)
    if many or arguments.id is not None:
        texts = arguments.plausibility or arguments.id is not None
        data = data_set(config.dataset, arguments.data_dir, texts, evidence=arguments.faithfulness)
    text, label = (None, None) if many else find_text(arguments, data)
    if many:
        check_writable(run.path)
    arguments.device = start_for_runs([run], arguments.device, arguments.tf32)
    from runtime.predictor import Predictor, unfinished

    predictor = Predictor.load(run, arguments.device)
    if remark := unfinished(run):
        log.warning("%s (step %d)", remark, predictor.step)
    with explain_memory("give a shorter text or fewer --documents, or end other programs"):
        if arguments.whole:
            show_whole_model(predictor, run, data, arguments)
        elif arguments.plausibility:
            show_plausibility(predictor, run, data, arguments)
        elif text is None:
            examine_run(predictor, run, data, arguments)
        else:
            show_text(predictor, run, text, label, arguments)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# One text


def find_text(arguments: argparse.Namespace, data: DataPaths) -> tuple[str, str | None]:
    """The text to explain, and its label where it has one."""
    if arguments.id is not None:
        return text_of_document(data, arguments.split, arguments.id)
    if arguments.text is not None:
        return arguments.text, None
    name = "standard input" if arguments.file == "-" else arguments.file
    content = sys.stdin.buffer.read() if arguments.file == "-" else existing_file(Path(name)).read_bytes()
    try:
        if b"\0" in content:
            raise ValueError("it holds NUL bytes")
        return content.decode("utf-8-sig"), None
    except ValueError as error:
        raise UserError(f"{name} is not UTF-8 text ({error}); a binary file, or another encoding?") from error


def existing_file(path: Path) -> Path:
    """``path``, if there is such a file."""
    if not path.is_file():
        raise UserError(f"--file {path}: no such file")
    return path


def text_of_document(data: DataPaths, split: str, name: str) -> tuple[str, str]:
    """Text and label of a document, from the data set's CSV."""
    example = None
    for row in read_csv(data.csv):
        if row.split == split:
            if row.id == name:
                return row.text, row.label
            example = example or row.id
    ids = f"they look like {example}" if example else "it has no document"
    raise UserError(f"--id {name!r} is not in the {split} split of {data.csv}; {ids}")


def chosen_method(predictor: Predictor, run: RunFolder, asked: str | None) -> tuple[str, str]:
    """The method to explain with, why it was chosen and how far it can be trusted.

    Raises:
        UserError: Attention was asked for, and the network has none; or ``faithfulness.json`` is damaged.
    """
    known = methods_of(predictor)
    if asked is not None and asked not in known:
        raise UserError(f"--method {asked}: this network has no attention; choose from {', '.join(known)}")
    method, findings = default_method(predictor, run.path)
    trust = f" {trust_in_words(asked or method, findings)}".rstrip()
    if asked is not None:
        return asked, trust
    if not findings:
        return method, " Not measured yet: --faithfulness shows how far to trust it."
    if findings["split"] != CHOOSING_SPLIT:
        return method, " Not chosen by figures yet: --faithfulness measures on validation documents."
    return method, f" Chosen by {faithfulness_file(run.path).name}.{trust}"


def show_text(
    predictor: Predictor, run: RunFolder, text: str, label: str | None, arguments: argparse.Namespace
) -> None:
    """Explains one text and shows it."""
    method, why = chosen_method(predictor, run, arguments.method)
    names = predictor.class_names
    written = checked_text(predictor, text)
    target = None if arguments.target is None else names.index(arguments.target)
    explanation = explain_written(predictor, written, method, target)
    note = METHODS[method].note + (f" {names[explanation.target]}." if explanation.scores.signed else "") + why
    heading = f"{run.path.name}: {prediction_line(explanation, label)}"
    most = arguments.sentences or None
    if arguments.html:
        with atomic_write(arguments.html) as file:
            file.write(explanation_page(explanation, heading, note, most))
        log.info("written: %s", arguments.html)
    if arguments.json:
        own: Any = list(decoded(label)) if label and explanation.thresholds is not None else label
        print(json.dumps({"run": run.path.name, "label": own} | explanation.to_json(), ensure_ascii=False, indent=2))
    else:
        print_shaded(explanation, heading, note, most)
    sys.stdout.flush()  # here, where a closed pipe is still caught


def checked_text(predictor: Predictor, text: str) -> WrittenText:
    """Cuts a text into words; warns of what makes its prediction doubtful.

    Raises:
        UserError: It has no word.
    """
    written = read_text(predictor, text)
    reading = written.reading
    if not reading.words:
        raise UserError("there is no word in the text; give one with --text or --file")
    for sentence in sentences_on(reading, predictor.short_text):
        log.warning("%s", sentence)
    return written


def prediction_line(explanation: Explanation, label: str | None) -> str:
    """``positive (97.3%), labelled negative``."""
    probabilities = explanation.verdict.probabilities
    if explanation.thresholds is not None:
        return explanation.predicted + (f", labelled {in_words(decoded(label))}" if label else "")
    labelled = f", labelled {label}" if label else ""
    predicted = int(probabilities.argmax())
    return f"{explanation.class_names[predicted]} ({probabilities[predicted]:.1%}){labelled}"


def print_shaded(explanation: Explanation, heading: str, note: str, most: int | None) -> None:
    """Prints the probabilities, the shaded text and what its shades mean."""
    colour = supports_colour(sys.stdout)
    print(printable(heading))
    for name, probability in likeliest(explanation):
        needed = explanation.threshold_of(name)
        last = "" if needed is None else f" (predicted from {needed:.1%})"
        print(f"  {probability:6.1%}  {'▇' * round(30 * probability):30}  {printable(name)}{last}".rstrip())
    for sentence in explanation.parts_in_words():
        print(printable(sentence))
    width = min(shutil.get_terminal_size().columns, 100) if colour else 80
    print(f"\n{render(explanation.shaded(most), colour, width)}\n")
    print(note)
    print(printable(f"Numbers: {explanation.unit_in_words()}."))
    if explanation.scores.signed:
        in_colour = "Blue and underlined words speak for it, orange ones against it."
        print(in_colour if colour else "*For* it, ~against~ it.")
    if explanation.scores.completeness:
        reached, wanted, steps = explanation.scores.completeness
        print(f"The scores add up to {reached:+.3f}, of a difference in log-odds of {wanted:+.3f} ({steps} steps).")
    for sentence in (*explanation.phrases_in_words(), *explanation.counterfactuals_in_words()):
        print(printable(sentence))


# ---------------------------------------------------------------------------------------------------------------------
# Is it true?


def examine_run(predictor: Predictor, run: RunFolder, data: DataPaths, arguments: argparse.Namespace) -> None:
    """Examines every method on a sample, writes the figures to the run folder and prints what they mean."""
    others = other_runs(run, data, arguments)
    with opened_split(run, data, arguments.split) as split:
        value = examination(predictor, run, data, split, arguments, others)
    file = faithfulness_file(run.path, arguments.split)
    larger = documents_examined(file, predictor.weights_sha256)
    if larger <= value["documents"]:
        write_json(file, value)
    heading = f"{run.path}, {value['documents']} documents of its {arguments.split} split (seed {arguments.seed})"
    formatted = format_briefly if arguments.brief else format_findings
    print(json.dumps(value, indent=2) if arguments.json else formatted(value, heading), flush=True)
    if larger <= value["documents"]:
        log.info("written: %s", file)
    else:
        log.info("%s keeps the examination of %d documents; delete it to put this one in its place", file, larger)


def other_runs(run: RunFolder, data: DataPaths, arguments: argparse.Namespace) -> list[RunFolder]:
    """The runs that ``--other_runs`` names.

    Raises:
        UserError: One of them is not there, is named twice or is the run itself, or has other words or classes.
    """
    others = [find_run(name, arguments.runs_dir) for name in arguments.other_runs]
    paths = [one.path.resolve() for one in (run, *others)]
    for place, other in enumerate(others, start=1):
        if paths[place] in paths[:place]:
            raise UserError(f"--other_runs {other.path.name} would be compared with itself; name each run once")
        refuse_other_vocabulary(other, data)
    return others


@contextlib.contextmanager
def opened_split(run: RunFolder, data: DataPaths, name: str) -> Iterator[Split]:
    """The records of a split, if they are those of the run.

    Raises:
        UserError: They are others, or there are none.
    """
    from runtime.input_pipeline import Split

    if name == "unlabelled":
        raise UserError("--split unlabelled has no records; choose valid or test")
    refuse_other_vocabulary(run, data)
    with contextlib.closing(Split(data.records, name)) as split:
        yield split


def examination(
    predictor: Predictor,
    run: RunFolder,
    data: DataPaths,
    split: Split,
    arguments: argparse.Namespace,
    others: Sequence[RunFolder] = (),
) -> dict[str, Any]:
    """Examines every method on documents drawn from a split; returns the content of ``faithfulness.json``."""
    import numpy as np

    from runtime.documents import parted

    count = min(arguments.documents, len(split))
    if count < 2:
        raise UserError(f"{data.records} has {count} documents in its {split.name} split; 2 are needed")
    numbers = np.sort(np.random.default_rng(arguments.seed).choice(len(split), count, replace=False))
    documents = list(parted(split.read(numbers).documents))
    targets = None
    if predictor.thresholds is not None:  # documents without a predicted label have no verdict to examine
        drawn = drawn_labels(predictor.probabilities(documents), predictor.thresholds, arguments.seed)
        kept = np.flatnonzero(drawn >= 0)
        numbers, targets, documents = numbers[kept], drawn[kept].tolist(), [documents[place] for place in kept]
        if len(documents) < 2:
            raise UserError(
                f"{run.path} predicts a label for {len(documents)} of {count} documents of {split.name}, and 2 are "
                "needed; raise --documents, or train it longer"
            )
    deciding = known_evidence(split, data, run, numbers)
    log.info("examining %d documents of %s by every method", len(documents), split.name)
    watched = functools.partial(watch, title="examining")
    findings = examine(predictor, documents, arguments.seed, watched, arguments.replacement, targets)
    value: dict[str, Any] = {
        "run": run.path.name,
        "step": predictor.step,
        "weights_sha256": predictor.weights_sha256,
        "split": split.name,
        "documents": len(documents),
        "seed": arguments.seed,
        **to_json(findings),
        "evidence": evidence_scores(deciding, findings),
    }
    if targets is not None:
        labels = by_label(findings, targets, predictor.class_names)
        value |= {"without_label": count - len(documents), "labels": labels}
    if others:
        value["seeds"] = of_seeds(predictor, [run, *others], documents, arguments.device, targets)
    return value | {"examined": origin()}


def watch(chunks: Sequence[int], title: str) -> Iterator[int]:
    """The chunks of documents, with a bar that shows how many are done."""
    return progress(chunks, len(chunks), title)


def of_seeds(
    predictor: Predictor,
    runs: Sequence[RunFolder],
    documents: Sequence[EncodedDocument],
    device: str,
    targets: Sequence[int] | None,
) -> dict[str, Any]:
    """How much the explanations of several runs agree.

    Args:
        predictor: Of the first of ``runs``, on ``device``.
        runs: At least two.
        documents: [B].
        device: ``"cpu"`` or ``"gpu"``.
        targets: [B], the class that is explained of each; the predicted one where ``None``.
    """
    from explaining.seeds import seed_agreement
    from runtime.predictor import Predictor

    log.info("comparing the explanations of %s", ", ".join(run.path.name for run in runs))
    predictors = [predictor, *(Predictor.load(run, device) for run in runs[1:])]
    found = seed_agreement(predictors, documents, functools.partial(watch, title="comparing"), targets)
    return {"runs": [run.path.name for run in runs], **found}


def documents_examined(file: Path, weights_sha256: str) -> int:
    """How many documents an earlier examination of the same weights saw; 0 where there is none that can be read.

    One of another split, which an earlier version wrote under this name, counts as none.
    """
    try:
        earlier = read_findings(file)
    except UserError:
        return 0
    same = earlier.get("weights_sha256") == weights_sha256 and file == faithfulness_file(file.parent, earlier["split"])
    return int(earlier["documents"]) if same else 0


def refuse_other_vocabulary(run: RunFolder, data: DataPaths) -> None:
    """Raises :class:`UserError` unless the records have the vocabulary and the classes of the run."""
    for name in ("vocab.txt", "labels.txt"):
        theirs = data.records / name
        if not theirs.is_file():
            raise UserError(f"{theirs} is not there; name the run's own --data_dir, or run serialize_data.py")
        if theirs.read_bytes() != (run.path / name).read_bytes():
            raise UserError(f"{theirs} is not that of {run.path}; name the run's own --data_dir")


def known_evidence(
    split: Split, data: DataPaths, run: RunFolder, numbers: NDArray[np.int64]
) -> list[list[bool]] | None:
    """Which sentences of the documents are known to decide; ``None`` where the data set does not know."""
    from report.attention_check import deciding_sentences

    if not data.evidence.exists() or not data.csv.exists():
        return None
    known = deciding_sentences(split, data, run.path)
    return [known[number] for number in numbers]


def evidence_scores(deciding: list[list[bool]] | None, findings: Findings) -> dict[str, float] | None:
    """How often each method's top sentence is one that is known to decide; ``None`` where nothing is known."""
    import numpy as np

    from report.attention_check import evidence_score

    scores: dict[str, float] = {}
    for method, places in findings.top_sentences.items():
        if deciding and (score := evidence_score(np.array(places), deciding)):
            scores |= {method: score["precision"], "chance": score["chance"], "documents": score["documents"]}
    return scores or None


# ---------------------------------------------------------------------------------------------------------------------
# The whole model


def show_whole_model(predictor: Predictor, run: RunFolder, data: DataPaths, arguments: argparse.Namespace) -> None:
    """Explains every document of a split; writes what counts to the run folder and prints it."""
    from explaining.whole_model import format_summary, quick_method, summarise

    method = arguments.method or quick_method(predictor)
    if method not in methods_of(predictor) or not METHODS[method].signed:
        raise UserError(f"--method {method} does not say what speaks for a class; leave it out, or choose contribution")
    with opened_split(run, data, arguments.split) as split:
        if not len(split):
            raise UserError(f"{data.records} has no document in its {split.name} split")
        log.info("explaining %d documents of %s by %s", len(split), split.name, METHODS[method].title)
        model = summarise(predictor, labelled_batches(split), method)
        value = {
            **{"run": run.path.name, "step": predictor.step, "weights_sha256": predictor.weights_sha256},
            **{"split": split.name, "documents": len(split), "method": method, **model.to_json()},
            "examined": origin(),
        }
    file, picture = run.path / f"global-{arguments.split}.json", run.plots / f"global-{arguments.split}.png"
    heading = f"{run.path}, {value['documents']:,} documents of its {arguments.split} split, by {METHODS[method].title}"
    write_json(file, value)
    with atomic_write(picture, "wb") as image:
        title = f"{run.path.name}: {value['documents']:,} documents of {arguments.split}"
        image.write(png(whole_model_figure(value, title)))
    shown = printable_lines(format_summary(value, heading))
    print(json.dumps(value, indent=2, ensure_ascii=False) if arguments.json else shown, flush=True)
    log.info("written: %s, %s", file, picture)


def show_plausibility(predictor: Predictor, run: RunFolder, data: DataPaths, arguments: argparse.Namespace) -> None:
    """Compares every method with marked evidence; writes the figures to the run folder and prints them."""
    from explaining import plausibility

    if not data.evidence.exists():
        raise UserError(f"{data.evidence} is not there: this data set has no marked evidence to compare with")
    with opened_split(run, data, arguments.split) as split:
        marked = marked_sample(predictor, run, data, split, arguments)
    methods = (
        methods_of(predictor) if arguments.method is None else (chosen_method(predictor, run, arguments.method)[0],)
    )
    log.info("comparing %d documents of %s by %s", len(marked), arguments.split, ", ".join(methods))
    found = plausibility.examine(
        predictor, marked, arguments.seed, methods, lambda some: progress(some, len(some), "comparing")
    )
    value = {
        **{"run": run.path.name, "step": predictor.step, "weights_sha256": predictor.weights_sha256},
        **{"split": arguments.split, "seed": arguments.seed, **found, "examined": origin()},
    }
    file = run.path / f"plausibility-{arguments.split}.json"
    write_json(file, value)
    heading = f"{run.path}, {value['documents']} documents of its {arguments.split} split (seed {arguments.seed})"
    shown = plausibility.format_agreement(value, heading)
    print(json.dumps(value, indent=2) if arguments.json else printable_lines(shown), flush=True)
    log.info("written: %s", file)


def marked_sample(
    predictor: Predictor, run: RunFolder, data: DataPaths, split: Split, arguments: argparse.Namespace
) -> list[Marked]:
    """Documents of a split with marked words, at most --documents of them, drawn at random.

    Raises:
        UserError: No document of the split has any.
    """
    import numpy as np

    from explaining.phrases import is_punctuation
    from explaining.plausibility import Marked
    from report.attention_check import marked_words
    from runtime.documents import parted

    words = marked_words(split, data, run.path, np.arange(len(split)))
    known = np.flatnonzero([len(flags) > 0 for flags in words])
    if not len(known):
        raise UserError(f"{data.evidence} marks nothing in the {split.name} split; choose another --split")
    count = min(arguments.documents, len(known))
    numbers = np.sort(np.random.default_rng(arguments.seed).choice(known, count, replace=False))
    limits = np.array(list(map(is_punctuation, predictor.reader.vocabulary.words)))
    pairs = zip(parted(split.read(numbers).documents), (words[number] for number in numbers), strict=True)
    # The last sentences of a document that is too long are not in the records.
    marked = [Marked(one, flags[: len(one.token_ids)], limits[one.token_ids]) for one, flags in pairs]
    return [one for one in marked if one.words.any()]


def labelled_batches(split: Split) -> Iterator[list[Labelled]]:
    """Yields the documents of a split with their labels, in batches of similar length."""
    from explaining.whole_model import Labelled
    from runtime.documents import parted
    from runtime.input_pipeline import evaluation_batches, read_ahead
    from runtime.predictor import BATCH_WORDS

    batches = evaluation_batches(split.index, BATCH_WORDS)
    for batch in read_ahead(split.read, progress(batches, len(batches), "explaining")):
        documents = parted(batch.documents)
        yield [Labelled(one, label_of(row)) for one, row in zip(documents, batch.labels.numpy().tolist(), strict=True)]


def label_of(label: int | list[float]) -> int | tuple[int, ...]:
    """The label of a document; where a text may have several, 0 and 1 [C], the numbers of those that it has."""
    return label if isinstance(label, int) else tuple(place for place, has in enumerate(label) if has)


def printable_lines(text: str) -> str:
    """Lines with nothing in them that a terminal would act on."""
    return "\n".join(map(printable, text.splitlines()))


if __name__ == "__main__":
    run_script(main, build_parser())
