"""What a soak concludes from what it saw."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.soak.honest import CHAT, SPEECH, TRANSCRIPTION, as_wav, sound_problem
from tests.benchmarks.soak.log_watch import LogWatch
from tests.benchmarks.soak.outcomes import Outcome, Tally
from tests.benchmarks.soak.processes import Sample, name_of, sample
from tests.benchmarks.soak.raw_http import request, status_of
from tests.benchmarks.soak.verdict import report, table

SENTENCE = "please open the window"
QUIET_S, RAN_S = 10.0, 110.0
STAGES = {"Thinker": [7]}


def samples(**last: object) -> list[Sample]:
    """A flat hour; the last quarter as `last` says."""
    flat = [Sample(float(at), 9, 100 << 20, 90 << 20, 300, 80, at / 2) for at in range(0, 110, 5)]
    for each in flat:
        each.stages = STAGES
    for each in flat[-len(flat) // 4 :]:
        for name, value in last.items():
            setattr(each, name, value)
    return flat


def heard(kind: str, quiet: str, beside: str) -> Tally:
    tally = Tally()
    for at_s, words in ((5.0, quiet), (60.0, beside)):
        tally.hear(kind, SENTENCE, words)
        object.__setattr__(tally.heard[-1], "at_s", at_s)
    return tally


def failures(tally: Tally | None = None, **last: object) -> list[str]:
    document = report(tally or Tally(), samples(**last), LogWatch(), QUIET_S, RAN_S)
    assert document["passed"] is not bool(document["failures"])
    assert all(f"FAILED: {failure}" in table(document) for failure in document["failures"])
    return document["failures"]


def test_a_server_that_stays_as_it_is_passes():
    assert failures(heard(TRANSCRIPTION, SENTENCE, SENTENCE)) == []


@pytest.mark.parametrize(
    "last",
    [
        {"resident_bytes": 106 << 20},
        {"private_bytes": 96 << 20},
        {"descriptors": 340},
        {"threads": 90},
        {"processes": 10},
    ],
)
def test_a_server_that_holds_more_and_more_fails(last):
    (failure,) = failures(**last)
    assert "grew from" in failure


def test_a_little_more_is_no_growth():
    assert failures(private_bytes=92 << 20, descriptors=310, threads=82) == []


def test_a_stage_that_was_replaced_fails():
    (failure,) = failures(stages={"Thinker": [8]})
    assert "replaced" in failure


@pytest.mark.parametrize("kind", [TRANSCRIPTION, CHAT])
def test_words_that_turn_wrong_beside_hostile_clients_fail(kind):
    assert failures(heard(kind, SENTENCE, "please open a window"))
    assert not failures(heard(kind, "please open a window", SENTENCE))


def test_speech_that_is_not_understood_fails():
    assert failures(heard(SPEECH, SENTENCE, "please open a window"))


def test_one_wrong_answer_fails_and_is_shown():
    tally = Tally()
    tally.add(Outcome("any", 500, "why", "what was sent"))
    assert failures(tally) == ["1 answers were wrong"]
    assert tally.examples[0]["of"] == "what was sent"


def test_a_traceback_and_an_error_in_a_log_are_seen_once(tmp_path: Path):
    log = tmp_path / "replica.log"
    log.write_text("ERROR before\n")
    watch = LogWatch()
    watch.pass_over([log])
    with log.open("a") as file:
        file.write("INFO 2026 -- CALL speak ERROR 6.5ms\nERROR 2026 -- answered 500\n")
        file.write("Traceback (most recent call last)")
    watch.read([log])
    assert (watch.errors, watch.tracebacks) == (1, 0)  # that line is not whole
    with log.open("a") as file:
        file.write(":\n  File\n")
    later = tmp_path / "worker.err"
    later.write_text("ERROR of a new file\n")
    watch.read([log, later])
    watch.read([log, later])
    assert (watch.errors, watch.tracebacks) == (2, 1)
    assert "replica.log: ERROR 2026 -- answered 500" in watch.examples[0]


def test_what_rays_controller_complains_of_is_no_clients_doing(tmp_path: Path):
    log = tmp_path / "controller_5122.log"
    log.write_text("ERROR 2026 -- a deadline passed\nTraceback (most recent call last):\n")
    watch = LogWatch()
    watch.read([log])
    assert (watch.errors, watch.tracebacks, watch.of_controller) == (0, 0, 2)


def test_a_process_is_measured():
    taken = sample([os.getpid(), 1 << 30], at_s=1.0)  # the other one is gone
    assert taken.processes == 1
    assert taken.resident_bytes > taken.private_bytes > 1 << 20
    assert taken.threads >= 1 and taken.descriptors > 2 and taken.cpu_s > 0
    assert taken.by_name == Counter({next(iter(taken.by_name)): taken.private_bytes})


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (b"ray::ServeReplica:step-audio2:Token2Wav\0\0", "stage Token2Wav"),
        (b"ray::ServeReplica:step-audio2:Ingress.handle_request\0", "stage Ingress"),
        (b"ray::ServeController.listen_for_change\0", "ray::ServeController"),
        (b"VLLM::EngineCore\0", "stage engine of the Thinker"),
        (b"/usr/bin/python3\0-m\0serve_app\0", "python3"),
        (b"", "kernel"),
    ],
)
def test_a_process_is_named_for_what_it_is(command, name):
    assert name_of(command, "kernel") == name


def test_a_spoken_answer_that_is_silent_is_a_problem():
    assert sound_problem(as_wav(b"\0\x20" * 2400)) is None
    assert sound_problem(as_wav(bytes(4800))) == "silence"
    assert "no samples" in (sound_problem(as_wav(b"")) or "")


def test_a_request_by_hand_is_http():
    raw = request("POST", "/x", [b"A: \xff"], b"body", length=9)
    assert raw.startswith(b"POST /x HTTP/1.1\r\n") and raw.endswith(b"A: \xff\r\n\r\nbody")
    assert b"Content-Length: 9\r\n" in raw
    assert status_of(b"HTTP/1.1 413 Too large\r\n") == 413
