"""Subtitles in SRT and WebVTT, byte for byte as whisper writes them.

(pysubs2 writes hours into every time of WebVTT, numbers its cues and takes `{…}` out of texts.)
"""

from collections.abc import Iterable
from typing import NamedTuple


class Cue(NamedTuple):
    """A text and when it is heard, in seconds."""

    start_s: float
    end_s: float
    text: str


def srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered cues, times as `HH:MM:SS,mmm`."""
    return "".join(
        f"{number}\n{_srt_time(cue.start_s)} --> {_srt_time(cue.end_s)}\n{_shown(cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def vtt(cues: Iterable[Cue]) -> str:
    """WebVTT: times as `MM:SS.mmm`, and with hours from the first hour on."""
    return "WEBVTT\n\n" + "".join(
        f"{_vtt_time(cue.start_s)} --> {_vtt_time(cue.end_s)}\n{_shown(cue.text)}\n\n"
        for cue in cues
    )


def _shown(text: str) -> str:
    """The arrow stands between two times, so it may not stand in a text."""
    return text.strip().replace("-->", "->")


def _srt_time(seconds: float) -> str:
    hours, minutes, whole, milliseconds = _fields(seconds)
    return f"{hours:02d}:{minutes:02d}:{whole:02d},{milliseconds:03d}"


def _vtt_time(seconds: float) -> str:
    hours, minutes, whole, milliseconds = _fields(seconds)
    hour = f"{hours:02d}:" if hours else ""
    return f"{hour}{minutes:02d}:{whole:02d}.{milliseconds:03d}"


def _fields(seconds: float) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds and milliseconds."""
    whole, milliseconds = divmod(round(seconds * 1000.0), 1000)
    minutes, second = divmod(whole, 60)
    return *divmod(minutes, 60), second, milliseconds
