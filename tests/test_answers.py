"""What a run answers: prediction, shades, what an edit changes, links."""

from __future__ import annotations

import html
import os
import re
import shlex
from pathlib import Path
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

import explain as explain_command
from explaining.explanations import METHODS, explain, shades
from explaining.leaving_out import keep_words
from page import answers
from page.answers import ServedRun, answer
from page.batcher import Busy
from page.questions import Question, Refusal, parse_ranges
from page.viewer import make_app
from runtime.predictor import Predictor
from tests.helpers import write_tiny_run
from tests.served_runs import (
    TEXT,
    Page,
    ask,
    expected,
    percentages,
    probabilities,
)
from utils import DataPaths, write_json


def test_the_answer_is_the_networks_own_and_shades_the_words_by_the_method(
    client: TestClient, served: ServedRun
) -> None:
    for method in METHODS:
        page = ask(client, text=TEXT, method=method)
        assert percentages(page) == expected(served.predictor, TEXT)
        words = page.of_class("word")
        assert [TEXT[int(w["data-start"] or 0) : int(w["data-end"] or 0)] for w in words] == [
            TEXT[start:end] for sentence in served.predictor.spans(TEXT) for start, end in sentence
        ]
        document = served.predictor.read(TEXT).document
        target = int(probabilities(served.predictor, TEXT).argmax())
        [scores] = explain(served.predictor, [document], [target], method)
        strongest = int(np.abs(shades(scores, document.words_per_sentence)).argmax())
        assert "level5" in (words[strongest]["class"] or "")
        if method != "attention":
            assert (words[strongest]["title"] or "").startswith(f"{scores.words[strongest]:+.4f} log-odds")


def test_the_class_to_explain_can_be_chosen(client: TestClient, served: ServedRun) -> None:
    document = served.predictor.read(TEXT).document
    predicted = int(probabilities(served.predictor, TEXT).argmax())
    names = served.predictor.class_names
    for target, asked in ((predicted, ""), (predicted, names[predicted]), (1 - predicted, names[1 - predicted])):
        page = ask(client, text=TEXT, method="gradient", target=asked)
        [scores] = explain(served.predictor, [document], [target], "gradient")
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
    assert refused.status_code == 400 and f"the classes are: {', '.join(names)}" in refused.text


def test_a_sentence_left_out_is_as_if_it_had_never_been_written(client: TestClient, served: ServedRun) -> None:
    second = ask(client, text=TEXT).of_class("weight")[1]
    page = ask(client, text=TEXT, toggle=second["value"] or "")
    without = "A good word01! \nQuite good word03 and word04? word05."
    assert percentages(page) == expected(served.predictor, without)
    was = {text.removeprefix("was ") for text in page.shown if text.startswith("was")}
    assert was == set(expected(served.predictor, TEXT))
    assert len(page.of_class("out")) == 1 and len(page.of_class("gone")) == 5
    again = ask(client, text=TEXT, without=page.named("without"), toggle=second["value"] or "")
    assert again.named("without") == "" and percentages(again) == expected(served.predictor, TEXT)


def test_everything_left_out_is_reported(client: TestClient) -> None:
    page = ask(client, text="good. bad.", without="0-99")
    assert any("Everything is left out" in text for text in page.shown)


def test_an_edited_word_moves_the_verdict_and_the_edit_can_be_undone(client: TestClient, served: ServedRun) -> None:
    edited = TEXT.replace("Bad", "Good")
    page = ask(client, text=edited, original=TEXT)
    assert percentages(page) == expected(served.predictor, edited)
    was = {text.removeprefix("was ") for text in page.shown if text.startswith("was")}
    assert was == set(expected(served.predictor, TEXT))
    assert page.named("original") == TEXT
    undone = ask(client, text=edited, original=TEXT, undo="1", without="0-5")
    assert percentages(undone) == expected(served.predictor, TEXT) and undone.named("without") == ""


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


