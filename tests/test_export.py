"""Bundles against the network and the text processing that they were made from."""

from __future__ import annotations

import ast
import contextlib
import csv
import hashlib
import http.client
import io
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

import config
import export
import han
from corpus.sample_corpus import generate
from data_processing import TextProcessor, Vocabulary, blank_markup
from network import recurrent
from network.ngrams import NgramLane
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from shipping import bundle, classify, graph
from shipping.bundle import ngram_rows, read_run, write_program
from shipping.classify import BundleError, Classifier, Ngrams
from shipping.graph import WORD_VECTORS, build_graph
from shipping.text_settings import text_settings
from tests.exposition import parse, value
from tests.helpers import VOCABULARY, write_tiny_records, write_tiny_run
from tests.test_data_processing import random_texts
from tests.test_ngrams import TEXTS as NGRAM_TEXTS
from tests.test_ngrams import table
from text.punkt import SentenceSplitter, train_splitter
from text.text_reader import TextReader, remarks_on
from utils import UserError, exclusive_lock, read_json, write_json, write_jsonl

NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {},
    "gru-lane": {"ngrams": True},
    "gru-mean": {"pooling": "mean"},
    "gru-max": {"pooling": "max"},
    "lstm": {"cell": "lstm"},
    "lstm-max-lane": {"cell": "lstm", "pooling": "max", "ngrams": True},
    "bilstm": {"architecture": "bilstm"},
    "bilstm-lane": {"architecture": "bilstm", "ngrams": True},
    "cnn": {"architecture": "cnn"},
    "cnn-lane": {"architecture": "cnn", "ngrams": True},
}
AWKWARD = [
    "",
    "<br />",
    "good",
    "unheard of",
    "Good. " * 500,
    "bad word01 " * 200,
    "word01 good! 👩\u200d👩\u200d👧 ❤\ufe0f 🇩🇪 bad…",
    "A good, word02 film; Word03.<br /><br />Mr. Word04 is bad. bad word04 (good word05)",
    "日本。 good\u2029bad\ud800",
    "good <!-- word01. <br /> word02 --> bad <b <br /> word03",
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny" / "records"
    write_tiny_records(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, records: Path) -> RunFolder:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny-han", records, ngrams=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, run: RunFolder) -> Path:
    """A bundle, written as a user writes it."""
    folder = tmp_path_factory.mktemp("shelf") / "bundle"
    export_to(folder, run)
    return folder


@pytest.fixture(scope="module")
def classifier(exported: Path) -> Classifier:
    return Classifier(exported)


@pytest.fixture
def own_run(tmp_path: Path, run: RunFolder) -> RunFolder:
    """A copy of the run that a test may damage."""
    return RunFolder(Path(shutil.copytree(run.path, tmp_path / "runs" / "copy")))


@pytest.fixture
def own_bundle(tmp_path: Path, exported: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def export_to(folder: Path, run: RunFolder, *flags: str) -> None:
    export.main(export.build_parser().parse_args([str(run.path), str(folder), *flags]))


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bundle_computes_what_the_network_computes(tmp_path: Path, records: Path, name: str) -> None:
    run = write_tiny_run(tmp_path / "run", records, **NETWORKS[name])
    (tmp_path / "bundle").mkdir()
    write_program(tmp_path / "bundle", read_run(run), "none")
    classifier, predictor = Classifier(tmp_path / "bundle"), Predictor.load(run)
    for text in AWKWARD:
        document = classifier.reader.read(text)
        outputs, [verdict] = classifier.run(document), predictor.score([predictor.read(text).document])
        np.testing.assert_allclose(outputs.logits, verdict.logits, rtol=2e-6, atol=1e-4)  # up to 270
        np.testing.assert_allclose(outputs.vector, verdict.vector, atol=1e-5)
        np.testing.assert_allclose(outputs.sentence_shares.sum(axis=0) + outputs.rest, outputs.logits, atol=1e-5)
        assert (outputs.word_weights is None) == (verdict.word_weights is None)
        # Of the same words again and again the maximum is a tie, which rounding decides.
        tie = NETWORKS[name].get("pooling") == "max" and len(text) > 1000
        if outputs.word_weights is not None and not tie:
            for level in ("word_weights", "sentence_weights"):
                np.testing.assert_allclose(getattr(outputs, level), getattr(verdict, level), atol=1e-5)


def test_everything_that_can_be_trained_has_a_graph() -> None:
    assert graph.BUILDERS.keys() == config.NETWORKS.keys()
    assert graph.CELLS.keys() == recurrent.CELLS.keys() and graph.POOLINGS.keys() == han.POOLINGS.keys()


def test_shares_of_sentences_are_weight_times_state_times_classifier(tmp_path: Path, records: Path) -> None:
    """Moving a sentence's weight to another one moves its share: checked through the classifier's kernel."""
    run = write_tiny_run(tmp_path / "run", records)
    source = read_run(run)
    weights = dict(source.checkpoint.weights)
    document = {
        "token_ids": np.array([[2, 5, 0], [3, 4, 6]], np.int32),
        "words_per_sentence": np.array([2, 3], np.int32),
    }
    _, vector, _, _, shares = outputs_of(source.config.model, weights, document)
    weights["classifier/kernel"] = 2 * weights["classifier/kernel"]
    _, same_vector, _, _, doubled = outputs_of(source.config.model, weights, document)
    np.testing.assert_allclose(doubled, 2 * shares, rtol=1e-5)
    np.testing.assert_array_equal(vector, same_vector)
    np.testing.assert_allclose(shares.sum(axis=0), vector @ (weights["classifier/kernel"] / 2), atol=1e-5)


def outputs_of(settings: Any, weights: Any, document: dict[str, np.ndarray], quantize: str = "none") -> list[Any]:
    model = build_graph("han", settings, weights, quantize)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, document)
    return outputs


def test_the_lane_is_the_lane_of_the_network() -> None:
    fitted = table()
    lane, ngrams = NgramLane(fitted), Ngrams(ngram_rows(fitted), 21, fitted.bias.tolist(), 0.5)
    for text in NGRAM_TEXTS:
        ids = np.array([word for sentence in text for word in sentence], np.int32)
        vectors = (ids, np.array([len(sentence) for sentence in text], np.int32), np.array([len(text)], np.int32))
        found = ngrams.contributions(ids)
        np.testing.assert_allclose(found.added.sum(axis=0) + ngrams.bias, 0.5 * lane.logits_of(*vectors)[0], atol=1e-5)
        np.testing.assert_allclose(found.of_words(len(ids)), 0.5 * lane.shares_of(*vectors), atol=1e-5)


def test_an_empty_table_of_ngrams_adds_its_bias_alone() -> None:
    empty = np.empty(0, [("key", "<i8"), ("idf", "<f4"), ("weights", "<f4", (2,))])
    found = Ngrams(empty, 21, [0.0, 0.0], 1.0).contributions(np.array([2, 3, 4], np.int32))
    assert found.added.shape == (0, 2) and not found.of_words(3).any()


@pytest.mark.parametrize(("quantize", "bytes_of_a_value"), [("none", 4), ("fp16", 2), ("int8", 1)])
def test_word_vectors_can_be_smaller(run: RunFolder, quantize: str, bytes_of_a_value: int) -> None:
    source = read_run(run)
    weights = source.checkpoint.weights
    model = build_graph("han", source.config.model, weights, quantize)
    [stored] = [constant for constant in model.graph.initializer if constant.name == "embeddings"]
    assert len(stored.raw_data) == bytes_of_a_value * weights["embeddings"].size
    document = {"token_ids": np.array([[2, 5, 9]], np.int32), "words_per_sentence": np.array([3], np.int32)}
    expected = outputs_of(source.config.model, weights, document)[0]
    found = outputs_of(source.config.model, weights, document, quantize)[0]
    step = np.abs(weights["embeddings"]).max() / {"none": np.inf, "fp16": 2048, "int8": 254}[quantize]
    np.testing.assert_allclose(found, expected, atol=20 * step + 1e-7)
    assert (quantize == "none") == (np.abs(found - expected).max() == 0)


@pytest.mark.parametrize(("quantize", "levels"), [("fp16", 2048), ("int8", 254)])
def test_each_word_has_its_own_scale(quantize: str, levels: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32) * np.logspace(-3, 3, 50)[:, np.newaxis]
    nodes = graph.Graph()
    result = WORD_VECTORS[quantize](nodes, vectors.astype(np.float32), "token_ids")
    model = helper.make_model(
        helper.make_graph(
            nodes.nodes,
            "vectors",
            [helper.make_tensor_value_info("token_ids", TensorProto.INT32, [None])],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None, None])],
            list(nodes.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", graph.OPSET)],
        ir_version=graph.IR_VERSION,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"token_ids": np.arange(50, dtype=np.int32)})
    assert (np.abs(found - vectors).max(axis=1) <= 1.01 * np.abs(vectors).max(axis=1) / levels).all()


