"""The connection between the workers of a cluster: they meet, send heartbeats, and report why one ended.

What TensorFlow 2.21 lacks, and nothing else: the constructor of its strategy waits without a limit and ignores signals,
it does not compare settings, and it does not notice a worker that hangs. Sums and values travel through TensorFlow.

The protocol. Each worker holds one TCP connection to the chief, who listens on its own port of ``TF_CONFIG`` until all
are there; then TensorFlow takes the port, and the connections stay. Both sides send JSON objects in UTF-8, one a line:

    worker to chief   {"index": 1, "addresses": [...], "settings": {...}}     once, first; at most 1 MiB
    chief to worker   {"lost": "why"}      the settings differ, the index is taken, or a worker is lost: end
    chief to worker   {"start": true}      the chief's checks are done: start TensorFlow
    both ways         an empty line        a heartbeat, every 5 seconds from the start on
    both ways         {"lost": "why"}      the sender ends with an error; the chief passes it on
    both ways         {"end": true}        the sender has finished; of the chief before the start: nothing to train

A connection that closes, or is silent for 30 seconds, before ``end`` is a worker that is lost: every process then ends
with exit code 2 and one line that names it, within 10 seconds even if its main thread is inside TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from config import differences
from runtime.cluster import Cluster
from utils import UserError, fail, log

BEAT_SECONDS = 5.0  # between two heartbeats
SILENCE_SECONDS = 30.0  # without a heartbeat: the worker is lost
GRACE_SECONDS = 10.0  # for the main thread to end by itself once a worker is lost
LONGEST_MESSAGE = 1 << 20
TRY_AGAIN = "start the same command on every machine again to resume from the last checkpoint"


class ControlChannel:
    """A connection between the chief and each other worker: JSON, one message per line; an empty line is a heartbeat.

    The chief listens on its own port until all are connected; then TensorFlow takes the port, and the connections stay.
    There is no password, as in TensorFlow's own server: the ports belong behind a firewall.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.peers: dict[int, socket.socket] = {}
        self.unread: dict[int, bytes] = {}
        self.lost: str | None = None
        self.ended = False
        self.changed = threading.Condition()
        self.standard_error = os.fdopen(os.dup(2), "w")  # while TensorFlow starts, the usual one is closed

    def gather_workers(self, settings: dict[str, Any], patience: float) -> None:
        """The chief waits until every other worker has connected, and refuses one with other settings."""
        deadline = time.monotonic() + patience
        missing = set(range(1, len(self.cluster.addresses)))
        with listening(self.cluster) as listener:
            log.info("waiting for %s", " and ".join(map(self.cluster.name, sorted(missing))))
            while missing:
                listener.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    peer, _ = listener.accept()
                except TimeoutError as error:
                    raise UserError(self.not_started(missing, patience)) from error
                missing.discard(self.welcome(peer, settings))

    def welcome(self, peer: socket.socket, settings: dict[str, Any]) -> int:
        """Reads one worker's hello; returns its index, or -1 for a stranger.

        Raises:
            UserError: It was started with other settings or another cluster; the worker gets the same message.
        """
        peer.settimeout(BEAT_SECONDS)
        hello = read_hello(peer)
        index = hello.get("index")
        if type(index) is not int or not 0 < index < len(self.cluster.addresses) or index in self.peers:
            if hello:
                send_message(peer, {"lost": f"{self.cluster.name(0)} already has a worker {index}, or expects none"})
            peer.close()
            return -1
        self.peers[index], self.unread[index] = peer, b""
        if hello.get("addresses") != list(self.cluster.addresses):
            self.refuse(
                f"{self.cluster.name(index)} was started with another cluster in TF_CONFIG; give all the same cluster"
            )
        if changed := differences(json.loads(json.dumps(settings)), hello.get("settings", {})):
            self.refuse(
                f"{self.cluster.name(index)} was started with other settings or records than the chief "
                f"({'; '.join(changed)}); give the same flags on every machine, and copies of the same records"
            )
        return index

    def refuse(self, reason: str) -> None:
        """Ends all connected workers."""
        self.send({"lost": reason})
        raise UserError(reason)

    def join_chief(self, settings: dict[str, Any], patience: float) -> None:
        """Another worker tries the chief's port until the chief answers."""
        with listening(self.cluster):
            pass  # the port is free for TensorFlow
        log.info("worker %d of %d: waiting for %s", self.cluster.index, self.count, self.cluster.name(0))
        deadline = time.monotonic() + patience
        while True:
            try:
                peer = socket.create_connection(self.cluster.endpoint(0), timeout=BEAT_SECONDS)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(f"{self.not_started({0}, patience)} ({error})") from error
                time.sleep(0.5)
        self.peers[0], self.unread[0] = peer, b""
        send_message(peer, {"index": self.cluster.index, "addresses": self.cluster.addresses, "settings": settings})

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.cluster.addresses)

    def not_started(self, missing: set[int], patience: float) -> str:
        """The message about workers that did not start."""
        names = " and ".join(map(self.cluster.name, sorted(missing)))
        return (
            f"{names} did not connect within {patience:g} seconds; start the same command there, check TF_CONFIG and "
            "the firewall, or wait longer with --wait_for_workers SECONDS"
        )

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message to every connected worker; the reading thread notices one that is gone."""
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                send_message(peer, message)

    def wait_for_start(self) -> bool:
        """Waits for the chief to begin; false if it ended because there is nothing to train."""
        peer = self.peers[0]
        peer.settimeout(None)
        while True:
            for message in self.read(0):
                if "start" in message:
                    return True
                if "end" in message:
                    return False
            if self.lost:
                raise UserError(f"{self.lost}; {TRY_AGAIN}")

    def read(self, index: int) -> list[dict[str, Any]]:
        """Messages that arrive from one worker; records its loss when it is silent or its connection breaks."""
        try:
            received = self.peers[index].recv(65536)
        except TimeoutError:
            self.record_loss(f"{self.cluster.name(index)} sent no heartbeat for {SILENCE_SECONDS:g} seconds")
            return []
        except OSError:
            received = b""
        if not received:
            self.record_loss(f"{self.cluster.name(index)} has ended")
            return []
        *lines, self.unread[index] = (self.unread[index] + received).split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        for message in messages:
            if "lost" in message:
                self.record_loss(message["lost"])
            if "end" in message:
                self.ended = True
        return messages

    def record_loss(self, reason: str) -> None:
        """Records the first loss and, as the chief, sends it to the others."""
        with self.changed:
            if self.lost is not None or self.ended:
                return
            self.lost = reason
            self.changed.notify_all()
        if self.cluster.index == 0:
            self.send({"lost": reason})

    def reason(self, seconds: float) -> str | None:
        """Why the job cannot continue; waits up to ``seconds`` for a reason."""
        with self.changed:
            self.changed.wait_for(lambda: self.lost is not None, seconds)
            return self.lost

    def watch(self) -> None:
        """Starts the threads that send heartbeats, listen for heartbeats, and end a process whose peers are lost."""
        for task in (self.beat, *(lambda index=index: self.listen(index) for index in self.peers), self.end_if_lost):
            threading.Thread(target=task, name="workers", daemon=True).start()

    def beat(self) -> None:
        """Sends a heartbeat to every connected worker while this process runs."""
        while not self.ended and self.lost is None:
            for index, peer in self.peers.items():
                try:
                    peer.sendall(b"\n")
                except OSError:
                    self.record_loss(f"{self.cluster.name(index)} has ended")
            time.sleep(BEAT_SECONDS)

    def listen(self, index: int) -> None:
        """Reads what one worker sends; silence means that it hangs or its machine is down."""
        with contextlib.suppress(OSError):  # closed by now: read says so, unless this process has ended itself
            self.peers[index].settimeout(SILENCE_SECONDS)
        while not self.ended and self.lost is None:
            self.read(index)

    def end_if_lost(self) -> None:
        """Ends the process when a worker is lost and the main thread, inside TensorFlow, does not notice."""
        with self.changed:
            self.changed.wait_for(lambda: self.lost is not None)
        time.sleep(GRACE_SECONDS)
        if not self.ended:
            os.dup2(self.standard_error.fileno(), 2)
            os._exit(fail("han_trainer.py", f"{self.lost}; {TRY_AGAIN}"))

    def close(self) -> None:
        """Ends the connections."""
        self.ended = True
        for peer in self.peers.values():
            peer.close()
        self.standard_error.close()


def send_message(peer: socket.socket, message: dict[str, Any]) -> None:
    """Sends one message."""
    peer.sendall(json.dumps(message).encode() + b"\n")


def read_hello(peer: socket.socket) -> dict[str, Any]:
    """The first message on a new connection; empty if it is not from a worker."""
    received = b""
    try:
        while not received.endswith(b"\n") and len(received) < LONGEST_MESSAGE:
            piece = peer.recv(65536)
            if not piece:
                return {}
            received += piece
        value = json.loads(received)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def listening(cluster: Cluster) -> Iterator[socket.socket]:
    """A socket that listens on this worker's own port.

    Raises:
        UserError: The port is in use.
    """
    port = cluster.endpoint(cluster.index)[1]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen()
        except OSError as error:
            raise UserError(
                f"port {port} of {cluster.name(cluster.index)} is unavailable ({error.strerror}); end the program that "
                "uses it, or give another port in TF_CONFIG on every machine"
            ) from error
        yield listener