def test_a_test_document_is_shown_with_its_label_until_it_is_edited(client: TestClient, served: ServedRun) -> None:
    document = served.documents.all()["test/5"]
    page = Page(client.get("/", params={"id": "test/5"}).text)
    assert percentages(page) == expected(served.predictor, document.text) and page.named("id") == "test/5"
    assert f"predicted {'right' if document.prediction == document.label else 'wrong'}" in " ".join(page.shown)
    assert ask(client, id="test/5", text=document.text + " bad").named("id") == ""
    assert client.get("/", params={"id": "test/x"}).status_code == 404


def test_two_runs_answer_side_by_side(served: ServedRun, other: ServedRun) -> None:
    with TestClient(make_app([served, other], ["testserver"])) as client:
        page = ask(client, text=TEXT, method="attention")
        assert percentages(page) == [*expected(served.predictor, TEXT), *expected(other.predictor, TEXT)]
        found = client.get("/random", params={"filter": "disagree"}, follow_redirects=False)
        name = httpx2.URL(found.headers["location"]).params["id"]
        one, two = (each.documents.all()[name].prediction for each in (served, other))
        assert one != two
        shown = client.get("/errors", params={"run": "tiny-other"}).text
        assert "Documents, predicted by tiny-other" in shown


def test_a_network_without_attention_is_explained_by_another_method(
    page_folder: Path, tmp_path: Path, served: ServedRun
) -> None:
    run = write_tiny_run(tmp_path / "runs" / "flat", page_folder / "data" / "tiny" / "records", architecture="bilstm")
    flat = ServedRun.load(run, DataPaths("tiny", page_folder / "data"))
    with TestClient(make_app([flat, served], ["testserver"])) as client:
        page = ask(client, text=TEXT, method="attention")
        assert percentages(page) == [*expected(flat.predictor, TEXT), *expected(served.predictor, TEXT)]
        assert "flat has no attention: shown by integrated gradients." in page.shown
        assert 'value="attention"' in client.get("/").text
        [line] = [one for one in Page(client.get("/methods", params={"text": TEXT}).text).shown if "cannot be" in one]
        assert line.startswith("flat cannot be explained by attention; contribution; ")
        assert line.endswith(": its network has no attention.")
    with TestClient(make_app([flat], ["testserver"])) as client:
        assert 'value="attention"' not in client.get("/").text
        assert "cannot be explained" not in client.get("/methods", params={"text": TEXT}).text


def test_leave_one_out_of_a_long_text_is_shown_by_gradient(client: TestClient) -> None:
    page = ask(client, text="good word01 bad word02 good. " * 300, method="leave_one_out")
    assert any("leave-one-out is limited to 1,500 words" in text for text in page.shown)


def test_a_text_of_unknown_words_and_one_that_is_cut_are_remarked(client: TestClient, served: ServedRun) -> None:
    assert any("None of these words is in the vocabulary" in text for text in ask(client, text="qqq zzz").shown)
    assert any("were not read" in text for text in ask(client, text="good. " * 500, method="attention").shown)
    one = ask(client, text="good", method="leave_one_out")
    assert len(one.of_class("word")) == 1 and percentages(one) == expected(served.predictor, "good")


def test_what_turns_the_verdict_is_shown_and_is_true(client: TestClient, served: ServedRun) -> None:
    """What the page says must be left out is left out by hand, and the network asked again."""
    turned = 0
    for document in list(served.documents.all().values())[:12]:
        without = f"0-{document.text.index(' ')}"
        answered = answer(served, Question(document.text, "contribution", tuple(parse_ranges(without))))
        for found in answered.explanation.counterfactuals:
            kept = answered.kept.copy()
            for start, end in found.places(answered.explanation.spans):
                kept &= ~np.array([start <= word[0] < end for word in answered.spans])
            assert bool((kept != answered.kept).any()) is (len(found.removed) > 0)
            [row] = served.predictor.probabilities([keep_words(served.predictor.read(document.text).document, kept)])
            before = int(answered.explanation.verdict.probabilities.argmax())
            assert (int(row.argmax()) != before) is (len(found.removed) > 0)
            turned += len(found.removed) > 0
        shown = ask(client, text=document.text, method="contribution", without=without).shown
        assert set(answered.explanation.counterfactuals_in_words()) <= set(shown)
    assert turned


