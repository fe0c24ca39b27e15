"""What `run_graph` does to a server beside its load: new voices, deaths."""

import subprocess

import httpx

from tests.benchmarks.graph_deaths import pids
from tests.benchmarks.graph_voices import recordings, upload_until
from tests.waiting import wait_until


def test_no_two_recordings_of_a_voice_are_alike():
    drawn = recordings()
    assert len({next(drawn) for _ in range(3)}) == 3


async def test_voices_are_uploaded_until_the_time_is_over():
    names = []

    def answer(request: httpx.Request) -> httpx.Response:
        names.append(request.read().split(b"voice-", 1)[1][:1])
        return httpx.Response(200 if len(names) < 2 else 429)

    transport = httpx.MockTransport(answer)
    notes = await upload_until(lambda: len(names) == 2, "http://server", transport)
    assert names == [b"0", b"1"]
    assert notes["voices_prepared"] == 1
    assert notes["statuses"] == [200, 429]
    assert len(notes["took_s"]) == len(names)


def test_processes_are_found_by_the_beginning_of_their_title():
    title = "sleep 98.76"
    sleeping = subprocess.Popen(["sleep 98.76", "60"], executable="/bin/sleep")
    try:
        wait_until(lambda: pids(title) == [sleeping.pid], seconds=10)
    finally:
        sleeping.kill()
        sleeping.wait()
    assert pids(title) == []
