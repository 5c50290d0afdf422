"""Several workers: who takes part, how gradients are added up, what is said when one is lost."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings, TrainingSettings
from han import HAN
from network.contract import NetworkArguments
from network.layers import Documents
from runtime import control_channel
from runtime.cluster import Cluster, cluster_of
from runtime.control_channel import ControlChannel
from runtime.workers import SINGLE_WORKER, SingleWorker, Workers, meet_workers
from training.step import train_step
from utils import UserError


def config(index: object = 0, kind: str = "worker", **jobs: object) -> str:
    cluster = jobs or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


# ---------------------------------------------------------------------------------------------------------------------
# TF_CONFIG


def test_the_first_worker_is_the_chief_unless_one_is_named() -> None:
    assert cluster_of(config(1)) == Cluster(("a:1", "b:2"), 1)
    jobs = {"chief": ["c:3"], "worker": ["a:1", "b:2"]}
    assert cluster_of(config(0, "chief", **jobs)) == Cluster(("c:3", "a:1", "b:2"), 0)
    assert cluster_of(config(1, "worker", **jobs)) == Cluster(("c:3", "a:1", "b:2"), 2)


def test_the_ranks_are_those_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow.python.distribute import multi_worker_util as theirs

    for jobs in ({"worker": ["a:1", "b:2"]}, {"chief": ["c:3"], "worker": ["a:1", "b:2"]}):
        for kind, names in jobs.items():
            for index in range(len(names)):
                ours = cluster_of(config(index, kind, **jobs))
                assert ours is not None
                assert ours.index == theirs.id_in_cluster(jobs, kind, index)
                assert (ours.index == 0) == theirs.is_chief(jobs, kind, index)


@pytest.mark.parametrize("text", ["", "{}", config(worker=["a:1"]), config(0, "chief", chief=["a:1"])])
def test_without_another_worker_there_is_one_process(text: str) -> None:
    assert cluster_of(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{'cluster'", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"cluster": {}}', "needs a cluster and a task"),
        ('{"task": {"type": "worker", "index": 0}}', "needs a cluster and a task"),
        (config(0, "boss"), 'task type "boss" is unknown; choose from chief, worker'),
        (config(0, "worker", worker=["a:1"], boss=["b:1"]), 'task type "boss" is unknown'),
        (config(0, "evaluator"), "han_tester.py --run_type val"),
        (config(0, worker=["a:1"], ps=["b:1"]), "parameter servers"),
        (config(None), "task index null is not one of the 2 tasks of type worker; give a whole number from 0 to 1"),
        (config(2), "task index 2 is not one of the 2"),
        (config("1"), 'task index "1" is not one'),
        (config(True), "task index true is not one"),
        (config(0, worker="a:1"), "not a list of addresses"),
        (config(0, worker=["a:1", "b"]), '"b" is not an address; write host:port'),
        (config(0, worker=["a:1", "b:99999"]), "not an address"),
        (config(0, worker=["a:1", 7]), "7 is not an address"),
        (config(0, worker=["a:1", "a:1"]), "two workers the same address"),
        (config(0, chief=["a:1", "b:1"], worker=["c:1"]), "2 chiefs"),
    ],
)
def test_a_bad_cluster_gets_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        cluster_of(text)
    assert said in str(refused.value) and "TF_CONFIG" in str(refused.value) and "\n" not in str(refused.value)


# ---------------------------------------------------------------------------------------------------------------------
# Dealing documents


def unconnected(index: int, count: int, kind: type[Workers] = Workers) -> Workers:
    workers = object.__new__(kind)
    workers.index, workers.count = index, count
    return workers


@pytest.mark.parametrize("documents", [1, 2, 3, 7, 64])
def test_parts_are_disjoint_make_up_the_batch_and_weigh_what_they_hold(documents: int) -> None:
    batch, count = np.arange(100, 100 + documents), 3
    team = [unconnected(index, count) for index in range(count)]
    counted = [workers.part(batch) for workers in team if workers.share(documents)]
    assert sorted(np.concatenate(counted)) == batch.tolist()
    assert sum(workers.share(documents) for workers in team) == pytest.approx(1)
    for workers in team:
        part = workers.part(batch)
        assert len(part) and set(part) <= set(batch)
        assert workers.share(documents) in {0, len(part) / documents}


def test_each_worker_drops_out_differently_and_the_first_as_one_process() -> None:
    seeds = [unconnected(index, 4).seed(2**31 - 1) for index in range(4)]
    assert seeds[0] == SINGLE_WORKER.seed(2**31 - 1) == 2**31 - 1
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**31 for seed in seeds)


# ---------------------------------------------------------------------------------------------------------------------
# Adding up


class Replayed(Workers):
    """Sums without a network: the first pass notes what each worker sends, the second hands out what all sent."""

    sent: list[list[Any]]
    replies: Iterator[Any] | None = None

    def exchange(self, values: Any, join: Callable[[list[Any]], Any]) -> Any:
        if self.replies is None:
            self.sent.append([values, join])
            return values
        return next(self.replies)

    def _sum(self, values: Any) -> Any:
        return self.exchange(values, tf.add_n)

    def _rows(self, values: Any) -> Any:
        return self.exchange(values, lambda parts: tf.concat(parts, 0))


TEXTS = [([[3, 4, 5], [6]], 1), ([[3, 7]], 0), ([[8], [4, 4], [2, 9, 3, 5]], 1), ([[7, 6, 6]], 0), ([[5]], 1)]
CLIP = TrainingSettings(max_grad_norm=0.02, l2=0.03)


def batch_of(numbers: np.ndarray) -> tuple[Documents, Any]:
    texts = [TEXTS[number] for number in numbers]
    sentences = [sentence for text, _ in texts for sentence in text]
    vectors = (np.concatenate(sentences), [len(s) for s in sentences], [len(text) for text, _ in texts])
    return Documents(*(tf.constant(v, tf.int32) for v in vectors)), tf.constant([label for _, label in texts])


def stepped(workers: SingleWorker, numbers: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """What one step of plain gradient descent reports, and the weights after it."""
    model = HAN(NetworkArguments(11, 5, 2, ModelSettings(word_units=3, sentence_units=4, attention_dim=6), seed=4))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    documents, labels = batch_of(workers.part(numbers))
    share = tf.constant(workers.share(len(numbers)), tf.float32)
    report = train_step(model, optimizer, documents, labels, tf.constant([1, 2]), CLIP, workers, share)
    weights = {name: weight.numpy() for name, weight in model.named_weights().items()}
    return {name: float(value) for name, value in report.items()}, weights


@pytest.mark.parametrize(("documents", "count"), [(5, 2), (1, 2), (5, 3)])
def test_workers_take_the_step_of_one_process_with_the_joint_batch(documents: int, count: int) -> None:
    """Also where parts are uneven or empty; clipping and L2 act on the joint gradient."""
    numbers = np.arange(documents)
    report, expected = stepped(SINGLE_WORKER, numbers)
    team = [unconnected(index, count, Replayed) for index in range(count)]
    for workers in team:
        workers.sent = []
        stepped(workers, numbers)
    rounds = zip(*(workers.sent for workers in team), strict=True)
    joined = [calls[0][1]([values for values, _ in calls]) for calls in rounds]
    results = []
    for workers in team:
        workers.replies = iter(joined)
        results.append(stepped(workers, numbers))
    for told, weights in results:
        for name, value in expected.items():
            np.testing.assert_allclose(weights[name], value, atol=2e-7, err_msg=name)
            np.testing.assert_array_equal(weights[name], results[0][1][name])
        for name in ("loss", "accuracy", "gradient_norm", "sentence_attention_entropy"):
            assert told[name] == pytest.approx(report[name], rel=1e-5, abs=1e-6), name


def test_rows_that_several_workers_name_are_added_up_and_distinct() -> None:
    parts = [([2, 5], [[1.0, 2], [3, 4]]), ([5, 0, 2], [[10.0, 20], [30, 40], [50, 60]])]
    workers = unconnected(0, 2, Replayed)
    workers.replies = iter(tf.constant(np.concatenate([part[which] for part in parts])) for which in (1, 0))
    gradient = tf.IndexedSlices(tf.constant(parts[0][1], tf.float64), tf.constant(parts[0][0]), (6, 2))
    added = workers._sum_rows(gradient, tf.constant(1.0, tf.float64))
    dense = np.zeros((6, 2))
    for rows, values in parts:
        np.add.at(dense, rows, values)
    assert len(set(added.indices.numpy())) == len(added.indices) == 3  # RowwiseAdam counts on it
    np.testing.assert_array_equal(tf.convert_to_tensor(added), dense)


# ---------------------------------------------------------------------------------------------------------------------
# Meeting and being lost, on loopback


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


class Meeting:
    """The control channels of several workers that meet in threads of this process."""

    def __init__(self, count: int, settings: list[dict[str, Any]] | None = None, patience: float = 10) -> None:
        addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))
        self.channels = [ControlChannel(Cluster(addresses, index)) for index in range(count)]
        self.errors: dict[int, str] = {}
        self.threads = [
            threading.Thread(target=self.meet, args=(channel, (settings or [{}] * count)[index], patience))
            for index, channel in enumerate(self.channels)
        ]

    def meet(self, channel: ControlChannel, settings: dict[str, Any], patience: float) -> None:
        try:
            if channel.cluster.index == 0:
                channel.gather_workers(settings, patience)
                channel.send({"start": True})
            else:
                channel.join_chief(settings, patience)
                channel.wait_for_start()
        except UserError as error:
            self.errors[channel.cluster.index] = str(error)

    def run(self) -> None:
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join(20)

    def close(self) -> None:
        for channel in self.channels:
            channel.close()


@pytest.fixture
def meeting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    monkeypatch.setattr(control_channel, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(control_channel, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(ControlChannel, "end_if_lost", lambda self: None)  # it ends the process
    made = Meeting(**getattr(request, "param", {"count": 3}))
    yield made
    made.close()


def test_all_meet_and_a_clean_end_is_no_loss(meeting: Meeting) -> None:
    meeting.run()
    assert not meeting.errors
    for channel in meeting.channels:
        channel.watch()
    time.sleep(1)  # longer than silence is borne: heartbeats arrive
    assert [channel.lost for channel in meeting.channels] == [None] * 3
    for channel in reversed(meeting.channels):
        channel.send({"end": True})
        channel.close()
    time.sleep(0.2)
    assert [channel.lost for channel in meeting.channels] == [None] * 3


@pytest.mark.parametrize("silent", [False, True])
def test_a_lost_worker_is_named_to_all(meeting: Meeting, silent: bool) -> None:
    meeting.run()
    chief, other, victim = meeting.channels
    for channel in (chief, other) if silent else meeting.channels:
        channel.watch()
    if not silent:
        victim.peers[0].shutdown(socket.SHUT_RDWR)  # what the kernel does for a process that died
    for channel in (chief, other):
        reason = channel.reason(5)
        assert reason is not None and f"worker 2 ({chief.cluster.addresses[2]})" in reason
        assert ("no heartbeat" if silent else "has ended") in reason


def test_an_error_on_one_worker_is_told_to_all(meeting: Meeting) -> None:
    meeting.run()
    for channel in meeting.channels:
        channel.watch()
    meeting.channels[1].send({"lost": "worker 1 ended: the disk is full"})
    assert [channel.reason(5) for channel in meeting.channels[::2]] == ["worker 1 ended: the disk is full"] * 2


@pytest.mark.parametrize("meeting", [{"count": 2, "settings": [{"seed": 1, "l2": 0.1}, {"seed": 2}]}], indirect=True)
def test_other_settings_are_refused_on_both_sides(meeting: Meeting) -> None:
    meeting.run()
    for index in (0, 1):
        assert "worker 1" in meeting.errors[index] and "seed: 1 -> 2; l2: 0.1 -> None" in meeting.errors[index]


@pytest.mark.parametrize("meeting", [{"count": 2, "patience": 0.3}], indirect=True)
@pytest.mark.parametrize("absent", [0, 1])
def test_who_does_not_come_is_named(meeting: Meeting, absent: int) -> None:
    del meeting.threads[absent]
    meeting.run()
    assert f"worker {absent} (" in meeting.errors[1 - absent] and "--wait_for_workers" in meeting.errors[1 - absent]


@pytest.mark.parametrize("meeting", [{"count": 2}], indirect=True)
def test_a_stranger_at_the_port_does_no_harm(meeting: Meeting) -> None:
    worker = meeting.threads.pop()
    chief = meeting.threads[0]
    chief.start()
    for words in (b"GET / HTTP/1.1\r\n\r\n", b'{"index": 7}\n', b"[]\n", b""):
        for _ in range(100):
            try:
                with socket.create_connection(meeting.channels[0].cluster.endpoint(0), timeout=1) as stranger:
                    stranger.sendall(words)
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
    worker.start()
    worker.join(10)
    chief.join(10)
    assert not meeting.errors and set(meeting.channels[0].peers) == {1}


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_taken_is_told(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        names = [taken, "127.0.0.1:1"] if index == 0 else ["127.0.0.1:1", taken]
        monkeypatch.setenv("TF_CONFIG", config(index, worker=names))
        with pytest.raises(UserError, match="is unavailable"):
            meet_workers({}, 0.1)
