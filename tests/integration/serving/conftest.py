from collections.abc import Iterator

import pytest

from tests.terminal_signals import as_in_a_terminal


@pytest.fixture(scope="session", autouse=True)
def signals_are_as_in_a_terminal() -> Iterator[None]:
    with as_in_a_terminal():
        yield
