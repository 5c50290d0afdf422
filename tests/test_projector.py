"""The files that TensorBoard's projector reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from report.projector import write_projector


def test_projector_files_hold_what_was_given(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    vectors = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    rows = [("a", "with\ta tab"), ("b", "two\nlines"), ("ü", "")]
    write_projector(tmp_path, {"before training": vectors, "after training": -vectors}, ("class", "text"), rows)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [e.tensor_name for e in config.embeddings] == ["before training", "after training"]
    assert [list(e.tensor_shape) for e in config.embeddings] == [[3, 4]] * 2
    read = np.loadtxt(tmp_path / config.embeddings[1].tensor_path, delimiter="\t")
    np.testing.assert_allclose(read, -vectors, rtol=1e-5)
    lines = (tmp_path / config.embeddings[0].metadata_path).read_text(encoding="utf-8").splitlines()
    assert lines == ["class\ttext", "a\twith a tab", "b\ttwo lines", "ü\t"]


@pytest.mark.parametrize("columns, rows", [(("class",), [("a",)]), (("class", "id"), [("a", "1"), ("b", "2")])])
def test_projector_refuses_what_it_would_misread(tmp_path: Path, columns: tuple[str], rows: list[tuple[str]]) -> None:
    with pytest.raises(ValueError):
        write_projector(tmp_path, {"x": np.zeros((1, 2))}, columns, rows)
    assert not list(tmp_path.iterdir())
