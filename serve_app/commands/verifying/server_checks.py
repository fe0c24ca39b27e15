"""What a server of the checkpoint says and hears, and how soon."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import httpx

from deployments.errors import EngineFailed
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from serve_app.commands.server_requests import Outcome, converse, speak, transcribe
from serve_app.commands.verifying.findings import Finding, judged
from serve_app.commands.word_error_rate import word_error_rate
from serve_app.sound.encoding.pcm import seconds_of

# Everyday words, so that a small model has them, too.
SENTENCES = (
    "There are many sheep between the keys.",
    "Are you cold?",
    "Come across the bridge next autumn.",
    "Please leave the restaurant.",
    "His city is beautiful.",
    "He stays in front of the town in the morning.",
    "There is fresh snow on the hill.",
    "I did not send her this hat yesterday evening.",
    "The moon is quite warm in the river.",
    "A little horse drank some water before breakfast.",
)
MOST_WRONG = 0.1  # of the words; a recogniser's own errors are among them
BYTES_PER_TOKEN = 2 * 960
BROKEN_OFF = "the sound broke off before its end: the server's log says why"


def check_speech(client: httpx.Client, model: str, voice: str, folder: Path) -> list[Finding]:
    """Speak every sentence and write down what was spoken, one after the other.

    The first sentence is spoken once more before, so that its time is that of a warm server.
    """
    spoken: list[Outcome] = []
    try:
        for number, text in enumerate((SENTENCES[0], *SENTENCES)):
            spoken.append(speak(client, model, text, voice, folder / f"{number:02}.wav"))
        heard = [transcribe(client, model, one.wav).text for one in spoken if one.wav]
    except httpx.RemoteProtocolError:  # a body without its end says no more
        return [Finding("text → speech → text", "fail", BROKEN_OFF)]
    except (EngineFailed, httpx.HTTPError) as error:
        return [Finding("text → speech → text", "fail", str(error))]
    return [*_meaning(spoken[1:], heard[1:]), *_times(spoken[1:])]


def check_answer(client: httpx.Client, model: str, voice: str, folder: Path) -> Finding:
    """Answer a recording aloud; what is right cannot be said, so it has words and sound."""
    check = "a spoken answer to a recording"
    try:
        answer = converse(client, model, SHIPPED_VOICE, voice, folder / "answer.wav")
    except (EngineFailed, httpx.HTTPError) as error:
        return Finding(check, "fail", str(error))
    is_whole = bool(answer.text.strip()) and bool(answer.pcm)
    return judged(check, is_whole, f"{seconds_of(len(answer.pcm)):.1f} s: {answer.text.strip()!r}")


def _meaning(spoken: Sequence[Outcome], heard: Sequence[str]) -> list[Finding]:
    said = [one.text for one in spoken]
    rate = word_error_rate(said, heard)
    wrong = [
        f"{text!r} → {back.strip()!r}"
        for text, back in zip(said, heard, strict=True)
        if word_error_rate([text], [back])
    ]
    says = f"{rate:.1%} of the words came back wrong" + "".join(f"; {one}" for one in wrong[:3])
    whole = all(one.pcm and not len(one.pcm) % BYTES_PER_TOKEN for one in spoken)
    return [
        judged("text → speech → text", rate <= MOST_WRONG, says),
        judged("sound of whole tokens", whole, "960 samples each"),
    ]


def _times(spoken: Sequence[Outcome]) -> list[Finding]:
    first_ms = sorted(1000 * one.first_s for one in spoken)
    factors = [one.total_s / seconds_of(len(one.pcm)) for one in spoken if one.pcm]
    slowest = max(factors, default=float("inf"))
    first = f"{statistics.median(first_ms):.0f} ms in the median, {first_ms[-1]:.0f} at most"
    rtf = f"RTF {statistics.median(factors or [slowest]):.2f} in the median, {slowest:.2f} at most"
    return [
        Finding("first sound, one request at a time", "figure", first),
        judged("faster than it plays", slowest < 1, rtf),
    ]
