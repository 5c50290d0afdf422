"""Document vectors, their neighbourhoods and maps, and that TensorBoard's projector reads what is written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import document_map
import han_trainer
from document_map import drawn, neighbour_agreement, principal_components, tsne
from utils import UserError


def clusters(documents: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = generator.integers(2, size=documents)
    vectors = generator.normal(size=(documents, 7)).astype(np.float32)
    vectors[:, 3] += distance * labels
    return vectors, labels


def test_a_run_that_is_not_there_is_x_the_command_that_trains_it(tmp_path: Path) -> None:
    flags = ["--dataset", "sample", "--model", "cnn", "--runs_dir", str(tmp_path)]
    with pytest.raises(UserError, match=r"sample-cnn; train one: python han_trainer\.py --dataset sample --model cnn"):
        document_map.main(document_map.build_parser().parse_args(flags))


def test_neighbours_agree_where_classes_lie_apart() -> None:
    vectors, labels = clusters(120, 50)
    assert neighbour_agreement(vectors, labels) == 1
    mixed = neighbour_agreement(*clusters(400, 0))
    assert 0.44 < mixed < 0.56
    distances = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    scrambled = np.random.default_rng(2).integers(2, size=120)
    expected = (scrambled[np.argsort(distances, axis=1)[:, :10]] == scrambled[:, np.newaxis]).mean()
    assert neighbour_agreement(vectors, scrambled) == pytest.approx(expected)


def test_maps_keep_apart_what_lies_apart_and_repeat() -> None:
    vectors, labels = clusters(60, 50)
    for method in (principal_components, tsne):
        points = method(vectors)
        assert points.shape == (60, 2)
        assert neighbour_agreement(points, labels) == 1
        np.testing.assert_array_equal(points, method(vectors))


def test_documents_are_drawn_once_each_and_always_the_same() -> None:
    numbers = drawn(500, 60, seed=4)
    assert len(set(numbers.tolist())) == 60 and (np.diff(numbers) > 0).all() and numbers.max() < 500
    np.testing.assert_array_equal(numbers, drawn(500, 60, seed=4))
    assert not np.array_equal(numbers, drawn(500, 60, seed=5))
    np.testing.assert_array_equal(drawn(30, 2000, seed=4), np.arange(30))
    with pytest.raises(UserError, match="needs 20"):
        drawn(19, 2000, seed=4)


def test_vectors_are_what_the_last_layer_classifies(tmp_path: Path) -> None:
    from config import ModelSettings
    from han import HAN
    from network.contract import NetworkArguments
    from report.linear_models import softmax
    from runtime.input_pipeline import Split
    from runtime.scoring import document_vectors, score_split
    from tests.helpers import EMBEDDING_DIM, VOCABULARY, write_tiny_records

    write_tiny_records(tmp_path)
    split = Split(tmp_path, "test")
    model = HAN(
        NetworkArguments(
            len(VOCABULARY), EMBEDDING_DIM, 2, ModelSettings(word_units=3, sentence_units=4, attention_dim=5), seed=3
        )
    )
    numbers = np.array([3, 4, 7, 11, 20, 29])
    vectors, probabilities = document_vectors(model, split, numbers, max_words=40)
    assert vectors.shape == (6, 8)
    logits, _ = score_split(model, split, 1000)
    np.testing.assert_allclose(probabilities, softmax(logits[numbers].astype(np.float64)), atol=1e-6)
    kernel, bias = model.classifier.get_weights()
    exponentials = np.exp(vectors @ kernel + bias)
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), atol=1e-5)
    split.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small network was trained on documents with a planted cause."""
    from tests.helpers import write_tiny_records

    folder = tmp_path_factory.mktemp("map")
    write_tiny_records(folder / "data" / "tiny" / "records", documents=240)
    small = "--word_units 4 --sentence_units 4 --attention_dim 4 --num_epochs 12 --learning_rate 0.02 --batch_size 16"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")
        flags = f"--dataset tiny {small} --dropout_keep_proba 1 --warmup_steps 5".split()
        assert han_trainer.main(han_trainer.build_parser().parse_args(flags)) == 0
    return folder


@pytest.mark.parametrize("flags", ["--dataset nix", "--dataset nix --model cnn", "--dataset nix --run mine"])
def test_a_missing_run_is_named_with_the_command_that_trains_it(tmp_path: Path, flags: str) -> None:
    arguments = document_map.build_parser().parse_args([*flags.split(), "--runs_dir", str(tmp_path)])
    name = arguments.run or f"nix-{arguments.model or 'han'}"
    with pytest.raises(
        UserError, match=f"no run in {tmp_path}/{name}; train one: python han_trainer.py {flags} --runs"
    ):
        document_map.main(arguments)


