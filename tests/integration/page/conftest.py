"""One server and one browser for the tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.page.chromium import Visit, chromium
from tests.integration.page.drivers import REQUIRED, missing
from tests.integration.page.server import page_server


@pytest.fixture(scope="session")
def thorough() -> None:
    """For what takes its time."""
    if not REQUIRED:
        pytest.skip("`make browsers` runs it")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_server(tmp_path_factory.mktemp("voices")) as url:
        yield url


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """While it lives a loop runs in this thread: no module has asynchronous tests beside it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Callable[..., Visit]]:
    """`visit()` opens the page; each visit has to end without an error."""
    visits: list[Visit] = []

    def open_page(at: str = url, **options: Any) -> Visit:
        visits.append(Visit(browser, at, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.assert_clean()
        one.page.close()


@pytest.fixture(scope="module")
def sample() -> Path:
    """A recording of somebody who speaks."""
    return Path("deployments/token2wav/assets/default_voice.wav").resolve()
