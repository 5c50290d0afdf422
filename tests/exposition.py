"""Reads Prometheus' text format, as its documentation defines it, and refuses whatever is not of that form.

https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4)
"""

from __future__ import annotations

import re

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (NaN|[+-]?(?:Inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?))")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
Labels = frozenset[tuple[str, str]]


def parse(text: str) -> dict[str, dict[Labels, float]]:
    """The samples of a page by name and labels; AssertionError for anything that the format forbids."""
    samples: dict[str, dict[Labels, float]] = {}
    kinds: dict[str, str] = {}
    helped = ""
    assert text.endswith("\n") and "\r" not in text
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ")[2]
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped and name not in kinds and kind in ENDINGS, line
            kinds[name] = kind
            current = name
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, inside, value = match.groups()
        assert name in {current + ending for ending in ENDINGS[kinds[current]]}, line
        labels = dict(LABEL.findall(inside or ""))
        assert LABEL.sub("", inside or "") == "", line
        key = frozenset((label, unescaped(shown)) for label, shown in labels.items())
        assert key not in samples.setdefault(name, {}), f"twice: {line}"
        samples[name][key] = float(value)
    for name in (name for name, kind in kinds.items() if kind == "histogram"):
        check_histogram(samples, name)
    return samples


def unescaped(text: str) -> str:
    """The value of a label."""
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


def check_histogram(samples: dict[str, dict[Labels, float]], name: str) -> None:
    """Buckets never fall, the last is +Inf and equals the count."""
    series: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in samples.get(f"{name}_bucket", {}).items():
        limit = float(dict(labels)["le"])
        series.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((limit, value))
    assert series.keys() == samples.get(f"{name}_count", {}).keys() == samples.get(f"{name}_sum", {}).keys()
    for labels, buckets in series.items():
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), labels
        assert [value for _, value in buckets] == sorted(value for _, value in buckets), labels
        assert buckets[-1][1] == samples[f"{name}_count"][labels]


def value(samples: dict[str, dict[Labels, float]], name: str, **labels: str) -> float:
    """One sample; 0 where it has not been counted yet."""
    return samples.get(name, {}).get(frozenset(labels.items()), 0.0)
