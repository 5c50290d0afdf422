"""``text.json`` of a bundle: what :mod:`shipping.classify` knows beside the graph and the table of n-grams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import regex

import data_processing
from config import NETWORKS, NGRAM_WORD_BITS
from data_processing import TextProcessor, Vocabulary, tokeniser
from shipping.classify import BUNDLE_FORMAT
from text import punkt

ENGINES: dict[str, Any] = {"re": re, "regex": regex}
FLAGS = ("IGNORECASE", "MULTILINE", "DOTALL", "VERBOSE", "ASCII")


def patterns() -> dict[str, Any]:
    """The expressions that cut texts, by the names that ``classify.py`` has for them."""
    return {
        "markup": data_processing.MARKUP,
        "control": data_processing.CONTROL,
        "paragraph_end": data_processing.PARAGRAPH_END,
        "segment_end": data_processing.SEGMENT_END,
        "word": data_processing.word_pattern(),
        "candidate": punkt.CANDIDATE,
        "next_word": punkt.NEXT_WORD,
        "ascii_space": punkt.ASCII_SPACE,
        "closing_signs": punkt.CLOSING_SIGNS,
        "punkt_word": punkt.PUNKT_WORD,
        "ascii_punkt_word": punkt.ASCII_PUNKT_WORD,
        "ellipsis": punkt.ELLIPSIS,
        "number": punkt.NUMBER,
        "initial": punkt.INITIAL,
    }


def as_data(pattern: Any) -> dict[str, Any]:
    """An expression with its engine (a module of Python) and its flags."""
    engine = "re" if isinstance(pattern, re.Pattern) else "regex"
    flags = [name for name in FLAGS if pattern.flags & int(getattr(ENGINES[engine], name))]
    return {"engine": engine, "pattern": pattern.pattern, "flags": flags}


def text_settings(processor: TextProcessor, vocabulary: Vocabulary) -> dict[str, Any]:
    """How texts are cut into words, and which words have an id."""
    return {
        "tokeniser": tokeniser(),
        "patterns": {name: as_data(pattern) for name, pattern in patterns().items()},
        "max_words_per_sentence": processor.max_words_per_sentence,
        "max_sentences_per_document": processor.max_sentences_per_document,
        "punkt": {"closing_signs": "".join(sorted(punkt.CLOSING_FIRST)), **processor.splitter.to_json()},
        "vocabulary": vocabulary.words,
    }


def network_settings(
    architecture: str,
    class_names: tuple[str, ...],
    weights: Mapping[str, np.ndarray],
    lane_bias: np.ndarray | None,
) -> dict[str, Any]:
    """What the outputs of the graph and of the n-gram lane mean, and how they are added up.

    Args:
        architecture: Of the network.
        class_names: In order of the labels.
        weights: Of the checkpoint, by name.
        lane_bias: float32 [C] of the n-gram lane; None for a run without one.
    """
    scale, lane_scale = map(float, weights.get("ngrams/scales", (1.0, 0.0)))
    lane = None
    if lane_bias is not None:
        lane = {"word_bits": NGRAM_WORD_BITS, "bias": lane_bias.tolist(), "scale": lane_scale}
    return {
        "bundle_format": BUNDLE_FORMAT,
        "class_names": list(class_names),
        "attends": NETWORKS[architecture].attends,
        "bias": weights["classifier/bias"].tolist(),
        "scale": scale,
        "ngrams": lane,
        **({"thresholds": weights["thresholds"].tolist()} if "thresholds" in weights else {}),
    }
