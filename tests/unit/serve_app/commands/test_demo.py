"""What the demo leaves behind."""

import subprocess
import sys
import time

from serve_app.commands.demo import _session, _stop

LEAVES_A_CHILD = """
import subprocess
subprocess.Popen(["sleep", "60"], process_group=0)
"""


def test_a_process_that_outlives_the_server_in_a_group_of_its_own_is_ended_too():
    process = subprocess.Popen([sys.executable, "-c", LEAVES_A_CHILD], start_new_session=True)
    process.wait(30)
    assert len(_session(process.pid)) == 1
    _stop(process)
    ends_s = time.monotonic() + 10
    while _session(process.pid) and time.monotonic() < ends_s:
        time.sleep(0.05)
    assert _session(process.pid) == []
