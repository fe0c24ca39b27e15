"""Every call of OpenAI's Python client, with nothing changed but its address and its key.

It writes what it heard into the working folder: sounds as files of their formats, and the rest into
heard.json.
"""

import asyncio
import base64
import json
import os
import warnings
from pathlib import Path
from typing import Any

import openai

TEXT = "Hello there, how are you?"
TEXT_FILE = "question.wav"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
heard: dict[str, Any] = {}


def every_call(client: openai.OpenAI) -> None:
    models(client)
    speech(client)
    transcripts(client)
    voices(client)
    chats(client)
    errors(client)


def models(client: openai.OpenAI) -> None:
    heard["models"] = [model.id for model in client.models.list()]
    heard["model"] = client.models.retrieve("gpt-4o-mini-tts").id


def speech(client: openai.OpenAI) -> None:
    said: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
    client.audio.speech.create(**said).write_to_file("whole.mp3")
    for form in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
        with client.audio.speech.with_streaming_response.create(
            **said, response_format=form
        ) as answer:
            answer.stream_to_file(f"streamed.{form}")
        with client.audio.speech.with_streaming_response.create(
            **said, response_format=form, stream_format="sse"
        ) as answer:
            events = [json.loads(line[6:]) for line in answer.iter_lines() if line[:6] == "data: "]
        *deltas, done = events
        Path(f"sse.{form}").write_bytes(b"".join(base64.b64decode(d["audio"]) for d in deltas))
        heard[f"done of {form}"] = done
    client.audio.speech.create(
        **{**said, "voice": {"id": "ben"}},
        response_format="wav",
        instructions="Whisper.",
        speed=2,
    ).write_to_file("quick.wav")


def transcripts(client: openai.OpenAI) -> None:
    file = Path(TEXT_FILE)
    transcribe: Any = client.audio.transcriptions.create
    heard["json"] = transcribe(model="whisper-1", file=file).text
    for form in ("text", "srt", "vtt"):
        heard[form] = transcribe(model="whisper-1", file=file, response_format=form)
    verbose = transcribe(
        model="whisper-1",
        file=file,
        response_format="verbose_json",
        language="en",
        timestamp_granularities=["segment"],
    )
    heard["verbose_json"] = verbose.model_dump()
    stream = transcribe(model="gpt-4o-mini-transcribe", file=file, stream=True)
    heard["events"] = [event.model_dump() for event in stream]
    cut = transcribe(
        model="gpt-4o-transcribe",
        file=file,
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 300},
        include=[],
        prompt="names",
        temperature=0,
    )
    heard["cut"] = cut.text
    translate: Any = client.audio.translations.create
    with warnings.catch_warnings():  # the client's own, of its own method
        warnings.simplefilter("ignore", DeprecationWarning)
        heard["translation"] = translate(model="whisper-1", file=file).text
        verbose = translate(model="whisper-1", file=file, response_format="verbose_json")
        heard["verbose translation"] = verbose.model_dump()


def voices(client: openai.OpenAI) -> None:
    with open("sample.wav", "rb") as sample:
        voice = client.audio.voices.create(name="zoë", audio_sample=sample, consent="cons_1")
    heard["voice"] = voice.model_dump()
    for name, asked in (("name", voice.name), ("id", {"id": voice.id})):
        client.audio.speech.create(
            model="tts-1", voice=asked, input=TEXT, response_format="wav"
        ).write_to_file(f"voice-by-{name}.wav")
    heard["deleted"] = client.audio.voices.delete(voice.id).model_dump()


def chats(client: openai.OpenAI) -> None:
    create: Any = client.chat.completions.create
    asked = {"model": "gpt-4o-audio-preview", "messages": [{"role": "user", "content": TEXT}]}
    aloud = {**asked, "modalities": ["text", "audio"]}
    heard["chat"] = create(**asked).choices[0].message.content
    streamed = list(create(**asked, stream=True, stream_options={"include_usage": True}))
    heard["streamed chat"] = "".join(c.choices[0].delta.content or "" for c in streamed[:-1])
    heard["usage of a streamed chat"] = streamed[-1].usage.model_dump()

    whole = create(**aloud, audio={"voice": "alloy", "format": "wav"}).choices[0].message.audio
    Path("chat.wav").write_bytes(base64.b64decode(whole.data))
    heard["transcript of a chat"] = whole.transcript

    sound, transcript, ids = b"", "", set()
    for chunk in create(**aloud, audio={"voice": "alloy", "format": "pcm16"}, stream=True):
        if audio := chunk.choices[0].delta.audio:
            sound += base64.b64decode(audio.data or "")
            transcript += audio.transcript or ""
            ids |= {audio.id} if audio.id else set()
    Path("chat.pcm").write_bytes(sound)
    heard["transcript of a streamed chat"] = transcript

    question = base64.b64encode(Path(TEXT_FILE).read_bytes()).decode()
    part = {"type": "input_audio", "input_audio": {"data": question, "format": "wav"}}
    heard["answers to turns"] = [
        create(model="gpt-audio", messages=messages).choices[0].message.content
        for turn in (whole.id, *ids)
        for messages in [
            [
                *asked["messages"],
                {"role": "assistant", "audio": {"id": turn}},
                {"role": "user", "content": [part, {"type": "text", "text": "And?"}]},
            ]
        ]
    ]
    tools(create, asked)
    schema = {"name": "said", "schema": {"type": "object"}}
    as_json = create(**asked, response_format={"type": "json_schema", "json_schema": schema})
    heard["json of a chat"] = json.loads(as_json.choices[0].message.content)


