"""Is an explanation faithful? The words and sentences that it names are deleted, and the network is asked again.

:mod:`explaining.deletions` has the measures. Here every method is measured on a sample of documents, beside rankings to
compare it with; the figures are kept in the run folder and said in words.

Where a text may have several labels, each document is examined for one of those that the network predicts; the verdict
changes where that label is no longer predicted.

A random choice is the baseline: a method that is no better explains nothing. The rankings of :data:`CONTROLS` separate
what a method knows of a word's weight from what it knows of its sign: a method with signs leaves out words that speak
against the prediction, attention cannot.

Measured on validation documents, the figures choose the method that a run is explained by; on others they choose
nothing, so that figures of the test split stay figures of unseen documents.

    B documents   N words
"""

from __future__ import annotations

import functools
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

import schema
from explaining.counterfactuals import SetSizes, found_together, searches
from explaining.deletions import FLIP_SHARE, LEVELS, REACH_SHARE, SHARES, Deletions, delete, interval
from explaining.explanations import METHODS, UNEXAMINED, Scores, explain, methods_of
from explaining.leaving_out import replace_words
from report.evaluation import shortened
from text.text_reader import EncodedDocument
from utils import UserError

if TYPE_CHECKING:
    from runtime.predictor import Predictor

CHOOSING_SPLIT = "valid"  # figures of this one choose a run's method
RANDOM, RANDOM_DRAWS = "random", 5
WIDTH = 88  # of the report's lines
CHUNK = 20  # documents whose edited texts are held in memory at a time

RULE = (
    "the highest mean of comprehensiveness - sufficiency for words; of the methods whose difference from it lies "
    f"within that difference's 95% interval, paired by document, the cheapest ({', '.join(METHODS)})"
)


# ---------------------------------------------------------------------------------------------------------------------
# Rankings that are compared with the methods


def without_sign(scores: Scores) -> Scores:
    """How much each word and sentence counts, whichever way."""
    return Scores(np.abs(scores.words), np.abs(scores.sentences), signed=False)


def with_sign_of(scores: Scores, signs: Scores) -> Scores:
    """Scores of words and sentences, turned against the class where ``signs`` speaks against it."""
    words, sentences = scores.words * np.sign(signs.words), scores.sentences * np.sign(signs.sentences)
    return Scores(words, sentences, signed=True)


@dataclass(frozen=True)
class Control:
    """A ranking that is measured beside the methods but explains nothing: a method with its sign removed or added.

    Attributes:
        title: What people call it.
        of: What it is made from: a method, or :data:`RANDOM`.
        function: From the scores of ``of`` and those of ``gradient`` for the same document to its own.
    """

    title: str
    of: str
    function: Callable[[Scores, Scores], Scores]


CONTROLS = {
    "absolute_gradient": Control("|gradient x input|", "gradient", lambda scores, gradient: without_sign(scores)),
    "absolute_integrated_gradients": Control(
        "|integrated gradients|", "integrated_gradients", lambda scores, gradient: without_sign(scores)
    ),
    "random_with_sign": Control("random x sign(gradient)", RANDOM, with_sign_of),
    "attention_with_sign": Control("attention x sign(gradient)", "attention", with_sign_of),
}
TITLES = {RANDOM: "a random choice"} | {name: one.title for table in (METHODS, CONTROLS) for name, one in table.items()}
# Of reports: first what has no sign, then what has one.
ORDER = sorted(TITLES, key=lambda name: METHODS[name].signed if name in METHODS else "with_sign" in name)


# ---------------------------------------------------------------------------------------------------------------------
# The whole examination


class Agreement(NamedTuple):
    """Rank correlations of the words' scores in one document with leave-one-out; NaN where all are equal.

    Attributes:
        kendall: Kendall's tau with what leaving a word out does, with its sign.
        spearman: Spearman's rho with the same.
        kendall_absolute: Kendall's tau with how much leaving a word out does, without its sign.
        spearman_absolute: Spearman's rho with the same.
    """

    kendall: float
    spearman: float
    kendall_absolute: float
    spearman_absolute: float


