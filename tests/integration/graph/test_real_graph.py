"""The real graph with the real engines on the CPU, through the unmodified `openai` client.

The weights are random: what is said is noise and what is understood is gibberish, so these
tests check shapes, counts and life cycles, not meaning. Random weights do not end an answer, and
one that is cut is an error: two logits processors let answers end.
"""

import asyncio
import base64
import io
import re
import time
import wave
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import ray
import soundfile

from deployments.metrics import CHUNKS, STEP_ROWS, STEP_TIME, VOICE_PREPARATION, VOICES_CACHED
from deployments.thinker.speech_length import speech_length
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from serve_app.checkpoint import make_checkpoint
from serve_app.config import AppConfig
from tests.integration.graph.conftest import (
    MODEL,
    on_node,
    replica_record,
    requests_in_thinker,
    served,
)
from tests.integration.graph.scraping import samples_of, scraped, scraped_until
from tests.places import NANO, ROOT

RECORDINGS = (SHIPPED_VOICE, NANO / "voices" / "low.wav", ROOT / "tests/nano/recordings/012.ogg")
SPOKEN_TOKENS = 140  # 112 of them audio: 4.5 s
LONG_TEXT = "This sentence is still being spoken when the replica dies. " * 10
SPEECH = {"model": MODEL, "voice": "default", "response_format": "pcm"}


@pytest.fixture(scope="module")
def graph(base_url, tmp_path_factory):
    model = tmp_path_factory.mktemp("tiny")
    make_checkpoint(model, size="tiny")
    config = AppConfig.model_validate(
        {
            "model": str(model),
            "thinker": {
                "engine_kwargs": {
                    "max_model_len": 2048,
                    "max_num_seqs": 16,
                    "logits_processors": [
                        "serve_app.bench.forced_speech:ForcedSpeech",
                        "tests.integration.graph.ending_text:EndingText",
                    ],
                    "additional_config": {"forced_speech_tokens": SPOKEN_TOKENS},
                },
                "sampling": {"max_tokens": 128},
                "deployment_config": on_node("first_node"),
            },
            "token2wav": {
                "device": "cpu",
                "num_threads": 1,
                "voices": {"second": str(tone_file(tmp_path_factory, seconds=2.5))},
                "deployment_config": on_node("second_node"),
            },
            # a text of any length goes to the model as it is
            "http": {"models": [MODEL], "max_passage_s": 1000},
            "ingress_deployment_config": on_node(),
        }
    )
    with served(config) as application:
        yield application


@pytest.fixture(scope="module")
def client(base_url, graph):
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0, timeout=120)


