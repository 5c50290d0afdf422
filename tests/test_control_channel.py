"""The connections between workers, on loopback: meeting, heartbeats, a worker that is lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime import control_channel
from runtime.cluster import Cluster
from runtime.control_channel import ControlChannel
from runtime.workers import meet_workers
from tests.helpers import free_ports
from tests.helpers import tf_config as config
from utils import UserError


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


def test_a_thread_that_starts_after_the_end_ends_without_an_error(meeting: Meeting) -> None:
    meeting.run()
    chief = meeting.channels[0]
    chief.close()
    chief.listen(1)  # as a thread does that gets its turn only now
    assert chief.lost is None


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
