"""Ranges of settings: no number reaches a stage that it would choke on."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, get_type_hints

import pytest

from config import (
    MODELS,
    CsvSettings,
    ModelSettings,
    TextSettings,
    TrainingSettings,
    add_flags,
    add_model_flag,
    check_range,
    checked,
    embeddings_source,
    from_json,
    model_settings_from_flags,
    model_settings_to_json,
    model_title,
    numbers_in,
)
from utils import Parser, UserError

CLASSES = (CsvSettings, TextSettings, ModelSettings, TrainingSettings)
NUMBERS = [
    (settings, field.name, value)
    for settings in CLASSES
    for field in dataclasses.fields(settings)
    for value in {float: (float("nan"), float("inf"), -1.0), int: (-1, 2**31, 10**30)}.get(
        get_type_hints(settings)[field.name], ()
    )
]


@pytest.mark.parametrize(("settings", "name", "value"), NUMBERS)
def test_every_numeric_setting_has_bounds(settings: Any, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name} .* is out of range; give a value"):
        checked(settings(**{name: value}))


@pytest.mark.parametrize("settings", CLASSES)
def test_defaults_are_within_bounds(settings: Any) -> None:
    assert checked(settings()) == settings()


def parsed(*flags: str) -> argparse.Namespace:
    parser = Parser()
    add_model_flag(parser, "network")
    add_flags(parser, ModelSettings, unset=True)
    return parser.parse_args(flags)


def test_a_model_takes_its_own_settings_and_refuses_those_of_others() -> None:
    assert model_settings_from_flags(parsed()) == ModelSettings()
    assert model_settings_from_flags(parsed("--model", "cnn", "--filters", "7")) == ModelSettings(filters=7)
    with pytest.raises(UserError, match="--cell does not apply to --model bilstm, only to han"):
        model_settings_from_flags(parsed("--model", "bilstm", "--cell", "gru"))  # given, though it is the default
    with pytest.raises(UserError, match="--word_units does not apply to --model cnn, only to han and bilstm"):
        model_settings_from_flags(parsed("--model", "cnn", "--word_units", "3"))
    own = {model: set(model_settings_to_json(model, ModelSettings())) for model in MODELS}
    assert own["bilstm"] == {"word_units", "ngrams"} and own["cnn"] == {"filter_widths", "filters", "ngrams"}
    assert set.union(*own.values()) == {field.name for field in dataclasses.fields(ModelSettings)}


def test_networks_have_the_names_of_the_field() -> None:
    titles = [
        model_title("han", ModelSettings()),
        model_title("han", ModelSettings(ngrams="off")),
        model_title("han", ModelSettings(pooling="mean", ngrams="off")),
        model_title("han", ModelSettings(pooling="max", cell="lstm")),
        model_title("bilstm", ModelSettings(ngrams="off")),
        model_title("cnn", ModelSettings(ngrams="off")),
    ]
    assert titles == ["HAN-GRU with n-grams", "HAN-GRU", "HN-AVE-GRU", "HN-MAX-LSTM with n-grams", "BiLSTM", "CNN"]


@pytest.mark.parametrize("widths", ["", "3,", "3,3", "0", "21", "a", "3;4", "-3"])
def test_filter_widths_are_different_small_numbers(widths: str) -> None:
    assert numbers_in("3, 4,5") == (3, 4, 5)
    with pytest.raises(UserError, match=r"--filter_widths .* is unknown; give different numbers from 1 to 20"):
        checked(ModelSettings(filter_widths=widths))


@pytest.mark.parametrize("source", ["glove", "glove:", "fasttext:x", "Random", ""])
def test_embeddings_come_from_known_sources(source: str) -> None:
    assert embeddings_source("glove:/a:b/c.gz") == ("glove", "/a:b/c.gz")
    with pytest.raises(UserError, match=r"--embeddings .* is unknown; choose from word2vec, random, glove:FILE"):
        checked(TextSettings(embeddings=source))


def test_a_setting_declared_after_the_file_was_written_says_what_was_done_then() -> None:
    assert from_json(ModelSettings, {"cell": "lstm"}, "x") == ModelSettings(cell="lstm", ngrams="off")
    with pytest.raises(UserError, match="x: unknown setting sell in ModelSettings"):
        from_json(ModelSettings, {"sell": "lstm"}, "x")


def test_check_range_includes_its_ends() -> None:
    for value in (0, 1, 0.5):
        check_range("share", value, 0, 1)
    with pytest.raises(UserError, match="from 0 to 1"):
        check_range("share", 1.01, 0, 1)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cycle_momentum": True}, "--cycle_momentum"),
        ({"cycle": "triangular", "cycle_steps": 1}, "--cycle_steps 1"),
        ({"cycle": "triangular", "min_learning_rate": 0.5}, "--min_learning_rate 0.5 is above"),
        ({"cycle": "exp_range", "cycle_momentum": True, "min_momentum": 0.97}, "--min_momentum 0.97 is above"),
    ],
)
def test_training_settings_that_do_not_go_together_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        checked(TrainingSettings(**values))