def tone(seconds: float, rate_hz: int = 16_000) -> bytes:
    """A WAV of a voice-like buzz."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 12))
    file = io.BytesIO()
    soundfile.write(file, 0.2 * buzz, rate_hz, format="WAV")
    return file.getvalue()


def tone_file(tmp_path_factory, seconds: float) -> Path:
    path = tmp_path_factory.mktemp("voice") / "tone.wav"
    path.write_bytes(tone(seconds))
    return path


def recordings() -> list:
    real = [pytest.param(path.read_bytes, id=path.name) for path in RECORDINGS]
    return [pytest.param(lambda: tone(3.0), id="synthetic"), *real]


def heard(data: bytes) -> dict:
    sound = {"data": base64.b64encode(data).decode(), "format": "wav"}
    return {"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}


def aloud(**more) -> dict:
    return {
        "model": MODEL,
        "modalities": ["text", "audio"],
        "audio": {"voice": "default", "format": "pcm16"},
        **more,
    }


@pytest.mark.parametrize("recording", recordings())
async def test_a_recording_is_transcribed_whole_and_streamed_alike(client, recording):
    data = recording()
    greedy = {"model": MODEL, "file": ("speech.wav", data), "temperature": 0}
    whole = await client.audio.transcriptions.create(**greedy)
    plain = await client.audio.transcriptions.create(**greedy, response_format="text")
    events = [e async for e in await client.audio.transcriptions.create(**greedy, stream=True)]
    assert plain.strip() == whole.text.strip()
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == whole.text
    assert "".join(e.delta for e in events[:-1]).strip() == whole.text.strip()


async def test_a_recording_of_90_s_crosses_the_graph(client):
    sound = heard(tone(90.0))  # 5.8 MB as float32, more than gRPC takes by default
    answer = await client.chat.completions.create(model=MODEL, messages=[sound], temperature=0)
    assert answer.choices[0].message.content


@pytest.mark.parametrize("recording", recordings())
async def test_speech_is_answered_with_speech_of_960_samples_a_token(client, recording):
    answer = await client.chat.completions.create(**aloud(messages=[heard(recording())], seed=3))
    tokens = answer.usage.completion_tokens_details.audio_tokens
    pcm = base64.b64decode(answer.choices[0].message.audio.data)
    assert tokens > 0
    assert len(pcm) == 2 * 960 * tokens


async def test_speech_comes_as_a_streamed_wav_that_is_not_silent(client):
    async with client.audio.speech.with_streaming_response.create(
        **SPEECH | {"response_format": "wav"}, input="Hello there."
    ) as answer:
        data = b"".join([piece async for piece in answer.iter_bytes()])
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
    samples = np.frombuffer(data[44:], dtype="<i2")
    assert len(samples) % 960 == 0
    assert np.abs(samples).max() > 300


async def test_eight_concurrent_streams_have_each_its_own_samples(client):
    async def speak(i: int) -> tuple[int, bytes]:
        messages = [{"role": "user", "content": f"question number {i}"}]
        request = aloud(messages=messages, seed=i, temperature=0.7)
        answer = await client.chat.completions.create(**request)
        tokens = answer.usage.completion_tokens_details.audio_tokens
        return tokens, base64.b64decode(answer.choices[0].message.audio.data)

    alone = [await speak(i) for i in range(8)]
    together = await asyncio.gather(*(speak(i) for i in range(8)))
    for (tokens, pcm), (tokens_again, pcm_again) in zip(alone, together, strict=True):
        assert len(pcm) == 2 * 960 * tokens
        assert tokens_again == tokens  # the same seed
        first, second = (np.frombuffer(data, "<i2").astype(int) for data in (pcm, pcm_again))
        assert np.abs(first - second).max() <= 2  # of 32767: a batch rounds otherwise
    assert len({pcm for _, pcm in alone}) == 8


async def test_two_voices_sound_different(client):
    async def say(voice: str) -> bytes:
        message = {"role": "user", "content": "the same words"}
        request = aloud(messages=[message], seed=1, audio={"voice": voice, "format": "pcm16"})
        answer = await client.chat.completions.create(**request)
        return base64.b64decode(answer.choices[0].message.audio.data)

    assert await say("second") != await say("default")


async def test_a_spoken_turn_goes_back_into_the_next_one(client):
    messages = [{"role": "user", "content": "hello"}]
    first = await client.chat.completions.create(**aloud(messages=messages, seed=5))
    turn = {"role": "assistant", "audio": {"id": first.choices[0].message.audio.id}}
    messages += [turn, {"role": "user", "content": "and then?"}]
    second = await client.chat.completions.create(model=MODEL, messages=messages)
    spoken = first.usage.completion_tokens
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + spoken * 0.9


async def test_chat_streams_text_and_audio_that_add_up(client):
    messages = [{"role": "user", "content": "tell me something"}]
    request = aloud(messages=messages, stream=True, stream_options={"include_usage": True})
    pcm, usage = b"", None
    async for chunk in await client.chat.completions.create(**request):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.delta.audio is not None:
                pcm += base64.b64decode(choice.delta.audio.data or "")
    assert len(pcm) == 2 * 960 * usage.completion_tokens_details.audio_tokens > 0


async def test_what_is_wrong_with_a_request_is_said(client):
    with pytest.raises(openai.BadRequestError, match="audio cannot be read"):
        await client.audio.transcriptions.create(model=MODEL, file=("x.wav", b"not a recording"))
    with pytest.raises(openai.BadRequestError, match="nobody"):
        await client.audio.speech.create(**SPEECH | {"voice": "nobody"}, input="hello")
    with pytest.raises(openai.BadRequestError, match="4096"):
        await client.audio.speech.create(**SPEECH, input="x" * 4097)
    with pytest.raises(openai.BadRequestError, match="context"):
        await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "long " * 3000}]
        )


async def test_a_text_that_the_context_cannot_hold_is_a_400_before_any_sound(client):
    text = "Please open the window. " * 50
    with pytest.raises(openai.BadRequestError, match="the model's context leaves") as refused:
        await client.audio.speech.create(**SPEECH, input=text)
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")


async def test_speech_that_is_cut_ends_as_an_error(base_url, graph):
    body = SPEECH | {"input": "a"}
    assert speech_length("a").most < SPOKEN_TOKENS
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as plain:
        with pytest.raises(httpx.RemoteProtocolError):
            await plain.post("/v1/audio/speech", json=body)
        lines = []
        with pytest.raises(httpx.RemoteProtocolError):
            async with plain.stream(
                "POST", "/v1/audio/speech", json=body | {"stream_format": "sse"}
            ) as events:
                async for line in events.aiter_lines():
                    lines.append(line)
    text = "\n".join(lines)
    assert "speech.audio.delta" in text and "speech.audio.done" not in text
    assert "answer_incomplete" in lines[-2]


async def test_a_disconnect_frees_the_request_in_vllm(graph, base_url):
    body = SPEECH | {"input": "nobody hears the end of this"}
    async with (
        httpx.AsyncClient(timeout=60) as plain,
        plain.stream("POST", f"{base_url}/v1/audio/speech", json=body) as answer,
    ):
        chunks = answer.aiter_raw()  # held: a collected iterator closes the stream
        await anext(chunks)
    deadline = time.monotonic() + 10
    while await requests_in_thinker(graph):
        assert time.monotonic() < deadline, "the request is still in vLLM"
        await asyncio.sleep(0.02)


async def test_speech_streams_faster_than_it_plays_once_warm(client, capsys):
    factors = []
    for _ in range(3):
        started = time.monotonic()
        answer = await client.audio.speech.create(**SPEECH, input="Time this, please.")
        factors.append((time.monotonic() - started) / (len(answer.content) / 48_000))
    with capsys.disabled():
        print(f"\nRTF of the tiny checkpoint on this CPU: {sorted(factors)[1]:.2f}")
    assert sorted(factors)[1] < 1


async def test_text_chat_is_the_same_whole_and_streamed(client):
    request = {"model": MODEL, "messages": [heard(tone(2.0))], "temperature": 0}
    whole = await client.chat.completions.create(**request)
    chunks = [c async for c in await client.chat.completions.create(**request, stream=True)]
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert whole.choices[0].message.content
    assert "".join(pieces) == whole.choices[0].message.content


async def test_translations_models_and_health_answer_too(client, base_url):
    sound = ("speech.wav", tone(2.0))
    translation = await client.audio.translations.create(model=MODEL, file=sound, temperature=0)
    assert translation.text
    assert [model.id for model in (await client.models.list()).data] == [MODEL]
    async with httpx.AsyncClient(base_url=base_url) as plain:
        assert (await plain.get("/health")).status_code == 200
        assert (await plain.get("/docs")).status_code == 200


async def test_the_metrics_of_both_engines_are_exported(graph, client):
    await client.audio.speech.create(**SPEECH, input="good morning")
    of_steps = (STEP_ROWS, STEP_TIME, CHUNKS, VOICES_CACHED, VOICE_PREPARATION)

    def missing(samples):
        return [metric.name for metric in of_steps if not samples_of(metric, samples)]

    assert missing(await scraped_until(lambda samples: not missing(samples), graph)) == []
    names = {sample.name for sample in await scraped()}
    assert {"ray_vllm_num_requests_running", "ray_vllm_generation_tokens_total"} <= names
    assert not any("inter_token" in name for name in names)  # recorded for each token


async def test_no_stream_of_a_killed_token2wav_ends_in_silence_and_the_next_one_works(
    client, base_url
):
    """The last test of this module: it takes the replica away.

    A stream goes on where a new replica is there in time; otherwise it ends with an error.
    """
    body = SPEECH | {"input": LONG_TEXT, "stream_format": "sse"}
    first_sound = asyncio.Event()

    async def listen() -> str:
        events = ""
        async with (
            httpx.AsyncClient(timeout=60) as plain,
            plain.stream("POST", f"{base_url}/v1/audio/speech", json=body) as answer,
        ):
            if answer.status_code != 200:
                return "refused"
            async for piece in answer.aiter_text():
                first_sound.set()
                events += piece
        ends = re.findall(r'"type": ?"(speech\.audio\.done|error)"', events)
        return ends[0] if ends else "cut short in silence"

    replica = ray.get_actor(replica_record("Token2Wav")["Name"], namespace="serve")
    listeners = [asyncio.create_task(listen()) for _ in range(6)]
    await first_sound.wait()
    ray.kill(replica)
    assert not all(listener.done() for listener in listeners), "nobody listened when it died"
    ends = await asyncio.gather(*listeners, return_exceptions=True)
    outcomes = [end if isinstance(end, str) else "broken off" for end in ends]
    assert "cut short in silence" not in outcomes

    async with httpx.AsyncClient(timeout=60) as plain:
        deadline = time.monotonic() + 90
        whole = SPEECH | {"input": "again"}
        url = f"{base_url}/v1/audio/speech"
        while (again := await plain.post(url, json=whole)).status_code != 200:
            assert time.monotonic() < deadline, again.text
            await asyncio.sleep(0.5)
    assert len(again.content) % (2 * 960) == 0
