"""What our own code logs, where an operator looks: the replica's log, the console of `serve run`.

In a replica only Ray's own loggers are at INFO and have handlers; of ours Python prints warnings
alone, and those without a time or the replica's name. With RAY_SERVE_THROUGHPUT_OPTIMIZED Ray Serve
prints nothing, and what goes into the log waits in memory for 999 other lines.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ray.serve._private.constants import SERVE_LOGGER_NAME

from deployments.errors import ConfigError

logger = logging.getLogger(__name__)

CONSOLE_FORMAT = "%(levelname)s %(asctime)s -- %(message)s"  # Ray puts the replica's name before


class ServeLogs(logging.Handler):
    """Gives every record to what Ray Serve's own logger has for handlers at that moment.

    Not a copy of its handlers: a new `logging_config` takes them away and sets others.
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
        # exactly this class: a file's handler is one of its kind
        if not any(type(handler) is logging.StreamHandler for handler in serve_logger.handlers):
            self._console.handle(record)


def show_in_replica_log(name: str = "deployments") -> None:
    """Log and print what `name` and the loggers below it say, from INFO on.

    For the constructor of a deployment, first of all: what comes before is not shown. Called
    again, as by two replicas in one process, it changes nothing.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or a handler of the root logger would say it a second time
    if not any(isinstance(handler, ServeLogs) for handler in logger.handlers):
        logger.addHandler(ServeLogs())


@contextmanager
def complaints_shown() -> Iterator[None]:
    """Log in one line what the block finds wrong with the configuration, and raise it.

    Ray Serve keeps what a constructor raises to its controller's log, and tries again.
    """
    try:
        yield
    except ConfigError as error:
        logger.error("ConfigError: %s", error)
        raise
