"""Signals of a process that somebody started in a terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_in_a_terminal() -> Iterator[None]:
    """A child ignores what its parent ignores, as SIGHUP under `nohup` and SIGINT after `&`."""
    ignored = [one for one in (signal.SIGINT, signal.SIGHUP) if _is_ignored(one)]
    for one in ignored:
        signal.signal(one, signal.SIG_DFL)
    yield
    for one in ignored:
        signal.signal(one, signal.SIG_IGN)


def _is_ignored(signum: int) -> bool:
    return signal.getsignal(signum) is signal.SIG_IGN