def tools(create: Any, asked: dict[str, Any]) -> None:
    called = create(**asked, tools=[TOOL]).choices[0]
    heard["tool"] = [called.finish_reason, called.message.tool_calls[0].function.name]
    deltas = [c.choices[0].delta for c in create(**asked, tools=[TOOL], stream=True)]
    heard["streamed tool"] = [c.function.name for d in deltas for c in d.tool_calls or []]
    result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "rain"}
    messages = [*asked["messages"], called.message, result]
    answer = create(**{**asked, "messages": messages}, tools=[TOOL])
    heard["answer to a result"] = answer.choices[0].message.content


def errors(client: openai.OpenAI) -> None:
    """Which exception each fault is, with its code; the client asks once more where it may."""
    once = client.with_options(max_retries=0)
    limited = once.with_options(api_key=os.environ["LIMITED_KEY"])
    say: Any = once.audio.speech.create
    chat: Any = once.chat.completions.create
    listen: Any = once.audio.transcriptions.create
    said = {"model": "tts-1", "voice": "alloy", "input": TEXT}
    asked = {"model": "gpt-audio", "messages": [{"role": "user", "content": "break off"}]}
    limited.audio.speech.create(**said)
    faults = {
        "no such model": lambda: say(**{**said, "model": "gpt-5"}),
        "too long": lambda: say(**{**said, "input": "x" * 4097}),
        "no such voice": lambda: say(**{**said, "voice": "nobody"}),
        "wrong key": lambda: once.with_options(api_key="sk-wrong").models.list(),
        "over its limit": lambda: limited.audio.speech.create(**said),
        "no recording": lambda: listen(model="whisper-1", file=("a.wav", b"no sound")),
        "no words": lambda: listen(
            model="whisper-1",
            file=Path(TEXT_FILE),
            response_format="verbose_json",
            timestamp_granularities=["word"],
        ),
        "no such voice to delete": lambda: once.audio.voices.delete("voice_nothing"),
        "breaks off": lambda: say(**{**said, "input": "break off"}),
        "breaks off as events": lambda: say(**{**said, "input": "break off"}, stream_format="sse"),
        "chat breaks off": lambda: list(chat(**asked, stream=True)),
        "whole chat fails": lambda: chat(**asked),
    }
    for name, fault in faults.items():
        try:
            fault()
            heard[name] = None
        except Exception as error:  # what it is, is what this is about
            heard[name] = [type(error).__name__, getattr(error, "code", None)]


async def asynchronous(client: openai.AsyncOpenAI) -> None:
    said: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
    (await client.audio.speech.create(**said)).write_to_file("async-whole.mp3")
    async with client.audio.speech.with_streaming_response.create(
        **said, response_format="pcm"
    ) as answer:
        await answer.stream_to_file("async-streamed.pcm")
    transcribe: Any = client.audio.transcriptions.create
    heard["async json"] = (await transcribe(model="whisper-1", file=Path(TEXT_FILE))).text
    events = await transcribe(model="gpt-4o-transcribe", file=Path(TEXT_FILE), stream=True)
    heard["async deltas"] = "".join([e.delta async for e in events if hasattr(e, "delta")])
    chunks: Any = await client.chat.completions.create(
        model="gpt-audio", messages=[{"role": "user", "content": TEXT}], stream=True
    )
    heard["async chat"] = "".join([c.choices[0].delta.content or "" async for c in chunks])
    heard["async models"] = [model.id async for model in client.models.list()]


async def every_asynchronous_call() -> None:
    async with openai.AsyncOpenAI() as client:
        await asynchronous(client)


if __name__ == "__main__":
    with openai.OpenAI() as client:
        every_call(client)
    asyncio.run(every_asynchronous_call())
    Path("heard.json").write_text(json.dumps(heard, indent=1))
