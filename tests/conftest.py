"""What all tests share: slow ones come first, and on CI (SDL_CI=1) a skipped test has failed.

A skip says that a peer's program is missing (mosquitto, PostgreSQL, …). On a developer's machine
that is all right; on CI, which installs them, it would hide that nothing was tested.
"""

import os
from collections.abc import Generator

import pytest

ON_CI = os.environ.get("SDL_CI") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: at the end one worker would be at it, and all others idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected = hasattr(report, "wasxfail")
    if report.skipped and not expected and item.get_closest_marker("gpu") is None:
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    if ON_CI:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI (SDL_CI=1) takes for a failure: {reason}"