def test_full_memory_is_reported(served: ServedRun, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(served.batcher, "_score", fail)
        response = client.post("/v1/models/han:predict", json={"instances": ["good"]})
        assert response.status_code == 503 and response.json() == {"error": "out of memory; give a shorter text."}
    with monkeypatch.context() as patch:
        patch.setattr("page.answers.explain", fail)
        response = client.post("/answer", data={"text": "good", "method": "gradient"})
        assert (
            response.status_code == 503 and "out of memory; give a shorter text, or choose attention." in response.text
        )
    assert client.post("/answer", data={"text": "good", "method": "gradient"}).status_code == 200


def test_a_full_queue_is_reported(served: ServedRun, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise Busy

    monkeypatch.setattr(served.batcher, "score", refuse)
    response = client.post("/answer", data={"text": "good"})
    assert response.status_code == 503 and "Too many texts are waiting." in response.text


def test_the_command_that_measures_a_run_can_be_pasted(
    client: TestClient, served: ServedRun, page_folder: Path
) -> None:
    [line] = served.trust()
    command = shlex.split(line.partition("type: ")[2])
    assert command[:4] == ["python", "explain.py", "tiny-han", "--faithfulness"]
    asked = explain_command.build_parser().parse_args(command[2:])
    assert (asked.runs_dir, asked.data_dir) == (page_folder / "runs", page_folder / "data")
    assert line in html.unescape(client.get("/", params={"text": TEXT}).text)


def test_a_run_whose_folder_is_not_named_in_utf8_is_served(page_folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / os.fsdecode(b"h\xe9"), page_folder / "data" / "tiny" / "records")
    odd = ServedRun.load(run, DataPaths("tiny", page_folder / "data"))
    with TestClient(make_app([odd], ["testserver"])) as client:
        for path in ("/?text=good", "/errors", f"/errors?run={quote(odd.name)}", "/v1/models/gone"):
            response = client.get(path)
            assert response.status_code == (404 if "gone" in path else 200) and "h\ufffd" in response.text, path
        assert client.post("/answer", data={"text": "good"}).status_code == 200


def test_the_method_that_did_best_is_the_first_choice_with_its_figures(page_folder: Path, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "runs" / "examined", page_folder / "data" / "tiny" / "records")
    sha256 = Predictor.load(run).weights_sha256
    shares = {"attention": 0.25, "gradient": 0.75, "random": 0.05}
    rows = {name: {"flips": {"mean": share, "half_width": 0.1}} for name, share in shares.items()}
    found = {
        **{"weights_sha256": sha256, "best_method": "gradient", "words": rows, "sentences": rows, "flip_share": 0.2},
        **{"split": "valid", "documents": 9, "step": 7},
    }
    write_json(run.path / "faithfulness.json", found)
    examined = ServedRun.load(run, DataPaths("tiny", page_folder / "data"))
    with TestClient(make_app([examined], ["testserver"])) as client:
        shown = client.get("/", params={"text": TEXT}).text
        attended = client.get("/", params={"text": TEXT, "method": "attention"}).text
    assert re.search(r'value="gradient" checked', shown) and "changes the verdict in 25.0% of documents" in shown
    assert "of words that gradient x input ranks first changes the verdict in 75.0% of 9 validation documents" in shown
    assert "of words that attention ranks first changes the verdict in 25.0% of 9 validation documents" in attended


def test_a_first_text_is_explained_by_the_default_method_and_a_busy_server_does_not_mind(
    served: ServedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Question] = []

    def answer_and_refuse(run: ServedRun, question: Question) -> None:
        asked.append(question)
        assert answer(run, question).explanation.method == served.default_method
        raise Refusal(503, "Too much is waiting.", 1)

    monkeypatch.setattr(answers, "answer", answer_and_refuse)
    answers.explain_first_text([served, served])
    assert [question.method for question in asked] == [served.default_method] * 2
