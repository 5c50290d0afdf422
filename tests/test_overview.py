"""The figures of the overview, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sklearn.metrics import accuracy_score, confusion_matrix

from page.answers import ServedRun
from page.overview import overview_of
from page.split_documents import LabelledDocument
from tests.served_runs import wait_for_table


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
    middle, last = found.bins
    assert (middle.documents, middle.accuracy, middle.confidence) == pytest.approx((2, 0.5, 0.565))
    assert (last.documents, last.accuracy, last.confidence) == pytest.approx((2, 1.0, 0.96))
    assert found.calibration_error == pytest.approx(np.mean([0.065, 0.04]))


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
