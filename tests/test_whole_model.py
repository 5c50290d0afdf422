"""What a network has learnt, over documents whose scores are known: counts and means against plain Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import explain as explain_command
from explaining.explanations import Scores, explain
from explaining.whole_model import FEWEST_DOCUMENTS, Labelled, WholeModel, format_summary, summarise
from report.plots import whole_model_figure
from runtime.predictor import Predictor, Verdict
from runtime.run_folder import RunFolder
from tests.helpers import VOCABULARY, write_tiny_records, write_tiny_run
from text.text_reader import EncodedDocument
from utils import UserError

WORDS = ["<pad>", "<unk>", "good", "bad", "not", ",", "film", "rare"]
GOOD, BAD, NOT, COMMA, FILM, RARE = range(2, 8)


def document(*ids: int) -> EncodedDocument:
    return EncodedDocument(np.array(ids, np.int32), np.array([len(ids)], np.int32))


def verdict(predicted: int, classes: int = 2) -> Verdict:
    logits = np.zeros(classes, np.float32)
    logits[predicted] = 2.0
    return Verdict(logits, np.exp(logits) / np.exp(logits).sum(), None, None, np.zeros(3, np.float32))


def add(model: WholeModel, ids: Sequence[int], shares: Sequence[float], predicted: int, label: int) -> None:
    scores = Scores(np.array(shares, float), np.array([sum(shares)]), True)
    model.add(Labelled(document(*ids), label), verdict(predicted, len(model.class_names)), scores, None)


@pytest.fixture
def model() -> WholeModel:
    """Twenty documents: "good film" is positive, "not good" negative; two are wrong, and have the rare word."""
    model = WholeModel(("negative", "positive"), WORDS)
    for number in range(10):
        add(model, [GOOD, FILM, COMMA, GOOD], [1.0, 0.1, 5.0, 0.5], 1, 1)
        add(model, [NOT, GOOD, FILM, 1], [2.0, 1.0, -0.1, 0.1], 0, 0 if number < 8 else 1)
    return model


def test_words_are_counted_by_document_and_for_both_classes(model: WholeModel) -> None:
    positive = {one["word"]: one for one in model.top_words(1)}
    [first, *_] = model.top_words(0)
    assert first == {"word": "not", "documents": 10, "for": 10, "mean_share": pytest.approx(2.0)}
    assert positive["film"]["mean_share"] == pytest.approx(0.1)
    assert not {",", "<unk>"} & {one["word"] for label in (0, 1) for one in model.top_words(label)}


def test_a_word_counts_by_its_mean_less_its_uncertainty(model: WholeModel) -> None:
    values = np.array([1.5, -1.0] * 10)  # what "good" adds for positive: twice 1 + 0.5, and -1 where it is negative
    wanted = values.mean() - 1.96 * values.std() / np.sqrt(len(values))
    assert model.words.reliable_means(1)[GOOD] == pytest.approx(wanted)
    assert model.words.reliable_means(1)[RARE] == -np.inf


def test_phrases_have_two_words_and_enough_documents(model: WholeModel) -> None:
    add(model, [BAD, FILM], [3.0, 2.0], 0, 0)
    assert model.top_phrases(0) == [{"text": "not good", "documents": 10, "mean_share": pytest.approx(3.0)}]
    assert model.top_phrases(0, BAD) == [{"text": "bad film", "documents": 1, "mean_share": pytest.approx(5.0)}]


def test_a_word_whose_sign_depends_on_its_context_is_listed_with_phrases(model: WholeModel) -> None:
    flips = {one["word"]: one["classes"] for one in model.flips()}
    assert flips["good"]["positive"]["documents"] == flips["good"]["negative"]["documents"] == 10
    assert flips["good"]["negative"] == {"documents": 10, "mean_share": pytest.approx(1.0), "phrases": ["not good"]}
    assert "not" not in flips


def test_mistakes_are_compared_with_the_rest() -> None:
    model = WholeModel(("negative", "positive"), WORDS)
    for number in range(120):
        wrong = number < 20
        ids = [GOOD, RARE] if wrong or number >= 118 else [GOOD, FILM, FILM]
        add(model, ids, [1.0, -3.0, 0.0][: len(ids)], 1, 0 if wrong else 1)
    value = model.mistakes()
    assert value["wrong"]["documents"] == 20 and value["right"]["documents"] == 100
    assert value["wrong"]["words"] == 2 and value["right"]["words"] == pytest.approx((98 * 3 + 2 * 2) / 100)
    [word] = value["words"]
    a, b, c, d = 20.5, 0.5, 2.5, 98.5
    z = np.log(a * d / (b * c)) / np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    assert word == {"word": "rare", "wrong": 20, "right": 2, "z": pytest.approx(z)}
    shown = format_summary(model.to_json(), "a run")
    assert "has 'rare'" in shown and "100.0%" in shown


def test_of_more_classes_only_the_predicted_one_is_described() -> None:
    model = WholeModel(("a", "b", "c"), WORDS)
    for _ in range(FEWEST_DOCUMENTS):
        add(model, [GOOD, FILM, COMMA, BAD, FILM], [1.0, 0.9, 0.0, -2.0, -1.0], 2, 2)
    assert [one["word"] for one in model.top_words(2)][:1] == ["good"]
    assert model.top_words(0) == model.top_words(1) == model.flips() == []
    assert [one["text"] for one in model.top_phrases(2)] == ["good film"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_tiny_records(folder / "data" / "tiny" / "records")
    write_tiny_run(folder / "runs" / "tiny-han", folder / "data" / "tiny" / "records", seed=6, ngrams=True)
    return folder


def test_a_split_is_summarised_as_its_documents_are_explained(folder: Path) -> None:
    predictor = Predictor.load(RunFolder(folder / "runs" / "tiny-han"))
    generator = np.random.default_rng(1)
    documents = [document(*generator.integers(1, len(VOCABULARY), 9)) for _ in range(12)]
    labelled = [Labelled(one, number % 2) for number, one in enumerate(documents)]
    model = summarise(predictor, [labelled[:5], labelled[5:]], "contribution")
    totals = np.zeros((2, len(VOCABULARY)))
    for one in documents:
        [row] = predictor.probabilities([one])
        predicted = int(row.argmax())
        [scores] = explain(predictor, [one], [predicted], "contribution")
        for word, share in zip(one.token_ids, scores.words, strict=True):
            if word > 1:
                totals[predicted, word] += share
                totals[1 - predicted, word] -= share
    np.testing.assert_allclose(model.words.shares.sum(axis=0), totals, atol=1e-4)
    assert sum(group.documents for group in model.groups.values()) == 12


def run_command(folder: Path, *words: str) -> None:
    flags = ["--runs_dir", str(folder / "runs"), "--data_dir", str(folder / "data")]
    explain_command.main(explain_command.build_parser().parse_args(["tiny-han", *words, *flags]))


@pytest.mark.drawn
def test_the_command_writes_json_and_a_picture_and_prints_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(folder, "--global", "--json")
    value = json.loads(capsys.readouterr().out)
    run = folder / "runs" / "tiny-han"
    assert value == json.loads((run / "global-valid.json").read_text(encoding="utf-8"))
    assert (value["documents"], value["method"], set(value["classes"])) == (
        30,
        "contribution",
        {"negative", "positive"},
    )
    assert value["mistakes"]["right"]["documents"] + value["mistakes"]["wrong"]["documents"] == 30
    assert (run / "plots" / "global-valid.png").read_bytes().startswith(b"\x89PNG")
    run_command(folder, "--global", "--split", "test")
    assert "pushes negative" in capsys.readouterr().out and (run / "global-test.json").exists()
    with pytest.raises(UserError, match="--method attention does not say"):
        run_command(folder, "--global", "--method", "attention")


def test_the_picture_has_the_words_and_phrases_with_their_shares(model: WholeModel) -> None:
    value: dict[str, Any] = model.to_json()
    figure = whole_model_figure(value, "a run")
    pairs = zip(figure.axes[0::2], figure.axes[1::2], strict=True)
    for (words, phrases), (name, row) in zip(pairs, value["classes"].items(), strict=True):
        for axes, kind in ((words, "words"), (phrases, "phrases")):
            widths = [bar.get_width() for bars in axes.containers for bar in bars]
            assert widths == [one["mean_share"] for one in row[kind]]
        assert words.get_title(loc="left") == f"words for {name}"
