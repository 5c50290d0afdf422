"""A cluster of one process, for tests of what tasks do; no Ray needed."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any


class Values:
    """A cluster of one process; values travel as bytes, as between machines, and some are lost and made again."""

    cores = 2

    def __init__(self, lossy: bool = False) -> None:
        self.lossy, self.calls, self._makers, self._values = lossy, 0, {}, {}  # type: ignore[var-annotated]

    def put(self, value: Any) -> int:
        return self._keep(lambda: value)

    def submit(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[int]:
        frozen = pickle.dumps((function, arguments))

        def run() -> Any:
            self.calls += 1
            task, given = pickle.loads(frozen)  # noqa: S301
            return task(*(self.get(value) if isinstance(value, Name) else value for value in given))

        if results == 1:
            return [self._keep(run)]
        return [self._keep(lambda place=place: run()[place]) for place in range(results)]  # type: ignore[misc]

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[int]:
        frozen = pickle.dumps((function, arguments))

        def values() -> Iterator[Any]:
            self.calls += 1
            task, given = pickle.loads(frozen)  # noqa: S301
            return task(*given)

        for number, value in enumerate(values()):
            yield self._keep(lambda n=number, v=value: next(itertools.islice(values(), n, None)) if self.lossy else v)  # type: ignore[misc]

    def get(self, handle: int) -> Any:
        if handle not in self._values or self.lossy:
            self._values[handle] = pickle.dumps(self._makers[handle]())
        return pickle.loads(self._values[handle])  # noqa: S301

    def _keep(self, make: Callable[[], Any]) -> int:
        name = Name(len(self._makers))
        self._makers[name] = make
        return name


class Name(int):
    """A handle."""
