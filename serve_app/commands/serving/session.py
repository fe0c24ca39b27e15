"""A command in a session of its own, which ends as a whole: by a signal, and with its parent.

What a server starts joins its session, whatever process group it is in. So the session is what
must be empty at the end.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

POLL_S = 0.1
GRACE_S = 60.0  # for Ray Serve to end its replicas, as long as their `graceful_shutdown_timeout_s`
KILLED_WITHIN_S = 10.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_in_session(
    command: Sequence[str], environment: Mapping[str, str], grace_s: float = GRACE_S
) -> int:
    """Run `command` until it ends, and leave nothing of its session behind.

    SIGINT, SIGTERM, SIGHUP and the death of our parent reach the command as one SIGINT. It is
    killed after `grace_s`, or at a second Ctrl-C.

    Returns:
        Its exit status; −N where a signal N ended it or us (what `end_as` takes).
    """
    parent = os.getppid()
    received: list[int] = []
    with _received(received):
        process = subprocess.Popen(command, env=dict(environment), start_new_session=True)
        try:
            status = _wait(process, parent, received, grace_s)
        finally:
            kill_session(process.pid)
            process.wait()
    return -received[0] if received else status


def _wait(
    process: "subprocess.Popen[bytes]", parent: int, received: list[int], grace_s: float
) -> int:
    ends_at: float | None = None
    while (status := process.poll()) is None:
        if os.getppid() != parent and follows_parent():
            received.append(signal.SIGTERM)
            parent = os.getppid()
        if received and ends_at is None:
            ends_at = time.monotonic() + grace_s
            process.send_signal(signal.SIGINT)  # Ray's driver aborts at a SIGTERM
        if signal.SIGINT in received[1:] or (ends_at and time.monotonic() > ends_at):
            return -signal.SIGKILL
        time.sleep(POLL_S)
    return status


@contextmanager
def _received(into: list[int]) -> Iterator[None]:
    def note(signum: int, frame: FrameType | None) -> None:
        into.append(signum)

    with handled(note):
        yield


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have `handler` called at the signals that end a command, if this is the main thread.

    A signal that is ignored stays so: `nohup` ignores SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in ENDING}
    handled = [signum for signum in ENDING if before[signum] is not signal.SIG_IGN]
    try:
        for signum in handled:
            signal.signal(signum, handler)
        yield
    finally:
        for signum in handled:
            signal.signal(signum, before[signum])


class Ended(BaseException):
    """A signal asks this command to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Have the block left, with all its `finally`, at a signal and at our parent's death.

    The process then ends by that signal.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        raise Ended(signum)

    if follows_parent():
        at_death_of(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with handled(end):
            yield
    except Ended as ended:
        end_as(-ended.signum)


def end_as(status: int) -> NoReturn:
    """Exit with `status`; −N ends this process by signal N, so that shells and systemd see it."""
    if status < 0 and -status in ENDING:
        sys.stdout.flush()
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)  # the first process of a container survives it
    sys.exit(status if status >= 0 else 128 - status)


def follows_parent() -> bool:
    """Whether this process ends with its parent: not under `nohup`, which ignores SIGHUP."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def at_death_of(parent: int, act: Callable[[], None]) -> None:
    """Call `act`, in a thread, once `parent` is not this process's parent any more, or at once."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        act()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_own_session(grace_s: float = GRACE_S) -> None:
    """Send this process, the leader of a session, SIGINT; kill what is left after `grace_s`."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(grace_s)
    kill_session(os.getpid())


def kill_session(leader: int) -> None:
    """Kill what is left of a session, whatever process groups are in it."""
    gives_up_at = time.monotonic() + KILLED_WITHIN_S
    while (left := members(leader)) and time.monotonic() < gives_up_at:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S / 10)


def members(leader: int) -> list[int]:
    """The processes of a session that run, where the system lists them in /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            # pid (command) state parent group session: a command may hold anything
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(entry.name))
    return found
