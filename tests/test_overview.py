"""The figures of the overview, against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sklearn.metrics import accuracy_score, confusion_matrix

from page.answers import ServedRun
from page.overview import faithfulness_rows, overview_of
from page.split_documents import LabelledDocument
from page.viewer import make_app
from report.evaluation import evaluate
from tests.served_runs import wait_for_table
from utils import write_json, write_jsonl


def test_accuracy_and_confusion_are_those_of_scikit_learn(served: ServedRun) -> None:
    documents = list(served.documents.all().values())
    labels, predictions = ([getattr(each, name) for each in documents] for name in ("label", "prediction"))
    found = overview_of(documents, served.predictor.class_names)
    assert found.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert found.confusion == confusion_matrix(labels, predictions, labels=found.names).tolist()
    assert found.interval[0] < found.accuracy < found.interval[1]


def test_reliability_counts_every_document_once() -> None:
    confident = [(0.55, "a"), (0.58, "b"), (0.92, "a"), (1.0, "a")]
    documents = [LabelledDocument(str(n), label, "", "a", p) for n, (p, label) in enumerate(confident)]
    found = overview_of(documents, ["a", "b"])
    bins = [(one.documents, one.accuracy, one.confidence) for one in found.bins]
    np.testing.assert_allclose(bins, [(2, 0.5, 0.565), (1, 1.0, 0.92), (1, 1.0, 1.0)])
    assert found.calibration_error == pytest.approx((2 * 0.065 + 0.08) / 4)


def test_the_calibration_error_is_that_of_the_tester() -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet([1, 1, 1], 500)
    labels = generator.integers(0, 3, 500)
    documents = [
        LabelledDocument(str(n), str(label), "", str(int(row.argmax())), float(row.max()))
        for n, (row, label) in enumerate(zip(probabilities, labels, strict=True))
    ]
    found = overview_of(documents, ["0", "1", "2"])
    assert found.calibration_error == pytest.approx(evaluate(probabilities, labels, "012").calibration_error)
    by_bins = sum(one.documents * abs(one.accuracy - one.confidence) for one in found.bins) / 500
    assert found.calibration_error == pytest.approx(by_bins)


def test_what_the_run_folder_has_beside_is_shown(served: ServedRun) -> None:
    run = served.documents.run
    words = [{"word": f"<b>word{n}", "documents": n, "mean_share": 0.5 - n / 10} for n in range(3)]
    phrase = {"text": "not bad", "documents": 7, "mean_share": 0.45}
    value: dict[str, Any] = {
        "weights_sha256": served.predictor.weights_sha256,
        "split": "valid",
        "documents": 9,
        "method": "gradient",
    }
    value["classes"] = {"positive": {"words": words, "phrases": [phrase]}, "negative": {"words": [], "phrases": []}}
    flips = {"random": 0.1, "attention": 0.3, "unheard_of": 0.9}
    findings = {"words": {name: {"flips": {"mean": mean, "half_width": 0.05}} for name, mean in flips.items()}}
    assert faithfulness_rows(findings) == [("attention", 0.3, 0.05), ("a random choice", 0.1, 0.05)]
    step = {"words_per_second": 2000.0, "documents_per_second": 20.0}
    with TestClient(make_app([served], ["testserver"])) as client:
        assert "type: python explain.py tiny-han --global" in client.get("/overview").text
        try:
            write_json(run.path / "global-valid.json", value)
            write_jsonl(run.steps, [step, {**step, "words_per_second": 4000.0}])
            page = client.get("/overview").text
            assert page.index("&lt;b&gt;word0") < page.index("not bad") < page.index("&lt;b&gt;word1")
            assert "<b>word" not in page and "9 documents of valid" in page
            assert "Training: 20 documents, 3,000 words a second" in page
            write_json(run.path / "global-test.json", {**value, "weights_sha256": "others", "split": "test"})
            assert "9 documents of valid" in client.get("/overview").text
            (run.path / "global-test.json").write_text("{", encoding="utf-8")
            assert "global-test.json" in client.get("/overview").text
        finally:
            for file in (run.path / "global-valid.json", run.path / "global-test.json", run.steps):
                file.unlink(missing_ok=True)


def test_every_number_of_the_matrix_opens_as_many_documents(client: TestClient, served: ServedRun) -> None:
    found = overview_of(list(served.documents.all().values()), served.predictor.class_names)
    page = client.get("/overview").text
    assert f"{100 * found.accuracy:.2f}%" in page
    wait_for_table(client)
    for label, row in zip(found.names, found.confusion, strict=True):
        for prediction, count in zip(found.names, row, strict=True):
            asked = {"run": served.name, "label": label, "prediction": prediction}
            listed = client.get("/documents", params=asked).text
            assert listed.count('href="./?id=') == count
            assert (f"label={label}&amp;prediction={prediction}" in page) is (count > 0)
