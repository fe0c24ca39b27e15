"""Subtitles as whisper writes them, byte for byte."""

from serve_app.sound.subtitles import Cue, srt, vtt

CUES = [Cue(0.0, 1.2344, " It is --> late."), Cue(61.2346, 3599.9996, "Go"), Cue(3661.5, 7322, "x")]


def test_srt_has_numbers_hours_and_commas() -> None:
    assert srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,234\nIt is -> late.\n\n"
        "2\n00:01:01,235 --> 01:00:00,000\nGo\n\n"
        "3\n01:01:01,500 --> 02:02:02,000\nx\n\n"
    )


def test_vtt_has_points_and_no_hours_below_one() -> None:
    assert vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:01.234\nIt is -> late.\n\n"
        "01:01.235 --> 01:00:00.000\nGo\n\n"
        "01:01:01.500 --> 02:02:02.000\nx\n\n"
    )


def test_without_speech_there_is_an_empty_file() -> None:
    assert (srt([]), vtt([])) == ("", "WEBVTT\n\n")
