"""The page as a browser sees it: markup, headers, bad input, many clients at once."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from fastapi.testclient import TestClient

import attention_viewer
from explaining.explained_text import explain_text
from explaining.pages import environment, share_in_digits
from page import at_work, batcher, viewer
from page.answers import ServedRun
from page.questions import MOST_TEXT_BYTES
from page.rendering import ROOT
from page.viewer import HEADERS, MOST_BODY_BYTES, make_app
from tests.helpers import write_tiny_run
from tests.served_runs import (
    TEXT,
    Page,
    expected,
    percentages,
    probabilities,
    serving,
)
from utils import DataPaths, UserError, exclusive_lock

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


@pytest.mark.parametrize("path", ["/", "/?text=good", "/errors", "/static/shaded.css", "/static/viewer.js"])
def test_one_may_ask_whether_a_page_is_there(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert response.status_code == 200 and not response.content


def test_the_page_works_without_script(client: TestClient, served: ServedRun) -> None:
    response = client.post("/", data={"text": TEXT, "method": "attention", "toggle": "0-14"})
    page = Page(response.text)
    assert response.status_code == 200 and percentages(page) == expected(served.predictor, TEXT[14:])
    forms = {attributes["id"]: attributes for tag, attributes in page.tags if tag == "form"}
    assert (forms["ask"]["method"], forms["ask"]["action"]) == ("post", "./")
    assert all(button["value"] for button in page.of_class("weight"))


@pytest.mark.parametrize("text", [*HOSTILE, *ODD])
def test_nothing_of_a_text_becomes_markup(client: TestClient, text: str) -> None:
    for response in (
        client.post("/answer", data={"text": text, "original": text + " bad", "method": "attention"}),
        client.get("/", params={"text": text, "filter": text}),
    ):
        page = Page(response.text)
        assert response.status_code == 200
        allowed = {"html", "head", "meta", "title", "link", "script", "body", "a", "header", "p", "nav", "main", "form"}
        allowed |= {"h1", "label", "textarea", "div", "button", "span", "select", "option", "fieldset", "legend"}
        allowed |= {"input", "section", "table", "caption", "tr", "th", "td", "svg", "rect", "ol", "li", "bdi", "b"}
        allowed |= {"progress", "ul", "details", "summary"}
        allowed |= {"figure", "figcaption", "circle", "line"}  # and `title` in a circle
        assert {tag for tag, _ in page.tags} <= allowed
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert all(attributes == {"src": "static/viewer.js", "defer": None} for attributes in scripts)
        for _, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            for name in ("href", "src", "action"):
                assert not re.match(r"\s*(javascript|data|https?|//)", attributes.get(name) or "", re.I)
        shown = response.text.partition('<div class="columns')[2]  # outside the fields that hold the text as it is
        assert shown and not set("\x00\x1b\u202e") & set(shown)


def test_phrases_are_listed_with_their_shares_for_the_class_first(client: TestClient, served: ServedRun) -> None:
    text = "good word01, bad word02. word03 good good, and bad."
    page = client.post("/answer", data={"text": text, "method": "gradient", "run": served.name}).text
    listed = re.findall(
        r'<li><span class="(for|against)[^"]*">([^<]+)</span> <span class="number">([^<]+)</span>', page
    )
    expected = explain_text(served.predictor, text, "gradient").phrases_quoted()
    assert [(quoted, share) for _, quoted, share in listed] == [(one, f"{share:+.2f}") for one, share in expected]
    assert {side for side, *_ in listed} == {"for", "against"}
    assert [side for side, *_ in listed] == ["for" if share > 0 else "against" for _, share in expected]
    rests = re.findall(r"everything else <span[^>]*>([^<]+)<", page)
    assert rests == [f"{explain_text(served.predictor, text, 'gradient').phrases.rest:+.2f}"]


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [(-0.004, True, "+0.00"), (-0.006, True, "-0.01"), (0.5, True, "+0.50"), (0.5, False, "0.50")],
)
def test_a_share_that_rounds_to_zero_has_no_minus(value: float, signed: bool, shown: str) -> None:
    assert share_in_digits(value, signed) == shown


def test_an_answer_is_saved_as_a_page_that_stands_alone_and_as_json(client: TestClient, served: ServedRun) -> None:
    asked = {"text": TEXT, "method": "gradient", "without": "0-14", "run": served.name}
    response = client.post("/save.html", data=asked)
    assert response.headers["content-disposition"] == 'attachment; filename="explanation.html"'
    page = Page(response.text)
    assert percentages(page) == expected(served.predictor, TEXT[14:])
    assert not [tag for tag, attributes in page.tags if tag in {"script", "link"} or attributes.get("src")]
    assert "4 words are left out: they are struck through" in response.text
    assert re.findall(r'<li value="(\d+)" class="out">', response.text) == ["1"] and ">out</span>" in response.text
    assert "Before the changes the prediction was " in response.text and not page.of_class("gone")
    word = client.post("/save.html", data={**asked, "without": "2-6"}).text  # "good", of the first sentence
    assert re.findall(r'<span class="gone">([^<]+)</span>', word) == ["good"] and 'class="out"' not in word
    one = next(iter(served.documents.all().values()))
    named = client.post("/save.html", data={"text": one.text, "id": one.id, "method": "gradient"}).text
    assert f"Labelled {one.label}." in named and "Before the changes" not in named
    value = client.post("/save.json", data=asked).json()
    assert value["method"] == "gradient" and value["run"] == served.name and len(value["left_out"]) == 4
    assert [sum(word["attention"] for word in sentence["words"]) for sentence in value["sentences"]] == pytest.approx(
        [0, 1, 1, 1], abs=1e-5
    )
    for text in HOSTILE:
        hostile = client.post("/save.html", data={"text": text, "method": "attention"})
        assert hostile.status_code == 200 and not [
            tag for tag, _ in Page(hostile.text).tags if tag in {"script", "img"}
        ]
    for path, values, status in (
        ("/save.exe", asked, 404),
        ("/save.html", {**asked, "run": "<script>"}, 404),
        ("/save.json", {"text": ""}, 422),
    ):
        assert client.post(path, data=values).status_code == status


def test_error_pages_escape_what_they_quote(client: TestClient) -> None:
    evil = "<script>alert(1)</script>"
    for response in (
        client.get("/", params={"id": evil}),
        client.get("/random", params={"filter": evil}),
        client.get("/errors", params={"by": evil}),
        client.get("/errors", params={"run": evil}),
        client.get(f"/{evil}"),
        client.get("/", params={"text": "good", "method": evil}),
    ):
        assert response.status_code in {400, 404} and evil not in response.text and html.escape(evil) in response.text
        assert response.text.count("<h1") == 1


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
    for file in [file for page_folder in folders for file in (root / page_folder).iterdir()]:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"^\s*//.*$", "", text, flags=re.M)), file


def test_the_templates_are_compiled_before_somebody_asks(served: ServedRun) -> None:
    environment.cache_clear()
    with TestClient(make_app([served], ["testserver"])):
        cache = environment(ROOT / "templates").cache
        assert cache is not None and {"page.html", "base.html"} <= {name for _, name in cache}


def test_a_foreign_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


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


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("GET", "/?text=good", "page"),
        ("GET", "/overview", "page"),
        ("POST", "/answer", "part"),
        ("POST", "/v1/models/han:predict", "json"),
    ],
)
def test_an_error_of_the_program_is_a_sentence_and_its_traceback_is_in_the_log_alone(
    served: ServedRun, monkeypatch: pytest.MonkeyPatch, method: str, path: str, form: str
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of the server")

    for name in ("answer", "figures_of"):
        monkeypatch.setattr(f"page.viewer.{name}", broken)
    monkeypatch.setattr("page.rest.predict", broken)
    app = make_app([served], ["testserver"])
    body: dict[str, Any] = {"json": {"instances": ["good"]}} if form == "json" else {"data": {"text": "good"}}
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.request(method, path, **(body if method == "POST" else {}))
        assert client.get("/").status_code == 200
    assert response.status_code == 500 and "secret" not in response.text and "Traceback" not in response.text
    assert all(response.headers.get(header) == value for header, value in HEADERS.items())
    said = response.json()["error"] if form == "json" else response.text
    assert "Try again" in said and "attention_viewer.py" in said
    assert ("<html" in response.text, "static/viewer.css" in response.text) == (form == "page", form == "page")
    with TestClient(app) as client, pytest.raises(ZeroDivisionError):  # uvicorn gets it, too, and writes it to its log
        client.request(method, path, **(body if method == "POST" else {}))


def test_a_run_that_is_still_training_says_so_on_the_page(page_folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "runs" / "young", page_folder / "data" / "tiny" / "records")
    run.finished.unlink()
    with exclusive_lock(run.lock):
        young = ServedRun.load(run, DataPaths("tiny", page_folder / "data"))
        with TestClient(make_app([young], ["testserver"])) as client:
            assert "is still training: these are the weights of its best validation so far" in client.get("/").text
    run.best.unlink()
    with pytest.raises(UserError, match="has no weights"):
        ServedRun.load(run, DataPaths("tiny", page_folder / "data"))


def test_fifty_clients_at_once_are_answered_without_an_error(
    served: ServedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, too: nobody is refused for its slowness here, and the network waits until all have asked."""
    for limited in (at_work, batcher):
        monkeypatch.setattr(limited, "MOST_WAIT_SECONDS", 60.0)
    texts = [f"word{n % 40:02d} good. " * (1 + n % 7) for n in range(50)]
    calls, score, together = served.batcher.calls, served.batcher._score, threading.Barrier(50)

    def score_when_all_have_asked(documents: Any) -> Any:
        end = time.monotonic() + 60
        while served.batcher.calls == calls + 1 and served.batcher.waiting < 50 - len(documents):
            assert time.monotonic() < end
            time.sleep(0.01)
        return score(documents)

    monkeypatch.setattr(served.batcher, "_score", score_when_all_have_asked)
    monkeypatch.setattr(viewer, "read_documents", lambda runs: None)  # which asks the network, too

    def client(number: int) -> list[Any]:
        with httpx2.Client(base_url=address, timeout=120) as http:
            rest = http.post("/v1/models/han:predict", json={"instances": [texts[number]]})
            together.wait(120)
            needed = served.batcher.calls - calls
            together.wait(120)
            page = http.post("/answer", data={"text": texts[number], "method": ("attention", "gradient")[number % 2]})
            positive = rest.json()["predictions"][0]["probabilities"]["positive"]
            return [rest.status_code, page.status_code, needed, positive]

    with serving([served]) as address, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(client, range(50)))
    assert {(rest, page, needed) for rest, page, needed, _ in answers} == {(200, 200, 2)}
    alone = [probabilities(served.predictor, text)[1] for text in texts]
    assert [positive for *_, positive in answers] == pytest.approx(alone, abs=1e-5)
