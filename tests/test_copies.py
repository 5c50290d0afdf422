"""Records at an address: copied once and checked, continued after a kill, and trained on like those of a folder."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import han_tester
import han_trainer
import serialize_data
from corpus.remote import errors_in_one_line, fetch
from runtime.run_folder import RunFolder
from tests.helpers import write_marked_texts, write_tiny_records
from text import copies
from text.copies import data_set
from text.records import remake, verify_records
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    address_of,
    data_folder,
    folder_flags,
    read_json,
    sha256_of_file,
    write_json,
)

SMALL = [
    *("--word_units", "3", "--sentence_units", "2", "--attention_dim", "4", "--batch_size", "16", "--num_epochs", "1"),
    *("--ngrams", "off", "--warmup_steps", "0"),
]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    """Records in a folder that is read by its address; what is copied goes to another one."""
    paths = DataPaths("tiny", tmp_path / "bucket")
    write_tiny_records(paths.records)
    paths.csv.write_text("the texts", encoding="utf-8")
    write_manifest(paths)
    (paths.folder / "csv_manifest.json").write_text("{}", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return paths


def write_manifest(paths: DataPaths) -> None:
    write_json(paths.manifest, read_json(paths.manifest) | {"csv": {"sha256": sha256_of_file(paths.csv)}})


def address(far: DataPaths) -> str:
    return f"file://{far.data_dir}"


def source_of(far: DataPaths) -> copies.Source:
    return copies.Source(address(far), DataPaths("tiny", data_folder(address(far))))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def copied(log: pytest.LogCaptureFixture) -> list[str]:
    """What was said about copying since the last look: "copying 3 files"."""
    said = [" ".join(record.getMessage().split()[:3]) for record in log.records if "copying" in record.getMessage()]
    log.clear()
    return said


@pytest.mark.parametrize("text", ["s3://bucket/data", "gs://b", "file:///mnt/a b/ü%2F", "s3://b/d?endpoint=h:1&x=y"])
def test_an_address_is_known_again_by_the_folder_of_its_copies(text: str) -> None:
    folder = data_folder(text)
    assert folder.parent == Path("data/copies") and address_of(folder) == text
    assert folder_flags(folder) == ["--data_dir", text]
    assert data_folder(text + "/") == folder


def test_a_folder_is_no_address() -> None:
    assert data_folder("my/data") == Path("my/data") and address_of(Path("my/data")) is None
    assert address_of(Path("data/copies/plain")) is None and folder_flags(Path("data")) == []


def test_records_are_copied_once(far: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="han")
    paths = data_set("tiny", data_folder(address(far)))
    assert contents(paths.records) == contents(far.records)
    assert (paths.folder / "csv_manifest.json").read_text() == "{}" and not paths.csv.exists()
    assert verify_records(paths.records)
    assert copied(caplog) == [f"copying {len(contents(far.records))} files"]  # the manifest is not one of them
    data_set("tiny", data_folder(address(far)))
    assert copied(caplog) == []
    data_set("tiny", data_folder(address(far)), texts=True)
    assert paths.csv.read_text() == "the texts" and copied(caplog) == ["copying 1 files"]


def test_a_copy_that_was_interrupted_is_continued(
    far: DataPaths, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="han")
    whole, copy_part, taken = len(contents(far.records)), copies.copy_part, []

    def fail_at_the_third(*arguments: object) -> None:
        taken.append(arguments)
        if len(taken) == 3:
            raise KeyboardInterrupt
        copy_part(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "AT_ONCE", 1)
    monkeypatch.setattr(copies, "copy_part", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        data_set("tiny", data_folder(address(far)))
    paths = DataPaths("tiny", data_folder(address(far)))
    assert not paths.manifest.exists()
    (paths.records / ".vocab.txt.12345678.tmp").write_bytes(b"of a kill")
    here = len(contents(paths.records)) - 1
    assert 0 < here < whole
    copied(caplog)
    monkeypatch.setattr(copies, "copy_part", copy_part)
    data_set("tiny", data_folder(address(far)))
    assert copied(caplog) == [f"copying {whole - here} files"]  # one is beside the records, in place of the manifest
    assert contents(paths.records) == contents(far.records)


def test_what_has_changed_is_copied_again(far: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="han")
    paths = data_set("tiny", data_folder(address(far)), texts=True)
    shutil.rmtree(far.records)
    write_tiny_records(far.records, 60)
    far.csv.write_text("other texts", encoding="utf-8")
    write_manifest(far)
    copied(caplog)
    data_set("tiny", data_folder(address(far)))
    assert contents(paths.records) == contents(far.records) and not paths.csv.exists()
    assert copied(caplog) == ["copying 7 files"]  # shards and indices of three splits, csv_manifest.json; not words


def test_a_copy_is_used_where_the_address_cannot_be_read(far: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    data_set("tiny", data_folder(address(far)))
    far.data_dir.rename(far.data_dir.with_name("gone"))
    paths = data_set("tiny", data_folder(address(far)))
    assert "has no tiny/records/manifest.json" in caplog.text and "is used" in caplog.text
    assert verify_records(paths.records)
    with pytest.raises(UserError, match=r"has no tiny/records/manifest\.json"):
        data_set("tiny", data_folder(address(far)), texts=True)


def damage(far: DataPaths) -> None:
    with (far.records / "vocab.txt").open("ab") as file:
        file.write(b"x")


def shorten(far: DataPaths) -> None:
    file = far.records / "vocab.txt"
    file.write_bytes(file.read_bytes()[:-1])


def alter(far: DataPaths) -> None:
    file = far.records / "vocab.txt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def lose(far: DataPaths) -> None:
    (far.records / "vocab.txt").unlink()


def cut(far: DataPaths) -> None:
    far.manifest.write_bytes(far.manifest.read_bytes()[:50])


def lead_away(far: DataPaths) -> None:
    far.manifest.write_bytes(far.manifest.read_bytes().replace(b'"vocab.txt"', b'"../../../vocab.txt"'))


def fill(far: DataPaths) -> None:
    manifest = read_json(far.manifest)
    manifest["files"]["vocab.txt"]["bytes"] = 1 << 60
    write_json(far.manifest, manifest)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, r"tiny/records/vocab\.txt is not what the manifest says \(it has more than [\d,]+ bytes\)"),
        (shorten, r"tiny/records/vocab\.txt is not what the manifest says \(it has \d+ bytes, not \d+\)"),
        (alter, r"tiny/records/vocab\.txt is not what the manifest says \(its SHA-256 differs\)"),
        (lose, r"file://\S+ cannot be read \(.*vocab\.txt"),
        (cut, r"tiny/records/manifest\.json is damaged \(.*\); copy the records there again"),
        (lead_away, r"is damaged: '\.\./\.\./\.\./vocab\.txt' is no name of a file"),
        (
            fill,
            r"tiny needs 1048576\.0 TB on this machine and .* are free; free some space, or make data/copies a link",
        ),
        (lambda far: far.manifest.unlink(), r"has no tiny/records/manifest\.json; copy the folder tiny there"),
    ],
)
def test_what_is_no_copy_of_the_records_is_refused_in_one_line(far: DataPaths, harm: object, message: str) -> None:
    harm(far)  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        data_set("tiny", data_folder(address(far)))
    assert "\n" not in str(caught.value)
    assert not DataPaths("tiny", data_folder(address(far))).manifest.exists()


def test_texts_that_are_not_there(far: DataPaths) -> None:
    far.csv.unlink()
    with pytest.raises(UserError, match=r"has no tiny/tiny\.csv, which is needed here"):
        data_set("tiny", data_folder(address(far)), texts=True)


def test_a_damaged_copy_is_deleted_to_be_copied_again(far: DataPaths) -> None:
    paths = data_set("tiny", data_folder(address(far)))
    damage(paths)
    with pytest.raises(UserError, match=r"delete data/copies/\S+/tiny/records and run the same command again"):
        verify_records(paths.records)
    assert address(far) in remake(paths.records)


def test_a_stage_that_writes_takes_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serialize_data.build_parser().parse_args(["tiny", "--data_dir", "s3://bucket/data"])
    assert (
        "s3://bucket/data is an address, and files are written to a folder of this machine" in capsys.readouterr().err
    )
    parser = Parser()
    add_folder_flags(parser)
    assert parser.parse_args(["--data_dir", "s3://b"]).data_dir == data_folder("s3://b")


def test_a_file_system_of_fsspec(far: DataPaths) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").put(str(far.folder), "/bucket/data/", recursive=True)
    paths = data_set("tiny", data_folder("memory://bucket/data"), texts=True)
    assert contents(paths.records) == contents(far.records) and paths.csv.read_text() == "the texts"


def test_trainer_and_tester_read_records_at_an_address(far: DataPaths, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "tiny", "--data_dir", address(far)]
    han_trainer.main(han_trainer.build_parser().parse_args([*flags, *SMALL]))
    run = RunFolder(Path("runs/tiny-han"))
    run.refuse_other_records(run.config(), far.records, verify_records(far.records))
    far.data_dir.rename(far.data_dir.with_name("gone"))
    han_tester.main(han_tester.build_parser().parse_args(flags))
    assert "documents                  30\n" in capsys.readouterr().out


def test_an_error_stops_the_files_that_are_half_copied(far: DataPaths) -> None:
    source, stop = source_of(far), threading.Event()
    stop.set()
    with pytest.raises(UserError, match="is not copied to its end"):
        copies.copy_part(source, copies.Part("records/vocab.txt", 1), stop)
    assert not list(source.paths.records.iterdir())


# ---------------------------------------------------------------------------------------------------------------------
# Evidence, and other files beside the records


def mark(far: DataPaths) -> None:
    """Gives the records texts and evidence."""
    shutil.rmtree(far.records)
    write_marked_texts(far, write_tiny_records(far.records), "train")


@pytest.mark.slow
def test_a_training_that_learns_from_evidence_brings_the_texts(far: DataPaths) -> None:
    mark(far)
    flags = ["--dataset", "tiny", "--data_dir", address(far), *SMALL]
    assert han_trainer.main(han_trainer.build_parser().parse_args([*flags, "--evidence_weight", "0.5"])) == 0
    paths = DataPaths("tiny", data_folder(address(far)))
    assert paths.csv.read_bytes() == far.csv.read_bytes()
    paths.csv.unlink()
    assert han_trainer.main(han_trainer.build_parser().parse_args([*flags, "--run_type", "retrain"])) == 0
    assert paths.csv.is_file()


@pytest.mark.parametrize(("marked", "wanted"), [(True, True), (True, False), (False, True)])
def test_texts_are_copied_for_a_comparison_where_there_is_evidence(far: DataPaths, marked: bool, wanted: bool) -> None:
    if marked:
        mark(far)
    assert data_set("tiny", data_folder(address(far)), evidence=wanted).csv.is_file() == (marked and wanted)


def test_a_comparison_without_texts_is_one_line(far: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    mark(far)
    far.csv.unlink()
    assert verify_records(data_set("tiny", data_folder(address(far)), evidence=True).records)
    assert "has no tiny/tiny.csv: nothing is compared with the evidence" in caplog.text


def test_what_changes_beside_the_same_records_is_copied(far: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="han")
    paths = data_set("tiny", data_folder(address(far)))
    copied(caplog)
    for content in ("appears", "changes", "grows longer"):  # the second is as long as the first
        far.evidence.write_text(content, encoding="utf-8")
        data_set("tiny", data_folder(address(far)))
        assert paths.evidence.read_text(encoding="utf-8") == content and copied(caplog) == ["copying 1 files"]
    far.evidence.unlink()
    data_set("tiny", data_folder(address(far)))
    assert not paths.evidence.exists() and copied(caplog) == [] and verify_records(paths.records)


def test_a_large_file_beside_the_records_is_known_by_its_size(far: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "SMALL", 3)
    paths = DataPaths("tiny", data_folder(address(far)))
    for content, expected in (("1234", "1234"), ("abcd", "1234"), ("abcde", "abcde")):
        far.evidence.write_text(content, encoding="utf-8")
        data_set("tiny", paths.data_dir)
        assert paths.evidence.read_text(encoding="utf-8") == expected


def test_a_file_that_grows_while_it_is_copied_is_cut_off(far: DataPaths) -> None:
    with pytest.raises(
        UserError, match=r"csv_manifest\.json has changed while it was copied \(it has more than 1 bytes"
    ):
        copies.copy_part(source_of(far), copies.Part("csv_manifest.json", 1), threading.Event())
    assert not source_of(far).paths.csv_manifest.exists()


# ---------------------------------------------------------------------------------------------------------------------
# Manifests, folders, addresses


def without_csv(manifest: dict[str, Any]) -> None:
    del manifest["csv"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_csv, r"is damaged or of another version \(.*`csv`"),
        (lambda manifest: manifest.update(csv={}), r"is damaged or of another version \(.*`sha256`"),
        (lambda manifest: manifest.update(csv={"sha256": "12"}), r"is damaged: the CSV file has the SHA-256 '12'"),
        (lambda manifest: manifest["files"].update({"manifest.json": manifest["files"]["vocab.txt"]}), "lists itself"),
        (lambda manifest: manifest["files"]["vocab.txt"].update(sha256="Z" * 64), r"'vocab\.txt' has the SHA-256 'ZZ"),
        (lambda manifest: manifest["files"]["vocab.txt"].update(bytes=-1), r"'vocab\.txt' has -1 bytes"),
        (lambda manifest: manifest["files"]["vocab.txt"].update(bytes=2.0), "is damaged"),
        (lambda manifest: manifest["files"].update({"a\0": manifest["files"]["vocab.txt"]}), "is no name of a file"),
        (lambda manifest: manifest["files"].update({"a" * 250: manifest["files"]["vocab.txt"]}), "is no name of"),
    ],
)
def test_a_manifest_of_another_shape_is_refused_in_one_line(far: DataPaths, harm: object, message: str) -> None:
    manifest = read_json(far.manifest)
    harm(manifest)  # type: ignore[operator]
    write_json(far.manifest, manifest)
    with pytest.raises(UserError, match=message) as caught:
        data_set("tiny", data_folder(address(far)))
    assert "\n" not in str(caught.value) and "copy the records there again" in str(caught.value)


def test_an_error_of_this_program_is_not_said_to_be_one_of_the_address(
    far: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(copies, "remove_others", fail)
    with pytest.raises(KeyError, match="a bug"):
        data_set("tiny", data_folder(address(far)))


def test_folders_among_the_copied_records_are_removed(far: DataPaths) -> None:
    paths = DataPaths("tiny", data_folder(address(far)))
    for name in ("old", "vocab.txt"):  # the second in the place of a file
        (paths.records / name / "within").mkdir(parents=True)
    data_set("tiny", paths.data_dir)
    assert contents(paths.records) == contents(far.records)


def test_a_mistyped_address_leaves_nothing_behind(far: DataPaths) -> None:
    with pytest.raises(UserError, match=r"has no tiny/records/manifest\.json"):
        data_set("tiny", data_folder(address(far) + "x"))
    assert not list(Path.cwd().iterdir())


KEYS = [
    "s3://key:secret@bucket/data",
    "s3://key:sec/ret@bucket",
    "abfs://:secret@account/x",
    "s3://b?secret_key=secret",
]


@pytest.mark.parametrize("text", KEYS)
def test_an_address_with_a_key_is_refused_without_repeating_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser()
    add_folder_flags(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--data_dir", text])
    said = capsys.readouterr().err
    assert "keys belong into the environment" in said and "secret@" not in said and "=secret" not in said
    for refuse in (lambda: data_folder(text), lambda: fetch(text, DataPaths("films", tmp_path))):
        with pytest.raises(UserError, match="has a key in it"):
            refuse()


@pytest.mark.parametrize(
    "text", ["gs://anonymous@b/x", "s3://b/a:b/c@d?endpoint_override=h:1", "hdfs://h:9000/a@b", "file:///a:b@c"]
)
def test_an_address_without_a_key_is_none_of_them(text: str) -> None:
    assert address_of(data_folder(text)) == text


@pytest.mark.parametrize(("folder", "file"), [(".", "reviews/raw/x"), ("data", "data/x"), ("data/../data", "data/x")])
def test_an_error_of_the_own_disk_stays_as_it_is(folder: str, file: str) -> None:
    with pytest.raises(OSError, match="No space"), errors_in_one_line("s3://b", Path(folder)):
        raise OSError(28, "No space left on device", file)
    with pytest.raises(UserError, match="s3://b cannot be read"), errors_in_one_line("s3://b", Path("data")):
        raise OSError(5, "far away", "database/x")
