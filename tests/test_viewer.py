"""The page and the REST interface, asked as a browser and as a program would."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

import attention_viewer
import explain as explain_command
from explaining.explanations import explain
from page.answers import MOST_TEXT_BYTES, Question, ServedRun, parse_question
from page.batcher import Busy
from page.mistakes import SplitDocuments, drawn
from page.viewer import MOST_BODY_BYTES, make_app
from runtime.predictor import Predictor, join
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_run
from tests.viewer_site import DOCUMENTS, load_site, probabilities, serving, write_folder
from utils import DataPaths, UserError, append_jsonl, exclusive_lock, write_json

TEXT = "A good word01! Bad word02, unheard.\nQuite good word03 and word04? word05."
HOSTILE = [
    "<script>alert(1)</script> good",
    '"><img src=x onerror=alert(1)> bad',
    "' onmouseover='alert(1) good",
    "</textarea></form><h1>good",
    "{{ 7 * 7 }} {% raw %} good",
    "javascript:alert(1) bad &amp; &lt;b&gt;",
]
ODD = [
    "مرحبا good שלום",
    "👩‍👩‍👧 good 🏳️‍🌈",
    "\u202egood\u202c word01",
    "good\x00 word02 \x1b[31m",
    "\r\n\r\ngood\r\nbad\rword03",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def site(folder: Path) -> ServedRun:
    return load_site(folder, "tiny-han")


@pytest.fixture(scope="module")
def other(folder: Path) -> ServedRun:
    return load_site(folder, "tiny-other")


@pytest.fixture(scope="module")
def client(site: ServedRun) -> Iterator[TestClient]:
    with TestClient(make_app([site], ["testserver"])) as client:
        yield client


class Page(HTMLParser):
    """Tags with their attributes, and the words that are shown, read as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.shown.append(data.strip())

    def named(self, name: str) -> str:
        return next(attributes["value"] or "" for _, attributes in self.tags if attributes.get("name") == name)

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def ask(client: TestClient, **values: str) -> Page:
    response = client.post("/answer", data=values)
    assert response.status_code == 200, response.text
    return Page(response.text)


def percentages(page: Page) -> list[str]:
    return [text for text in page.shown if re.fullmatch(r"\d+\.\d%", text)]


def expected(predictor: Predictor, text: str) -> list[str]:
    return [f"{100 * value:.1f}%" for value in sorted(probabilities(predictor, text), reverse=True)]


# -- what is answered -------------------------------------------------------------------------------------------------


def test_the_answer_is_the_networks_own_and_shades_the_words_by_the_method(client: TestClient, site: ServedRun) -> None:
    for method in ("attention", "gradient", "integrated_gradients", "leave_one_out"):
        page = ask(client, text=TEXT, method=method)
        assert percentages(page) == expected(site.predictor, TEXT)
        words = page.of_class("word")
        assert [TEXT[int(w["data-start"] or 0) : int(w["data-end"] or 0)] for w in words] == [
            TEXT[start:end] for sentence in site.predictor.spans(TEXT) for start, end in sentence
        ]
        document = site.predictor.read(TEXT).document
        target = int(probabilities(site.predictor, TEXT).argmax())
        [scores] = explain(site.predictor, [document], [target], method)
        strongest = int(np.abs(scores.words).argmax())
        assert "level5" in (words[strongest]["class"] or "")
        if method != "attention":
            assert (words[strongest]["title"] or "").startswith(f"{scores.words[strongest]:+.4f} log-odds")


