"""`WS /v1/audio/speech/stream` over fake engines, as a client of a real server sees it."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from deployments.errors import EngineFailed, ServerFull
from deployments.messages import SpeechDelta, SpeechRequest, Usage
from deployments.thinker.fake import audio_tokens_of
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from serve_app.http.text_stream import session, utterance
from tests.integration.http.conftest import Graph, ScriptedBackend, _listening
from tests.integration.http.helpers import MODEL, eventually, wav_of
from tests.sounds import assert_streamed_length, decoded, tone

PATH = "/v1/audio/speech/stream"
SENTENCES = ("The first sentence stands here.", "And the second one is there!", "It is the last.")
TEXT = " ".join(SENTENCES)
SOUND = Usage(5, 7)


class Asked(FakeServeBackend):
    """Notes what it is asked to speak."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.thinker, graph.synthesizer)
        self._started = True
        self.requests: list[SpeechRequest] = []

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self.requests.append(request)
        async for delta in super().speech(request):
            yield delta

    def texts(self) -> list[list[str]]:
        """The passages of each request."""
        return [
            [thinker.messages[-1].parts[0].text for thinker in (each.thinker, *more)]  # type: ignore[union-attr]
            for each in self.requests
            for more in [[part.thinker for part in each.then]]
        ]


@dataclass
class Heard:
    """What came of one text."""

    events: list[dict[str, Any]] = field(default_factory=list)
    sound: bytes = b""

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def texts(self) -> list[str]:
        return [e["sentence_text"] for e in self.events if e["type"] == "audio.start"]


