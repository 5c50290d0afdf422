"""The command that lists the regions of a CNN."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import cnn_regions
from cnn_regions import table
from config import ModelSettings, TrainingSettings
from report.regions import Region
from runtime.checkpoints import save_weights
from runtime.networks import build_model
from runtime.predictor import Predictor
from runtime.run_folder import Progress, RunConfig, RunFolder
from tests.helpers import EMBEDDING_DIM, VOCABULARY, write_tiny_records, write_tiny_run
from utils import UserError, read_json, sha256_of_json

TEXT = "Good word01, unheard word02!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, and the runs of a CNN and of a HAN on them."""
    folder = tmp_path_factory.mktemp("regions")
    records = folder / "data" / "tiny" / "records"
    write_tiny_records(records)
    run = RunFolder(folder / "runs" / "tiny-cnn")
    settings = ModelSettings(filter_widths="2,3", filters=5, ngrams="off")
    manifest = sha256_of_json(read_json(records / "manifest.json"))
    names = ("negative", "positive")
    config = RunConfig("tiny", "cnn", settings, TrainingSettings(), names, len(VOCABULARY), EMBEDDING_DIM, manifest)
    run.create(config, records)
    network = build_model(config)
    generator = np.random.default_rng(3)
    for weight in network.named_weights().values():
        weight.assign(generator.normal(size=weight.shape))
    save_weights(run.best, network, Progress(step=7), run=run.identity())
    write_tiny_run(folder / "runs" / "tiny-han", records)
    return folder


def list_regions(folder: Path, *words: str) -> None:
    where = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    cnn_regions.main(cnn_regions.build_parser().parse_args([*words, *where]))


def test_table_lists_the_strongest_first() -> None:
    vocabulary = ["<pad>", "<unk>", "not", "good", "film", "the"]
    regions = [Region((2,), np.array([-1.0, 1.0]), 3), Region((3,), np.array([-2.0, 2.0]), 1234)]
    lines = list(table(regions, 1, "positive", vocabulary, 5))
    assert [line.split() for line in lines[1:]] == [["+2.00", "1,234", "good"], ["+1.00", "3", "not"]]
    assert len(list(table(regions, 0, "negative", vocabulary, 1))) == 2


def test_a_run_is_named_by_itself_or_by_flags(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = []
    for words in (["tiny-cnn"], [str(folder / "runs" / "tiny-cnn")], ["--dataset", "tiny"], ["--run", "tiny-cnn"]):
        list_regions(folder, *words, "--documents", "20", "--regions", "2")
        named.append(capsys.readouterr().out)
    assert re.search(r"2 words, 5 filters: \d+ regions in 20 documents", named[0])
    assert named[0].count("logit") == 4 and named == [named[0]] * 4  # two widths of two classes


def test_the_regions_of_one_text_hold_its_own_words_and_its_prediction(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_regions(folder, "tiny-cnn", "--text", TEXT)
    printed = capsys.readouterr().out
    predictor = Predictor.load(RunFolder(folder / "runs" / "tiny-cnn"))
    [verdict] = predictor.score([predictor.read(TEXT).document])
    likeliest = int(verdict.probabilities.argmax())
    assert printed.startswith(f"{predictor.class_names[likeliest]} ({verdict.probabilities[likeliest]:.1%})\n")
    regions = {line.split(maxsplit=2)[2] for line in printed.splitlines() if re.match(r" +[+-]\d", line)}
    windows = [["·", "·", "Good", "word01", ",", "unheard", "word02", "!", "·", "·"][n : n + 3] for n in range(8)]
    assert regions and all(any(region in " ".join(window) for window in windows) for region in regions)
    assert "<unk>" not in printed


def test_regions_of_a_run_with_ngrams_are_those_of_the_convolutions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_tiny_run(tmp_path / "both-cnn", folder / "data" / "tiny" / "records", architecture="cnn", ngrams=True)
    cnn_regions.main(cnn_regions.build_parser().parse_args([str(run.path), "--text", TEXT]))
    assert capsys.readouterr().out.splitlines()[0].endswith(", by the convolutions alone: the run also has n-grams")


@pytest.mark.parametrize(
    "words, message",
    [
        (["tiny-han"], r"is a run of the network 'han'; .*--dataset tiny --model cnn"),
        (["--run", "tiny-han", "--dataset", "tiny"], r"is a run of the network 'han'"),
        (["gone"], r"no run in .*gone; train one: .*--model cnn .*holds: tiny-cnn, tiny-han"),
        (["tiny-cnn", "--dataset", "tiny"], r"already names the run; leave out --dataset"),
        (["tiny-cnn", "--text", " <br /> "], "no word in the text"),
        (["tiny-cnn", "--documents", "0"], "--documents 0 is out of range"),
    ],
)
def test_mistakes_are_one_line(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list_regions(folder, *words)
    assert "\n" not in str(caught.value)


def test_other_records_and_the_weights_of_another_run_are_refused(folder: Path, tmp_path: Path) -> None:
    write_tiny_records(tmp_path / "tiny" / "records", documents=60)
    arguments = ["tiny-cnn", "--runs_dir", str(folder / "runs"), "--data_dir", str(tmp_path)]
    with pytest.raises(UserError, match="was trained on other records"):
        cnn_regions.main(cnn_regions.build_parser().parse_args(arguments))
    run = RunFolder(folder / "runs" / "tiny-cnn")
    own = run.best.read_bytes()
    run.best.write_bytes((folder / "runs" / "tiny-han" / "best.safetensors").read_bytes())
    with pytest.raises(UserError, match="belongs to another run"):
        list_regions(folder, "tiny-cnn", "--text", TEXT)
    run.best.unlink()
    with pytest.raises(UserError, match="has no weights"):
        list_regions(folder, "tiny-cnn", "--text", TEXT)
    run.best.write_bytes(own)
