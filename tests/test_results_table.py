"""The tables of the documentation are what docs/results.jsonl gives, and hide nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from results_table import (  # noqa: E402
    KEPT,
    PAGES,
    TEXT_NOTES,
    Kept,
    add,
    kept_faithfulness,
    kept_row,
    key_of,
    put,
    read_kept,
    setting_of,
    settings_hash,
    table,
    with_tables,
)

from runtime.run_folder import RunFolder  # noqa: E402
from tests.test_checkpoints import rewrite  # noqa: E402
from utils import UserError, read_json, read_jsonl, sha256_of_json, write_json, write_jsonl  # noqa: E402

FIXTURE = ROOT / "tests" / "fixtures" / "format1"
OWN = {"task": "imdb-2", "architecture": "han", "cell": "gru", "mae": None, "command": "python x", "commit": "abc"}
SETTINGS = {"architecture": "han", "retrained": False, "batch_size": 64}


def own(seed: int, accuracy: float, **others: Any) -> dict[str, Any]:
    return {**OWN, "settings": SETTINGS, "seed": seed, "accuracy": accuracy, "text": "none", **others}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a finished run, of an earlier version of this project."""
    return Path(shutil.copytree(FIXTURE / "runs" / "letters-han", tmp_path / "letters-han"))


def test_pages_hold_the_tables_of_the_results() -> None:
    kept = read_kept()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text, kept) == text, f"{page.name} is stale: python benchmarks/results_table.py write"
        assert "@" not in text.replace("user@host", ""), f"{page.name} has a place that was not filled"


def test_every_figure_says_what_was_read_and_own_ones_their_settings() -> None:
    for row in read_kept().results:
        assert row["text"] in TEXT_NOTES or "source" in row, row["task"]
        assert "source" in row or row["settings"], row["task"]


def test_seeds_become_a_mean_with_its_spread() -> None:
    rows = [own(2, 0.93, auc=0.98, commit="abd"), own(1, 0.91, auc=0.97)]
    rows.append({"task": "imdb-2", "system": "majority", "accuracy": 0.5, "source": "balanced", "text": "none"})
    lines = table("imdb-2", rows).splitlines()
    assert lines[2] == "| majority | 50.00 |  |  |  | none | balanced |"
    assert cells(lines[3]) == [
        *("**HAN-GRU, this project**", "92.00 ± 1.41", "0.9750 ± 0.0071", "1, 2", "yes", "none"),
        "`python x`, commit abc, abd",
    ]
    assert table("imdb-2", rows, with_origin=False).splitlines()[2] == "| majority | 50.00 |  |  |  | none |"


def test_runs_of_other_settings_or_records_are_lines_of_their_own() -> None:
    rows = [own(1, 0.90, records="old"), own(2, 0.91, records="old"), own(1, 0.93, records="new")]
    rows.append(own(1, 0.92, records="old", settings={**SETTINGS, "batch_size": 32}))
    lines = [cells(line) for line in table("imdb-2", rows).splitlines()[2:]]
    assert [line[:2] for line in lines] == [
        ["**HAN-GRU, this project** (batch_size 64, records old)", "90.50 ± 0.71"],
        ["**HAN-GRU, this project** (batch_size 32, records old)", "92.00"],
        ["**HAN-GRU, this project** (batch_size 64, records new)", "93.00"],
    ]


def test_a_setting_that_was_introduced_later_does_not_part_runs() -> None:
    assert settings_hash(own(1, 0.9)) == settings_hash(own(1, 0.9, settings={**SETTINGS, "l2": 0.0}))
    assert settings_hash(own(1, 0.9)) != settings_hash(own(1, 0.9, settings={**SETTINGS, "l2": 0.1}))


def test_a_seed_that_was_run_twice_is_listed_twice_and_one_tested_twice_is_not() -> None:
    rows: list[dict[str, Any]] = []
    for accuracy, weights in ((0.90, "a"), (0.92, "b"), (0.91, "a")):
        put(rows, own(1, accuracy, weights_sha256=weights))
    put(rows, own(2, 0.93, weights_sha256="c"))
    assert cells(table("imdb-2", rows).splitlines()[2])[1:4] == ["92.00 ± 1.00", "", "1, 1, 2"]