@dataclass
class Findings:
    """Everything that was measured on B documents, by the name of the method, of the control, or :data:`RANDOM`.

    Attributes:
        words: What deleting words did.
        sentences: What deleting sentences did.
        agreement: [B] rank correlations with leave-one-out; not of leave-one-out itself.
        top_sentences: [B], the place of the top sentence; not of the random choice.
        completeness: [B], that of integrated gradients (:class:`explaining.explanations.Scores`).
        set_sizes: How little must be left out for another verdict; of methods only.
        replaced: What replacing words by ``<unk>`` did; empty where that was not asked for.
    """

    words: dict[str, Deletions] = field(default_factory=dict)
    sentences: dict[str, Deletions] = field(default_factory=dict)
    agreement: dict[str, list[Agreement]] = field(default_factory=dict)
    top_sentences: dict[str, list[int]] = field(default_factory=dict)
    completeness: list[tuple[float, float, int]] = field(default_factory=list)
    set_sizes: dict[str, SetSizes] = field(default_factory=dict)
    replaced: dict[str, Deletions] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        """Appends what was measured on further documents."""
        for level in LEVELS:
            for method, deletions in getattr(other, level).items():
                getattr(self, level).setdefault(method, Deletions()).extend(deletions)
        for method, replaced in other.replaced.items():
            self.replaced.setdefault(method, Deletions()).extend(replaced)
        for method, pairs in other.agreement.items():
            self.agreement.setdefault(method, []).extend(pairs)
        for method, places in other.top_sentences.items():
            self.top_sentences.setdefault(method, []).extend(places)
        self.completeness += other.completeness
        for method, sizes in other.set_sizes.items():
            self.set_sizes.setdefault(method, SetSizes()).extend(sizes)


def examine(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    seed: int,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
    replacement: bool = False,
    targets: Sequence[int] | None = None,
) -> Findings:
    """Explains documents by every method, deletes what each names, and compares.

    Args:
        predictor: The network.
        documents: The sample.
        seed: Of the random choice.
        progress: Wraps the loop over chunks of documents.
        replacement: Also replace words by ``<unk>``.
        targets: [B], the class of each document, one that is predicted (:func:`drawn_labels`); the likeliest where
            ``None``.
    """
    generator = np.random.default_rng(seed)
    findings = Findings()
    for begin in progress(range(0, len(documents), CHUNK)):
        some = documents[begin : begin + CHUNK]
        chosen = predictor.probabilities(some).argmax(axis=1).tolist() if targets is None else targets[begin:][:CHUNK]
        findings.add(examine_chunk(predictor, some, chosen, generator, replacement))
    return findings


def drawn_labels(probabilities: np.ndarray, thresholds: np.ndarray, seed: int) -> NDArray[np.int64]:
    """int64 [B], for each document one of the labels that are predicted, drawn at random; -1 where none is.

    Args:
        probabilities: float32 [B, C].
        thresholds: float32 [C].
        seed: Of the draw.
    """
    generator = np.random.default_rng([seed, 2])
    predicted = [np.flatnonzero(row >= thresholds) for row in probabilities]
    return np.array([generator.choice(places) if len(places) else -1 for places in predicted], np.int64)


