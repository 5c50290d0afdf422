"""The documents of the test split: filters, damaged predictions."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from page.answers import ServedRun
from page.split_documents import SplitDocuments, sample
from page.viewer import make_app
from runtime.run_folder import RunFolder
from utils import DataPaths, UserError, append_jsonl


def test_a_drawn_document_passes_the_filter(client: TestClient, served: ServedRun) -> None:
    rules = {
        "right": lambda d: d.prediction == d.label,
        "wrong": lambda d: d.prediction != d.label,
        "unsure": lambda d: abs(2 * d.confidence - 1) < 0.2,
        "any": lambda d: True,
    }
    for name, rule in rules.items():
        response = client.get("/random", params={"filter": name, "method": "gradient"}, follow_redirects=False)
        candidates = {document.id for document in served.documents.all().values() if rule(document)}
        if not candidates:
            assert response.status_code == 404
            continue
        assert response.status_code == 303
        address = httpx2.URL(response.headers["location"]).params
        assert address["id"] in candidates and address["method"] == "gradient"


def test_a_run_that_was_not_tested_says_how_to_test_it(page_folder: Path, served: ServedRun) -> None:
    documents = SplitDocuments(
        RunFolder(page_folder / "runs" / "tiny-none"), DataPaths("tiny", page_folder / "data"), ""
    )
    untested = ServedRun("tiny-none", served.predictor, served.batcher, documents)
    with TestClient(make_app([untested], ["testserver"])) as client:
        assert "python han_tester.py --run_type test --dataset tiny" in client.get("/overview").text
        assert client.get("/random", params={"filter": "wrong"}).status_code == 404
        assert client.get("/random", follow_redirects=False).status_code == 303
        assert 'value="wrong"' not in client.get("/").text


def test_what_is_wrong_with_predictions_is_reported(page_folder: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    documents = SplitDocuments(run, DataPaths("tiny", page_folder / "data"), "mine")
    documents.predictions_file.write_text("id,label,prediction,probability_a\ntest/0,a,a,x\n", encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        documents.all()
    other_label = "id,label,prediction,probability_negative\ntest/0,positive,negative,1\n"
    documents.predictions_file.write_text(other_label, encoding="utf-8")
    with pytest.raises(UserError, match="is of other documents than"):
        documents.all()
    documents.predictions_file.write_text("id,label,prediction,probability_a\nelse/0,a,a,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="other documents"):
        documents.all()
    with pytest.raises(UserError, match="create_csv"):
        SplitDocuments(run, DataPaths("none", tmp_path), "").all()
    append_jsonl(run.results, {"split": "test", "weights_sha256": "theirs", "step": 3})
    assert "step 3, not these" in documents.stale()
    append_jsonl(run.results, {"split": "test", "weights_sha256": "mine", "step": 4})
    assert documents.stale() == ""
    append_jsonl(run.results, {"split": "test", "weights_sha256": 3})
    with pytest.raises(UserError, match=r"results\.jsonl, line 3"):
        documents.stale()


def test_a_large_split_is_read_in_part(page_folder: Path, served: ServedRun) -> None:
    few = SplitDocuments(served.documents.run, served.documents.data, "", most=7).all()
    assert len(few) == 7 and set(few) == set(sample(list(served.documents.all()), 7))