def test_networks_that_were_not_tuned_are_called_that() -> None:
    rows = [own(1, 0.9, title="CNN"), own(1, 0.91), {**own(1, 0.92), "architecture": "linear", "system": "NB-SVM"}]
    assert [cells(line)[4] for line in table("imdb-2", rows).splitlines()[2:]] == ["no", "yes", "yes"]


def test_a_figure_of_another_split_says_so() -> None:
    rows = [{"task": "imdb-2", "system": "A", "accuracy": 0.9, "source": "B", "text": "outside", "on": "validation"}]
    assert cells(table("imdb-2", rows).splitlines()[2])[1] == "90.00 on validation"


def test_every_linear_system_gets_a_line_beside_the_published_ones() -> None:
    made = {"command": "python linear_baselines.py imdb", "commit": "abc", "time": "now", "versions": {}}
    common = {**dict.fromkeys(KEPT), "dataset": "imdb", "class_names": ["a", "b"], "architecture": "linear"}
    common |= {"train_on_valid": True, "train_documents": 0, "csv_sha256": "data"}
    found = [
        {**common, "system": name, "accuracy": accuracy, "trained": made}
        for name, accuracy in (("A", 0.9), ("B", 0.91))
    ]
    rows: list[dict[str, Any]] = [{"task": "imdb-2", "system": "A", "accuracy": 0.92, "source": "published"}]
    for row in [*found, found[0]]:
        put(rows, kept_row(row, setting_of(row, Path(), Path())))
    assert len({key_of(row) for row in rows}) == 3
    assert [cells(line)[:4] for line in table("imdb-2", rows).splitlines()[2:]] == [
        ["A, run here", "90.00", "", ""],
        ["B, run here", "91.00", "", ""],
        ["A", "92.00", "", ""],
    ]


def test_a_run_is_added_once_with_its_settings_and_what_it_read(run: Path) -> None:
    kept = Kept([], [])
    add(kept, run, FIXTURE / "data")
    add(kept, run, FIXTURE / "data")
    [row] = kept.results
    assert row["settings"]["batch_size"] == 8 and "seed" not in row["settings"] and row["text"] == "none"
    assert row["records"] == read_json(run / "config.json")["settings"]["records_sha256"]


def test_weights_that_validation_did_not_choose_are_refused(run: Path) -> None:
    [row] = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
    other = {**row, "checkpoint": "step-00000016.safetensors", "accuracy": 0.99}
    write_jsonl(run / "results.jsonl", [other])
    with pytest.raises(UserError, match="chosen on validation; make one"):
        add(Kept([], []), run, FIXTURE / "data")
    write_jsonl(run / "results.jsonl", [row, other])
    kept = Kept([], [])
    add(kept, run, FIXTURE / "data")
    assert [kept_one["accuracy"] for kept_one in kept.results] == [row["accuracy"]]


def test_weights_that_are_not_the_best_of_the_run_are_refused(run: Path) -> None:
    """Under the name of the best ones, and of a run whose settings were changed afterwards."""
    [row] = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
    write_jsonl(run / "results.jsonl", [{**row, "weights_sha256": "of a better day"}])
    with pytest.raises(UserError, match="chosen on validation; make one"):
        add(Kept([], []), run, FIXTURE / "data")
    write_jsonl(run / "results.jsonl", [row])
    add(Kept([], []), run, FIXTURE / "data")
    config = read_json(run / "config.json")
    config["settings"]["training"]["batch_size"] = 64
    write_json(run / "config.json", config)
    with pytest.raises(UserError, match="belongs to another run"):
        add(Kept([], []), run, FIXTURE / "data")