def examine_chunk(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    predicted: Sequence[int],
    generator: np.random.Generator,
    replacement: bool = False,
) -> Findings:
    """Examines a few documents, each for a class that the network predicts."""
    thresholds = getattr(predictor, "thresholds", None)
    remove = functools.partial(delete, predictor, documents, targets=predicted, thresholds=thresholds)
    scores = {method: explain(predictor, documents, predicted, method) for method in methods_of(predictor)}
    findings = Findings()
    for name, draws in rankings(documents, scores, generator).items():
        for level in LEVELS:
            values = [[getattr(one, level) for one in of_document] for of_document in draws]
            getattr(findings, level)[name] = remove(values, level)
        if replacement:
            words = [[one.words for one in of_document] for of_document in draws]
            findings.replaced[name] = remove(words, "words", replace_words)
        first_draws = [of_document[0] for of_document in draws]
        if name != "leave_one_out":
            pairs = zip(first_draws, scores["leave_one_out"], strict=True)
            findings.agreement[name] = [agreement(one, left_out) for one, left_out in pairs]
        if name != RANDOM:
            findings.top_sentences[name] = [int(one.sentences.argmax()) for one in first_draws]
    findings.completeness = [one.completeness for one in scores["integrated_gradients"] if one.completeness]
    findings.set_sizes = {method: set_sizes(predictor, documents, some, predicted) for method, some in scores.items()}
    return findings


def set_sizes(
    predictor: Predictor, documents: Sequence[EncodedDocument], scores: Sequence[Scores], predicted: Sequence[int]
) -> SetSizes:
    """How little must be left out of each document for another verdict, by the ranking of one method."""
    of_documents = zip(documents, scores, predicted, strict=True)
    thresholds = getattr(predictor, "thresholds", None)
    every = [
        one for document, some, verdict in of_documents for one in searches(document, some, verdict, True, thresholds)
    ]
    sizes = SetSizes()
    sizes.add(found_together(predictor, every))
    return sizes


def rankings(
    documents: Sequence[EncodedDocument], scores: Mapping[str, Sequence[Scores]], generator: np.random.Generator
) -> dict[str, list[list[Scores]]]:
    """All rankings to compare: the random choice, the methods, the controls.

    Args:
        documents: [B].
        scores: [B] by each method; ``gradient`` among them.
        generator: Of the random choice.

    Returns:
        In the order of :data:`ORDER`, [B] lists: of one ranking, or of several that are drawn at random.
    """
    every = {RANDOM: [[random_scores(document, generator) for _ in range(RANDOM_DRAWS)] for document in documents]}
    every |= {method: [[one] for one in some] for method, some in scores.items()}
    for name, control in CONTROLS.items():
        if control.of in every:
            pairs = zip(every[control.of], scores["gradient"], strict=True)
            every[name] = [[control.function(one, gradient) for one in draws] for draws, gradient in pairs]
    return {name: every[name] for name in ORDER if name in every}


def random_scores(document: EncodedDocument, generator: np.random.Generator) -> Scores:
    """Words, and sentences, in random order."""
    words, sentences = (generator.random(len(vector)) for vector in document)
    return Scores(words, sentences, signed=False)


def agreement(scores: Scores, left_out: Scores) -> Agreement:
    """Compares the words' scores with leave-one-out, with and without its signs."""
    pairs = (rank_correlations(scores.words, other) for other in (left_out.words, np.abs(left_out.words)))
    return Agreement(*(value for pair in pairs for value in pair))


