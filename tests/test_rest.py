"""The REST interface, called as a program would."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from explaining.explained_text import explain_text
from page.answers import ServedRun
from page.viewer import make_app
from tests.helpers import write_tiny_run
from tests.served_runs import (
    TEXT,
    ask,
    probabilities,
)
from utils import DataPaths

NOTHING = {"label": None, "probabilities": None, "words": 0, "unknown_words": 0, "cut_words": 0}


def test_rest_answers_in_the_form_of_tensorflow_serving(client: TestClient, served: ServedRun) -> None:
    body = {"signature_name": "serving_default", "instances": [TEXT, {"text": "bad qqq"}, "<br />"]}
    for headers in ({"content-type": "application/json"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        response = client.post("/v1/models/han:predict", content=json.dumps(body), headers=headers)
        assert response.status_code == 200
        first, second, nothing = response.json()["predictions"]
        values = probabilities(served.predictor, TEXT)
        assert list(first["probabilities"].values()) == pytest.approx(values, abs=1e-5)
        assert first["label"] == ("negative", "positive")[int(values.argmax())]
        assert set(first) == {"label", "probabilities", "words", "unknown_words", "cut_words"}
        assert (second["words"], second["unknown_words"]) == (2, 1)
        assert nothing == NOTHING
    status = client.get("/v1/models/tiny-han").json()["model_version_status"]
    assert [(each["version"], each["state"]) for each in status] == [("7", "AVAILABLE")]


def test_a_run_with_ngrams_says_what_its_log_odds_are_made_of(page_folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "with", page_folder / "data" / "tiny" / "records", ngrams=True)
    served = ServedRun.load(run, DataPaths("tiny", page_folder / "data"))
    with TestClient(make_app([served], ["testserver"])) as client:
        given = {"instances": [TEXT, "<br />"]}
        prediction, nothing = client.post("/v1/models/han:predict", json=given).json()["predictions"]
        whole = ask(client, text=TEXT, method="gradient")
        without = ask(client, text=TEXT, method="gradient", without=f"0-{len(TEXT)}")
    assert nothing == NOTHING
    [probability] = [value for name, value in prediction["probabilities"].items() if name == prediction["label"]]
    parts, ngrams = prediction["parts"], prediction["ngrams"]
    assert set(parts) == {"network", "ngrams", "bias"}
    assert sum(parts.values()) == pytest.approx(math.log(probability / (1 - probability)), abs=1e-3)
    assert ngrams and all(set(one) == {"text", "start", "end", "times", "share"} for one in ngrams)
    assert all(TEXT[one["start"] : one["end"]].split()[0].startswith(one["text"].split()[0]) for one in ngrams)
    line = f"Log-odds of {prediction['label']} {sum(parts.values()):+.2f}: network {parts['network']:+.2f}"
    assert any(shown.startswith(line) for shown in whole.shown)
    assert any("N-grams for it: " in shown for shown in whole.shown)
    assert any("n-grams +0.00" in shown for shown in without.shown)
    assert not any("N-grams for it: " in shown for shown in without.shown)


def test_what_the_network_did_not_read_is_counted(client: TestClient, served: ServedRun) -> None:
    given = {"instances": ["good word01 qqq. " * 5_400, "good"]}
    cut, whole = client.post("/v1/models/han:predict", json=given).json()["predictions"]
    assert (cut["words"], cut["cut_words"], cut["unknown_words"]) == (400 * 4, 5_000 * 4, 800)
    assert (whole["words"], whole["cut_words"], whole["unknown_words"]) == (1, 0, 0)


def test_a_column_of_texts_is_answered_column_by_column(client: TestClient) -> None:
    rows = client.post("/v1/models/han:predict", json={"instances": [TEXT, "<br />"]}).json()["predictions"]
    for given in ({"text": [TEXT, "<br />"]}, [TEXT, "<br />"]):
        response = client.post("/v1/models/han:predict", json={"inputs": given, "signature_name": "serving_default"})
        assert response.status_code == 200 and set(response.json()) == {"outputs"}
        outputs = response.json()["outputs"]
        assert [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)] == rows
    refused = client.post("/v1/models/han:predict", json={"instances": ["good"], "signature_name": "classify"})
    assert refused.status_code == 400
    assert refused.json() == {"error": "There is no signature 'classify', only 'serving_default'."}


def test_an_address_may_name_the_version_and_another_one_is_refused(client: TestClient, served: ServedRun) -> None:
    given = {"instances": ["good"]}
    plain = client.post("/v1/models/han:predict", json=given)
    assert client.post("/v1/models/han/versions/7:predict", json=given).json() == plain.json()
    assert client.get("/v1/models/han/versions/7").json() == client.get("/v1/models/han").json()
    for refused in (
        client.post("/v1/models/han/versions/8:predict", json=given),
        client.get("/v1/models/han/versions/8"),
        client.get("/v1/models/han/versions/8/metadata"),
    ):
        assert (refused.status_code, refused.json()) == (404, {"error": "han has no version '8' here, only 7."})
    metadata = client.get("/v1/models/han/metadata").json()
    assert metadata == client.get("/v1/models/han/versions/7/metadata").json()
    assert metadata["model_spec"] == {"name": "han", "signature_name": "", "version": "7"}
    assert metadata["classes"] == list(served.predictor.class_names)
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    [answered] = plain.json()["predictions"]
    assert list(signature["inputs"]) == ["text"] and set(signature["outputs"]) == set(answered)


def test_texts_are_explained_by_a_method_for_a_class(client: TestClient, served: ServedRun) -> None:
    asked = {"instances": [TEXT, {"text": "bad qqq"}, "<br />"], "method": "gradient", "target": "negative"}
    for address in ("/v1/models/han:explain", "/v1/models/tiny-han/versions/7:explain"):
        first, second, nothing = client.post(address, json=asked).json()["explanations"]
        expected = explain_text(served.predictor, TEXT, "gradient", 0).to_json()
        assert first["method"] == "gradient" and nothing is None and second["explained_class"] == "negative"
        scores = [one["score"] for one in expected["sentences"]]
        assert [one["score"] for one in first["sentences"]] == pytest.approx(scores, abs=1e-4)
    column = client.post("/v1/models/han:explain", json={"inputs": {"text": [TEXT]}}).json()["explanations"]
    assert column[0]["method"] == served.default_method
    for wrong, status in (
        ({"instances": ["a"], "method": "magic"}, 400),
        ({"instances": ["a"], "target": "magic"}, 400),
        ({"instances": ["a"] * 21}, 413),
        ({}, 400),
    ):
        response = client.post("/v1/models/han:explain", json=wrong)
        assert response.status_code == status and set(response.json()) == {"error"}
    assert client.post("/v1/models/han/versions/8:explain", json=asked).status_code == 404


def test_an_explanation_is_given_where_it_is_asked_for(client: TestClient, served: ServedRun) -> None:
    given = {"instances": [TEXT, "<br />"], "explain": True}
    explained, nothing = client.post("/v1/models/han:predict", json=given).json()["predictions"]
    assert "explanation" not in nothing
    expected = explain_text(served.predictor, TEXT, served.default_method).to_json()
    assert explained["explanation"] == json.loads(json.dumps(expected))
    assert [one["level"] for one in explained["explanation"]["counterfactuals"]] == ["words", "sentences"]
    too_many = client.post("/v1/models/han:predict", json={"instances": ["good"] * 21, "explain": True})
    assert too_many.status_code == 413 and "at most 20" in too_many.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"inputs": []}',
        b'{"inputs": {"text": "good"}}',
        b'{"inputs": {"text": ["good"], "other": ["bad"]}}',
        b'{"inputs": ["good"], "instances": ["good"]}',
        b"{}",
        b'{"instances": []}',
        b'{"instances": [3]}',
        b'{"instances": "good"}',
    ],
)
def test_rest_says_what_is_wrong_with_a_request(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/models/han:predict", content=body)
    assert response.status_code == 400 and "instances" in response.json()["error"]


def test_rest_refuses_what_it_cannot_serve(client: TestClient) -> None:
    response = client.post("/v1/models/bert:predict", json={"instances": ["good"]})
    assert response.status_code == 404 and "there are: han, tiny-han" in response.json()["error"]
    too_many = client.post("/v1/models/han:predict", json={"instances": ["good"] * 1001})
    assert too_many.status_code == 400 and "1000" in too_many.json()["error"]
    xml = client.post("/v1/models/han:predict", content="<a/>", headers={"content-type": "text/xml"})
    assert xml.status_code == 415 and "text/xml" in xml.json()["error"]
    assert client.get("/v1/models/han:predict").status_code in {404, 405}


def test_openapi_describes_rest_completely_and_no_page_loads_foreign_script(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    model = "/v1/models/{model}"
    version = f"{model}/versions/{{version}}"
    addresses = {f"{each}{end}" for each in (model, version) for end in (":predict", ":explain", "", "/metadata")}
    assert set(described["paths"]) == addresses
    body = described["paths"]["/v1/models/{model}:predict"]["post"]["requestBody"]["content"]["application/json"]
    assert "instances" in body["schema"]["properties"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)):
        assert reference in described["components"]["schemas"]
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
