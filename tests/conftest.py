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

from tests.quick_pictures import quick

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

LOOKED_AT = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escapes what UTF-8 cannot write (file names) in captured output: test processes could not send it."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Notes whether the test looks at pictures."""
    item.config.stash[LOOKED_AT] = item.get_closest_marker("drawn") is not None


@pytest.fixture(scope="session", autouse=True)
def pictures(pytestconfig: pytest.Config) -> Iterator[None]:
    """Lays pictures out, but draws them only for tests marked ``drawn``: a training in a test is half drawing else."""
    from report import plots

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "new_figure", quick(plots.new_figure, lambda: pytestconfig.stash.get(LOOKED_AT, True)))
        yield


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with two finished and tested runs."""
    from tests.served_runs import write_folder

    return write_folder(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def things_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with several labels a text, and a finished and tested run."""
    from tests.labelled_things import write_things

    return write_things(tmp_path_factory.mktemp("several"))


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
