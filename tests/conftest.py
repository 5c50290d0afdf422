"""Tests run on the CPU, where results repeat to the bit; those marked ``gpu`` see the GPU.

The fixtures are those of the tests of the page; they import late, so that other tests do without TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from page.answers import ServedRun

# Before TensorFlow is imported by any test, and for the processes that tests start.
if not any("gpu" in argument for argument in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

# Examples of each property test (tests/test_properties_*.py), the same in every run, so that a failure can be repeated:
# PROPERTY_EXAMPLES=3000 make test ARGS="-k properties" tries more of them.
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "60"))
hypothesis.settings.register_profile(
    "repeatable", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, print_blob=False
)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escapes what UTF-8 cannot write (file names) in captured output: test processes could not send it."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with two finished and tested runs."""
    from tests.served_runs import write_folder

    return write_folder(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def served(page_folder: Path) -> ServedRun:
    """The first of the runs, as the page serves it."""
    from tests.served_runs import load_run

    return load_run(page_folder, "tiny-han")


@pytest.fixture(scope="session")
def other(page_folder: Path) -> ServedRun:
    """The second of the runs."""
    from tests.served_runs import load_run

    return load_run(page_folder, "tiny-other")


@pytest.fixture(scope="session")
def client(served: ServedRun) -> Iterator[TestClient]:
    """A client of the page of the first run."""
    from fastapi.testclient import TestClient

    from page.viewer import make_app

    with TestClient(make_app([served], ["testserver"])) as client:
        yield client
