"""Whatever ends a server, nothing of it stays: shown on real processes that do not want to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from serve_app.commands.serving.session import kill_session, members
from tests.waiting import wait_until

# A server that ends at SIGINT, and a child of it that ignores everything, in a group of its own.
SERVER = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
child = "import signal as s, time\\nfor n in (1, 2, 15): s.signal(n, s.SIG_IGN)\\ntime.sleep(99)"
subprocess.Popen([sys.executable, "-c", child], process_group=0)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
try:
    time.sleep(99)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1] + ".interrupted").touch()
    if "stubborn" in sys.argv:
        time.sleep(99)
"""
SUPERVISOR = """
import os, sys
from serve_app.commands.serving.session import end_as, run_in_session
grace_s = float(sys.argv[1])
end_as(run_in_session([sys.executable, *sys.argv[2:]], os.environ, grace_s=grace_s))
"""
# What stands for `make` or a shell: it starts its arguments and waits for them.
PARENT = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """A test that fails leaves no process either."""
    yield
    while Run.started:
        run = Run.started.pop()
        run.process.kill()
        run.process.wait()
        kill_session(run.leader)


class Run:
    """A supervisor over SERVER, which has started and has a child."""

    started: ClassVar[list["Run"]] = []

    def __init__(self, folder: Path, *how: str, grace_s: float = 30, under=()) -> None:
        self.note = folder / "pid"
        command = [sys.executable, "-c", SUPERVISOR, str(grace_s), "-c", SERVER, str(self.note)]
        self.process = subprocess.Popen([*under, *command, *how])
        wait_until(lambda: self.note.exists() and self.note.read_text())
        self.leader = int(self.note.read_text())
        Run.started.append(self)
        wait_until(lambda: len(members(self.leader)) == 2)

    @property
    def interrupted(self) -> bool:
        return self.note.with_name("pid.interrupted").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_in_order_and_then_all_that_is_left(tmp_path, signum) -> None:
    run = Run(tmp_path)
    run.process.send_signal(signum)
    assert run.process.wait(30) == -signum  # as a shell, make and systemd expect it
    assert run.interrupted and members(run.leader) == []


def test_a_second_ctrl_c_does_not_wait_for_the_server(tmp_path) -> None:
    run = Run(tmp_path, "stubborn")
    run.process.send_signal(signal.SIGINT)
    wait_until(lambda: run.interrupted)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == -signal.SIGINT
    assert members(run.leader) == []


def test_a_signal_that_comes_twice_because_a_terminal_closes_is_one(tmp_path) -> None:
    run = Run(tmp_path, "stubborn", grace_s=2)
    for signum in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        run.process.send_signal(signum)
    wait_until(lambda: run.interrupted)
    assert run.process.poll() is None  # it has its time
    assert run.process.wait(30) in (-signal.SIGHUP, -signal.SIGTERM)
    assert members(run.leader) == []


def test_a_server_that_does_not_end_in_time_is_killed(tmp_path) -> None:
    run = Run(tmp_path, "stubborn", grace_s=0.5)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(30) == -signal.SIGTERM
    assert members(run.leader) == []


def test_the_death_of_the_parent_ends_the_server(tmp_path) -> None:
    run = Run(tmp_path, under=[sys.executable, "-c", PARENT])
    run.process.kill()
    run.process.wait()
    wait_until(lambda: members(run.leader) == [])
    assert run.interrupted


def test_under_nohup_the_server_outlives_its_parent(tmp_path) -> None:
    under = [sys.executable, "-c", PARENT, "nohup"]
    run = Run(tmp_path, under=under)
    run.process.kill()
    run.process.wait()
    (supervisor,) = supervisors(run.note)
    with pytest.raises(AssertionError):
        wait_until(lambda: run.interrupted, seconds=1)
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: members(run.leader) == [])


def test_a_server_that_ends_by_itself_leaves_nothing_and_its_status(tmp_path) -> None:
    run = Run(tmp_path)
    os.kill(run.leader, signal.SIGINT)  # not through the supervisor: its own end, with status 0
    assert run.process.wait(30) == 0
    assert members(run.leader) == []


def test_a_killed_server_is_a_failure_with_the_status_of_a_shell(tmp_path) -> None:
    run = Run(tmp_path)
    os.kill(run.leader, signal.SIGKILL)
    assert run.process.wait(30) == 128 + signal.SIGKILL
    assert members(run.leader) == []


def test_a_server_that_a_shell_started_in_the_background_hears_a_signal(tmp_path) -> None:
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # what `&` does in a script
    run = Run(tmp_path, under=shell)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(30) == -signal.SIGTERM
    assert run.interrupted and members(run.leader) == []


# A server whose supervisor is gone before it looks, and which SIGINT does not end.
ORPHAN = """
import os, pathlib, signal, sys, time
from serve_app.commands.serving.session import at_death_of, end_own_session
os.setsid()
signal.signal(signal.SIGINT, lambda *_: pathlib.Path(sys.argv[1]).touch())
at_death_of(int(sys.argv[2]), lambda: end_own_session(grace_s=0.5))
while True:
    time.sleep(1)
"""


def test_a_server_whose_supervisor_is_killed_ends_by_itself(tmp_path) -> None:
    note = tmp_path / "interrupted"
    nobody = "2000000000"  # no process has such a number
    with subprocess.Popen([sys.executable, "-c", ORPHAN, str(note), nobody]) as orphan:
        assert orphan.wait(30) == -signal.SIGKILL
    assert note.exists()


def supervisors(note: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(note).encode() in words and SUPERVISOR.encode() in words and b"nohup" not in words:
            found.append(int(entry.name))
    return found
