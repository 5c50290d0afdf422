"""SavedModels, loaded again, against the network that they were made from."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import export
from network.contract import Documents
from network.ngrams import NgramLane
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from shipping.saved_model import IDS_IMPORTED, LaneInGraph, Served, compare, with_a_word
from tests.helpers import VOCABULARY, random_ngrams, write_tiny_records, write_tiny_run
from tests.test_export import AWKWARD, NETWORKS
from utils import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny" / "records"
    write_tiny_records(folder)
    return folder


def export_to(folder: Path, run: RunFolder, *flags: str) -> None:
    export.main(export.build_parser().parse_args([str(run.path), str(folder), "--format", "savedmodel", *flags]))


def ids_of(folder: Path) -> Any:
    """The module of the folder that makes ids of texts."""
    spec = importlib.util.spec_from_file_location(f"ids_{abs(hash(folder))}", folder / "ids.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rectangle(documents: list[np.ndarray]) -> np.ndarray:
    """int32 [B, S, T] of documents [S, T] of different sizes."""
    shape = np.max([document.shape for document in documents], axis=0)
    ids = np.zeros((len(documents), *shape), np.int32)
    for place, document in enumerate(documents):
        ids[place, : document.shape[0], : document.shape[1]] = document
    return ids


@pytest.mark.parametrize(
    "name",
    ["gru-lane", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lstm-max-lane", "bilstm", "cnn-lane"))],
)
def test_what_is_loaded_computes_what_the_network_computes(tmp_path: Path, records: Path, name: str) -> None:
    run = write_tiny_run(tmp_path / "run", records, **NETWORKS[name])
    export_to(tmp_path / "out", run)
    served = tf.saved_model.load(str(tmp_path / "out" / "1")).signatures["serving_default"]
    ids, predictor = ids_of(tmp_path / "out"), Predictor.load(run)
    reader = ids.TextReader(json.loads((tmp_path / "out" / "text.json").read_text(encoding="utf-8")))
    texts = [text for text in AWKWARD if "Good. Good" not in text]  # as long as all others together
    padded = [ids.padded_sentences(reader.read(text)) for text in texts]
    outputs = {key: value.numpy() for key, value in served(tf.constant(rectangle(padded))).items()}
    for place, (text, verdict) in enumerate(
        zip(texts, predictor.score([predictor.read(text).document for text in texts]), strict=True)
    ):
        np.testing.assert_allclose(outputs["logits"][place], verdict.logits, atol=1e-4)
        np.testing.assert_allclose(outputs["probabilities"][place], verdict.probabilities, atol=1e-5)
        np.testing.assert_allclose(outputs["document_vector"][place], verdict.vector, atol=1e-5)
        assert ("word_weights" in outputs) == (verdict.word_weights is not None)
        if (
            verdict.word_weights is not None
            and verdict.sentence_weights is not None
            and not (NETWORKS[name].get("pooling") == "max" and len(text) > 1000)
        ):
            is_word = rectangle(padded)[place] > 0
            np.testing.assert_allclose(outputs["word_weights"][place][is_word], verdict.word_weights, atol=1e-5)
            assert not outputs["word_weights"][place][~is_word].any()
            sentences = is_word.any(axis=1)
            np.testing.assert_allclose(
                outputs["sentence_weights"][place][sentences], verdict.sentence_weights, atol=1e-5
            )


def test_the_lane_in_the_graph_is_the_compiled_lane() -> None:
    generator = np.random.default_rng(3)
    table = random_ngrams(generator)
    lengths = generator.integers(1, 9, 60)
    documents = Documents(
        tf.constant(generator.integers(1, len(VOCABULARY), lengths.sum()), tf.int32),
        tf.constant(lengths, tf.int32),
        tf.constant([1, 29, 2, 1, 27], tf.int32),
    )
    logits = LaneInGraph(table).logits(documents).numpy()
    np.testing.assert_allclose(logits, NgramLane(table).logits_of(*(part.numpy() for part in documents)), atol=1e-5)
    nothing = Documents(*(tf.constant(values, tf.int32) for values in ([1, 1], [1, 1], [1, 1])))
    np.testing.assert_array_equal(LaneInGraph(table).logits(nothing).numpy(), [table.bias] * 2)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.zeros((2, 0, 0)), [[[1]], [[1]]]),
        (np.zeros((1, 2, 2)), [[[1, 0], [0, 0]]]),
        ([[[0, 5], [0, 0]], [[0, 0], [0, 0]]], [[[0, 5], [0, 0]], [[1, 0], [0, 0]]]),
    ],
)
def test_a_document_without_a_word_is_one_unknown_word(ids: Any, expected: Any) -> None:
    np.testing.assert_array_equal(with_a_word(tf.constant(ids, tf.int32)).numpy(), expected)


def test_the_folder_is_complete_and_needs_neither_this_repository_nor_onnx(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_tiny_run(tmp_path / "run", records, ngrams=True)
    export_to(tmp_path / "out", run)
    assert "1/saved_model.pb" in capsys.readouterr().out
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "sha256sums"], cwd=tmp_path / "out", capture_output=True)
    assert checked.returncode == 0
    listed = (tmp_path / "out" / "sha256sums").read_text()
    assert {"1/saved_model.pb", "ids.py", "text.json", "README.md"} <= set(listed.split())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "TensorFlow Serving" in card and "model.onnx" not in card and str(ROOT) not in card
    tree = ast.parse((tmp_path / "out" / "ids.py").read_text())
    outside = [node for one in tree.body for node in (one.body if isinstance(one, ast.Try) else [one])]
    at_start = {name.name for node in outside if isinstance(node, ast.Import) for name in node.names}
    assert set(IDS_IMPORTED) == {name for name in at_start if name not in sys.stdlib_module_names}
    code = "import json, ids; print(ids.TextReader(json.load(open('text.json'))).read('good').token_ids)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[3]\n"


def test_other_logits_and_quantised_vectors_are_refused(tmp_path: Path, records: Path) -> None:
    from shipping.bundle import read_run

    run = write_tiny_run(tmp_path / "run", records)
    with pytest.raises(UserError, match="--quantize int8 is for --format onnx"):
        export_to(tmp_path / "out", run, "--quantize", "int8")
    assert not (tmp_path / "out").exists()
    served = Served(read_run(run))
    tf.saved_model.save(served, str(tmp_path / "saved"), signatures={"serving_default": served.serve})
    served.network.classifier.bias.assign([5.0, 0.0])
    with pytest.raises(UserError, match="gives other logits than the network"):
        compare(served, str(tmp_path / "saved"))