def test_the_class_to_explain_can_be_chosen(client: TestClient, site: ServedRun) -> None:
    document = site.predictor.read(TEXT).document
    predicted = int(probabilities(site.predictor, TEXT).argmax())
    names = site.predictor.class_names
    for target, asked in ((predicted, ""), (predicted, names[predicted]), (1 - predicted, names[1 - predicted])):
        page = ask(client, text=TEXT, method="gradient", target=asked)
        [scores] = explain(site.predictor, [document], [target], "gradient")
        titles = [(word["title"] or "").split(" log-odds")[0] for word in page.of_class("word")]
        assert titles == [f"{score:+.4f}" for score in scores.words]
        assert f"speaks for {names[target]}" in page.shown
        [link] = [attributes["href"] or "" for _, attributes in page.tags if attributes.get("id") == "permalink"]
        assert httpx2.URL(link).params.get("target", "") == asked
        whole = Page(client.get(f"/{link}").text)
        chosen = [attributes["value"] for tag, attributes in whole.tags if "selected" in attributes and tag == "option"]
        assert asked == "" or asked in chosen
    drawn = client.get("/random", params={"target": names[0]}, follow_redirects=False)
    assert httpx2.URL(drawn.headers["location"]).params["target"] == names[0]
    refused = client.post("/answer", data={"text": TEXT, "method": "gradient", "target": "<b>"})
    assert refused.status_code == 400 and f"there are: {', '.join(names)}" in refused.text


def test_a_sentence_left_out_is_as_if_it_had_never_been_written(client: TestClient, site: ServedRun) -> None:
    second = ask(client, text=TEXT).of_class("weight")[1]
    page = ask(client, text=TEXT, toggle=second["value"] or "")
    without = "A good word01! \nQuite good word03 and word04? word05."
    assert percentages(page) == expected(site.predictor, without)
    was = {text.removeprefix("was ") for text in page.shown if text.startswith("was")}
    assert was == set(expected(site.predictor, TEXT))
    assert len(page.of_class("out")) == 1 and len(page.of_class("gone")) == 5
    again = ask(client, text=TEXT, without=page.named("without"), toggle=second["value"] or "")
    assert again.named("without") == "" and percentages(again) == expected(site.predictor, TEXT)


def test_everything_left_out_is_told(client: TestClient) -> None:
    page = ask(client, text="good. bad.", without="0-99")
    assert any("Everything is left out" in text for text in page.shown)


def test_an_edited_word_moves_the_verdict_and_the_edit_can_be_undone(client: TestClient, site: ServedRun) -> None:
    edited = TEXT.replace("Bad", "Good")
    page = ask(client, text=edited, original=TEXT)
    assert percentages(page) == expected(site.predictor, edited)
    was = {text.removeprefix("was ") for text in page.shown if text.startswith("was")}
    assert was == set(expected(site.predictor, TEXT))
    assert page.named("original") == TEXT
    undone = ask(client, text=edited, original=TEXT, undo="1", without="0-5")
    assert percentages(undone) == expected(site.predictor, TEXT) and undone.named("without") == ""


@pytest.mark.parametrize("asked", [{}, {"without": "0-14"}, {"original": TEXT + " bad"}])
def test_a_link_asks_the_same_again(client: TestClient, asked: dict[str, str]) -> None:
    page = ask(client, text=TEXT + " né &?#+% 100%", method="gradient", **asked)
    [link] = [attributes["href"] for _, attributes in page.tags if attributes.get("id") == "permalink"]
    linked = Page(client.get(f"/{link}").text)
    assert percentages(linked) == percentages(page)
    assert [w["class"] for w in linked.of_class("word")] == [w["class"] for w in page.of_class("word")]


def test_a_text_too_long_for_a_link_has_none(client: TestClient) -> None:
    page = ask(client, text="good é " * 5000, method="attention")
    assert "Too long for a link." in page.shown


def test_a_test_document_is_told_with_its_label_until_it_is_edited(client: TestClient, site: ServedRun) -> None:
    document = site.documents.all()["test/5"]
    page = Page(client.get("/", params={"id": "test/5"}).text)
    assert percentages(page) == expected(site.predictor, document.text) and page.named("id") == "test/5"
    assert f"judged {'right' if document.prediction == document.label else 'wrong'}" in " ".join(page.shown)
    assert ask(client, id="test/5", text=document.text + " bad").named("id") == ""
    assert client.get("/", params={"id": "test/x"}).status_code == 404