class Client:
    """A connection of the socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def event(self) -> dict[str, Any]:
        """The next one; sound is skipped."""
        while isinstance(frame := await self.socket.recv(), bytes):
            pass
        event: dict[str, Any] = json.loads(frame)
        return event

    async def hear(self, until: str = "session.done") -> Heard:
        heard = Heard()
        while not heard.events or heard.events[-1]["type"] != until:
            frame = await self.socket.recv()
            if isinstance(frame, bytes):
                heard.sound += frame
            else:
                heard.events.append(json.loads(frame))
                heard.sound += base64.b64decode(heard.events[-1].get("delta", ""))
        return heard

    async def say(self, text: str, step: int = 5) -> Heard:
        for begin in range(0, len(text), step):
            await self.send("input.text", text=text[begin : begin + step])
        await self.send("input.done")
        return await self.hear()


@asynccontextmanager
async def connected(url: str, config: dict[str, Any] | None = None) -> AsyncIterator[Client]:
    """A connection that is configured, unless `config` is None."""
    async with connect(url.replace("http", "ws") + PATH) as socket:
        client = Client(socket)
        if config is not None:
            await client.send("session.config", response_format="pcm", **config)
            assert (await client.event())["type"] == "session.configured"
        yield client


@dataclass(frozen=True)
class Served:
    """The fake engines behind a server that many tests share."""

    graph: Graph
    url: str


@pytest_asyncio.fixture(scope="module")
async def here() -> AsyncIterator[Served]:
    graph = Graph()
    await graph.backend.start()
    async with _listening(graph.app) as url:
        yield Served(graph, url)


@asynccontextmanager
async def serving(
    listening: Any, backend: Any, config: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Client]:
    app = create_http_app(backend, HttpSettings(models=(MODEL,), **settings))
    async with listening(app) as url, connected(url, config) as client:
        yield client


def sound_of(texts: Sequence[str]) -> bytes:
    tokens = [token for text in texts for token in audio_tokens_of(text)]
    return np.repeat(np.array(tokens, "<i2"), 960).tobytes()


async def close_code(client: Client) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await client.socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_a_text_is_spoken_whole_and_in_order_however_it_is_cut(here: Served) -> None:
    async with connected(here.url, {}) as client:
        for step in (1, 5, 1000):
            heard = await client.say(TEXT, step)
            assert heard.sound == sound_of(heard.texts())
            assert " ".join(heard.texts()) == TEXT
            done = heard.events[-1]
            assert (done["status"], done["total_sentences"]) == ("completed", len(heard.texts()))
            assert done["usage"]["output_tokens"] == len(heard.sound) // 1920
    assert here.graph.idle()


async def test_a_sentence_is_spoken_before_the_next_is_complete(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text=SENTENCES[0] + " And")
        start = await client.event()
        assert (start["type"], start["sentence_text"]) == ("audio.start", SENTENCES[0])
        assert (start["format"], start["sample_rate"]) == ("pcm", 24_000)
        assert backend.texts() == [[SENTENCES[0]]]


async def test_sentences_that_wait_are_spoken_in_one_stream_in_one_voice_state(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    text = " ".join(SENTENCES * 4)
    async with serving(listening, backend, {"voice": "anna"}, max_passage_s=4.0) as client:
        heard = await client.say(text, 1000)
    together, last = backend.texts()  # the last sentence was complete only with `input.done`
    assert (len(together), len(last)) == (len(heard.texts()) - 1, 1)
    assert len(together) > 4
    assert backend.requests[0].voice == "anna"


async def test_sentences_of_a_text_being_written_are_asked_for_when_little_is_left_to_play(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    long = "This is a sentence of some length, which takes longer to be spoken than to be made. "
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text=long + "More")
        await client.hear("audio.start")
        assert await eventually(graph.idle)  # all of its sound is made, 13 s of it
        await client.send("input.text", text=f" comes. {long}And")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.event(), 0.2)
        await client.send("input.done")  # there is nothing more to wait for
        await client.hear()
    assert [len(texts) for texts in backend.texts()] == [1, 1]


async def test_the_quiet_between_two_requests_is_that_of_the_punctuation(
    listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utterance, "AHEAD_S", 1000.0)  # asked for as soon as possible
    hum = bytes(4800) + tone(24_000) + bytes(2400)  # 100 ms and 50 ms of quiet
    backend = ScriptedBackend(SpeechDelta(pcm=hum, finish_reason="stop", usage=SOUND))
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text="One. Two")
        await client.hear("audio.start")
        await client.send("input.done")
        heard = await client.hear()
    added = len(heard.sound) - 2 * len(hum)
    assert added / 48_000 == pytest.approx(0.4 - 0.15, abs=0.02)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("sent_as", ["audio", "json"])
async def test_the_sound_of_a_text_is_one_file_in_every_format(
    here: Served, form: str, sent_as: str
) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", response_format=form, stream_format=sent_as)
        await client.send("input.text", text=SENTENCES[0] + " And")
        first = await client.hear("audio.start")
        await client.send("input.text", text=SENTENCES[1].removeprefix("And"))
        await client.send("input.done")
        heard = await client.hear()
    texts = first.texts() + heard.texts()
    sound = first.sound + heard.sound
    tokens = len(sound_of(texts)) // 1920
    samples = len(sound) // 2 if form == "pcm" else len(decoded(sound))
    assert_streamed_length(samples, tokens, form)
    assert len(sound) == sum(e["total_bytes"] for e in heard.events if e["type"] == "audio.done")


async def test_speed_holds_for_a_text(here: Served) -> None:
    async with connected(here.url, {"speed": 2.0}) as client:
        heard = await client.say(TEXT)
    assert len(heard.sound) == len(sound_of(heard.texts())) // 2


async def test_one_connection_speaks_many_texts_each_as_it_was_configured(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    async with serving(listening, backend, {"voice": "anna"}) as client:
        await client.send("input.text", text="One.")
        await client.send("input.done")
        await client.send("session.config", response_format="pcm", voice="default")
        await client.send("input.text", text="Two.")
        await client.send("input.done")
        first, second = await client.hear(), await client.hear()
        if "session.configured" in second.kinds():
            second.events.remove(next(e for e in second.events if "session_id" in e))
    assert [request.voice for request in backend.requests] == ["anna", "default"]
    assert (first.sound, second.sound) == (sound_of(["One."]), sound_of(["Two."]))
    assert second.events[-1]["utterance_index"] == 1


async def test_a_text_without_a_letter_is_not_spoken(here: Served) -> None:
    async with connected(here.url, {}) as client:
        heard = await client.say("… 🎉 !")
        assert heard.kinds() == ["session.done"]
        assert (await client.say("Hi.")).sound == sound_of(["Hi."])


async def test_a_cancelled_text_frees_both_stages_and_the_next_one_is_spoken(
    listening: Any,
) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        await client.send("input.cancel")
        heard = await client.hear()
        assert heard.kinds() == ["audio.done", "session.done"]
        assert heard.events[-1]["status"] == "cancelled"
        assert graph.idle()
        assert (await client.say("Hi.")).sound == sound_of(["Hi."])


async def test_texts_that_wait_are_cancelled_too(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    backend = Asked(graph)
    async with serving(listening, backend, {}) as client:
        for _ in range(3):
            await client.send("input.text", text=TEXT)
            await client.send("input.done")
        await client.send("input.cancel")
        ends = [(await client.hear()).events[-1] for _ in range(3)]
    assert [end["status"] for end in ends] == ["cancelled"] * 3
    assert len(backend.requests) <= 1


async def test_a_client_that_leaves_frees_both_stages(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        assert not graph.idle()
        client.socket.transport.abort()
        assert await eventually(graph.idle)


async def test_a_client_that_does_not_read_is_left(listening: Any) -> None:
    backend = ScriptedBackend()
    noise = np.random.default_rng(0).bytes(1 << 20)  # silence would be compressed to nothing
    backend.script = repeat(SpeechDelta(pcm=noise))  # type: ignore[assignment]
    async with serving(listening, backend, {}, text_stream_idle_s=0.3) as client:
        await client.send("input.text", text=TEXT)
        await client.send("input.done")
        client.socket.transport.pause_reading()  # type: ignore[attr-defined]
        assert await eventually(lambda: backend.open == 1)
        assert await eventually(lambda: backend.open == 0, within_s=5)
        client.socket.transport.abort()


async def test_a_client_that_listens_for_long_is_not_idle(graph: Graph, listening: Any) -> None:
    graph.thinker._seconds_per_delta = 0.05
    async with serving(listening, graph.backend, {}, text_stream_idle_s=0.2) as client:
        heard = await client.say(TEXT)
        assert heard.events[-1]["status"] == "completed"


@pytest.mark.parametrize("config", [None, {}])
async def test_a_client_that_sends_nothing_is_left(
    graph: Graph, listening: Any, config: dict[str, Any] | None
) -> None:
    async with serving(listening, graph.backend, config, text_stream_idle_s=0.1) as client:
        assert await close_code(client) == 1001


async def test_a_text_that_is_left_unfinished_does_not_hold_the_connection(
    graph: Graph, listening: Any
) -> None:
    async with serving(listening, graph.backend, {}, text_stream_idle_s=0.1) as client:
        await client.send("input.text", text="Unfinished")
        assert await close_code(client) == 1001
    assert graph.idle()


async def test_session_close_ends_the_connection(here: Served) -> None:
    async with connected(here.url, {}) as client:
        await client.send("session.close")
        assert await close_code(client) == 1000


@pytest.mark.parametrize(
    ("error", "code"), [(EngineFailed("it died"), "engine_failed"), (ServerFull(), "server_full")]
)
async def test_a_text_that_fails_ends_with_an_error_and_the_next_one_may_come(
    listening: Any, error: Exception, code: str
) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0" * 960), error)
    async with serving(listening, backend, {}) as client:
        for _ in range(2):
            heard = await client.say(TEXT)
            assert heard.kinds() == ["audio.start", "error", "audio.done", "session.done"]
            assert heard.events[1]["error"]["code"] == code
            assert heard.events[2]["error"] is True
            assert heard.events[3]["status"] == "failed"
    assert backend.open == 0


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model", "gpt-5", "model_not_found"),
        ("voice", "nobody", "voice_not_found"),
        ("response_format", "midi", "invalid_value"),
        ("speed", "1", "invalid_value"),
        ("split_granularity", "clause", "unsupported"),
    ],
)
async def test_a_config_that_cannot_be_served_is_refused_with_its_field(
    here: Served, field: str, value: object, code: str
) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", **{field: value})
        refused = await client.event()
        assert (refused["type"], refused["error"]["code"]) == ("error", code)
        assert refused["error"]["param"] == field
        assert await close_code(client) == 1008


async def test_names_of_openai_work_here_too(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", model="gpt-4o-mini-tts", voice="alloy")
        assert (await client.event())["type"] == "session.configured"


async def test_the_fields_of_a_config_may_stand_in_session(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", session={"response_format": "wav"})
        assert (await client.event())["response_format"] == "wav"


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[1]",
        '"text"',
        "{}",
        '{"type": 7}',
        '{"type": "input.speech"}',
        '{"type": "input.text"}',
        '{"type": "input.text", "text": 7}',
        '{"type": "input.text", "text": "\\ud800"}',
        '{"type": "session.config", "voice": "nobody"}',
    ],
)
async def test_a_frame_that_makes_no_sense_is_refused_and_the_text_goes_on(
    here: Served, frame: str
) -> None:
    async with connected(here.url, {}) as client:
        await client.send("input.text", text="H")
        await client.socket.send(frame)
        assert (await client.event())["type"] == "error"
        assert (await client.say("i.")).sound == sound_of(["Hi."])


async def test_a_client_that_sends_nonsense_again_and_again_is_left(here: Served) -> None:
    async with connected(here.url, {}) as client:
        for _ in range(session.MOST_REFUSED):
            await client.socket.send("nonsense")
        assert await close_code(client) == 1008


async def test_text_before_the_config_is_refused(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("input.text", text="Hi.")
        assert (await client.event())["error"]["param"] == "type"
        assert await close_code(client) == 1008


async def test_a_frame_that_is_too_large_or_no_text_closes_the_connection(here: Served) -> None:
    async with connected(here.url, {}) as client:
        await client.send("input.text", text="H")
        await client.send("input.text", text="x" * session.MOST_TEXT_CHARS)
        assert await close_code(client) == 1009
    async with connected(here.url, {}) as client:
        await client.socket.send(b"{}")
        assert await close_code(client) == 1008


async def test_a_text_has_the_limit_of_a_request_and_what_it_holds_is_spoken(
    graph: Graph, listening: Any
) -> None:
    async with serving(listening, graph.backend, {}, max_input_chars=10) as client:
        await client.send("input.text", text="Just so. ")
        await client.send("input.text", text="And more.")
        assert (await client.event())["error"]["param"] == "text"
        await client.send("input.done")
        assert (await client.hear()).texts() == ["Just so."]


async def test_only_so_many_texts_may_wait(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        for _ in range(session.MOST_WAITING + 1):
            await client.send("input.text", text="Hi.")
            await client.send("input.done")
        heard = await client.hear("error")
        assert "wait for a session.done" in heard.events[-1]["message"]


async def test_a_voice_may_come_as_a_recording(here: Served) -> None:
    recording = base64.b64encode(wav_of(0.5)).decode()
    async with connected(here.url) as client:
        voice = {"audio": {"data": recording, "format": "wav"}}
        await client.send("session.config", voice=voice)
        assert (await client.event())["error"]["param"] == "voice.audio"  # it is too short


async def test_a_key_is_asked_for_before_the_upgrade(graph: Graph, listening: Any) -> None:
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), api_keys=("sk-right",)))
    async with listening(app) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(url):
                pass
        assert refused.value.response.status_code == 401
        headers = {"Authorization": "Bearer sk-right"}
        async with connect(url.replace("http", "ws") + PATH, additional_headers=headers) as socket:
            await Client(socket).send("session.config")
            assert (await Client(socket).event())["type"] == "session.configured"


async def test_a_key_s_seconds_of_sound_count_text_by_text(graph: Graph, listening: Any) -> None:
    settings = {"api_keys": {"anna": "sk-anna"}, "key_limits": {"audio_s_per_minute": 2}}
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), **settings))  # type: ignore[arg-type]
    headers = {"Authorization": "Bearer sk-anna"}
    async with (
        listening(app) as url,
        connect(url.replace("http", "ws") + PATH, additional_headers=headers) as socket,
    ):
        client = Client(socket)
        await client.send("session.config", response_format="pcm")
        assert (await client.say(SENTENCES[0])).events[-1]["status"] == "completed"
        refused = await client.say(SENTENCES[1])
        assert refused.events[0]["error"]["code"] == "rate_limit_exceeded"


async def test_a_server_that_is_not_ready_or_cannot_speak_says_so_before_the_upgrade(
    listening: Any,
) -> None:
    not_ready = ScriptedBackend()
    not_ready.is_ready = False
    for backend, status in ((not_ready, 503), (FakeServeBackend(Graph().thinker, None), 400)):
        if isinstance(backend, FakeServeBackend):
            await backend.start()
        app = create_http_app(backend, HttpSettings(models=(MODEL,)))
        async with listening(app) as url:
            with pytest.raises(InvalidStatus) as refused:
                async with connected(url):
                    pass
            assert refused.value.response.status_code == status


async def test_a_replica_that_stops_closes_with_the_code_of_a_restart(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    app = create_http_app(graph.backend, graph.settings)
    async with listening(app) as url, connected(url, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        app.state.sessions.drain()
        assert await close_code(client) == 1012
        assert await eventually(graph.idle)
        with pytest.raises(InvalidStatus) as refused:
            async with connected(url):
                pass
        assert refused.value.response.status_code == 429


async def test_a_browser_s_key_comes_as_a_subprotocol(graph: Graph, listening: Any) -> None:
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), api_keys=("sk-right",)))
    offered = ["realtime", "openai-insecure-api-key.sk-right"]
    async with (
        listening(app) as url,
        connect(url.replace("http", "ws") + PATH, subprotocols=offered) as socket,  # type: ignore[arg-type]
    ):
        assert socket.subprotocol == "realtime"