@pytest.mark.parametrize(
    ("embeddings", "unlabelled", "read"),
    [("word2vec", 5, "unlabelled"), ("word2vec", 0, "none"), ("random", 5, "none"), ("glove:a.txt", 0, "outside")],
)
def test_the_records_say_which_text_the_word_vectors_read(
    run: Path, tmp_path: Path, embeddings: str, unlabelled: int, read: str
) -> None:
    manifest = {"settings": {"embeddings": embeddings}, "splits": {}, "csv": {"sha256": "0f"}}
    path = tmp_path / "data" / "letters" / "records" / "manifest.json"
    path.parent.mkdir(parents=True)
    write_json(path, manifest)
    splits = {"train": {"documents": 9}, **({"unlabelled": {"documents": unlabelled}} if unlabelled else {})}
    described = {"splits": splits, "csv_sha256": "0e"}
    write_json(tmp_path / "data" / "letters" / "csv_manifest.json", described)
    with pytest.raises(UserError, match="--data_dir"):
        add(Kept([], []), run, tmp_path / "data")
    config = read_json(run / "config.json")
    config["settings"]["records_sha256"] = sha256_of_json(manifest)
    write_json(run / "config.json", config)
    rewrite(run / "best.safetensors", run=RunFolder(run).identity())
    with pytest.raises(UserError, match="does not describe the CSV file of the records"):
        add(Kept([], []), run, tmp_path / "data")
    write_json(tmp_path / "data" / "letters" / "csv_manifest.json", described | {"csv_sha256": "0f"})
    kept = Kept([], [])
    add(kept, run, tmp_path / "data")
    assert kept.results[0]["text"] == read


def test_unmarked_text_stays() -> None:
    page = "before\n<!-- results:none -->\nold\n<!-- /results -->\nafter\n"
    assert with_tables(page, Kept([], [])).startswith("before\n<!-- results:none -->\n| system")
    assert with_tables(page, Kept([], [])).endswith("<!-- /results -->\nafter\n")


def examined(names: list[str], **others: Any) -> dict[str, Any]:
    """What ``explain.py --faithfulness`` writes; the method at place n changes n quarters of the verdicts."""
    made = {"command": "python x", "commit": "abc", "time": "now", "versions": {}}
    figures = {"comprehensiveness": {"mean": 0.5, "half_width": 0.1}, "sufficiency": {"mean": -0.1, "half_width": 0.02}}
    level = {name: {**figures, "flips": {"mean": 0.25 * place, "half_width": 0.1}} for place, name in enumerate(names)}
    return {
        **{"words": level, "sentences": level, "flip_share": 0.2, "documents": 7, "best_method": names[-1]},
        **{"examined": made, "evidence": dict.fromkeys(names, 0.9) | {"chance": 0.1}},
        **others,
    }


def test_an_examination_becomes_tables_and_a_sentence() -> None:
    """One of before validation was examined: it names no split and has one figure of agreement."""
    value = examined(
        ["random", "attention", "gradient"], agreement_with_leave_one_out={"attention": {"kendall": 0.375}}
    )
    kept = Kept([], [])
    for _ in range(2):
        put(kept.faithfulness, kept_faithfulness(value, {"task": "films-2", "title": "HAN-GRU"}))
    assert len(kept.faithfulness) == 1
    [row] = kept.faithfulness
    del row["split"]
    page = "<!-- faithfulness:films-2 -->\n<!-- /faithfulness -->\n<!-- verdict:films-2 -->\n<!-- /verdict -->\n"
    written = with_tables(page, kept)
    assert "HAN-GRU, 7 test documents: " in written and "sufficiency | Kendall's τ with leave-one-out |\n" in written
    assert "| attention | 25.0% | 0.500 ± 0.100 | -0.100 ± 0.020 | 0.38 |" in written
    assert "| a random choice | 0.0% | 0.500 ± 0.100 | -0.100 ± 0.020 | 10.0% |" in written
    assert "changes the verdict in 25.0% of documents; deleting random words, in 0.0%." in " ".join(written.split())
    assert with_tables(written, kept) == written