def test_a_word_vector_of_zeros_stays_zero(run: RunFolder) -> None:
    source = read_run(run)
    weights = source.checkpoint.weights | {"embeddings": np.zeros_like(source.checkpoint.weights["embeddings"])}
    document = {"token_ids": np.array([[2]], np.int32), "words_per_sentence": np.array([1], np.int32)}
    results = [outputs_of(source.config.model, weights, document, quantize)[0] for quantize in WORD_VECTORS]
    for result in results:
        np.testing.assert_array_equal(result, results[0])


# ---------------------------------------------------------------------------------------------------------------------
# Text


def check_words(processor: TextProcessor, texts: list[str]) -> None:
    """Compares words, sentences and ids of every text; half of the words have an id."""
    words = {word for text in texts[::2] for sentence in processor.process(text).words for word in sentence}
    vocabulary = Vocabulary(["<pad>", "<unk>", *sorted(words)])
    theirs = TextReader(processor, vocabulary)
    ours = classify.TextReader(json.loads(json.dumps(text_settings(processor, vocabulary))))
    for text in texts:
        reading, spans = theirs.read_with_spans(text)
        document = ours.read(text)
        assert document.spans == spans, ascii(text)
        np.testing.assert_array_equal(document.token_ids, reading.document.token_ids)
        np.testing.assert_array_equal(document.words_per_sentence, reading.document.words_per_sentence)
        assert (document.words, document.unknown_words, document.cut_words) == reading[1:]


