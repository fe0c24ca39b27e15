"""`/v1/audio/transcriptions` and `/translations` through OpenAI's client."""

from typing import Any

import httpx
import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError

from deployments.messages import ThinkerDelta, Usage
from deployments.thinker.fake import echo
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, wav_of

HEARD = "heard 1.50 s"  # what the fake Thinker says of a recording of 1.5 s
Recording = tuple[str, bytes]


async def test_json_brings_the_text_and_the_token_counts(
    openai: AsyncOpenAI, recording: Recording, graph: Graph
) -> None:
    answer = await openai.audio.transcriptions.create(model=MODEL, file=recording)
    assert HEARD in answer.text
    assert answer.usage and answer.usage.type == "tokens"
    assert answer.usage.output_tokens == len(answer.text)
    assert graph.idle()


async def test_text_is_the_bare_transcript(openai: AsyncOpenAI, recording: Recording) -> None:
    answer = await openai.audio.transcriptions.create(
        model=MODEL, file=recording, response_format="text"
    )
    assert HEARD in answer and "{" not in answer


async def test_streamed_deltas_join_to_the_whole_text(
    openai: AsyncOpenAI, recording: Recording
) -> None:
    stream = await openai.audio.transcriptions.create(model=MODEL, file=recording, stream=True)
    *deltas, done = [event async for event in stream]
    assert done.type == "transcript.text.done"
    assert "".join(delta.delta for delta in deltas) == done.text  # type: ignore[union-attr]
    assert HEARD in done.text
    assert len(deltas) > 1
    assert done.usage and done.usage.total_tokens > done.usage.output_tokens


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's
async def test_a_translation_is_written_down(openai: AsyncOpenAI, recording: Recording) -> None:
    answer = await openai.audio.translations.create(model=MODEL, file=recording)
    assert HEARD in answer.text


async def test_the_format_that_cannot_be_served_is_refused(
    openai: AsyncOpenAI, recording: Recording
) -> None:
    with pytest.raises(BadRequestError, match="response_format='diarized_json' is not supported"):
        await openai.audio.transcriptions.create(
            model=MODEL, file=recording, response_format="diarized_json"
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("include", ["logprobs"]),
        ("timestamp_granularities", ["word"]),
        ("known_speaker_names", ["anna"]),
        ("timestamp_granularities", ["word", "segment"]),
        ("chunking_strategy", {"type": "server_vad", "threshold": 2}),
        ("chunking_strategy", {"type": "semantic_vad"}),
    ],
)
async def test_known_fields_that_cannot_be_honoured_are_refused(
    openai: AsyncOpenAI, recording: Recording, field: str, value: object
) -> None:
    with pytest.raises(BadRequestError, match=f"{field}.*not supported"):
        await openai.audio.transcriptions.create(
            model=MODEL,
            file=recording,
            **{field: value},  # type: ignore[arg-type]
        )


async def test_a_file_that_is_no_recording_is_refused(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="the audio cannot be read") as refused:
        await openai.audio.transcriptions.create(model=MODEL, file=("a.wav", b"not a recording"))
    assert refused.value.param == "file"
    assert refused.value.code == "audio_unreadable"


async def test_a_recording_without_a_sample_is_refused(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="the audio cannot be read") as refused:
        await openai.audio.transcriptions.create(model=MODEL, file=("a.wav", wav_of(seconds=0)))
    assert refused.value.param == "file"


async def test_a_recording_over_the_limit_is_refused(recording: Recording) -> None:
    graph = Graph(max_recording_s=1.0)
    await graph.backend.start()
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match=r"lasts 1\.5 s, the limit is 1 s") as refused:
            await openai.audio.transcriptions.create(model=MODEL, file=recording)
    assert refused.value.param == "file"


async def test_an_upload_over_the_limit_is_413(recording: Recording) -> None:
    graph = Graph(max_recording_bytes=1000)
    await graph.backend.start()
    async with openai_client(graph.app) as openai:
        with pytest.raises(APIStatusError, match="larger than 1000 bytes") as refused:
            await openai.audio.transcriptions.create(model=MODEL, file=recording)
    assert refused.value.status_code == 413


