"""Explaining texts, as from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import explain
from explaining.explained_text import explain_text
from explaining.explanations import METHODS
from explaining.faithfulness import read_findings
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from tests.helpers import loaded_once, write_tiny_records, write_tiny_run
from utils import UserError, write_json

ROOT = Path(__file__).parent.parent
BINARY = np.random.default_rng(1).bytes(4096)
TEXTS = ["A good word01!", "", "bad word02. Quite bad, word03\nword04?", "qqq zzz", "<br />"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, beside the records that it might have been trained on."""
    folder = tmp_path_factory.mktemp("runs")
    records = folder.parent / "data" / "tiny" / "records"
    write_tiny_records(records)
    write_tiny_run(folder / "tiny-han", records, seed=4)
    write_tiny_run(folder / "tiny-2", records, seed=5)
    write_tiny_run(folder / "other-words", records)
    with (folder / "other-words" / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("another\n")
    return folder


@pytest.fixture(scope="module")
def predictor(runs: Path) -> Predictor:
    return Predictor.load(RunFolder(runs / "tiny-han"))


@pytest.fixture(scope="module", autouse=True)
def same_network(runs: Path, predictor: Predictor) -> Iterator[None]:
    with loaded_once(predictor, runs / "tiny-han"):
        yield


def run_explain(runs: Path, *words: object) -> None:
    folders = ["--runs_dir", str(runs), "--data_dir", str(runs.parent / "data")]
    explain.main(explain.build_parser().parse_args(["tiny-han", *map(str, words), *folders]))


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = 'Good <script>alert(1)</script> "><img src=x onerror=alert(1)> &amp; \u202eevil\x1b[31m word01 😀 bad'


@pytest.mark.parametrize("method", ["attention", "gradient"])
def test_a_page_holds_the_text_and_nothing_that_runs(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    run_explain(runs, "--text", HOSTILE, "--method", method, "--html", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name in {"href", "src"} for _, given in page.tags for name in given)
    assert "<script>alert(1)</script>" in page.text and "\u202e" not in page.text and "\x1b" not in page.text
    assert "http" not in (tmp_path / "page.html").read_text(encoding="utf-8").replace("http-equiv", "")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\u202e" not in printed and "script" in printed


def test_json_of_a_file_and_a_class_that_was_asked_for(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "review.txt").write_text("Good word01.\n\nBad word02.", encoding="utf-8")
    run_explain(runs, "--file", tmp_path / "review.txt", "--json", "--method", "leave_one_out", "--target", "positive")
    value = json.loads(capsys.readouterr().out)
    assert value["explained_class"] == "positive" and len(value["sentences"]) == 2
    assert [word["word"] for word in value["sentences"][1]["words"]] == ["Bad", "word02", "."]


def test_the_default_method_is_the_one_that_did_best_with_these_weights(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_explain(runs, "--text", "good")
    assert "Shaded by what each sentence adds" in capsys.readouterr().out
    run_explain(runs, "--faithfulness", "--documents", "4", "--json")
    printed = json.loads(capsys.readouterr().out)
    file = runs / "tiny-han" / "faithfulness.json"
    stored = json.loads(file.read_text())
    assert not {"replaced", "seeds"} & stored.keys()
    assert stored == printed and stored["documents"] == 4 and stored["evidence"] is None and stored["split"] == "valid"
    write_json(file, stored | {"best_method": "gradient"})
    run_explain(runs, "--text", "good")
    shown = capsys.readouterr().out
    assert "Chosen by faithfulness.json. Deleting the 20% of words that gradient x input ranks first changes" in shown
    run_explain(runs, "--text", "good", "--method", "attention")
    shown = capsys.readouterr().out
    assert "of words that attention ranks first changes the verdict in" in shown and "; by gradient x input " in shown
    run_explain(runs, "--faithfulness", "--documents", "2", "--json")
    assert json.loads(capsys.readouterr().out)["documents"] == 2
    assert json.loads(file.read_text())["documents"] == 4  # a smaller examination does not take a larger one's place
    write_json(file, stored | {"best_method": "gradient", "weights_sha256": "of other weights"})
    run_explain(runs, "--text", "good")
    assert "Shaded by what each sentence adds" in capsys.readouterr().out
    file.unlink()


def test_figures_of_test_documents_choose_no_method(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_explain(runs, "--faithfulness", "--documents", "4", "--split", "test")
    assert "choose no method" in capsys.readouterr().out
    file = runs / "tiny-han" / "faithfulness-test.json"
    stored = json.loads(file.read_text())
    assert stored["split"] == "test" and not (runs / "tiny-han" / "faithfulness.json").exists()
    # as an earlier version wrote them, under the name that chooses
    write_json(runs / "tiny-han" / "faithfulness.json", stored | {"best_method": "gradient", "documents": 999})
    run_explain(runs, "--text", "good")
    printed = capsys.readouterr().out
    assert "Shaded by what each sentence adds" in printed
    assert "--faithfulness measures on validation documents" in printed
    run_explain(runs, "--faithfulness", "--documents", "4", "--json")
    assert json.loads((runs / "tiny-han" / "faithfulness.json").read_text())["split"] == "valid"
    for name in ("faithfulness.json", "faithfulness-test.json"):
        (runs / "tiny-han" / name).unlink()


def test_words_are_replaced_and_runs_compared_where_that_is_asked_for(
    runs: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    with loaded_once(predictor, runs / "tiny-2"):  # the same network: it agrees with itself
        run_explain(runs, "--faithfulness", "--documents", "4", "--replacement", "--other_runs", "tiny-2")
    printed = capsys.readouterr().out
    file = runs / "tiny-han" / "faithfulness.json"
    stored = read_findings(file)
    assert set(stored["replaced"]) == set(stored["words"]) and stored["replaced"] != stored["words"]
    assert stored["seeds"]["runs"] == ["tiny-han", "tiny-2"] and stored["seeds"]["same_verdict"] == 1
    assert set(stored["seeds"]["words"]) == set(METHODS) - {"leave_one_out"} == set(stored["seeds"]["sentences"])
    lines = printed.splitlines()
    [replaced], [agreement] = (
        [number for number, line in enumerate(lines) if line.startswith(title)]
        for title in ("words replaced by <unk>", "Spearman of 2 runs")
    )
    share = stored["replaced"]["attention"]["reached"]["mean"]
    assert lines[replaced + 2].startswith("attention ") and lines[replaced + 2].endswith(f" {share:.1%}")
    assert lines[agreement + 1].split()[:4] == ["attention", "1.00", "±", "0.00"]
    assert "the explanations by tiny-han, tiny-2 for the class" in " ".join(printed.split())
    write_json(file, stored | {"seeds": {"runs": 3}})
    with pytest.raises(UserError, match=r"faithfulness\.json is damaged"):
        read_findings(file)
    file.unlink()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--text", " <br /> "], "no word in the text"),
        (["--text", ""], "no word in the text"),
        (["--file", "gone.txt"], "gone.txt: no such file"),
        (["--text", "good", "--target", "nope"], "not a class; choose from: negative, positive"),
        (["--id", "test/9"], r"tiny.csv is not there"),
        (["--faithfulness", "--split", "unlabelled"], "choose valid or test"),
        (["--faithfulness", "--documents", "1"], "--documents 1 is out of range"),
        (["--text", "good", "--replacement"], "--replacement goes with --faithfulness; add that"),
        (["--plausibility", "--other_runs", "tiny-2"], "--other_runs goes with --faithfulness; add that"),
        (
            ["--faithfulness", "--other_runs", "tiny-2", "tiny-han"],
            "--other_runs tiny-han would be compared with itself",
        ),
        (["--faithfulness", "--other_runs", "tiny-2", "tiny-2"], "--other_runs tiny-2 would be compared with itself"),
        (["--faithfulness", "--other_runs", "gone"], "gone"),
        (["--faithfulness", "--other_runs", "other-words"], "is not that of .*other-words"),
    ],
)
def test_mistakes_are_one_line(runs: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run_explain(runs, *words)
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(os.urandom(64) + b"\xff\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        run_explain(runs, "--file", tmp_path / "picture")


def test_a_text_of_unknown_words_is_reported(
    runs: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", logger="han"):
        run_explain(runs, "--text", "qqq zzz")
    assert "None of these words is in the vocabulary" in caplog.text and "qqq" in capsys.readouterr().out


def test_ngrams_are_shown_of_a_run_that_has_them(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_run(tmp_path / "with", runs.parent / "data" / "tiny" / "records", ngrams=True)
    for run, has in (("with", True), ("tiny-han", False)):
        folder = tmp_path if has else runs
        flags = [
            run,
            "--text",
            "A good <b>word01! Bad word02",
            "--runs_dir",
            str(folder),
            "--html",
            str(tmp_path / "p"),
        ]
        explain.main(explain.build_parser().parse_args(flags))
        page = Page((tmp_path / "p").read_text(encoding="utf-8")).text
        for shown in (capsys.readouterr().out, page):
            assert ("n-grams" in shown and "N-grams for it: " in shown) is has
        explain.main(explain.build_parser().parse_args([*flags, "--json"]))
        value = json.loads(capsys.readouterr().out)
        assert ({"parts", "ngrams"} <= value.keys()) is has
    assert "n-grams" not in shown


def test_phrases_and_what_would_turn_the_verdict_are_printed_drawn_and_in_json(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Word12 word19 word19. word39 word27 word31. word00 word12 word39."
    run = write_tiny_run(tmp_path / "unsure", runs.parent / "data" / "tiny" / "records", seed=6)
    asked = [str(run.path), "--text", text, "--method", "contribution"]
    explanation = explain_text(Predictor.load(run), text, "contribution")
    sentences, phrases = explanation.counterfactuals_in_words(), explanation.phrases_in_words()
    assert len(phrases) >= 2
    assert any(sentence.startswith("Without th") for sentence in sentences)
    explain.main(explain.build_parser().parse_args([*asked, "--html", str(tmp_path / "page.html")]))
    printed = " ".join(capsys.readouterr().out.split())
    page = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text.split())
    assert all(sentence in printed and sentence in page for sentence in [*sentences, *phrases])
    explain.main(explain.build_parser().parse_args([*asked, "--json"]))
    value = json.loads(capsys.readouterr().out)
    assert [text[one["start"] : one["end"]] for one in value["phrases"]] == [one["text"] for one in value["phrases"]]
    found = [one for one in value["counterfactuals"] if one["count"]]
    assert found and all(one["prediction"] != value["prediction"] for one in found)