def random_splitter(generator: random.Random, words: list[str]) -> SentenceSplitter:
    """A splitter with random parameters, of twelve words at least."""
    return SentenceSplitter(
        frozenset(generator.sample(words, 6)),
        frozenset(zip(generator.sample(words, 5), generator.sample(words, 5), strict=True)),
        frozenset(generator.sample(words, 5)),
        {word: 2 * generator.randrange(1, 64) for word in generator.sample(words, 12)},
    )


def test_every_rule_about_sentences_is_that_of_the_splitter() -> None:
    """Random parameters, under which initials can be abbreviations and every word can start a sentence."""
    generator = random.Random(4)
    words = ["word", "the", "i", "a", "no", "j", "bach", "mr", "e.g", "u.s", "etc", "##number##", "3", "é"]
    for number in range(8):
        splitter = random_splitter(generator, words)
        cased = [word.title() + dot for word in words for dot in ("", ".", "...")] + [f"{word}." for word in words]
        sentences = [" ".join(generator.choices(words + cased, k=12)) for _ in range(200)]
        check_words(TextProcessor(splitter), random_texts(1000, number) + sentences)


def test_words_and_sentences_are_those_of_the_text_processing() -> None:
    reviews = [review.text for review in itertools.islice(generate(3), 300)]
    extras = [
        "Dr. Grey met J. Bach at 5 p.m. on Friday. ",
        "It cost approx. 3.5 mill. dollars, e.g. in the U.S. it did. ",
    ]
    reviews = [extras[number % 2] * (number % 5) + text for number, text in enumerate(reviews)]
    processor = TextProcessor(train_splitter(map(blank_markup, reviews)), 7, 20)
    check_words(processor, [*reviews, *random_texts(4000, 5), *AWKWARD])


# ---------------------------------------------------------------------------------------------------------------------
# The program


def test_it_imports_nothing_of_this_project() -> None:
    tree = ast.parse(bundle.PROGRAM.read_text(encoding="utf-8"))
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert outside == set(bundle.IMPORTED)


