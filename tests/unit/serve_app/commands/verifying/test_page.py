"""The page of findings."""

from serve_app.commands.verifying.findings import Finding, failures, judged
from serve_app.commands.verifying.page import page

MACHINE = {
    "measured_at": "2026-01-01T00:00:00+00:00",
    "system": "Linux",
    "cpus": 2,
    "gpus": [{"name": "NVIDIA H200", "memory_gib": 139.8, "cuda": "13.0"}],
    "python": "3.11",
    "packages": {"vllm": "0.29"},
}
PASSED = judged("files", True, "17 files")
FAILED = judged("text → speech → text", False, "40 % wrong:\n'a | b'")
SKIPPED = Finding("parity", "skipped", "not installed")


def test_it_says_first_how_many_checks_failed() -> None:
    assert page("m", [PASSED, SKIPPED], MACHINE).startswith("# step-audio2 verify: every check")
    assert page("m", [PASSED, FAILED], MACHINE).startswith("# step-audio2 verify: 1 of 2 checks")


def test_whatever_is_said_stays_in_its_row() -> None:
    text = page("m", [FAILED], MACHINE)
    assert "| text → speech → text | fail | 40 % wrong: 'a \\| b' |" in text


def test_it_names_the_machine_and_the_versions() -> None:
    text = page("m", [PASSED], MACHINE)
    assert "NVIDIA H200, 139.8 GiB" in text and "vllm 0.29" in text


def test_what_was_skipped_fails_nothing() -> None:
    assert failures([PASSED, SKIPPED]) == 0
