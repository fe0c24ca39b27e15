"""Our log lines go where an operator looks: into the replica's log and onto the console.

In a replica Ray configures its own loggers only. Python prints warnings of all other loggers,
without a time or the replica's name, and drops their INFO lines. With
RAY_SERVE_THROUGHPUT_OPTIMIZED Ray Serve prints nothing on the console, and writes its log when 1000
lines have come together.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayTaskError
from ray.serve._private.constants import SERVE_LOGGER_NAME
from ray.serve.exceptions import gRPCStatusError

from deployments.errors import ConfigError, RequestError, ServerFull
from deployments.tracing import REQUEST_ID, trace_id

logger = logging.getLogger(__name__)

LOG_ONLY = {"log_only": True}
"""Marks a record that is written to the replica's log and not on the console."""

CONSOLE_FORMAT = "%(levelname)s %(asctime)s -- %(message)s"  # Ray puts the replica's name before


class ServeLogs(logging.Handler):
    """Passes every record to the handlers that Ray Serve's own logger has at that moment.

    It keeps no copy of them, since a new `logging_config` replaces them.
    """

    def __init__(self) -> None:
        super().__init__()
        # not sys.stderr, which Ray Serve may have turned into its log
        self._console = logging.StreamHandler(sys.__stderr__)
        self._console.setFormatter(logging.Formatter(CONSOLE_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        serve_logger = logging.getLogger(SERVE_LOGGER_NAME)
        if not serve_logger.isEnabledFor(record.levelno):  # an operator's `log_level` holds
            return
        serve_logger.handle(record)
        for handler in serve_logger.handlers:
            handler.flush()  # our lines are few: they need not wait
        if getattr(record, "log_only", False):
            return
        # exactly this class: a file's handler is one of its kind
        if not any(type(handler) is logging.StreamHandler for handler in serve_logger.handlers):
            self._console.handle(record)


class Refusals(logging.Filter):
    """Cuts the traceback that Ray Serve logs of any error of a request, where a line says it all.

    That is so where the caller can mend the request, or can send it again later.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, gRPCStatusError):  # around what another replica raised
            error = error.original_exception
        error = getattr(error, "cause", error) if isinstance(error, RayTaskError) else error
        if isinstance(error, RequestError | ServerFull):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "refused: %s: %s", (type(error).__name__, error)
            record.exc_info = record.exc_text = None
        return True


class WrittenOut(logging.Filter):
    """Puts a record's arguments into its message at once.

    Ray Serve keeps records until 1000 have come together. An argument that is an error would keep
    the frames of its traceback as long, and they hold the request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage(), None
        return True


def show_in_replica_log(name: str = "deployments") -> None:
    """Write the records of logger `name` and its children, from INFO on, to log and console.

    What Ray Serve itself logs there passes `Refusals` and `WrittenOut`.

    A deployment's constructor calls it first. A second call, by another replica in the same
    process, changes nothing.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or a handler of the root logger would say it a second time
    if not any(isinstance(handler, ServeLogs) for handler in logger.handlers):
        logger.addHandler(ServeLogs())
    serve_logger = logging.getLogger(SERVE_LOGGER_NAME)
    if not any(isinstance(each, Refusals) for each in serve_logger.filters):
        serve_logger.addFilter(Refusals())
        serve_logger.addFilter(WrittenOut())


@contextmanager
def request_logged(
    logger: logging.Logger, request_id: str, what: str, trace: str = ""
) -> Iterator[None]:
    """Log in one line how the block's request ended, and after how long; on no console.

    Logs in JSON have the id as spans have it, and `trace_id` where the request has a `trace`, which
    is a `traceparent`.

    Ray Serve has such lines too. In a server that is optimized for throughput they wait for 999
    others, and are lost when the replica stops.
    """
    began_s, outcome = time.monotonic(), "done"
    try:
        yield
    except (GeneratorExit, asyncio.CancelledError):
        outcome = "left by its caller"
        raise
    except Exception as error:
        outcome = type(error).__name__
        raise
    finally:
        took_s = time.monotonic() - began_s
        extra = {**LOG_ONLY, REQUEST_ID: request_id}
        if trace:
            extra["trace_id"] = trace_id(trace)
        logger.info("%s %s: %s after %.3f s", request_id, what, outcome, took_s, extra=extra)


@contextmanager
def complaints_shown() -> Iterator[None]:
    """Log a ConfigError of the block in one line, and raise it.

    Ray Serve writes what a constructor raises to the controller's log only, and tries again.
    """
    try:
        yield
    except ConfigError as error:
        logger.error("ConfigError: %s", error)
        raise
