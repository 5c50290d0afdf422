"""Methods and controls measured on a sample, what is concluded from it, and the file that keeps the figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from config import ModelSettings
from data_processing import TextProcessor, Vocabulary
from explaining import faithfulness
from explaining.deletions import Deletions
from explaining.explanations import METHODS, Scores
from explaining.faithfulness import (
    CONTROLS,
    RANDOM,
    Agreement,
    Findings,
    agreement,
    best_method,
    counterfactual_table,
    default_method,
    examine,
    faithfulness_file,
    format_briefly,
    format_findings,
    kendall_columns,
    rankings,
    read_findings,
    to_json,
    trust_in_words,
    verdict_in_words,
    with_sign_of,
    without_sign,
)
from explaining.leaving_out import keep_words
from han import HAN
from network.contract import NetworkArguments
from runtime.predictor import Predictor
from text.text_reader import EncodedDocument, TextReader
from utils import UserError, read_jsonl, write_json


def deletions(quality: list[float]) -> Deletions:
    return Deletions([np.full(5, value) for value in quality], [np.zeros(5) for _ in quality], [0.0] * len(quality))


def test_the_best_method_is_the_cheapest_that_is_not_measurably_worse() -> None:
    noise = np.random.default_rng(1).normal(scale=0.3, size=100)
    random, low, high = deletions([0.9] * 100), deletions([0.1] * 100), deletions([0.5] * 100)
    equal = deletions((0.49 + noise).tolist())
    findings = Findings({RANDOM: random, "attention": low, "gradient": equal, "integrated_gradients": high})
    assert best_method(findings) == "gradient"
    findings.words["attention"] = deletions([0.4] * 100)  # always a little worse
    findings.words["gradient"] = deletions([0.45] * 100)
    assert best_method(findings) == "integrated_gradients"
    findings.words["attention"] = deletions([0.51] * 100)
    assert best_method(findings) == "attention"


def test_rank_correlations_with_and_without_signs_by_hand() -> None:
    left_out = Scores(np.array([0.1, -0.9, 0.5, -0.3]), np.zeros(1), True)
    attention = Scores(np.array([0.05, 0.6, 0.2, 0.15]), np.ones(1), False)
    # signed: ranks 1 4 3 2 against 3 1 4 2: two pairs agree, four do not; squared differences 4 + 9 + 1 + 0
    assert agreement(attention, left_out) == pytest.approx((-2 / 6, 1 - 6 * 14 / (4 * 15), 1, 1))
    # of its own values: the same with signs; without: the ranks 3 1 4 2 against 1 4 3 2
    assert agreement(left_out, left_out) == pytest.approx((1, 1, -2 / 6, 1 - 6 * 14 / (4 * 15)))
    assert np.isnan(agreement(Scores(np.ones(4), np.ones(1), False), left_out)).all()


def test_controls_take_a_sign_away_or_add_the_one_of_the_gradient() -> None:
    gradient = Scores(np.array([-3.0, 2.0, 0.0]), np.array([-1.0, 5.0]), True)
    attention = Scores(np.array([0.5, 0.3, 0.2]), np.array([0.75, 0.25]), False)
    plain = without_sign(gradient)
    assert plain.words.tolist() == [3, 2, 0] and plain.sentences.tolist() == [1, 5] and not plain.signed
    turned = with_sign_of(attention, gradient)
    assert turned.words.tolist() == [-0.5, 0.3, 0] and turned.sentences.tolist() == [-0.75, 0.25] and turned.signed


def test_every_control_is_made_from_what_its_title_says() -> None:
    document = EncodedDocument(np.array([2, 3, 4], np.int32), np.array([2, 1], np.int32))
    scores = {
        "attention": [Scores(np.array([0.5, 0.3, 0.2]), np.array([0.75, 0.25]), False)],
        "gradient": [Scores(np.array([-3.0, 2.0, 1.0]), np.array([-1.0, 1.0]), True)],
        "integrated_gradients": [Scores(np.array([4.0, -5.0, 6.0]), np.array([-1.0, 6.0]), True)],
        "leave_one_out": [Scores(np.array([7.0, 8.0, 9.0]), np.array([15.0, 9.0]), True)],
    }
    every = rankings([document], scores, np.random.default_rng(3))
    without, signed = list(every)[:4], list(every)[4:]
    assert without == [RANDOM, "attention", "absolute_gradient", "absolute_integrated_gradients"]
    assert signed == ["gradient", "integrated_gradients", "leave_one_out", "random_with_sign", "attention_with_sign"]
    assert every["absolute_gradient"][0][0].words.tolist() == [3, 2, 1]
    assert every["absolute_integrated_gradients"][0][0].words.tolist() == [4, 5, 6]
    assert every["attention_with_sign"][0][0].words.tolist() == [-0.5, 0.3, 0.2]
    drawn, turned = every[RANDOM][0], every["random_with_sign"][0]
    assert len(drawn) == len(turned) == 5
    for one, other in zip(drawn, turned, strict=True):
        np.testing.assert_array_equal(one.words * [-1, 1, 1], other.words)
    del scores["attention"]
    assert not {"attention", "attention_with_sign"} & rankings([document], scores, np.random.default_rng(3)).keys()


def test_the_whole_examination_repeats_and_speaks_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HAN(NetworkArguments(12, 4, 2, ModelSettings(word_units=3, sentence_units=3, attention_dim=3), seed=2))
    generator = np.random.default_rng(5)
    for weight in model.named_weights().values():
        weight.assign(generator.normal(size=weight.shape))
    reader = TextReader(TextProcessor(), Vocabulary(["<pad>", "<unk>", *"abcdefghij"]))
    predictor = Predictor(model, reader, ("no", "yes"))
    documents = [
        keep_words(EncodedDocument(generator.integers(2, 12, 9).astype(np.int32), np.array([4, 3, 2], np.int32)), kept)
        for kept in generator.random((5, 9)) < 0.8
    ]
    monkeypatch.setattr(faithfulness, "CHUNK", 2)
    value = to_json(examine(predictor, documents, 1))
    assert value == to_json(examine(predictor, documents, 1))
    assert set(value["words"]) == {RANDOM, *METHODS, *CONTROLS} == set(value["sentences"])
    assert set(value["agreement_with_leave_one_out"]) == set(value["words"]) - {"leave_one_out"}
    assert value["completeness"]["largest_relative_error"] < 0.02
    value |= {"evidence": {"attention": 0.75, "chance": 0.25, "documents": 5}, "split": "valid"}
    report = format_findings(value, "a run")
    share = value["words"]["attention"]["flips"]["mean"]
    said = " ".join(report.split())
    assert f"the model attended to most changes the verdict in {share:.1%} of documents" in said
    assert "attention 75.0%; by chance 25.0%" in said
    assert "From now on explain.py explains this run by" in said
    assert "Figures of the test split choose no method" in " ".join(
        format_findings(value | {"split": "test"}, "").split()
    )
    assert max(map(len, report.splitlines())) <= 100
    brief = format_briefly(value, "a run").splitlines()
    assert [line.split("  ")[0] for line in brief[3:-2]] == [faithfulness.TITLES[name] for name in (RANDOM, *METHODS)]
    assert brief[4].endswith(f" {share:.1%}") and brief[4].startswith(faithfulness.TITLES["attention"])
    assert brief[-1].startswith("From now on explain.py explains this run by")


def test_a_document_without_ranks_leaves_the_others_their_agreement() -> None:
    findings = Findings({RANDOM: deletions([0.1] * 3), "attention": deletions([0.4] * 3)})
    findings.completeness = [(1.0, 1.0, 16)]
    for each in findings.words.values():
        each.reached = [np.ones(5)] * 3
    nothing = Agreement(*[np.nan] * 4)  # of one word
    findings.agreement = {"attention": [Agreement(0.2, 0.3, 0.4, 0.5), nothing], "gradient": [nothing, nothing]}
    known = to_json(findings)["agreement_with_leave_one_out"]
    assert list(known) == ["attention"] and list(known["attention"].values()) == [0.2, 0.3, 0.4, 0.5]


def test_the_columns_of_counterfactuals_are_those_of_their_titles() -> None:
    sizes = {"words": {"median": 3, "found": 0.9}, "sentences": {"median": None, "found": 0.4}}
    title, line = counterfactual_table({"counterfactuals": {"attention": sizes}})
    assert title.split()[-5:] == ["(median)", "found", "sentences", "(median)", "found"]
    assert line.split() == ["attention", "3", "90%", "-", "40%"]


def test_documents_are_examined_for_the_class_that_the_network_predicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TwoClasses:
        """Predicts the second class of documents whose first word is 4."""

        has_attention = False

        def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
            second = [float(document.token_ids[0] == 4) for document in documents]
            return np.array([[0.9 - 0.8 * p, 0.1 + 0.8 * p] for p in second], np.float32)

    asked: list[list[int]] = []

    def explain(
        predictor: Any, documents: Sequence[EncodedDocument], targets: Sequence[int], method: str
    ) -> list[Scores]:
        asked.append(list(targets))
        return [Scores(np.arange(2.0), np.ones(1), True, (1.0, 1.0, 16)) for _ in documents]

    monkeypatch.setattr(faithfulness, "explain", explain)
    documents = [EncodedDocument(np.array([first, 5], np.int32), np.array([2], np.int32)) for first in (4, 3, 4)]
    examine(cast(Any, TwoClasses()), documents, 1)
    assert asked and all(targets == [1, 0, 1] for targets in asked)


def figures(**flips: float) -> dict[str, Any]:
    """Figures with a share of changed verdicts for each method."""
    rows = {name: {"flips": {"mean": share, "half_width": 0.01}} for name, share in flips.items()}
    return {
        **{"weights_sha256": "of these", "split": "valid", "documents": 4, "step": 7, "flip_share": 0.2},
        **{"words": rows, "sentences": rows, "best_method": "gradient", "agreement_with_leave_one_out": {}},
    }


SIGN = {"absolute_gradient": 0.32, "absolute_integrated_gradients": 0.37, "random_with_sign": 0.43}


def test_the_report_says_how_much_is_a_matter_of_sign() -> None:
    value = figures(random=0.05, attention=0.35, gradient=0.95, **SIGN, attention_with_sign=0.92)
    said = " ".join(verdict_in_words(value))
    assert "changes the verdict in 35.0% of documents; deleting random words, in 5.0%." in said
    assert "By size alone: |gradient x input| 32.0%, |integrated gradients| 37.0%." in said
    assert "random x sign(gradient) 43.0%, attention x sign(gradient) 92.0%, gradient x input 95.0%." in said
    assert "from gradient x input is mostly the sign: that of the gradient accounts for 57.0 of 60.0 points" in said
    for share, word in ((0.40, "only in part"), (0.34, "not")):
        value = figures(random=0.05, attention=0.35, gradient=0.95, **SIGN, attention_with_sign=share)
        assert f"is {word} the sign" in " ".join(verdict_in_words(value))
    value = figures(random=0.05, attention=0.99, gradient=0.95, **SIGN, attention_with_sign=0.99)
    assert "What separates" not in " ".join(verdict_in_words(value))


def test_figures_of_earlier_versions_are_still_read(tmp_path: Path) -> None:
    value = figures(random=0.05, attention=0.25, gradient=0.75)
    value["agreement_with_leave_one_out"] = {
        "attention": {"kendall": 0.36, "spearman": 0.5},
        "gradient": {"kendall": 0.77, "spearman": 0.9},
    }
    write_json(tmp_path / "faithfulness.json", value)
    assert read_findings(tmp_path / "faithfulness.json") == value
    said = " ".join(verdict_in_words(value))
    assert "With gradient x input it is 75.0%. Attention has no sign" in said
    assert kendall_columns(value, "attention") == (0.36, None)
    assert kendall_columns(value, "gradient") == (None, 0.77)
    assert kendall_columns(value, "leave_one_out") == (None, None)
    value["agreement_with_leave_one_out"]["attention"] = {"kendall": 0.1, "kendall_absolute": 0.36}
    assert kendall_columns(value, "attention") == (0.36, 0.1)


def test_the_documentations_figures_are_still_read() -> None:
    rows = read_jsonl(Path(__file__).parent.parent / "docs" / "faithfulness.jsonl")
    assert rows
    for row in rows:
        assert "of documents; deleting random words" in " ".join(verdict_in_words(row))
        assert any(tau is not None for tau in kendall_columns(row, "attention"))


class Weights:
    """What choosing a method needs of a predictor."""

    has_attention, weights_sha256 = True, "of these"


def test_only_figures_of_validation_documents_and_of_these_weights_choose(tmp_path: Path) -> None:
    def chosen(**changes: Any) -> str:
        write_json(tmp_path / "faithfulness.json", figures(random=0.1, attention=0.2, gradient=0.9) | changes)
        return default_method(cast(Any, Weights()), tmp_path)[0]

    assert chosen() == "gradient"
    assert chosen(split="test") == "contribution"
    assert chosen(weights_sha256="of others") == "contribution"
    assert default_method(cast(Any, Weights()), tmp_path)[1] == {}
    (tmp_path / "faithfulness.json").unlink()
    write_json(faithfulness_file(tmp_path, "test"), figures(random=0.1, attention=0.2, gradient=0.9))
    assert default_method(cast(Any, Weights()), tmp_path) == ("contribution", {})


@pytest.mark.parametrize(
    "content",
    ["3", "[]", "{}", "{", '{"words": 3}', json.dumps(figures(random=0.1)), json.dumps(figures(gradient=0.1))],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "faithfulness.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"faithfulness\.json is damaged.*delete it") as caught:
        default_method(cast(Any, Weights()), tmp_path)
    assert "\n" not in str(caught.value)


def test_the_figure_of_a_method_stands_beside_the_best_and_chance() -> None:
    words = {name: {"flips": {"mean": share}} for name, share in (("random", 0.0625), ("attention", 0.25))}
    words["gradient"] = {"flips": {"mean": 0.875}}
    found = {"words": words, "best_method": "gradient", "flip_share": 0.2, "documents": 1_200, "split": "valid"}
    assert trust_in_words("attention", found) == (
        "Deleting the 20% of words that attention ranks first changes the verdict in 25.0% of 1,200 validation "
        "documents; by gradient x input 87.5%, random words 6.2%."
    )
    assert trust_in_words("gradient", found).endswith(
        "changes the verdict in 87.5% of 1,200 validation documents; random words 6.2%."
    )
    assert trust_in_words("leave_one_out", found) == "" == trust_in_words("attention", {})