@pytest.mark.parametrize("path", ["/", "/?text=good", "/errors", "/static/shaded.css", "/static/viewer.js"])
def test_one_may_ask_whether_a_page_is_there(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert response.status_code == 200 and not response.content


def test_the_page_works_without_script(client: TestClient, site: ServedRun) -> None:
    response = client.post("/", data={"text": TEXT, "method": "attention", "toggle": "0-14"})
    page = Page(response.text)
    assert response.status_code == 200 and percentages(page) == expected(site.predictor, TEXT[14:])
    forms = {attributes["id"]: attributes for tag, attributes in page.tags if tag == "form"}
    assert (forms["ask"]["method"], forms["ask"]["action"]) == ("post", "./")
    assert all(button["value"] for button in page.of_class("weight"))


def test_a_text_with_odd_line_ends_keeps_its_places() -> None:
    asked = parse_question({"text": "\r\ngood\rbad\n", "without": "", "method": "gradient"}, None)
    assert asked.text == "\ngood\nbad\n"
    assert Question("good", "", ((0, 4),)).link() == "?text=good&without=0-4"


def test_two_runs_answer_side_by_side(site: ServedRun, other: ServedRun) -> None:
    with TestClient(make_app([site, other], ["testserver"])) as client:
        page = ask(client, text=TEXT, method="attention")
        assert percentages(page) == [*expected(site.predictor, TEXT), *expected(other.predictor, TEXT)]
        found = client.get("/random", params={"filter": "disagree"}, follow_redirects=False)
        name = httpx2.URL(found.headers["location"]).params["id"]
        one, two = (each.documents.all()[name].prediction for each in (site, other))
        assert one != two
        shown = client.get("/errors", params={"run": "tiny-other"}).text
        assert "Where tiny-other is wrong" in shown


def test_a_network_without_attention_is_explained_by_another_method(
    folder: Path, tmp_path: Path, site: ServedRun
) -> None:
    run = write_tiny_run(tmp_path / "runs" / "flat", folder / "data" / "tiny" / "records", architecture="bilstm")
    flat = ServedRun.load(run, DataPaths("tiny", folder / "data"))
    with TestClient(make_app([flat, site], ["testserver"])) as client:
        page = ask(client, text=TEXT, method="attention")
        assert percentages(page) == [*expected(flat.predictor, TEXT), *expected(site.predictor, TEXT)]
        assert "flat has no attention: shown by integrated gradients." in page.shown
        assert 'value="attention"' in client.get("/").text
    with TestClient(make_app([flat], ["testserver"])) as client:
        assert 'value="attention"' not in client.get("/").text


def test_leave_one_out_of_a_long_text_is_shown_by_gradient(client: TestClient) -> None:
    page = ask(client, text="good word01 bad word02 good. " * 300, method="leave_one_out")
    assert any("up to 1,500 words by leave-one-out" in text for text in page.shown)


def test_a_text_that_nobody_knows_and_one_that_is_cut_are_remarked(client: TestClient, site: ServedRun) -> None:
    assert any("knows none of these words" in text for text in ask(client, text="qqq zzz").shown)
    assert any("were not read" in text for text in ask(client, text="good. " * 500, method="attention").shown)
    one = ask(client, text="good", method="leave_one_out")
    assert len(one.of_class("word")) == 1 and percentages(one) == expected(site.predictor, "good")


# -- what must never happen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*HOSTILE, *ODD])
def test_nothing_of_a_text_becomes_markup(client: TestClient, text: str) -> None:
    for response in (
        client.post("/answer", data={"text": text, "original": text + " bad", "method": "attention"}),
        client.get("/", params={"text": text, "method": text, "filter": text}),
    ):
        page = Page(response.text)
        assert response.status_code == 200
        allowed = {"html", "head", "meta", "title", "link", "script", "body", "a", "header", "p", "nav", "main", "form"}
        allowed |= {"h1", "label", "textarea", "div", "button", "span", "select", "option", "fieldset", "legend"}
        allowed |= {"input", "section", "table", "caption", "tr", "th", "td", "svg", "rect", "ol", "li", "bdi", "b"}
        allowed |= {"figure", "figcaption", "circle", "line"}
        assert {tag for tag, _ in page.tags} <= allowed
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert all(attributes == {"src": "static/viewer.js", "defer": None} for attributes in scripts)
        for _, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            for name in ("href", "src", "action"):
                assert not re.match(r"\s*(javascript|data|https?|//)", attributes.get(name) or "", re.I)
        shown = response.text.partition('<div class="columns')[2]  # outside the fields that hold the text as it is
        assert shown and not set("\x00\x1b\u202e") & set(shown)


def test_error_pages_escape_what_they_quote(client: TestClient) -> None:
    evil = "<script>alert(1)</script>"
    for response in (
        client.get("/", params={"id": evil}),
        client.get("/random", params={"filter": evil}),
        client.get("/errors", params={"by": evil}),
        client.get("/errors", params={"run": evil}),
        client.get(f"/{evil}"),
    ):
        assert response.status_code == 404 and evil not in response.text and html.escape(evil) in response.text


@pytest.mark.parametrize("path", ["/", "/errors", "/static/viewer.css", "/static/viewer.js", "/v1/models/han", "/no"])
def test_every_response_forbids_inline_script_and_foreign_sources(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_nothing_is_loaded_from_elsewhere() -> None:
    root = Path(attention_viewer.__file__).parent
    folders = ("page/templates", "explaining/templates", "page/static")
    for file in [file for folder in folders for file in (root / folder).iterdir()]:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"^\s*//.*$", "", text, flags=re.M)), file


