"""Whether an answer with the status 200 is the raw PCM that was asked for.

A login page, a JSON error or an MP3 is none: by its length alone it would pass for speech.
"""

import httpx

EVENT_STREAM = "text/event-stream"
HALF_A_SAMPLE = "half a sample at the end"
CHECKED_BYTES = 96  # of the first piece; 48 samples of speech are never all letters
_UNNAMED_TYPES = ("", "application/octet-stream", "binary/octet-stream")
_CODED_TYPES = ("audio/mpeg", "audio/mp3", "audio/aac", "audio/mp4", "audio/ogg", "audio/opus")
LEAST_TEXT_BYTES = 8  # fewer may be samples by chance
_MARKS = {
    b"RIFF": "a WAV file",
    b"ID3": "an MP3 file",
    b"OggS": "an Ogg file",
    b"fLaC": "a FLAC file",
    b"\x1aE\xdf\xa3": "a WebM file",
    b"\x1f\x8b": "a gzip archive",
}


def media_type(response: httpx.Response) -> str:
    """The content type without its parameters, in lower case; empty where there is none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def not_sound_by_type(media_type: str) -> str | None:
    """What an answer is by its type, where that cannot be raw PCM."""
    is_sound = media_type.startswith("audio/") and media_type not in _CODED_TYPES
    if is_sound or media_type in _UNNAMED_TYPES:  # their first bytes decide
        return None
    return f"{media_type} in place of PCM"


def not_pcm(beginning: bytes) -> str | None:
    """What an answer is by its first bytes, where those are no samples."""
    for mark, what in _MARKS.items():
        if beginning.startswith(mark):
            return f"{what} in place of PCM"
    if len(beginning) >= LEAST_TEXT_BYTES and _is_text(beginning[:CHECKED_BYTES]):
        return "text in place of PCM"
    return None


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        if error.reason != "unexpected end of data":
            return False
    return all(character.isprintable() or character.isspace() for character in text)
