"""How far an explanation is: only its own ticket says so, and only while it is at work."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from page import following
from page.following import followed_by, share_done, will_read
from runtime.abandoning import between_batches
from runtime.predictor import BATCH_WORDS


def test_batches_are_counted_for_the_ticket() -> None:
    assert share_done("mine") is None
    with followed_by("mine"):
        will_read(4 * BATCH_WORDS)
        assert share_done("mine") is None
        shares = []
        for _ in range(5):
            between_batches()
            shares.append(share_done("mine"))
        assert shares == [0.25, 0.5, 0.75, 0.99, 0.99] and share_done("other") is None
    assert share_done("mine") is None
    will_read(1)
    between_batches()  # nobody follows this


def test_a_ticket_that_is_taken_or_too_long_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with followed_by("mine"):
        will_read(BATCH_WORDS)
        with followed_by("mine"):
            between_batches()
        assert share_done("mine") is None  # the inner one counted for itself
        between_batches()
        assert share_done("mine") == 0.99
        monkeypatch.setattr(following, "MOST_TICKETS", 1)
        for ticket in ("second", "x" * 100, ""):
            with followed_by(ticket):
                will_read(1)
                between_batches()
                assert share_done(ticket) is None


def test_the_page_answers_with_a_ticket_as_without(client: TestClient) -> None:
    asked = {"text": "good word01. bad", "method": "gradient"}
    assert client.post("/answer", data={**asked, "ticket": "t"}).text == client.post("/answer", data=asked).text
    assert client.get("/working", params={"ticket": "t"}).json() == {"share": None}