def run_program(folder: Path, *arguments: str, text: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    """Runs a bundle from another folder, without this project on Python's path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    data = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "classify.py"), *arguments],
        input=data,
        capture_output=True,
        cwd=folder.parent,
        env=environment,
        timeout=60,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_text_from_the_command_line_or_standard_input(exported: Path, classifier: Classifier) -> None:
    text = "A good film, word02.\nMr. Word04 is bad."
    expected = classifier.explain(text)
    assert json.loads(run_program(exported, text, "--json").stdout) == expected
    assert json.loads(run_program(exported, "--json", text=text).stdout) == expected
    remarks, *shown = run_program(exported, text).stdout.splitlines()
    assert remarks == f"remark: {expected['remarks'][0]}"
    assert shown[0] == f"{expected['label']} ({expected['confidence']:.1%})"
    assert shown[1].split(None, 2)[2] == "A good film, word02." and shown[-2].startswith("n-grams: ")


def test_shown_shares_add_up_to_the_log_odds(classifier: Classifier) -> None:
    explanation = classifier.explain("A good film, word02. Mr. Word04 is bad. good word05")
    logits, label = explanation["logits"], explanation["label"]
    parts = [explanation["rest"], *(sentence["shares"] for sentence in explanation["sentences"])]
    odds = np.log(explanation["confidence"] / (1 - explanation["confidence"]))
    assert sum(classify.evidence(part, label) for part in parts) == pytest.approx(odds, abs=1e-5)
    assert classify.evidence(logits, label) == pytest.approx(odds, abs=1e-9)
    strengths = [abs(classify.evidence(ngram["shares"], label)) for ngram in explanation["ngrams"]]
    assert strengths == sorted(strengths, reverse=True) and {"good", "bad"} <= {
        n["ngram"] for n in explanation["ngrams"]
    }


def test_texts_that_need_a_remark(classifier: Classifier) -> None:
    empty, unknown, long = classifier.predict(["<br />", "unheard of", "Good.\n\n" * 500])
    assert empty["label"] is None and empty["probabilities"] is None and "no word" in empty["remarks"][0]
    assert (
        unknown["label"]
        and unknown["unknown_words"] == unknown["words"] == 2
        and "means nothing" in unknown["remarks"][0]
    )
    assert long["words"] == 800 and "last 200 words" in long["remarks"][0]
    assert classifier.explain("")["sentences"] == []
    [mostly] = classifier.predict(["good, but unheard of"])
    assert mostly["words"] == 5 and "4 of the 5 words are not in the vocabulary" in mostly["remarks"][0]
    assert "no word" in classify.shown(classifier.explain(""))


def test_a_bundle_remarks_on_the_texts_that_the_project_remarks_on(run: RunFolder, classifier: Classifier) -> None:
    assert classifier.settings["short_text"] == run.short_text()
    reader = TextReader.load(run.path)
    texts = ["", "good", "unheard of", "good bad unheard of this", "good bad film", "good " * 40, "Good.\n\n" * 500]
    for text, short in itertools.product(texts, (0, 4, 30)):
        ours, theirs = classify.remarks(classifier.reader.read(text), short), remarks_on(reader.read(text), short)
        assert len(ours) == len(theirs), (text, short)


def test_a_csv_file(exported: Path, classifier: Classifier, tmp_path: Path) -> None:
    texts = ["good, film", "", "bad\nword01"]
    file = tmp_path / "texts.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([["id", "review"], *([f"r{n}", text] for n, text in enumerate(texts))])
    done = run_program(exported, "--csv", str(file), "--text_column", "review")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["id"] for row in rows] == ["r0", "r1", "r2"]
    for row, verdict in zip(rows, classifier.predict(texts), strict=True):
        assert row["prediction"] == (verdict["label"] or "") and int(row["words"]) == verdict["words"]
        if verdict["label"]:
            assert float(row["probability_positive"]) == pytest.approx(verdict["probabilities"]["positive"], abs=1e-6)
    lines = run_program(exported, "--csv", str(file), "--text_column", "review", "--json").stdout.splitlines()
    assert [json.loads(line)["label"] for line in lines] == [verdict["label"] for verdict in classifier.predict(texts)]
    file.write_text("only\ngood\n", encoding="utf-8")
    assert run_program(exported, "--csv", str(file)).stdout.splitlines()[1].startswith("row/2,")


def test_a_python_without_packages_says_what_to_type(exported: Path) -> None:
    command = [sys.executable, "-S", "-E", str(exported / "classify.py"), "A dull film."]  # -S: no package is found
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    [line] = done.stderr.splitlines()
    assert done.returncode == 2 and f"has no package numpy; type: {sys.executable} -m pip install -r " in line


def test_the_name_of_a_file_is_not_classified(exported: Path) -> None:
    done = run_program(exported, str(exported / "README.md"))
    assert done.returncode == 2 and "README.md is a file; type --csv " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "--csv", "x.csv"], "give one of a text, --csv and --serve"),
        (["--csv", "missing.csv"], "missing.csv: No such file"),
        (["good", "--text_column", "a"], "--text_column needs --csv FILE"),
        (["good", "--threads", "0"], "--threads 0 is out of range"),
        (["--serve", "70000"], "--serve 70000 is no port"),
        (["--no_such_flag"], "unrecognized arguments"),
    ],
)
def test_wrong_commands_end_in_one_line(exported: Path, arguments: list[str], message: str) -> None:
    done = run_program(exported, *arguments)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_wrong_files_end_in_one_line_before_anything_is_written(
    exported: Path, classifier: Classifier, tmp_path: Path
) -> None:
    table, first = tmp_path / "a.csv", b"text,b\ngood,1\n"
    pd.DataFrame({"text": ["good"]}).to_excel(tmp_path / "book.xlsx", index=False)
    for content, message in (
        (b"a,b\n1,2\n", "has no column 'text' but the columns a, b; name the text's: --text_column NAME"),
        (first + b"\xff,2\n", "line 3: this is not UTF-8 (invalid start byte); save it as CSV in UTF-8"),
        (first + "gr\xf6\xdfe,2\n".encode("cp1252"), "line 3: this is not UTF-8"),
        (first + b"ba\0d,2\n", "line 3: this is not text in UTF-8 (it holds a zero byte); save it as CSV"),
        (first + b'"a,2\n', "near line"),
        ("text,b\ngood,1\n".encode("utf-16"), "line 1: this is not text in UTF-8"),
        ((tmp_path / "book.xlsx").read_bytes(), "a.csv is a workbook, or packed; save it as CSV"),
        (b"", "has no column 'text' but no header"),
        (b"text\nfine; good, bad\n", "a.csv, line 2: more cells than the header; put quotation marks around the text"),
        (first + b"good, bad,2\n", "a.csv, line 3: more cells than the header"),
        (b"b,text\n1,good\n2\n", 'a.csv, line 3: fewer cells than the header, and no text; put "" for an empty one'),
    ):
        table.write_bytes(content)
        output = io.StringIO()
        with pytest.raises(BundleError) as caught:
            classify.predict_rows(classifier, table, None, False, output)
        assert message in str(caught.value) and "\n" not in str(caught.value) and not output.getvalue()
    done = run_program(exported, "--csv", str(table))
    assert done.returncode == 2 and not done.stdout and len(done.stderr.splitlines()) == 1
    done = run_program(exported, text=b"\xff\xfe")
    assert done.returncode == 2 and "not UTF-8" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", ["id;text\na;good, film\nb;bad\n", "id\ttext\ra\tgood, film\rb\tbad\r"])
def test_tables_of_other_delimiters_and_line_ends(classifier: Classifier, tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8", newline="")
    output = io.StringIO()
    classify.predict_rows(classifier, tmp_path / "a.csv", None, False, output)
    rows = list(csv.DictReader(io.StringIO(output.getvalue())))
    assert [(row["id"], row["words"]) for row in rows] == [("a", "3"), ("b", "1")]


def test_a_row_may_lack_the_cells_behind_its_text_and_a_text_its_commas(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    for content, texts in (
        ('text,stars\n"good, bad",1\ngood\n"",2\n', ["good, bad", "good", ""]),
        ('text\ngood; bad\n"good, bad"\n', ["good; bad", "good, bad"]),
    ):
        table.write_text(content, encoding="utf-8")
        assert [text for _, text in classify.rows_of(table, None)] == texts


def test_a_table_from_a_pipe_is_read_once(exported: Path) -> None:
    done = run_program(exported, "--csv", "/dev/stdin", text=b"text\ngood\nbad\n")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    done = run_program(exported, "--csv", "/dev/stdin", text=b"a,b\n1,2\n")
    assert done.returncode == 2 and not done.stdout


def test_a_closed_pipe_is_no_error(exported: Path, tmp_path: Path) -> None:
    table = tmp_path / "many.csv"
    table.write_text("text\n" + "good\n" * 3000, encoding="utf-8")
    command = f"'{sys.executable}' -I '{exported}/classify.py' --csv '{table}' | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("id,prediction,")


def test_only_texts_are_classified(classifier: Classifier) -> None:
    with pytest.raises(BundleError, match="a text is nan, of the type float"):
        classifier.predict(["good", float("nan")])  # type: ignore[list-item]
    with pytest.raises(BundleError, match="takes a list of texts"):
        classifier.predict("good")


def test_a_port_that_is_taken_is_refused(exported: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_program(exported, "--serve", str(taken.getsockname()[1]))
    assert done.returncode == 2 and "cannot be used (Address already in use)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def server(classifier: Classifier) -> Iterator[int]:
    """The port of a bundle that answers requests."""
    with classify.server_of(classifier, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def request(port: int, body: bytes, path: str = "/predict", method: str = "POST") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_requests_are_answered(server: int, classifier: Classifier) -> None:
    texts = ["A good film.", "bad 🇩🇪", ""]
    assert request(server, json.dumps({"texts": texts}).encode()) == (200, classifier.predict(texts))
    assert request(server, b'{"text": "good"}') == (200, classifier.predict_one("good"))
    assert request(server, b'{"text": "good", "explain": true}') == (200, classifier.explain("good"))
    assert request(server, b'{"text": "good \\ud800"}')[0] == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"text": 3}', b'{"texts": "a"}', b'{"text": "a", "texts": []}', b"\xff"]
)
def test_other_requests_get_an_error(server: int, body: bytes) -> None:
    status, answer = request(server, body)
    assert status == 400 and set(answer) == {"error"}


def test_other_addresses_are_not_found(server: int) -> None:
    assert request(server, b"{}", "/")[0] == request(server, b"", "/predict", "GET")[0] == 404


def test_the_form_of_tensorflow_serving_is_answered(server: int, classifier: Classifier) -> None:
    name = classifier.settings["run"]
    for address in ("/v1/models/han:predict", f"/v1/models/{name}:predict"):
        status, answer = request(server, b'{"instances": ["A good film.", {"text": "bad"}, ""]}', address)
        assert (status, answer) == (200, {"predictions": classifier.predict(["A good film.", "bad", ""])})
    for wrong in (b"{}", b'{"instances": []}', b'{"instances": [3]}', b'{"instances": "good"}', b'{"instances": [{}]}'):
        status, answer = request(server, wrong, "/v1/models/han:predict")
        assert status == 400 and "instances" in answer["error"]
    assert request(server, b'{"instances": ["a"]}', "/v1/models/bert:predict")[0] == 404


def counted(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, classify.METRICS_TYPE)
    found = parse(response.read().decode())
    connection.close()
    return found


def test_requests_and_documents_are_counted(
    server: int, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = classifier.settings["run"]
    before = counted(server)
    request(server, b'{"texts": ["good", "bad", "good"]}')
    request(server, b'{"text": 3}')
    request(server, b"", "/secret", "GET")
    monkeypatch.setattr(classify, "MOST_REQUESTS", 0)
    assert request(server, b'{"text": "good"}')[0] == 503
    after = counted(server)

    def more(metric: str, **labels: str) -> float:
        return value(after, metric, model=name, **labels) - value(before, metric, model=name, **labels)

    assert more("han_requests_total", route="/predict", status="200") == 1
    assert more("han_requests_total", route="/predict", status="400") == 1
    assert more("han_requests_total", route="/predict", status="503") == more("han_refused_total") == 1
    assert more("han_requests_total", route="other", status="404") == 1
    assert more("han_request_seconds_count", route="/predict") == 3
    assert more("han_documents_total") == 3 and value(after, "han_waiting_documents", model=name) == 0


def test_texts_wait_until_their_turn() -> None:
    desk = classify.Desk()
    turns = desk.each(["a", "b", "c"], str.upper)
    assert next(turns) == "A" and (desk.waiting, desk.classified) == (2, 1)
    assert next(turns) == "B" and (desk.waiting, desk.classified) == (1, 2)
    turns.close()  # type: ignore[attr-defined]
    assert desk.waiting == 0


def test_a_request_that_is_too_large_is_not_read(server: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(classify.LARGEST_REQUEST + 1))
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


# ---------------------------------------------------------------------------------------------------------------------
# What is in the folder


def test_all_files_have_their_hash(exported: Path) -> None:
    lines = [line.split("  ") for line in (exported / "sha256sums").read_text().splitlines()]
    assert {name: sha256 for sha256, name in lines} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in exported.iterdir()
        if path.name != "sha256sums"
    }
    assert {"LICENSE", "README.md", "requirements.txt"} < {name for _, name in lines}


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, run: RunFolder, exported: Path) -> None:
    export_to(tmp_path / "again", run)
    for path in exported.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_nothing_says_where_it_was_made(exported: Path, run: RunFolder) -> None:
    for path in exported.iterdir():
        assert str(run.path.parent).encode() not in path.read_bytes()


def test_the_card_reports_what_was_measured(own_run: RunFolder, tmp_path: Path) -> None:
    sha256 = read_run(own_run).checkpoint.weights_sha256
    row = {
        "split": "test",
        "weights_sha256": sha256,
        "documents": 25000,
        "accuracy": 0.9234,
        "accuracy_interval": [0.92, 0.9266],
        "loss": 0.2,
        "macro_f1": 0.9233,
        "auc": None,
        "calibration_error": 0.0123,
    }
    write_jsonl(own_run.results, [row, row | {"weights_sha256": "of others", "accuracy": 0.5}])
    figures = {
        name: {"flips": {"mean": share, "half_width": 0.01}} for name, share in (("random", 0.05), ("attention", 0.3))
    }
    findings = {
        "weights_sha256": sha256,
        "split": "valid",
        "documents": 500,
        "step": 7,
        "flip_share": 0.2,
        "words": figures,
        "sentences": figures,
        "best_method": "attention",
    }
    write_json(own_run.path / "faithfulness.json", findings)
    export_to(tmp_path / "bundle", own_run)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| test | 25,000 | 92.34% | 92.00% to 92.66% | 0.2000 | 0.9233 |  | 1.23% |" in card and "50.00%" not in card
    assert "500 documents of the valid split" in card and "in 30.0% of documents" in card
    write_jsonl(own_run.results, [{"split": "test"}])
    with pytest.raises(UserError, match=r"results\.jsonl, line 1"):
        export_to(tmp_path / "other", own_run)


@pytest.mark.parametrize("name", ["model.onnx", "text.json", "ngrams.npy"])
def test_a_changed_file_is_refused(own_bundle: Path, name: str) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[-1] ^= 1
    (own_bundle / name).write_bytes(content)
    done = run_program(own_bundle, "good")
    assert done.returncode == 2 and f"{name} was changed or damaged" in done.stderr and "Traceback" not in done.stderr
    (own_bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Classifier(own_bundle)


def test_other_folders_are_no_bundles(own_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Classifier(tmp_path / "nowhere")
    settings = read_json(own_bundle / "text.json") | {"bundle_format": 99}
    write_json(own_bundle / "text.json", settings)
    bundle.write_sums(own_bundle)
    with pytest.raises(BundleError, match="bundle format 99, this program reads 1"):
        Classifier(own_bundle)


# ---------------------------------------------------------------------------------------------------------------------
# Smaller word vectors, measured


def test_what_smaller_vectors_cost_is_measured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run: RunFolder, records: Path, tmp_path: Path
) -> None:
    from runtime.input_pipeline import Split
    from runtime.scoring import score_split

    monkeypatch.setattr(RunFolder, "refuse_other_records", lambda *_: None)
    caplog.set_level("INFO", logger="han")
    export_to(tmp_path / "bundle", run, "--quantize", "int8", "--data_dir", str(records.parent.parent))
    with contextlib.closing(Split(records, "valid")) as split:
        logits, labels = score_split(Predictor.load(run).model, split, 1000)
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    assert "no logit by more than 0.0" in caplog.text
    assert f"before {accuracy:.2%}" in caplog.text and "on 30 validation documents" in caplog.text
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "8-bit integers" in card and f"before {accuracy:.2%}" in card


def test_without_the_records_it_is_not_measured(
    caplog: pytest.LogCaptureFixture, run: RunFolder, tmp_path: Path
) -> None:
    caplog.set_level("INFO", logger="han")
    export_to(tmp_path / "one", run, "--quantize", "fp16", "--data_dir", str(tmp_path))
    assert "accuracy not measured" in caplog.text and "no complete records" in caplog.text
    write_tiny_records(tmp_path / "tiny" / "records", 60)
    export_to(tmp_path / "two", run, "--quantize", "fp16", "--data_dir", str(tmp_path))
    assert "was trained on other records" in caplog.text
    assert "was not measured" in (tmp_path / "two" / "README.md").read_text()


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, and leaves nothing behind


def refused(run: RunFolder, out: Path, message: str) -> None:
    before = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=message):
        export_to(out, run)
    assert sorted(out.parent.iterdir()) == before


def test_a_folder_that_is_not_empty_is_refused(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    refused(run, tmp_path / "full", "is not empty; name another folder")
    (tmp_path / "file").touch()
    refused(run, tmp_path / "file", "is a file; name a folder")
    (tmp_path / "empty").mkdir()
    export_to(tmp_path / "empty", run)
    assert (tmp_path / "empty" / "classify.py").stat().st_mode & 0o111


def test_unfinished_runs_are_refused(own_run: RunFolder, tmp_path: Path) -> None:
    own_run.finished.unlink()
    refused(own_run, tmp_path / "out", "did not finish training; resume it: python ")
    with exclusive_lock(own_run.lock):
        refused(own_run, tmp_path / "out", "is still training")


def test_a_run_of_another_tokeniser_is_refused(own_run: RunFolder, tmp_path: Path) -> None:
    config = read_json(own_run.config_file)
    write_json(own_run.config_file, config | {"tokeniser": config["tokeniser"] | {"version": 99}})
    refused(own_run, tmp_path / "out", "version 99 of the tokeniser")


@pytest.mark.parametrize(
    ("name", "message"),
    [("best.safetensors", "is damaged"), ("ngrams.safetensors", "is damaged"), ("vocab.txt", "was changed or damaged")],
)
def test_damaged_runs_are_refused(own_run: RunFolder, tmp_path: Path, name: str, message: str) -> None:
    content = bytearray((own_run.path / name).read_bytes())
    content[-2] ^= 1
    (own_run.path / name).write_bytes(content)
    refused(own_run, tmp_path / "out", message)
    (own_run.path / name).unlink()
    refused(own_run, tmp_path / "out", "is missing|has no weights")


def test_a_vocabulary_of_another_size_is_refused(own_run: RunFolder, tmp_path: Path) -> None:
    """Runs of earlier versions have no hashes of their files."""
    config = read_json(own_run.config_file)
    del config["files"]
    write_json(own_run.config_file, config)
    (own_run.path / "vocab.txt").write_text("\n".join([*VOCABULARY, "more"]) + "\n", encoding="utf-8")
    refused(own_run, tmp_path / "out", "a vocabulary of 45 words and vectors of 44")


def test_networks_without_a_graph_are_refused(monkeypatch: pytest.MonkeyPatch, run: RunFolder, tmp_path: Path) -> None:
    monkeypatch.delitem(bundle.BUILDERS, "han")
    refused(run, tmp_path / "out", "a network of the kind han cannot be exported, only bilstm, cnn")


def test_weights_that_fit_no_file_are_refused(monkeypatch: pytest.MonkeyPatch, run: RunFolder, tmp_path: Path) -> None:
    monkeypatch.setattr("shipping.graph.LARGEST_MODEL", 1000)
    refused(run, tmp_path / "out", "add --quantize int8")


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        export_to(tmp_path / "out", RunFolder(tmp_path / "none"))


def test_an_export_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, run: RunFolder, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write_sums", fail)
    with pytest.raises(OSError, match="No space"):
        export_to(tmp_path / "out", run)
    assert list(tmp_path.iterdir()) == []