def test_runs_that_differ_in_their_seeds_become_their_mean() -> None:
    """Agreement of seeds is measured by one of them."""
    kept = Kept([], [])
    for seed, flips in ((1, 0.25), (2, 0.75)):
        value = examined(["random", "attention"], agreement_with_leave_one_out={}, split="test")
        value["weights_sha256"] = f"of seed {seed}"
        value["words"]["attention"]["flips"]["mean"] = flips
        if seed == 2:
            agreement = {"attention": {"mean": 0.5, "half_width": 0.125}}
            value["seeds"] = {"runs": ["a", "b"], "same_verdict": 0.9, "words": agreement, "sentences": agreement}
        put(kept.faithfulness, kept_faithfulness(value, {"task": "films-2", "title": "HAN-GRU", "seed": seed}))
    page = "<!-- faithfulness:films-2 -->\n<!-- /faithfulness -->\n<!-- verdict:films-2 -->\n<!-- /verdict -->\n"
    written = with_tables(page, kept)
    assert "HAN-GRU, 7 test documents, mean of 2 runs (seeds 1, 2): " in written
    assert "| attention | 50.0% | 0.500 ± 0.100 | -0.100 ± 0.020 |" in written
    assert "| attention | 0.500 ± 0.125 | 0.500 ± 0.125 |" in written
    assert "changes the verdict in 50.0% of documents" in " ".join(written.split())


def test_replacement_and_the_agreement_of_runs_become_tables() -> None:
    names = ["random", "attention"]
    value = examined(names, agreement_with_leave_one_out={}, split="test")
    rows = {
        name: {**figures, "reached": {"mean": 0.375, "half_width": 0.1}} for name, figures in value["words"].items()
    }
    agreement = {"attention": {"mean": 0.5, "half_width": 0.0125}}
    seeds = {"runs": ["a", "b"], "same_verdict": 0.9, "words": agreement, "sentences": {"attention": None}}
    row = kept_faithfulness({**value, "replaced": rows, "seeds": seeds}, {"task": "films-2", "title": "HAN-GRU"})
    page = "<!-- faithfulness:films-2 -->\n<!-- /faithfulness -->\n"
    written = with_tables(page, Kept([], [row]))
    assert "| words replaced by `<unk>`, chosen by | changed | comprehensiveness | sufficiency | reached by" in written
    assert "| attention | 25.0% | 0.500 ± 0.100 | -0.100 ± 0.020 | 37.5% |" in written
    assert "| Spearman's ρ of 2 runs by | words | sentences |\n" in written
    assert "| attention | 0.500 ± 0.013 |  |" in written or "| attention | 0.500 ± 0.012 |  |" in written


def test_figures_of_test_documents_are_kept_with_their_split_and_two_agreements(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = {"kendall": 0.5, "kendall_absolute": 0.25}
    [tested] = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
    value = examined(
        ["random", "absolute_gradient", "gradient"],
        **{"split": "test", "step": 1, "weights_sha256": tested["weights_sha256"]},
        agreement_with_leave_one_out={"absolute_gradient": both, "gradient": {**both, "kendall": 0.75}},
    )
    write_json(run / "faithfulness.json", {**value, "split": "valid", "documents": 5})
    kept = Kept([], [])
    add(kept, run, FIXTURE / "data")
    assert not kept.faithfulness and "explain.py letters-han --faithfulness --split test" in caplog.text
    write_json(run / "faithfulness-test.json", {**value, "weights_sha256": "others"})
    add(kept, run, FIXTURE / "data")
    assert not kept.faithfulness and "of other weights" in caplog.text
    write_json(run / "faithfulness-test.json", value)
    add(kept, run, FIXTURE / "data")
    [row] = kept.faithfulness
    assert row["split"] == "test" and row["documents"] == 7
    lines = with_tables("<!-- faithfulness:letters-2 -->\n<!-- /faithfulness -->\n", kept).splitlines()
    assert " 7 test documents: " in lines[1]
    # Bars within a cell are escaped, so that every row has as many cells as the header.
    assert lines[3].endswith(r"| Kendall's τ with \|leave-one-out\| | Kendall's τ with leave-one-out |")
    assert [cells(line)[-2:] for line in (lines[5], lines[7])] == [["", ""], ["0.25", "0.75"]]
    assert lines[6].startswith(r"| \|gradient x input\| | 25.0% |") and lines[6].endswith("| 0.25 | 0.50 |")
