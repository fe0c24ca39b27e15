"""Whose handlers say what our loggers log, and how often."""

import contextlib
import gc
import io
import logging
import weakref
from collections.abc import Iterator
from logging.handlers import MemoryHandler

import pytest
from ray.exceptions import RayTaskError
from ray.serve._private.constants import SERVE_LOGGER_NAME

from deployments.errors import ConfigError, EngineFailed, ServerFull, UnknownVoice
from deployments.replica_logs import (
    Refusals,
    WrittenOut,
    complaints_shown,
    request_logged,
    show_in_replica_log,
)

NAME = "deployments_of_these_tests"


class Said(logging.Handler):
    """A handler of Ray Serve's, and what came to it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def serve_logger() -> Iterator[logging.Logger]:
    """Ray Serve's own logger, bare and at INFO as in a replica."""
    logger = logging.getLogger(SERVE_LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers, logger.propagate = [], False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])
    ours = Refusals | WrittenOut
    logger.filters = [each for each in logger.filters if not isinstance(each, ours)]
    module = logging.getLogger(NAME)
    module.handlers, module.propagate = [], True
    module.setLevel(logging.NOTSET)


def test_a_line_of_a_module_is_said_once_however_often_it_is_asked_for(serve_logger):
    said, said_by_root = Said(), Said()
    serve_logger.addHandler(said)
    root = logging.getLogger()
    root.addHandler(said_by_root)
    for _ in range(2):
        show_in_replica_log(NAME)
    logging.getLogger(f"{NAME}.token2wav").info("holds up to %d streams", 7)
    root.removeHandler(said_by_root)
    assert said.messages == ["holds up to 7 streams"]
    assert not said_by_root.messages


def test_handlers_that_ray_serve_sets_later_are_found(serve_logger):
    first, second = Said(), Said()
    serve_logger.addHandler(first)
    show_in_replica_log(NAME)
    serve_logger.handlers = [second]
    logging.getLogger(NAME).info("later")
    assert (first.messages, second.messages) == ([], ["later"])


def test_the_level_of_ray_serves_logger_holds_for_ours(serve_logger):
    said = Said()
    serve_logger.addHandler(said)
    serve_logger.setLevel(logging.ERROR)
    show_in_replica_log(NAME)
    logging.getLogger(NAME).info("small")
    logging.getLogger(NAME).error("large")
    assert said.messages == ["large"]


def test_a_log_that_is_kept_in_memory_is_written_and_the_line_printed(serve_logger, monkeypatch):
    """As Ray Serve sets its logger up where RAY_SERVE_THROUGHPUT_OPTIMIZED is 1."""
    console, file = io.StringIO(), Said()
    monkeypatch.setattr("sys.__stderr__", console)
    serve_logger.addHandler(MemoryHandler(capacity=1000, target=file))
    show_in_replica_log(NAME)
    logging.getLogger(NAME).info("at once")
    assert file.messages == ["at once"]
    assert console.getvalue().splitlines()[0].endswith(" -- at once")
    assert console.getvalue().count("at once") == 1


def test_what_ray_serve_prints_itself_is_not_printed_twice(serve_logger, monkeypatch):
    console, of_ray_serve = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.__stderr__", console)
    serve_logger.addHandler(logging.StreamHandler(of_ray_serve))
    show_in_replica_log(NAME)
    logging.getLogger(NAME).info("once")
    assert (console.getvalue(), of_ray_serve.getvalue()) == ("", "once\n")


def test_a_wrong_configuration_is_named_in_one_line_and_still_ends_the_start(caplog):
    with pytest.raises(ConfigError), complaints_shown():
        raise ConfigError("the voice 'high' cannot be read")
    assert [r.getMessage() for r in caplog.records] == [
        "ConfigError: the voice 'high' cannot be read"
    ]


def from_ray(error: Exception) -> Exception:
    wrapped: Exception = RayTaskError("f", "traceback", error).as_instanceof_cause()
    return wrapped


@pytest.mark.parametrize("error", [UnknownVoice("x"), from_ray(UnknownVoice("x"))])
def test_what_a_caller_caused_is_one_line_of_ray_serves_log(serve_logger, error):
    written = logged_by_serve(serve_logger, error)
    assert written == "INFO refused: UnknownVoice: there is no voice 'x'\n"


def test_a_full_server_is_one_line_of_ray_serves_log(serve_logger):
    assert logged_by_serve(serve_logger, from_ray(ServerFull())).count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("x"), EngineFailed("died"), from_ray(KeyError("x"))])
def test_what_fails_of_ours_keeps_its_traceback_in_ray_serves_log(serve_logger, error):
    written = logged_by_serve(serve_logger, error)
    assert written.startswith("ERROR Request failed.\nTraceback ")


def logged_by_serve(serve_logger: logging.Logger, error: Exception) -> str:
    """What Ray Serve's handling of a failed request writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    serve_logger.addHandler(handler)
    show_in_replica_log(NAME)
    show_in_replica_log(NAME)
    try:
        raise error
    except Exception:
        serve_logger.exception("Request failed.")
    return written.getvalue()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "done"), (ValueError("secret"), "ValueError"), (GeneratorExit(), "left by its caller")],
)
def test_a_request_is_logged_with_how_it_ended_and_nothing_of_what_it_held(error, outcome, caplog):
    caplog.set_level(logging.INFO, "some")
    ended = contextlib.suppress(ValueError, GeneratorExit)
    with ended, request_logged(logging.getLogger("some"), "req_1", "speech"):
        if error is not None:
            raise error
    (line,) = caplog.messages
    assert line.startswith(f"req_1 speech: {outcome} after 0.")
    assert "secret" not in line


class Recording:
    """What a request brings, and what its error's traceback holds."""


@pytest.mark.parametrize("as_argument", [False, True], ids=["refused", "an argument"])
def test_a_record_that_waits_to_be_written_keeps_no_request(serve_logger, as_argument: bool):
    """Ray Serve writes its log when 1000 records have come together."""
    written = Said()
    waiting = MemoryHandler(1000, flushLevel=logging.CRITICAL, target=written)
    serve_logger.addHandler(waiting)
    show_in_replica_log(NAME)

    def refuse() -> weakref.ref[Recording]:
        recording = Recording()
        try:
            raise UnknownVoice("Nobody")
        except UnknownVoice as error:
            if as_argument:
                serve_logger.warning("a request failed: %r", error)
            else:
                serve_logger.exception("Request failed.")
        return weakref.ref(recording)

    recording = refuse()
    gc.collect()
    assert recording() is None
    waiting.flush()
    (line,) = written.messages
    assert "UnknownVoice" in line