def test_a_run_named_by_its_folder_is_the_same_and_only_its_own_weights_and_records_are_mapped(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.helpers import write_tiny_records, write_tiny_run

    monkeypatch.setattr(document_map, "draw", lambda *arguments: None)
    projected = []
    monkeypatch.setattr(document_map, "write_for_projector", lambda folder, mapped: projected.append(mapped))
    where = ["--runs_dir", str(trained / "runs"), "--data_dir", str(trained / "data"), "--documents", "20"]

    def mapped(*words: str) -> None:
        document_map.main(document_map.build_parser().parse_args([*where, *words]))

    for words in (["tiny-han"], [str(trained / "runs" / "tiny-han")], ["--dataset", "tiny"]):
        mapped(*words)
    assert [one.ids for one in projected] == [projected[0].ids] * 3
    with pytest.raises(UserError, match="already names the run; leave out --model"):
        mapped("tiny-han", "--model", "cnn")
    with pytest.raises(UserError, match=r"--checkpoint gone\.safetensors: no such file"):
        mapped("tiny-han", "--checkpoint", "gone.safetensors")
    other = write_tiny_run(tmp_path / "other", trained / "data" / "tiny" / "records")
    with pytest.raises(UserError, match="belongs to another run"):
        mapped("tiny-han", "--checkpoint", str(other.best))
    write_tiny_records(tmp_path / "tiny" / "records", documents=60)
    with pytest.raises(UserError, match="was trained on other records"):
        mapped("tiny-han", "--data_dir", str(tmp_path))
    assert len(projected) == 3


@pytest.mark.drawn
def test_training_separates_the_classes_and_the_projector_shows_it(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    document_map.main(document_map.build_parser().parse_args(["--dataset", "tiny", "--documents", "60"]))
    said = capsys.readouterr().out
    shares = {line.split("  ")[0]: float(line.split()[-1].rstrip("%")) for line in said.splitlines() if "%" in line}
    assert shares["after training"] > 90 > shares["before training"]
    run = trained / "runs" / "tiny-han"
    assert (run / "plots" / "document_map-test.png").read_bytes().startswith(b"\x89PNG")
    plugin = projector_of_tensorboard(trained / "runs")
    folder = "tiny-han/tensorboard/documents-test"
    assert json.loads(plugin("/runs")) == [folder]
    shown = json.loads(plugin(f"/info?run={folder}"))["embeddings"]
    assert [(e["tensorName"], e["tensorShape"]) for e in shown] == [
        ("before training", [60, 8]),
        ("after training", [60, 8]),
    ]
    metadata = list(
        csv.DictReader(plugin(f"/metadata?run={folder}&name=after training").decode().splitlines(), delimiter="\t")
    )
    assert len(metadata) == 60 and {row["class"] for row in metadata} == {"negative", "positive"}
    tensor = np.frombuffer(plugin(f"/tensor?run={folder}&name=after training"), np.float32).reshape(60, 8)
    labels = np.array([row["class"] == "positive" for row in metadata])
    assert neighbour_agreement(tensor, labels) > 0.9
    assert sum(row["right"] == "right" for row in metadata) == sum(row["class"] == row["predicted"] for row in metadata)


def projector_of_tensorboard(logdir: Path) -> Callable[[str], bytes]:
    """TensorBoard's projector plugin on a folder of runs: a function from an address to the body of its answer."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    applications = ProjectorPlugin(TBContext(data_provider=provider, logdir=str(logdir))).get_plugin_apps()

    def answer(address: str) -> bytes:
        path, _, query = address.partition("?")
        response = Client(applications[path]).get(
            path, query_string=dict(part.split("=") for part in query.split("&") if part)
        )
        assert response.status_code == 200, response.data
        return response.data

    return answer


@pytest.mark.parametrize("name", ["plots", "tensorboard"])
def test_a_folder_that_takes_no_files_is_reported_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "imdb-han").mkdir()
    for file in ("config.json", name):
        (tmp_path / "imdb-han" / file).touch()
    with pytest.raises(NotADirectoryError) as caught:
        document_map.main(document_map.build_parser().parse_args(["--runs_dir", str(tmp_path)]))
    assert str(caught.value.filename) == str(tmp_path / "imdb-han" / name)