def test_a_foreign_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


# -- bad input --------------------------------------------------------------------------------------------------------


def test_a_text_of_a_megabyte_is_refused_with_a_sentence(client: TestClient) -> None:
    long = "good " * (MOST_TEXT_BYTES // 5)
    for response in (client.post("/", data={"text": long}), client.post("/answer", data={"text": long})):
        assert response.status_code == 413 and "The text is too long: 1,000,000 bytes or more." in response.text
    response = client.post("/v1/models/han:predict", json={"instances": ["good", long]})
    assert response.status_code == 413 and response.json() == {
        "error": "instances[1] is too long: 1,000,000 bytes or more"
    }


def test_a_body_without_a_length_is_counted(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BODY_BYTES // 100_000 + 1):
            yield b"x" * 100_000

    for path, kind in (
        ("/answer", "application/x-www-form-urlencoded"),
        ("/v1/models/han:predict", "application/json"),
    ):
        response = client.post(path, content=pieces(), headers={"content-type": kind})
        assert response.status_code == 413 and "too long" in response.text


@pytest.mark.parametrize("text", ["", "   \n ", "<br />"])
def test_a_text_without_a_word_is_told(client: TestClient, text: str) -> None:
    for path in ("/", "/answer"):
        response = client.post(path, data={"text": text})
        assert response.status_code == 422 and "There is no word in this text." in response.text


@pytest.mark.parametrize("ranges", ["9-1", "4-4", "1-2-3", "x"])
def test_what_is_no_range_is_refused(client: TestClient, ranges: str) -> None:
    response = client.post("/answer", data={"text": TEXT, "without": ranges})
    assert response.status_code == 400 and "as ranges of the text, such as 0-12" in response.text


def test_other_requests_are_refused_with_their_reason(client: TestClient) -> None:
    upload = client.post("/answer", files={"text": b"good"})
    assert upload.status_code == 415 and "multipart/form-data" in upload.text
    assert client.post("/answer", json={"text": "good"}).status_code == 415
    assert client.post("/answer", data={"text": "good", "without": "a-b"}).status_code == 400
    too_many = urlencode([(f"n{n}", n) for n in range(60)])
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/answer", content=too_many, headers=kind).status_code == 400
    assert client.post("/answer", content=b"text=\xff", headers=kind).status_code == 400
    assert client.get("/answer").status_code == 405


def test_memory_that_runs_out_is_told(site: ServedRun, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(site.batcher, "_score", fail)
        response = client.post("/v1/models/han:predict", json={"instances": ["good"]})
        assert response.status_code == 503 and response.json() == {"error": "out of memory; give a shorter text."}
    with monkeypatch.context() as patch:
        patch.setattr("page.answers.explain", fail)
        response = client.post("/answer", data={"text": "good", "method": "gradient"})
        assert (
            response.status_code == 503 and "out of memory; give a shorter text, or choose attention." in response.text
        )
    assert client.post("/answer", data={"text": "good", "method": "gradient"}).status_code == 200


def test_too_much_that_waits_is_told(site: ServedRun, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise Busy

    monkeypatch.setattr(site.batcher, "score", refuse)
    response = client.post("/answer", data={"text": "good"})
    assert response.status_code == 503 and "Too many texts are waiting." in response.text


# -- REST -------------------------------------------------------------------------------------------------------------


def test_rest_answers_in_the_form_of_tensorflow_serving(client: TestClient, site: ServedRun) -> None:
    body = {"signature_name": "serving_default", "instances": [TEXT, {"text": "bad qqq"}, "<br />"]}
    for headers in ({"content-type": "application/json"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        response = client.post("/v1/models/han:predict", content=json.dumps(body), headers=headers)
        assert response.status_code == 200
        first, second, nothing = response.json()["predictions"]
        values = probabilities(site.predictor, TEXT)
        assert list(first["probabilities"].values()) == pytest.approx(values, abs=1e-5)
        assert first["label"] == ("negative", "positive")[int(values.argmax())]
        assert (second["words"], second["unknown_words"]) == (2, 1)
        assert nothing == {"label": None, "probabilities": None, "words": 0, "unknown_words": 0}
    status = client.get("/v1/models/tiny-han").json()["model_version_status"]
    assert [(each["version"], each["state"]) for each in status] == [("7", "AVAILABLE")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"inputs": []}',
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
    assert set(described["paths"]) == {"/v1/models/{model}:predict", "/v1/models/{model}"}
    body = described["paths"]["/v1/models/{model}:predict"]["post"]["requestBody"]["content"]["application/json"]
    assert "instances" in body["schema"]["properties"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)):
        assert reference in described["components"]["schemas"]
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


# -- the test split ---------------------------------------------------------------------------------------------------


def test_a_drawn_document_passes_the_filter(client: TestClient, site: ServedRun) -> None:
    rules = {
        "right": lambda d: d.prediction == d.label,
        "wrong": lambda d: d.prediction != d.label,
        "unsure": lambda d: abs(2 * d.confidence - 1) < 0.2,
        "any": lambda d: True,
    }
    for name, rule in rules.items():
        response = client.get("/random", params={"filter": name, "method": "gradient"}, follow_redirects=False)
        candidates = {document.id for document in site.documents.all().values() if rule(document)}
        if not candidates:
            assert response.status_code == 404
            continue
        assert response.status_code == 303
        address = httpx2.URL(response.headers["location"]).params
        assert address["id"] in candidates and address["method"] == "gradient"


@pytest.mark.parametrize("by", ["confident", "longest", "unknown"])
def test_mistakes_are_all_there_the_worst_first(client: TestClient, site: ServedRun, by: str) -> None:
    with site.documents.predictions_file.open(encoding="utf-8") as file:
        wrong = {row["id"]: row for row in csv.DictReader(file) if row["label"] != row["prediction"]}
    measures = {}
    for name, row in wrong.items():
        text = site.documents.all()[name].text
        words = [word for line in site.predictor.reader.processor.process(text).words for word in line]
        unknown = sum(word not in site.predictor.reader.vocabulary.words for word in words) / len(words)
        confident = max(float(row["probability_negative"]), float(row["probability_positive"]))
        measures[name] = {"confident": confident, "longest": len(words), "unknown": unknown}[by]
    response = client.get("/errors", params={"by": by})
    shown = [name.replace("%2F", "/") for name in re.findall(r'href="\./\?id=([^"]+)"', response.text)]
    assert sorted(shown) == sorted(wrong) and f"{len(wrong)} of {DOCUMENTS} test documents" in response.text
    values = [measures[name] for name in shown]
    assert values == sorted(values, reverse=True)


def test_a_run_that_was_not_tested_says_how_to_test_it(folder: Path, site: ServedRun) -> None:
    documents = SplitDocuments(RunFolder(folder / "runs" / "tiny-none"), DataPaths("tiny", folder / "data"), "")
    untested = ServedRun("tiny-none", site.predictor, site.batcher, documents)
    with TestClient(make_app([untested], ["testserver"])) as client:
        page = client.get("/errors")
        assert page.status_code == 200 and "python han_tester.py --run_type test --dataset tiny" in page.text
        assert client.get("/random", params={"filter": "wrong"}).status_code == 404
        assert client.get("/random", follow_redirects=False).status_code == 303
        assert 'value="wrong"' not in client.get("/").text


def test_what_is_wrong_with_predictions_is_told(folder: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    documents = SplitDocuments(run, DataPaths("tiny", folder / "data"), "mine")
    documents.predictions_file.write_text("id,label,prediction,probability_a\ntest/0,a,a,x\n", encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
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


def test_a_large_split_is_read_in_part(folder: Path, site: ServedRun) -> None:
    few = SplitDocuments(site.documents.run, site.documents.data, "", most=7).all()
    assert len(few) == 7 and set(few) == set(drawn(list(site.documents.all()), 7))


# -- the command ------------------------------------------------------------------------------------------------------


def start(folder: Path, *words: str) -> None:
    folders = ["--runs_dir", str(folder / "runs"), "--data_dir", str(folder / "data")]
    attention_viewer.main(attention_viewer.build_parser().parse_args([*words, *folders]))


def test_mistakes_on_the_command_line_are_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'none'; .* holds: tiny-han, tiny-other"):
        start(folder, "none")
    with pytest.raises(UserError, match="are the same run"):
        start(folder, "tiny-han", "tiny-han")
    with pytest.raises(UserError, match="--port 70000 is out of range"):
        start(folder, "tiny-han", "--port", "70000")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} is taken on 127.0.0.1; try --port"):
            start(folder, "tiny-han", "--port", str(port))
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1"):
        start(folder, "tiny-han", "--port", "0", "--host", "192.0.2.1")


def test_a_run_that_is_still_training_says_so_on_the_page(folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "runs" / "young", folder / "data" / "tiny" / "records")
    run.finished.unlink()
    with exclusive_lock(run.lock):
        young = ServedRun.load(run, DataPaths("tiny", folder / "data"))
        with TestClient(make_app([young], ["testserver"])) as client:
            assert "is still training: these are the weights of its best validation so far" in client.get("/").text
    run.best.unlink()
    with pytest.raises(UserError, match="has no weights"):
        ServedRun.load(run, DataPaths("tiny", folder / "data"))


def test_the_command_that_examines_a_run_can_be_pasted(client: TestClient, site: ServedRun, folder: Path) -> None:
    [line] = site.trust()
    command = shlex.split(line.partition("type: ")[2])
    assert command[:4] == ["python", "explain.py", "tiny-han", "--faithfulness"]
    asked = explain_command.build_parser().parse_args(command[2:])
    assert (asked.runs_dir, asked.data_dir) == (folder / "runs", folder / "data")
    assert line in html.unescape(client.get("/", params={"text": TEXT}).text)


def test_the_method_that_did_best_is_the_first_choice_and_its_figures_are_told(folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "runs" / "examined", folder / "data" / "tiny" / "records")
    sha256 = Predictor.load(run).weights_sha256
    words = {
        name: {"flips": {"mean": share}} for name, share in (("attention", 0.25), ("gradient", 0.75), ("random", 0.05))
    }
    found = {"weights_sha256": sha256, "best_method": "gradient", "words": words, "flip_share": 0.2}
    write_json(run.path / "faithfulness.json", found)
    examined = ServedRun.load(run, DataPaths("tiny", folder / "data"))
    with TestClient(make_app([examined], ["testserver"])) as client:
        shown = client.get("/", params={"text": TEXT}).text
    assert re.search(r'value="gradient" checked', shown) and "changes the verdict in 25.0% of documents" in shown


# -- many at once -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(site: ServedRun) -> Iterator[str]:
    with serving([site]) as address:
        yield address


def test_fifty_clients_at_once_are_answered_without_an_error(address: str, site: ServedRun) -> None:
    texts = [f"word{n % 40:02d} good. " * (1 + n % 7) for n in range(50)]
    calls = site.batcher.calls
    together = threading.Barrier(50)

    def client(number: int) -> list[Any]:
        with httpx2.Client(base_url=address, timeout=60) as http:
            together.wait(60)
            rest = http.post("/v1/models/han:predict", json={"instances": [texts[number]]})
            page = http.post("/answer", data={"text": texts[number], "method": ("attention", "gradient")[number % 2]})
            return [rest.status_code, page.status_code, rest.json()["predictions"][0]["probabilities"]["positive"]]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(client, range(50)))
    assert {(rest, page) for rest, page, _ in answers} == {(200, 200)}
    alone = [probabilities(site.predictor, text)[1] for text in texts]
    assert [positive for *_, positive in answers] == pytest.approx(alone, abs=1e-5)
    assert site.batcher.calls - calls < 100


# -- the map ----------------------------------------------------------------------------------------------------------


def test_the_map_is_that_of_the_document_vectors_and_a_text_lies_where_its_vector_does(site: ServedRun) -> None:
    site.draw_map()
    assert site.map is not None
    documents = site.map.documents
    vectors = [site.predictor.model.document_vectors(join([site.predictor.read(d.text).document])) for d in documents]
    vectors = np.concatenate([vector.numpy() for vector in vectors]).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    by_svd = centred @ np.linalg.svd(centred)[2][:2].T
    places = site.map.places(vectors)
    for axis in (0, 1):  # the sign of an axis is free
        assert abs(np.corrcoef(places[:, axis], by_svd[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)
    scales = np.ptp(places, axis=0) / np.ptp(by_svd, axis=0)
    assert scales[0] == pytest.approx(scales[1], rel=1e-3)
    assert places.min() >= 0 and places[:, 0].max() <= 1 and places[:, 1].max() <= site.map.height
    order = np.argsort(np.linalg.norm(vectors - vectors[3], axis=1))
    near = [document.id for document in site.map.nearest(vectors[3], but=documents[3].id)]
    assert near == [documents[place].id for place in order if place != 3][:3]


def test_the_page_shows_the_place_of_a_text_and_where_it_was(client: TestClient, site: ServedRun) -> None:
    site.draw_map()
    plain, changed = ask(client, text=TEXT), ask(client, text=TEXT, without="0-14")
    assert len(plain.of_class("here")) == 1 and not plain.of_class("way")
    assert len(plain.of_class("same")) + len(plain.of_class("other")) == DOCUMENTS
    [way], [here] = changed.of_class("way"), changed.of_class("here")
    assert (way["x2"], way["y2"]) == (here["cx"], here["cy"])
    before = plain.of_class("here")[0]
    assert (way["x1"], way["y1"]) == (before["cx"], before["cy"])
