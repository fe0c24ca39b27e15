"""Recordings in pieces: subtitles, segments and streams through OpenAI's client, over a model that
knows its sentences."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError
from openai.types.audio import TranscriptionVerbose, TranslationVerbose

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    AudioPart,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, eventually, wav_of
from tests.nano.with_pauses import Spoken, with_pauses

MINUTES_S = 125.0
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's


class Listener(ScriptedBackend):
    """Writes down the sentence whose length a piece has; the later of two may be ready first."""

    def __init__(self, spoken: Spoken, fail_at: int | None = None) -> None:
        super().__init__()
        self._spoken = spoken
        self._fail_at = fail_at
        self.heard: list[ThinkerRequest] = []
        self.most = 0

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        number = len(self.heard)
        self.heard.append(request)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            for _ in range(20 - number % 7):
                await asyncio.sleep(0)
            if number == self._fail_at:
                raise RuntimeError("the engine died")
            for word in self._sentence(request).split(" "):
                yield ThinkerDelta(text=f" {word}", token_ids=(len(word),))
            yield ThinkerDelta(finish_reason="stop", usage=Usage(10, 3))
        finally:
            self.open -= 1

    def _sentence(self, request: ThinkerRequest) -> str:
        part = request.messages[-1].parts[0]
        assert isinstance(part, AudioPart)
        seconds = len(part.samples) / INPUT_SAMPLE_RATE_HZ
        number = int(request.request_id.rpartition("/")[2])
        sentence = self._spoken.sentences[number]
        padding = seconds - (sentence.end_s - sentence.start_s)
        assert 0 < padding < 0.9, "a piece is not its sentence with some silence around it"
        return sentence.text


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    return with_pauses(seconds=MINUTES_S)


@pytest.fixture(scope="module")
def file(spoken: Spoken) -> tuple[str, bytes]:
    return "minutes.flac", spoken.file("FLAC")


def app_over(backend: Any, **settings: Any) -> Any:
    return create_http_app(backend, HttpSettings(models=(MODEL,), **settings))


async def test_all_formats_of_a_long_recording_agree(
    spoken: Spoken, file: tuple[str, bytes]
) -> None:
    backend = Listener(spoken)
    async with openai_client(app_over(backend)) as openai:

        async def written(**fields: Any) -> Any:
            backend.heard.clear()
            return await openai.audio.transcriptions.create(model=MODEL, file=file, **fields)

        verbose: TranscriptionVerbose = await written(
            response_format="verbose_json", timestamp_granularities=["segment"], language="en"
        )
        srt, vtt = await written(response_format="srt"), await written(response_format="vtt")
        text, whole = await written(response_format="text"), await written()
        events = [event async for event in await written(stream=True)]

    assert text == whole.text == verbose.text == " ".join(one.text for one in spoken.sentences)
    assert events[-1].text == text
    assert "".join(event.delta for event in events[:-1]) == text
    assert len(events) == len(spoken.sentences) + 1
    assert whole.usage.model_dump() == events[-1].usage.model_dump()
    assert whole.usage.output_tokens == 3 * len(spoken.sentences)
    assert backend.open == 0 and 1 < backend.most <= 8

    assert verbose.segments
    assert "".join(segment.text for segment in verbose.segments) == text
    for segment, sentence in zip(verbose.segments, spoken.sentences, strict=True):
        assert abs(segment.start - sentence.start_s) < 0.05
        assert abs(segment.end - sentence.end_s) < 0.05
        assert segment.tokens == [len(word) for word in sentence.text.split()]
        assert 0 <= segment.no_speech_prob < 0.2
        assert segment.compression_ratio < 2.4
        assert segment.seek == int(segment.start * 100)
        assert (segment.temperature, segment.avg_logprob) == (0.0, 0.0)
    assert [segment.id for segment in verbose.segments] == list(range(len(spoken.sentences)))
    assert verbose.duration == pytest.approx(len(spoken.samples) / 16_000)
    assert (verbose.language, verbose.usage.seconds) == ("en", verbose.duration)  # type: ignore[union-attr]

    cues = [(cue.start, cue.end, cue.text.strip()) for cue in verbose.segments]
    assert cues_of(srt) == cues_of(vtt) == [(round(a, 3), round(b, 3), t) for a, b, t in cues]
    assert srt.startswith("1\n00:00:0") and vtt.startswith("WEBVTT\n\n00:0")


def cues_of(subtitles: str) -> list[tuple[float, float, str]]:
    pattern = r"([\d:.,]+) --> ([\d:.,]+)\n(.*)\n"
    return [(seconds(a), seconds(b), text) for a, b, text in re.findall(pattern, subtitles)]


def seconds(time: str) -> float:
    fields = [float(field) for field in time.replace(",", ".").split(":")]
    return round(sum(field * 60**power for power, field in enumerate(reversed(fields))), 3)


async def test_translations_have_the_same_formats(spoken: Spoken) -> None:
    short = with_pauses(2)
    async with openai_client(app_over(Listener(short))) as openai:
        verbose = await openai.audio.translations.create(
            model=MODEL, file=("a.wav", short.file()), response_format="verbose_json"
        )
    assert isinstance(verbose, TranslationVerbose)
    assert (verbose.language, len(verbose.segments or [])) == ("english", 2)
    for format in ("srt", "vtt"):
        async with openai_client(app_over(Listener(short))) as openai:
            text = await openai.audio.translations.create(
                model=MODEL,
                file=("a.wav", short.file()),
                response_format=format,  # type: ignore[call-overload]
            )
        assert short.sentences[1].text in text


async def test_a_short_recording_is_written_down_whole_and_without_voice_activity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> None:
        raise AssertionError("voice activity was asked")

    monkeypatch.setattr("serve_app.http.transcription.recording.shared_model", never)
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with openai_client(app_over(backend)) as openai:
        for strategy in ({}, {"chunking_strategy": "auto"}, {"response_format": "text"}):
            await openai.audio.transcriptions.create(
                model=MODEL, file=("a.wav", wav_of(20.0)), **strategy
            )
    assert [len(r.messages[-1].parts[0].samples) for r in backend.thinker_requests] == [
        20 * 16_000
    ] * 3


@pytest.mark.parametrize("form", ["client", "json", "default"])
async def test_server_vad_says_how_a_recording_is_cut(form: str) -> None:
    spoken = with_pauses(3)
    vad = {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 3000}
    if form == "default":
        vad.pop("silence_duration_ms")
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with openai_client(app_over(backend)) as openai:
        if form == "json":
            fields: dict[str, Any] = {"extra_body": {"chunking_strategy": json.dumps(vad)}}
        else:
            fields = {"chunking_strategy": vad}
        await openai.audio.transcriptions.create(
            model=MODEL, file=("a.wav", spoken.file()), **fields
        )
    assert len(backend.thinker_requests) == (3 if form == "default" else 1)


async def test_silence_has_an_empty_transcript_in_every_format() -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with openai_client(app_over(backend)) as openai:

        async def written(**fields: Any) -> Any:
            return await openai.audio.transcriptions.create(
                model=MODEL, file=("a.wav", wav_of(30.0)), **fields
            )

        assert (await written()).text == ""
        assert await written(response_format="srt") == ""
        assert (await written(response_format="verbose_json")).segments == []
        (done,) = [event async for event in await written(stream=True)]
        assert (done.type, done.text) == ("transcript.text.done", "")
    assert not backend.thinker_requests


async def test_a_recording_over_the_limit_is_refused_before_anything_is_asked() -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with openai_client(app_over(backend, max_recording_s=40.0)) as openai:
        for fields in ({}, {"stream": True}, {"response_format": "srt"}):
            with pytest.raises(BadRequestError, match=r"lasts 60\.0 s, the limit is 40 s") as no:
                await openai.audio.transcriptions.create(
                    model=MODEL,
                    file=("a.wav", wav_of(60.0)),
                    **fields,  # type: ignore[call-overload]
                )
            assert (no.value.param, no.value.code) == ("file", "audio_too_long")
    assert not backend.thinker_requests


async def test_limits_of_recordings_are_not_those_of_other_requests() -> None:
    app = app_over(ScriptedBackend(), max_upload_bytes=1000, max_recording_bytes=200_000)
    transport = httpx.ASGITransport(Front(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for path, statuses in (("transcriptions", (400, 413)), ("speech", (413, 413))):
            for size, status in zip((100_000, 300_000), statuses, strict=True):
                files = {"file": ("a.wav", bytes(size))}
                answer = await client.post(f"/v1/audio/{path}", data={"model": MODEL}, files=files)
                assert answer.status_code == status, (path, size)


async def test_an_error_in_the_middle_ends_the_stream_with_an_event(
    spoken: Spoken, file: tuple[str, bytes]
) -> None:
    backend = Listener(spoken, fail_at=12)
    async with openai_client(app_over(backend)) as openai:
        stream = await openai.audio.transcriptions.create(model=MODEL, file=file, stream=True)
        heard = []
        with pytest.raises(APIError):
            async for event in stream:
                heard.append(event)
    assert 0 < len(heard) <= 12
    assert backend.open == 0


async def test_lists_are_taken_by_both_of_their_names() -> None:
    spoken = with_pauses(1)
    transport = httpx.ASGITransport(Front(app_over(Listener(spoken))), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:

        async def post(**fields: Any) -> httpx.Response:
            form = {"model": MODEL, "response_format": "verbose_json", **fields}
            files = {"file": ("a.wav", spoken.file())}
            return await client.post("/v1/audio/transcriptions", data=form, files=files)

        for name in ("timestamp_granularities", "timestamp_granularities[]"):
            assert (await post(**{name: "segment"})).status_code == 200
            refused = await post(**{name: ["segment", "word"]})
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "timestamp_granularities[]"
        twice = await post(prompt=["a", "b"])
        assert "comes more than once" in twice.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"timestamp_granularities[]": "segment"}, "timestamp_granularities[]"),
        ({"chunking_strategy": "never"}, "chunking_strategy"),
        ({"chunking_strategy[type]": "semantic_vad"}, "chunking_strategy"),
        ({"chunking_strategy": '{"type": "server_vad", "threshold": NaN}'}, "chunking_strategy"),
    ],
)
async def test_what_cannot_be_honoured_together_is_refused_by_name(
    fields: dict[str, str], param: str
) -> None:
    transport = httpx.ASGITransport(Front(app_over(ScriptedBackend())), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.post(
            "/v1/audio/transcriptions",
            data={"model": MODEL, **fields},
            files={"file": ("a.wav", wav_of(1.0))},
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_the_stream_begins_before_the_recording_is_at_its_end(
    spoken: Spoken, file: tuple[str, bytes], listening: Any
) -> None:
    """Pieces after the third wait until the client has its first event."""
    released = asyncio.Event()

    class Waiting(Listener):
        async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
            if len(self.heard) >= 3:
                await released.wait()
            async for delta in super().text(request):
                yield delta

    async with listening(app_over(Waiting(spoken))) as url:
        openai = AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)
        stream = await openai.audio.transcriptions.create(model=MODEL, file=file, stream=True)
        first = await anext(aiter(stream))
        assert first.delta == spoken.sentences[0].text  # type: ignore[union-attr]
        released.set()
        *_, done = [event async for event in stream]
    assert done.text.endswith(spoken.sentences[-1].text)  # type: ignore[union-attr]


async def test_a_client_that_leaves_stops_all_of_its_pieces(
    spoken: Spoken, file: tuple[str, bytes], listening: Any
) -> None:
    class Endless(Listener):
        async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
            self.open += 1
            try:
                await asyncio.Event().wait()
                yield ThinkerDelta()
            finally:
                self.open -= 1

    backend = Endless(spoken)
    async with listening(app_over(backend)) as url, httpx.AsyncClient() as client:
        form = {"model": MODEL, "response_format": "srt"}
        asking = asyncio.ensure_future(
            client.post(f"{url}/v1/audio/transcriptions", data=form, files={"file": file})
        )
        assert await eventually(lambda: backend.open == 8, within_s=20.0)
        asking.cancel()
        assert await eventually(lambda: backend.open == 0, within_s=5.0)
