"""Before a training: which run the flags ask for, whether it may begin, and its folder. No TensorFlow: a mistake is
reported before the seconds that TensorFlow takes to start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from config import NGRAM_WORD_BITS, ModelSettings, TrainingSettings
from corpus.corpora import labels_in
from runtime.checkpoints import best_checkpoint
from runtime.run_folder import RunConfig, RunFolder, TrainedOn
from text.records import remake
from utils import (
    EMBEDDINGS_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    DataPaths,
    UserError,
    index_name,
    log,
    read_json,
    sha256_of_file,
    sha256_of_json,
    tester_command,
)


def run_config(
    arguments: argparse.Namespace,
    model: ModelSettings,
    training: TrainingSettings,
    records: Path,
    manifest: dict[str, Any],
) -> RunConfig:
    """The run that the flags and the records ask for."""
    embeddings = np.load(records / EMBEDDINGS_FILE, mmap_mode="r", allow_pickle=False)
    if arguments.embedding_dim not in {None, embeddings.shape[1]}:
        raise UserError(
            f"--embedding_dim {arguments.embedding_dim} does not fit the word vectors in {records} "
            f"({embeddings.shape[1]}); make new ones: python serialize_data.py {arguments.dataset} "
            f"--embedding_dim {arguments.embedding_dim}"
        )
    names = labels_in(records / LABELS_FILE, remake(records).removeprefix("run: "))
    evidence = evidence_hash(arguments, model, training)
    vocabulary_size, embedding_dim = map(int, embeddings.shape)
    return RunConfig(
        arguments.dataset,
        arguments.model,
        model,
        training,
        tuple(names),
        vocabulary_size,
        embedding_dim,
        sha256_of_json(manifest),
        evidence_sha256=evidence,
        several_labels=bool(manifest.get("several_labels", False)),
    )


def evidence_hash(arguments: argparse.Namespace, model: ModelSettings, training: TrainingSettings) -> str:
    """The hash of the evidence that the flags ask to learn from; empty where they do not.

    Raises:
        UserError: There is none, or the network has no attention that could learn from it.
    """
    if not training.evidence_weight:
        return ""
    if arguments.model != "han" or model.pooling != "attention":
        other = "--pooling" if arguments.model == "han" else "--model"
        raise UserError(
            f"--evidence_weight {training.evidence_weight} is for a network with attention; leave it out, or leave out "
            f"{other}"
        )
    file = DataPaths(arguments.dataset, arguments.data_dir).evidence
    if not file.exists():
        raise UserError(
            f"{file} is not there, and --evidence_weight needs it; give your data a column evidence and run "
            "create_csv.py again, or leave the flag out"
        )
    return sha256_of_file(file)


def check_vocabulary(config: RunConfig) -> None:
    """Refuses a vocabulary that is too large for the n-gram lane, before anything is written."""
    if config.model.ngrams == "on" and config.vocabulary_size > 1 << NGRAM_WORD_BITS:
        raise UserError(
            f"the vocabulary has {config.vocabulary_size:,} words and n-grams allow {1 << NGRAM_WORD_BITS:,}; add "
            f"--ngrams off, or make a smaller one: python serialize_data.py {config.dataset} --min_count 10"
        )


def check_splits(records: Path, config: RunConfig) -> None:
    """Refuses records without validation documents, before anything is written."""
    if not (records / index_name("valid")).exists():
        raise UserError(
            f"{records} has no validation documents; make some: python create_csv.py {config.dataset} "
            "--valid_share 0.1, then run serialize_data.py again"
        )


def lock_refusal(run: RunFolder) -> str:
    """The message for a second trainer of the same run."""
    return f"another trainer is working on {run.path}; wait for it, stop it, or choose another --run NAME"


def may_resume(run: RunFolder, config: RunConfig, restart: bool) -> bool:
    """Whether the run has weights to resume from; refuses other settings than those it was started with."""
    if restart or not (run.exists() and run.has_weights()):
        return False
    run.refuse_other_settings(config)
    run.check_files()
    if run.best.exists():
        best_checkpoint(run)  # damaged weights are reported now, not when the training has finished
    return True


def is_finished(run: RunFolder, arguments: argparse.Namespace) -> bool:
    """Whether training has finished; logs so, with the command that tests the run."""
    if run.finished.exists():
        log.info("the run in %s is finished; test it: %s", run.path, tester_command(arguments))
        return True
    return False


def prepare_folder(
    run: RunFolder, config: RunConfig, records: Path, device: TrainedOn, restart: bool, resume: bool
) -> None:
    """Makes the run folder, or cleans it for a training that resumes. Called when all checks are done."""
    if restart and (run.exists() or run.has_weights()):
        log.info("the old run in %s is now in %s", run.path, run.put_aside())
    run.remove_leftovers()
    run.record_device(device)  # before config.json: whoever waits for that reads this
    if not resume:
        run.create(config, records)
        try:
            refuse_changed_records(config, records)
        except UserError:
            run.config_file.unlink()  # the copies may be of other records than the configuration
            raise


def refuse_changed_records(config: RunConfig, records: Path) -> None:
    """Refuses records that were replaced since ``config`` was made from them."""
    if sha256_of_json(read_json(records / MANIFEST_FILE)) != config.records_sha256:
        raise UserError(f"{records} was replaced while the trainer was starting; run the same command again")
