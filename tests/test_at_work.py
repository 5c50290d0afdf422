"""Work stops when its client goes away, waits in bounded number, and half a request ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

import page.answers
import page.at_work
import page.viewer
from explaining.explanations import explain
from page.answers import ServedRun
from page.at_work import Workplace
from page.connections import ImpatientProtocol
from page.questions import Refusal
from runtime.abandoning import Abandoned, stop_if_abandoned
from tests.served_runs import serving


@pytest.fixture(scope="module")
def address(served: ServedRun) -> Iterator[str]:
    with serving([served]) as address:
        yield address


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 20)


def post(path: str, **values: str) -> bytes:
    body = urlencode(values)
    kind = "application/x-www-form-urlencoded"
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Endless:
    """In the place of an explanation by any method but attention: works until nobody waits for it."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if arguments[3] == "attention":
            return explain(*arguments)
        self.begun.set()
        end = time.monotonic() + 60
        try:
            while time.monotonic() < end:
                stop_if_abandoned()
                time.sleep(0.01)
        except Abandoned:
            self.stopped.set()
            raise


def test_work_stops_when_its_client_goes_away_and_others_are_answered_meanwhile(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Endless()
    with monkeypatch.context() as patch:
        patch.setattr(page.answers, "explain", endless)
        with connected(address) as client:
            client.sendall(post("/answer", text="good word01", method="gradient"))
            assert endless.begun.wait(20)
            patch.undo()
            begun = time.monotonic()
            assert httpx2.get(address).status_code == 200
            asked = httpx2.post(f"{address}/v1/models/han:predict", json={"instances": ["good"]}, timeout=20)
            assert asked.status_code == 200 and time.monotonic() - begun < 5
            assert not endless.stopped.is_set()
        assert endless.stopped.wait(5)
    again = httpx2.post(f"{address}/answer", data={"text": "good word01", "method": "gradient"}, timeout=20)
    assert again.status_code == 200


def test_many_waiting_for_leave_one_out_do_not_hold_the_page(
    address: str, served: ServedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred clients ask for what takes long: one is at work, some wait, the others are refused at once."""
    monkeypatch.setattr(page.answers, "explain", Endless())
    with contextlib.ExitStack() as clients:
        sockets = [clients.enter_context(connected(address)) for _ in range(100)]
        for client in sockets:
            client.sendall(post("/answer", text="good word01 bad " * 400, method="leave_one_out"))
        refused = 0
        end = time.monotonic() + 60
        while refused < 95 and time.monotonic() < end:
            refused = 0
            for client in sockets:
                client.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    head = client.recv(2_000, socket.MSG_PEEK).decode()
                    assert head.startswith("HTTP/1.1 503") and re.search(r"retry-after: \d+", head)
                    refused += 1
        assert refused >= 95
        begun = time.monotonic()
        assert httpx2.get(address).status_code == 200 and time.monotonic() - begun < 2
        begun = time.monotonic()
        cheap = httpx2.post(f"{address}/answer", data={"text": "good", "method": "attention"}, timeout=20)
        assert cheap.status_code == 200 and time.monotonic() - begun < 5


def test_while_requests_wait_too_long_no_more_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.at_work, "MOST_WAIT_SECONDS", 0.1)

    async def never() -> Any:
        await asyncio.Event().wait()

    async def ask() -> None:
        workplace = Workplace(threads=1)
        request: Any = type("Request", (), {"receive": staticmethod(never)})
        slow = [asyncio.create_task(workplace.run(request, 10, lambda: time.sleep(0.4))) for _ in range(4)]
        await asyncio.sleep(0.6)  # the second is at work, and waited for 0.4 seconds
        with pytest.raises(Refusal):
            await workplace.run(request, 10, lambda: None)
        await asyncio.gather(*slow)
        assert await workplace.run(request, 10, lambda: 3) == 3  # nobody waits any more

    asyncio.run(ask())


def test_a_full_workplace_refuses_at_once() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def ask() -> None:
        workplace, gate = Workplace(threads=1, most_waiting_bytes=10_000), threading.Event()
        request: Any = type("Request", (), {"receive": staticmethod(never)})
        first = asyncio.create_task(workplace.run(request, 100, lambda: gate.wait(20)))
        await asyncio.sleep(0.2)  # it has its thread
        second = asyncio.create_task(workplace.run(request, 9_000, lambda: gate.wait(20)))
        await asyncio.sleep(0.2)
        with pytest.raises(Refusal) as caught:
            await workplace.run(request, 100, lambda: gate.wait(20))
        assert (caught.value.status, caught.value.retry_seconds > 0) == (503, True)
        gate.set()
        assert list(await asyncio.gather(first, second)) == [True, True]
        assert await workplace.run(request, 100, lambda: 3) == 3

    asyncio.run(ask())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: local"])
def test_a_connection_without_a_whole_header_is_closed(
    address: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(ImpatientProtocol, "header_seconds", 0.3)
    with connected(address) as client:
        client.sendall(sent)
        assert client.recv(100) == b""
    with connected(address) as client:  # and on a connection that was used before
        client.sendall(b"GET /static/icon.svg HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while b"</svg>" not in received:
            received += client.recv(10_000)
        begun = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nhost: local")
        assert client.recv(100) == b"" and time.monotonic() - begun < 4


def test_a_body_that_does_not_arrive_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.viewer, "BODY_SECONDS", 0.5)
    with connected(address) as client:
        client.sendall(post("/answer", text="good")[:-3])
        assert client.recv(10_000).startswith(b"HTTP/1.1 408")