def rank_correlations(values: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Kendall's and Spearman's rank correlation of two vectors, float [N]; NaN where either has equal values only."""
    from scipy.stats import kendalltau, spearmanr

    if np.ptp(values) == 0 or np.ptp(others) == 0:
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nearly equal values, which do not matter to ranks
        return float(kendalltau(values, others).statistic), float(spearmanr(values, others).statistic)


# ---------------------------------------------------------------------------------------------------------------------
# What follows from it


def best_method(findings: Findings) -> str:
    """The method with the best figures, by :data:`RULE`; controls are no methods."""
    quality = {method: findings.words[method].quality() for method in METHODS if method in findings.words}
    best = max(quality, key=lambda method: float(quality[method].mean()))
    for method, values in quality.items():  # the cheapest first
        difference = interval(quality[best] - values)
        if difference["mean"] <= difference["half_width"]:
            return method
    return best


def by_label(findings: Findings, targets: Sequence[int], class_names: Sequence[str]) -> dict[str, Any]:
    """For each label the documents that were examined for it, and how often each ranking of words changes its verdict.

    Args:
        findings: Of B documents.
        targets: [B], the label of each.
        class_names: [C].
    """
    value: dict[str, Any] = {}
    for place, name in enumerate(class_names):
        own = np.flatnonzero(np.asarray(targets) == place)
        value[name] = {"documents": len(own)}
        if len(own):
            flips = {method: float(np.take(found.flips, own).mean()) for method, found in findings.words.items()}
            value[name]["flips"] = flips
    return value


def to_json(findings: Findings) -> dict[str, Any]:
    """All figures, for ``faithfulness.json``."""
    errors = [abs(reached - wanted) / max(abs(wanted), 1) for reached, wanted, _ in findings.completeness]
    steps = [steps for *_, steps in findings.completeness]
    replaced = {method: one.to_json() for method, one in findings.replaced.items()}
    return {
        "shares": list(SHARES),
        "flip_share": FLIP_SHARE,
        "random_draws": RANDOM_DRAWS,
        **{level: {method: one.to_json() for method, one in getattr(findings, level).items()} for level in LEVELS},
        "agreement_with_leave_one_out": {
            method: dict(zip(Agreement._fields, np.nanmean(values, axis=0).tolist(), strict=True))
            for method, values in findings.agreement.items()
            if not np.isnan(values).all(axis=0).any()
        },
        "completeness": {"largest_relative_error": max(errors), "mean_steps": float(np.mean(steps))},
        "counterfactuals": {method: sizes.to_json() for method, sizes in findings.set_sizes.items()},
        **({"replaced": replaced} if replaced else {}),
        "best_method": best_method(findings),
        "rule": RULE,
    }


class Mean(TypedDict):
    """A mean over documents with half of its 95% interval."""

    mean: float
    half_width: float


class DeletionFigures(TypedDict):
    """What deleting by one method did, as readers of ``faithfulness.json`` need it."""

    flips: Mean


class SeedFigures(TypedDict):
    """How much the explanations of several runs agree (:func:`explaining.seeds.seed_agreement`)."""

    runs: list[str]
    same_verdict: float
    words: dict[str, Mean | None]
    sentences: dict[str, Mean | None]


class FaithfulnessFile(TypedDict):
    """``faithfulness.json``, as far as readers need it; those of earlier versions have no controls.

    ``replaced`` and ``seeds`` are there where they were asked for, ``labels`` (:func:`by_label`) where a text may have
    several.
    """

    weights_sha256: str
    split: str
    documents: int
    step: int
    flip_share: float
    words: dict[str, DeletionFigures]
    sentences: dict[str, DeletionFigures]
    best_method: str
    agreement_with_leave_one_out: NotRequired[dict[str, dict[str, float]]]
    replaced: NotRequired[dict[str, DeletionFigures]]
    seeds: NotRequired[SeedFigures]
    labels: NotRequired[dict[str, dict[str, Any]]]


def faithfulness_file(run: Path, split: str = CHOOSING_SPLIT) -> Path:
    """Where the figures of a split are kept in a run folder: those that choose the method in ``faithfulness.json``."""
    return run / ("faithfulness.json" if split == CHOOSING_SPLIT else f"faithfulness-{split}.json")


def read_findings(file: Path) -> dict[str, Any]:
    """What ``explain.py --faithfulness`` wrote; empty where there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    if not file.exists():
        return {}
    remedy = "delete it and run explain.py --faithfulness again"
    findings: dict[str, Any] = dict(schema.read_json(file, FaithfulnessFile, remedy))
    for level in LEVELS:
        if missing := {RANDOM, findings["best_method"]} - findings[level].keys():
            raise UserError(f"{file} is damaged (no figures of {', '.join(sorted(missing))}); {remedy}")
    return findings


def default_method(predictor: Predictor, run: Path) -> tuple[str, dict[str, Any]]:
    """The method that a run is explained by unless another is asked for.

    Args:
        predictor: The network.
        run: The run folder.

    Returns:
        The method, and what ``explain.py --faithfulness`` measured; nothing where it has not examined these weights.
        Figures that an earlier version measured on the test split are returned, but choose nothing.

    Raises:
        UserError: ``faithfulness.json`` is damaged.
    """
    known, findings = methods_of(predictor), read_findings(faithfulness_file(run))
    if findings.get("weights_sha256") != predictor.weights_sha256:
        findings = {}
    if findings.get("split") == CHOOSING_SPLIT and findings["best_method"] in known:
        return findings["best_method"], findings
    return next(name for name in UNEXAMINED if name in known), findings


def trust_in_words(method: str, findings: Mapping[str, Any]) -> str:
    """How far a method can be trusted, a sentence with its figure beside the best and a random choice.

    Args:
        method: One of :data:`explaining.explanations.METHODS`.
        findings: What :func:`default_method` returned.

    Returns:
        Empty where the method was not measured.
    """
    changed = {name: row["flips"]["mean"] for name, row in findings.get("words", {}).items()}
    if method not in changed:
        return ""
    best = findings["best_method"]
    others = [f"by {TITLES[best]} {changed[best]:.1%}"] if best != method else []
    others.append(f"random words {changed[RANDOM]:.1%}")
    split = {"valid": "validation"}.get(findings["split"], findings["split"])
    return (
        f"Deleting the {findings['flip_share']:.0%} of words that {TITLES[method]} ranks first changes the verdict in "
        f"{changed[method]:.1%} of {findings['documents']:,} {split} documents; {', '.join(others)}."
    )


def kendall_columns(value: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    """Kendall's tau of a method or control with leave-one-out: without its signs, and with them.

    Args:
        value: What :func:`to_json` gave, or the same of an earlier version, which compared methods without a sign with
            the one and methods with a sign with the other.
        name: Of the method or control.

    Returns:
        ``None`` where it was not measured.
    """
    row = value["agreement_with_leave_one_out"].get(name, {})
    if row and "kendall_absolute" not in row:
        signed = name in METHODS and METHODS[name].signed
        row = {"kendall" if signed else "kendall_absolute": row["kendall"]}
    return row.get("kendall_absolute"), row.get("kendall")


# ---------------------------------------------------------------------------------------------------------------------
# The report


def format_findings(value: dict[str, Any], heading: str) -> str:
    """The figures as tables, and what they mean in plain words.

    Args:
        value: What :func:`to_json` gave, with ``split``, with ``seeds`` (:class:`SeedFigures`) where other runs were
            compared, and with ``evidence`` where the data set knows it: for each method, and for ``chance``, the share
            of documents whose top sentence is one that decided.
        heading: First line.
    """
    lines = [heading, "=" * len(heading)]
    for level in LEVELS:
        lines += ["", *deletion_table(value[level], f"top {level} by")]
    if "replaced" in value:
        lines += ["", *deletion_table(value["replaced"], "words replaced by <unk>")]
    lines += ["", *agreement_table(value), "", *counterfactual_table(value)]
    if "labels" in value:
        lines += ["", *label_table(value)]
    if "seeds" in value:
        lines += ["", *seed_table(value["seeds"])]
    return "\n".join([*lines, *(f"\n{textwrap.fill(remark, WIDTH)}" for remark in remarks(value))])


def format_briefly(value: dict[str, Any], heading: str) -> str:
    """How many verdicts change by each method, and which one is chosen; arguments as of :func:`format_findings`."""
    words = {name: row for name, row in value["words"].items() if name == RANDOM or name in METHODS}
    *_, chosen = remarks(value)
    return "\n".join(
        [
            heading,
            "=" * len(heading),
            f"{'top ' + format(value['flip_share'], '.0%') + ' of words deleted by':32}  verdicts changed",
            *(f"{TITLES[name]:32}  {row['flips']['mean']:16.1%}" for name, row in words.items()),
            "",
            textwrap.fill(chosen, WIDTH),
        ]
    )


def deletion_table(rows: dict[str, Any], title: str) -> Iterator[str]:
    """Yields the lines of the table of words, of sentences, or of words that were replaced."""
    yield f"{title:26}  verdicts changed  comprehensiveness      sufficiency  reached"
    for name, row in rows.items():
        comprehensiveness, sufficiency = (with_interval(row[n]) for n in ("comprehensiveness", "sufficiency"))
        flips, reached = (row[n]["mean"] for n in ("flips", "reached"))
        yield f"{TITLES[name]:26}  {flips:16.1%}  {comprehensiveness:>17}  {sufficiency:>15}  {reached:7.1%}"


def agreement_table(value: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table of Kendall's rank correlations."""
    yield f"{'Kendall of words with':26}   |leave-one-out|      leave-one-out"
    for name in value["agreement_with_leave_one_out"]:
        cells = ("" if tau is None else f"{tau:.2f}" for tau in kendall_columns(value, name))
        yield f"{TITLES[name]:26}  {next(cells):>16}  {next(cells):>17}"


def counterfactual_table(value: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table of the sets without which the verdict is another."""
    yield f"{'another verdict without':26}  {'words (median)':>16}  found  sentences (median)  found"
    for name, row in value["counterfactuals"].items():
        cells = [("-" if row[level]["median"] is None else f"{row[level]['median']:g}") for level in LEVELS]
        found = [f"{row[level]['found']:.0%}" for level in LEVELS]
        yield f"{TITLES[name]:26}  {cells[0]:>16}  {found[0]:>5}  {cells[1]:>18}  {found[1]:>5}"


def label_table(value: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table with a row for each label: how often words that are deleted change its verdict."""
    shown = [name for name in (RANDOM, "attention", value["best_method"]) if name in value["words"]]
    columns = list(dict.fromkeys(shown))
    yield f"{'verdicts changed, words by':26}  documents  {'  '.join(f'{TITLES[name]:>15}' for name in columns)}"
    for label, row in value["labels"].items():
        cells = (f"{row['flips'][name]:{max(15, len(TITLES[name]))}.1%}" for name in columns)
        shares = cells if row["documents"] else ()
        yield f"{shortened(label, 26):26}  {row['documents']:9,}  {'  '.join(shares)}".rstrip()


def seed_table(value: SeedFigures) -> Iterator[str]:
    """Yields the lines of the table of the agreement between runs."""
    title = f"Spearman of {len(value['runs'])} runs"
    yield f"{title:26}  {'words':>13}  {'sentences':>13}"
    for name in value["words"]:
        known = (value["words"][name], value["sentences"][name])
        cells = ("-" if one is None else with_interval(one, 2) for one in known)
        yield f"{TITLES[name]:26}  {next(cells):>13}  {next(cells):>13}"


def with_interval(value: Mean, places: int = 3) -> str:
    """``0.123 ± 0.045``."""
    return f"{value['mean']:.{places}f} ± {value['half_width']:.{places}f}"


def remarks(value: dict[str, Any]) -> Iterator[str]:
    """Yields what the figures mean, a paragraph each."""
    yield (
        f"Verdicts changed: when the top {value['flip_share']:.0%} are deleted. Comprehensiveness (better high) and "
        "sufficiency (better low): the probability that is lost when the top is deleted, or is all that is kept; mean "
        f"over the top {', '.join(f'{share:.0%}' for share in value['shares'])}, with 95% intervals. Reached: the top "
        f"{REACH_SHARE:.0%} alone have the verdict of the whole text."
    )
    yield (
        "Another verdict: how few words, or sentences, were enough to leave out (at most 50, and half of the text); a "
        "document where none were found counts as larger than every other, and - is a median that no set reached."
    )
    if "labels" in value:
        yield (
            "Several labels a text: each document is examined for one of its predicted labels, drawn at random. Its "
            "verdict is that this label is predicted; it changes where the probability no longer reaches the label's "
            f"threshold. Left out for having no predicted label: {value['without_label']:,} documents."
        )
    yield from optional_remarks(value)
    yield from verdict_in_words(value)
    if evidence := value.get("evidence"):
        shares = (f"{TITLES[method]} {share:.1%}" for method, share in evidence.items() if method in TITLES)
        yield f"The top sentence is one that decided: {', '.join(shares)}; by chance {evidence['chance']:.1%}."
    completeness = value["completeness"]
    yield (
        f"Integrated gradients took {completeness['mean_steps']:.0f} steps on average; their sum misses by "
        f"{completeness['largest_relative_error']:.2%} at most (absolute where the difference to be explained is below "
        "1)."
    )
    if value["split"] == CHOOSING_SPLIT:
        yield f"From now on explain.py explains this run by {TITLES[value['best_method']]}; --method names another."
    else:
        yield (
            f"Figures of the {value['split']} split choose no method: those of validation do (explain.py RUN "
            "--faithfulness)."
        )


def optional_remarks(value: dict[str, Any]) -> Iterator[str]:
    """Yields what the figures mean that are there where they were asked for."""
    if "replaced" in value:
        yield "Replaced by <unk>, not deleted: the text keeps its length, and the other words their places."
    if seeds := value.get("seeds"):
        yield (
            f"Spearman of runs: rank correlations of the explanations by {', '.join(seeds['runs'])} for the class that "
            "the first one predicts, the mean over the pairs of runs and the documents. All of them predict the same "
            f"class in {seeds['same_verdict']:.1%} of documents."
        )


def verdict_in_words(value: dict[str, Any]) -> Iterator[str]:
    """Yields what the words' figures say of attention; of the best method where there is no attention."""
    words, best = value["words"], value["best_method"]
    changed = {name: row["flips"]["mean"] for name, row in words.items()}
    shown = "attention" if "attention" in words else best
    chosen = "the model attended to most" if shown == "attention" else f"that {TITLES[shown]} ranks first"
    yield (
        f"Deleting the {value['flip_share']:.0%} of words {chosen} changes the verdict in {changed[shown]:.1%} of "
        f"documents; deleting random words, in {changed[RANDOM]:.1%}."
    )
    if CONTROLS.keys() & words.keys():
        yield from sign_in_words(changed)
    elif shown != best:
        yield (
            f"With {TITLES[best]} it is {changed[best]:.1%}. Attention has no sign: it also names words that speak "
            "against the verdict."
        )


def sign_in_words(changed: Mapping[str, float]) -> Iterator[str]:
    """Yields how much of what the methods differ in is a matter of sign.

    Args:
        changed: Share of verdicts that change, by method and control.
    """

    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"{TITLES[name]} {changed[name]:.1%}" for name in names if name in changed)

    signed = [name for name, method in METHODS.items() if method.signed]
    yield (
        f"By size alone: {listed(['absolute_gradient', 'absolute_integrated_gradients'])}. With a sign: "
        f"{listed(['random_with_sign', 'attention_with_sign', *signed])}."
    )
    best = max((name for name in signed if name in changed), key=lambda name: changed[name])
    if "attention_with_sign" not in changed or changed[best] <= changed["attention"]:
        return
    distance, by_sign = (changed[name] - changed["attention"] for name in (best, "attention_with_sign"))
    how = "mostly" if by_sign > distance / 2 else "only in part" if by_sign > 0 else "not"
    points = f"{100 * min(by_sign, distance):.1f} of {100 * distance:.1f} points"
    yield (
        f"What separates attention from {TITLES[best]} is {how} the sign: that of the gradient accounts for {points}. "
        "Attention does not say which words speak against the verdict."
    )