async def test_transcripts_are_greedy_unless_a_temperature_is_given(
    scripted_raw: Any, recording: Recording
) -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with scripted_raw(backend) as client:
        for form in ({"model": MODEL}, {"model": MODEL, "temperature": "0.4"}):
            await client.post("/v1/audio/transcriptions", data=form, files={"file": recording})
    temperatures = [r.sampling.temperature for r in backend.thinker_requests]
    assert temperatures == [0.0, 0.4]


@pytest.mark.parametrize("path", ["transcriptions", "translations"])
async def test_a_prompt_reaches_the_model(
    raw: httpx.AsyncClient, recording: Recording, path: str
) -> None:
    async def input_tokens(**fields: str) -> int:
        form = {"model": MODEL, **fields}
        answer = await raw.post(f"/v1/audio/{path}", data=form, files={"file": recording})
        return int(answer.json()["usage"]["input_tokens"])

    names = "Hotel names: Adlon, Sacher, Ritz."
    assert await input_tokens(prompt=names) == await input_tokens() + len(names)


async def test_keywords_reach_the_model_after_the_prompt_and_languages_are_taken(
    scripted_raw: Any, recording: Recording
) -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    hints = {"prompt": "Hotels:", "keywords[]": ["Adlon", "Sacher"], "languages[]": ["de", "en"]}
    async with scripted_raw(backend) as client:
        for form in ({}, hints, {"keywords": "Ritz"}):
            answer = await client.post(
                "/v1/audio/transcriptions", data={"model": MODEL, **form}, files={"file": recording}
            )
            assert answer.status_code == 200
    plain, hinted, alone = (echo(r.messages[0]) for r in backend.thinker_requests)
    assert (hinted, alone) == (f"{plain}Hotels: Adlon, Sacher", f"{plain}Ritz")


@pytest.mark.parametrize(
    ("languages", "told"), [(["de"], "de"), (["de", "en"], "unknown"), ([], "unknown")]
)
async def test_the_only_language_named_comes_back(
    raw: httpx.AsyncClient, recording: Recording, languages: list[str], told: str
) -> None:
    form = {"model": MODEL, "response_format": "verbose_json", "languages[]": languages}
    answer = await raw.post("/v1/audio/transcriptions", data=form, files={"file": recording})
    assert answer.json()["language"] == told


@pytest.mark.parametrize("path", ["transcriptions", "translations"])
async def test_the_limit_of_a_transcript_is_that_of_its_recording(
    scripted_raw: Any, path: str
) -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    async with scripted_raw(backend) as client:
        for seconds in (0.5, 25.0):
            files = {"file": ("a.wav", wav_of(seconds))}
            await client.post(f"/v1/audio/{path}", data={"model": MODEL}, files=files)
    short, long = [r.sampling.max_tokens or 0 for r in backend.thinker_requests]
    assert 100 < short < 150
    assert 25 * 20 < long < 25 * 30


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's
async def test_a_transcript_that_is_cut_is_an_error(
    listening: Any, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    cut = ThinkerDelta(text="b", finish_reason="length", usage=Usage(9, 120))
    app = create_http_app(
        ScriptedBackend(ThinkerDelta(text="a"), cut), HttpSettings(models=(MODEL,))
    )
    async with (
        listening(app) as url,
        AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as openai,
    ):
        for resource in (openai.audio.transcriptions, openai.audio.translations):
            for form in ("json", "text"):
                with pytest.raises(APIStatusError, match="cut at 120 tokens") as refused:
                    await resource.create(model=MODEL, file=recording, response_format=form)  # type: ignore[call-overload]
                assert refused.value.status_code == 422
                assert refused.value.code == "answer_incomplete"
        stream = await openai.audio.transcriptions.create(model=MODEL, file=recording, stream=True)
        heard = []
        with pytest.raises(APIError, match="cut at 120 tokens"):
            async for event in stream:
                heard.append(event)
        assert [event.type for event in heard] == ["transcript.text.delta"] * 2
    ours = [record for record in caplog.records if not record.name.startswith("uvicorn")]
    assert not [record for record in ours if record.levelname in ("WARNING", "ERROR")]
