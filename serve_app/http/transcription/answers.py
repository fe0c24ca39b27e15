"""A transcript in each of OpenAI's formats."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from starlette.responses import PlainTextResponse, Response

from deployments.messages import ThinkerDelta
from serve_app.http.transcription.segments import Segment, total_usage
from serve_app.http.transcription.types import (
    DurationUsage,
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptSegment,
    TranscriptUsage,
    TranslationForm,
    VerboseTranscription,
)
from serve_app.sound import subtitles
from serve_app.sound.subtitles import Cue

SEEK_HZ = 100  # of whisper's spectrogram


def untimed_answer(
    form: TranslationForm, deltas: Sequence[ThinkerDelta]
) -> Response | Transcription:
    """`json` or `text`."""
    text = "".join(delta.text for delta in deltas)
    if form.response_format == "text":
        return PlainTextResponse(text)
    return Transcription(text=text, usage=TranscriptUsage.of(total_usage(deltas)))


async def transcript_events(
    deltas: AsyncGenerator[ThinkerDelta],
) -> AsyncGenerator[TranscriptDelta | TranscriptDone]:
    """The events of a streamed transcript, the last one with all of it."""
    seen: list[ThinkerDelta] = []
    async with aclosing(deltas):
        async for delta in deltas:
            seen.append(delta)
            if delta.text:
                yield TranscriptDelta(delta=delta.text)
    text = "".join(delta.text for delta in seen)
    yield TranscriptDone(text=text, usage=TranscriptUsage.of(total_usage(seen)))


def timed_answer(
    form: TranslationForm, segments: Sequence[Segment], seconds: float
) -> Response | VerboseTranscription:
    """`srt`, `vtt` or `verbose_json`, of a recording of so many `seconds`."""
    cues = (Cue(segment.start_s, segment.end_s, segment.text) for segment in segments)
    match form.response_format:
        case "srt":
            return PlainTextResponse(subtitles.srt(cues))
        case "vtt":
            return PlainTextResponse(subtitles.vtt(cues))
    return VerboseTranscription(
        task=form.task,
        language=form.language_written,
        duration=seconds,
        text="".join(segment.text for segment in segments),
        segments=list(_described(segments)),
        usage=DurationUsage(seconds=seconds),
    )


def _described(segments: Iterable[Segment]) -> Iterable[TranscriptSegment]:
    for number, segment in enumerate(segments):
        yield TranscriptSegment(
            id=number,
            seek=int(segment.start_s * SEEK_HZ),
            start=segment.start_s,
            end=segment.end_s,
            text=segment.text,
            tokens=list(segment.token_ids),
            temperature=segment.temperature,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech_prob,
        )
