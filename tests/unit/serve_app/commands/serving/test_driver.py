"""What `serve run` leaves to say when it ends."""

import signal
from collections.abc import Callable, Iterator

import pytest
import ray

from serve_app.commands.serving import driver

TOO_BUSY = "The current node timed out during startup. This could happen for many reasons."


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception], int]]:
    """The driver, whose Ray Serve ends with an error."""

    def run(error: Exception) -> int:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(driver.serve_cli, "main", fail)
        return driver.main("any.yaml", 1, "http://localhost:8000/")

    monkeypatch.setattr(driver, "at_death_of", lambda pid, act: None)
    monkeypatch.setattr(driver.Watch, "run", lambda self: None)
    before = signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Exception(f"{TOO_BUSY}\nmore"), TOO_BUSY),
        (RuntimeError(), "RuntimeError()"),
    ],
)
def test_ray_that_does_not_start_is_one_line(
    main: Callable[[Exception], int],
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    assert main(error) == 1
    assert capfd.readouterr().err == f"step-audio2: Ray did not start: {said}\n"


def test_a_graph_that_runs_is_announced_with_the_addresses_of_its_page_and_its_dashboard(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(driver, "instance_details", lambda: object())
    monkeypatch.setattr(driver.progress, "is_running", lambda details: True)
    monkeypatch.setattr(driver, "get_dashboard_url", lambda: "127.0.0.1:8266")
    driver.Watch("http://localhost:8000/").run()
    assert capfd.readouterr().err.splitlines() == [
        "step-audio2: talk to it in a browser: http://localhost:8000/",
        "step-audio2: watch it: step-audio2 top --dashboard http://127.0.0.1:8266",
    ]


def test_an_error_once_ray_runs_is_not_hidden(
    main: Callable[[Exception], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(ValueError, match="of ours"):
        main(ValueError("of ours"))
