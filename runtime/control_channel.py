"""The connection between the workers of a cluster: who takes part, signs of life, the reason of an end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from config import differences
from runtime.cluster import Cluster
from utils import UserError, fail, log

Items = TypeVar("Items", bound="Sequence[Any] | np.ndarray")

BEAT_SECONDS = 5.0  # between two signs of life
SILENCE_SECONDS = 30.0  # without one: the worker is lost
GRACE_SECONDS = 10.0  # for the main thread to end by itself once a worker is lost
LONGEST_MESSAGE = 1 << 20
TRY_AGAIN = "start the same command on every machine again, and it goes on from the last checkpoint"


class ControlChannel:
    """A connection between the chief and each other worker: JSON, one message a line; an empty line is a sign of life.

    The chief listens on its own port until all are there; then TensorFlow takes the port, and the connections stay.
    Nobody is asked for a password, here as in TensorFlow's own server: the ports belong behind a firewall.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.peers: dict[int, socket.socket] = {}
        self.unread: dict[int, bytes] = {}
        self.lost: str | None = None
        self.ended = False
        self.changed = threading.Condition()
        self.standard_error = os.fdopen(os.dup(2), "w")  # while TensorFlow starts, the usual one leads nowhere

    def gather_workers(self, settings: dict[str, Any], patience: float) -> None:
        """The chief waits until every other worker has said hello, and refuses one with other settings."""
        deadline = time.monotonic() + patience
        missing = set(range(1, len(self.cluster.addresses)))
        with listening(self.cluster) as listener:
            log.info("waiting for %s", " and ".join(map(self.cluster.name, sorted(missing))))
            while missing:
                listener.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    peer, _ = listener.accept()
                except TimeoutError as error:
                    raise UserError(self.absence(missing, patience)) from error
                missing.discard(self.welcome(peer, settings))

    def welcome(self, peer: socket.socket, settings: dict[str, Any]) -> int:
        """Reads one worker's hello; returns its index, or -1 for somebody who does not belong here.

        Raises:
            UserError: It was started with other settings or another cluster; it is told, too.
        """
        peer.settimeout(BEAT_SECONDS)
        hello = read_hello(peer)
        index = hello.get("index")
        if type(index) is not int or not 0 < index < len(self.cluster.addresses) or index in self.peers:
            if hello:
                send(peer, {"lost": f"{self.cluster.name(0)} has a worker {index} already, or knows of none"})
            peer.close()
            return -1
        self.peers[index], self.unread[index] = peer, b""
        if hello.get("addresses") != list(self.cluster.addresses):
            self.refuse(f"{self.cluster.name(index)} was started with another cluster in TF_CONFIG; give all the same")
        if changed := differences(json.loads(json.dumps(settings)), hello.get("settings", {})):
            self.refuse(
                f"{self.cluster.name(index)} was started with other settings or records than the chief "
                f"({'; '.join(changed)}); give the same flags on every machine, and copies of the same records"
            )
        return index

    def refuse(self, reason: str) -> None:
        """Ends the meeting for all who are there."""
        self.say({"lost": reason})
        raise UserError(reason)

    def join_chief(self, settings: dict[str, Any], patience: float) -> None:
        """Another worker knocks at the chief's port until the chief answers."""
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
                    raise UserError(f"{self.absence({0}, patience)} ({error})") from error
                time.sleep(0.5)
        self.peers[0], self.unread[0] = peer, b""
        send(peer, {"index": self.cluster.index, "addresses": self.cluster.addresses, "settings": settings})

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.cluster.addresses)

    def absence(self, missing: set[int], patience: float) -> str:
        """Says who did not come."""
        names = " and ".join(map(self.cluster.name, sorted(missing)))
        return (
            f"no sign of {names} within {patience:g} seconds; start the same command there, check TF_CONFIG and the "
            "firewall, or wait longer with --wait_for_workers SECONDS"
        )

    def say(self, message: dict[str, Any]) -> None:
        """Sends a message to everyone at the other end; one who is gone is found out by whoever reads."""
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                send(peer, message)

    def wait_for_go(self) -> bool:
        """Waits for the chief to begin; false where it ended instead, having nothing to do."""
        peer = self.peers[0]
        peer.settimeout(None)
        while True:
            for message in self.read(0):
                if "go" in message:
                    return True
                if "end" in message:
                    return False
            if self.lost:
                raise UserError(f"{self.lost}; {TRY_AGAIN}")

    def read(self, index: int) -> list[dict[str, Any]]:
        """Messages that arrive from one worker; notes that it is lost when it is silent or its connection breaks."""
        try:
            received = self.peers[index].recv(65536)
        except TimeoutError:
            self.note(f"{self.cluster.name(index)} gave no sign of life for {SILENCE_SECONDS:g} seconds")
            return []
        except OSError:
            received = b""
        if not received:
            self.note(f"{self.cluster.name(index)} is gone")
            return []
        *lines, self.unread[index] = (self.unread[index] + received).split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        for message in messages:
            if "lost" in message:
                self.note(message["lost"])
            if "end" in message:
                self.ended = True
        return messages

    def note(self, reason: str) -> None:
        """Remembers the first loss and, as the chief, tells the others."""
        with self.changed:
            if self.lost is not None or self.ended:
                return
            self.lost = reason
            self.changed.notify_all()
        if self.cluster.index == 0:
            self.say({"lost": reason})

    def reason(self, seconds: float) -> str | None:
        """Why the job cannot go on, waited for up to ``seconds``."""
        with self.changed:
            self.changed.wait_for(lambda: self.lost is not None, seconds)
            return self.lost

    def watch(self) -> None:
        """Starts the threads that send signs of life, listen for those of the others, and end a process left alone."""
        for task in (self.beat, *(lambda index=index: self.listen(index) for index in self.peers), self.end_if_lost):
            threading.Thread(target=task, name="workers", daemon=True).start()

    def beat(self) -> None:
        """Sends a sign of life to everyone, for as long as this process lives."""
        while not self.ended and self.lost is None:
            for index, peer in self.peers.items():
                try:
                    peer.sendall(b"\n")
                except OSError:
                    self.note(f"{self.cluster.name(index)} is gone")
            time.sleep(BEAT_SECONDS)

    def listen(self, index: int) -> None:
        """Reads what one worker sends; silence means that it hangs or its machine is gone."""
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


def send(peer: socket.socket, message: dict[str, Any]) -> None:
    """Sends one message."""
    peer.sendall(json.dumps(message).encode() + b"\n")


def read_hello(peer: socket.socket) -> dict[str, Any]:
    """The first message of somebody who connected; empty if it is not one of ours."""
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
        UserError: Somebody else has the port.
    """
    port = cluster.endpoint(cluster.index)[1]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen()
        except OSError as error:
            raise UserError(
                f"port {port} of {cluster.name(cluster.index)} cannot be had ({error.strerror}); end the program that "
                "has it, or give another port in TF_CONFIG on every machine"
            ) from error
        yield listener
