"""The report about a GPU (``make gpu-check``), on a machine without one; and what Keras traces with one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from network import recurrent
from network.recurrent import BidirectionalEncoder

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_check  # noqa: E402

import han  # noqa: E402

SETTINGS = ModelSettings(word_units=3, sentence_units=4, attention_dim=5)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "VOCABULARY", 200)
    monkeypatch.setattr(gpu_check, "EMBEDDING_DIM", 6)
    monkeypatch.setattr(gpu_check, "NETWORKS", (("han", "gru"),))
    monkeypatch.setattr(gpu_check, "DIVISIONS", ((1, 5), (2, 5)))
    monkeypatch.setattr(han, "GROUPS", 2)  # each takes a second to trace


@pytest.mark.parametrize(("cell", "dtype"), [("gru", "float32"), ("lstm", "mixed_bfloat16")])
def test_with_a_gpu_the_whole_training_step_is_traced_with_cudnn(
    cell: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing needs no kernel: with a GPU in the list Keras builds the graph that a GPU runs."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"])
    monkeypatch.setattr(recurrent, "refuse_without_cudnn", lambda dtype: None)
    model = gpu_check.network("han", cell, SETTINGS, True, dtype)
    graph = gpu_check.graph_of(gpu_check.training_step(model))
    found = gpu_check.cudnn_check("", graph, gpu_check.encoders_of(model))
    # In two directions each: two groups of sentences, and the documents.
    assert found.passed and found.measured.startswith("6 calls forward, 6 backward, 0 loops")
    if not tf.sysconfig.get_build_info()["is_cuda_build"]:
        assert {"CudnnRNNV3", "CudnnRNNBackpropV3"} <= gpu_check.without_gpu_kernel(graph)


def test_a_loop_in_the_graph_fails_the_check() -> None:
    """Without a GPU Keras builds a loop, which would be slow on one."""
    encoder = BidirectionalEncoder("gru", 3, 6, seed=1, padded=True)

    @tf.function(input_signature=[tf.TensorSpec([None, 6])], autograph=False)
    def loop(elements: tf.Tensor) -> tf.Tensor:
        return encoder(elements, tf.shape(elements)[:1])

    check = gpu_check.cudnn_check("", gpu_check.graph_of(loop), [encoder])
    assert check.passed is False and check.measured.startswith("0 calls forward, 0 backward, ")
    assert not check.measured.endswith(" 0 loops or calls of Python") and check.cells()[1] == "**FAIL**"


def test_differences_beyond_their_tolerance_fail_and_the_worst_is_named() -> None:
    expected = {"logits": np.array([3.0, 4.0]), "gradient of a": np.ones(100), "gradient of b": np.ones(100)}
    near = {**expected, "logits": np.array([3.0, 4.04]), "gradient of b": np.full(100, 1.02)}
    passed, words = gpu_check.agreement(expected, near, (0.0081, 0.021))
    assert passed and words == "values 8.0e-03 (logits), gradients 2.0e-02 (b)"
    assert not gpu_check.agreement(expected, near, (0.0079, 0.021))[0]
    assert not gpu_check.agreement(expected, near, (0.0081, 0.019))[0]
    assert not gpu_check.agreement(expected, {**near, "logits": np.array([np.nan, 4.0])}, (1.0, 1.0))[0]


def test_the_profiler_names_what_ran() -> None:
    matrix = tf.ones([64, 64])
    product = tf.function(lambda: tf.matmul(matrix, matrix), autograph=False)
    names = gpu_check.profiled(lambda: product().numpy(), "/host:CPU")
    assert any("MatMul" in name for name in names)
    assert not gpu_check.profiled(lambda: product().numpy(), "/device:GPU")


def test_an_error_of_tensorflow_is_a_failed_check_and_not_the_end_of_the_report() -> None:
    def checks() -> Iterator[gpu_check.Check]:
        yield gpu_check.Check("first", True, "")
        raise tf.errors.InternalError(None, None, "no algorithm | worked\nand more")

    first, second = gpu_check.guarded("the second", checks())
    assert first.passed
    assert second.cells() == ["the second", "**FAIL**", "InternalError: no algorithm / worked", ""]


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    flags = ["--device", "cpu", "--units", "4", "--batch_sizes", "3", "--seconds", "0"]
    code = gpu_check.main(gpu_check.build_parser().parse_args(flags))
    return code, capsys.readouterr().out


@pytest.mark.slow
def test_on_a_cpu_it_compares_what_it_can_and_says_what_it_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = report(capsys)
    assert code == 0 and "No check failed." in text
    assert "| cuDNN in the profile | skipped | there is no GPU |  |" in text
    assert "| HAN-GRU in float32 | pass |" in text and "| HAN-GRU in bfloat16 | pass |" in text
    assert "| HAN-GRU in TF32 | skipped | only a GPU has it |" in text
    speeds, divided = [line for line in text.splitlines() if line.startswith("| 3 | ")]
    assert float(speeds.split(" | ")[1].replace(",", "")) > 0
    assert speeds.count("skipped") == 5
    assert "| 1 / 5, documents/s | 2 / 5, documents/s |" in text and divided.count("skipped: no GPU") == 2


@pytest.mark.slow
def test_groups_are_timed_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that a GPU takes, here on a CPU."""
    seen: list[tuple[int, float]] = []
    chosen = recurrent.rectangles

    def observed(lengths: Any, groups: int, step_rows: float) -> Any:
        seen.append((groups, step_rows))
        return chosen(lengths, groups, step_rows)

    monkeypatch.setattr(recurrent, "rectangles", observed)
    cells = gpu_check.timed_division(SETTINGS, 3, 7.0, [2, 4], seconds=0)
    assert len(cells) == 2 and all(float(cell.replace(",", "")) > 0 for cell in cells)
    assert (3, 7.0) in seen


def test_a_path_that_computes_something_else_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = BidirectionalEncoder.encode_padded
    monkeypatch.setattr(BidirectionalEncoder, "encode_padded", lambda *a: right(*a) * 1.001)
    monkeypatch.setattr(gpu_check, "PRECISIONS", gpu_check.PRECISIONS[:1])
    code, text = report(capsys)
    assert code == 1
    assert "| HAN-GRU in float32 | **FAIL** | values " in text and "Failed: HAN-GRU in float32" in text
