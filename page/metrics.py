"""What the server of the page counts, at /metrics in Prometheus' text format.

The counting and the format are those of a bundle's server (:class:`shipping.classify.Metrics`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from page.answers import ServedRun
from shipping.classify import METRICS_TYPE, Metrics

CLIENT_CLOSED = 499  # nginx's code for a client that went away; nobody receives it


def metrics_of(runs: Sequence[ServedRun]) -> Metrics:
    """The counters of a server of these runs."""
    return Metrics(
        lambda: {served.name: served.batcher.documents + served.rows_scored for served in runs},
        lambda: {served.name: served.batcher.waiting for served in runs},
    )


class Counted:
    """Counts every request with its route, status and seconds: from its arrival to the beginning of its answer.

    Args:
        app: What answers it.
        metrics: That are counted.
        names: Of the runs that are served.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, names: Sequence[str]) -> None:
        self.app, self._metrics, self._names = app, metrics, list(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        came, counted = time.monotonic(), False

        def count(status: int) -> None:
            nonlocal counted
            if not counted:
                self._metrics.answered(self.model(scope), route_of(scope), status, time.monotonic() - came)
            counted = True

        async def with_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, with_count)
        except Exception:
            count(500)
            raise
        count(CLIENT_CLOSED)  # unless an answer was begun

    def model(self, scope: Scope) -> str:
        """The run that a request is for; of the page, where two runs answer, both."""
        asked = scope.get("path_params", {}).get("model")
        if asked in self._names:
            return str(asked)
        return self._names[0] if asked == "han" else ",".join(self._names)


def route_of(scope: Scope) -> str:
    """The address as the application declares it, so that names in it do not make new routes."""
    if scope["path"].startswith("/static/"):
        return "/static"
    return getattr(scope.get("route"), "path", "other")


def add_metrics(app: FastAPI, runs: Sequence[ServedRun]) -> None:
    """Adds the address, and counts every request from now on."""
    metrics = metrics_of(runs)
    app.add_middleware(Counted, metrics=metrics, names=[served.name for served in runs])

    @app.get("/metrics", include_in_schema=False)
    async def counted() -> Response:
        return Response(metrics.text(), media_type=METRICS_TYPE)
