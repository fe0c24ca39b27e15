"""Voices that are uploaded: made, listed, used and deleted, over one store that servers share."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import soundfile
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError

from deployments.errors import ServerFull, VoiceUnusable
from deployments.messages import StoredVoice, Voice
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeStream, FakeSynthesizer
from deployments.voice_store import VoiceStore
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import SCHEDULE, openai_client
from tests.integration.http.helpers import MODEL

SPEECH = Path("deployments/token2wav/assets/default_voice.wav").read_bytes()
WITHIN_S = 1.0  # in which every server knows of an upload or a deletion


class NotingSynthesizer(FakeSynthesizer):
    """Notes the voices that are prepared and opened."""

    def __init__(self) -> None:
        super().__init__(SCHEDULE, voices=("anna",))
        self.asked: list[Voice] = []
        self.fails: Exception | None = None

    async def prepare(self, voice: Voice) -> None:
        self.asked.append(voice)
        if self.fails is not None:
            raise self.fails
        await super().prepare(voice)

    async def open(self, voice: Voice, **options: Any) -> FakeStream:
        return await super().open(voice, **options)


class Node:
    """One server of several that share a store."""

    def __init__(self, store: str | None, **settings: Any) -> None:
        self.synthesizer = NotingSynthesizer()
        self.backend = FakeServeBackend(FakeThinkerEngine(), self.synthesizer)
        self.app = create_http_app(
            self.backend,
            HttpSettings(models=(MODEL,), **settings),
            voice_store=store and VoiceStore(store),  # type: ignore[arg-type]
        )

    @property
    def raw(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(Front(self.app), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://server")


Serve = Callable[..., Awaitable[tuple[Node, AsyncOpenAI]]]


@pytest_asyncio.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """`await serve()` starts a server over the test's folder, and a client of it."""
    clients = []

    async def start(store: str | None = str(tmp_path / "voices"), **settings: Any) -> Any:
        node = Node(store, **settings)
        await node.backend.start()
        clients.append(openai_client(node.app))
        return node, await clients[-1].__aenter__()

    yield start
    for client in clients:
        await client.__aexit__(None, None, None)


async def upload(openai: AsyncOpenAI, name: str = "Zoë 🎙", data: bytes = SPEECH) -> Any:
    sample = ("sample.wav", data)
    return await openai.audio.voices.create(name=name, audio_sample=sample, consent="cons_1")


async def say(openai: AsyncOpenAI, voice: Any) -> bytes:
    answer = await openai.audio.speech.create(
        model=MODEL, voice=voice, input="Hi", response_format="pcm"
    )
    return answer.content


async def chat(openai: AsyncOpenAI, voice: Any) -> None:
    await openai.chat.completions.create(
        model=MODEL,
        modalities=["text", "audio"],
        audio={"voice": voice, "format": "pcm16"},
        messages=[{"role": "user", "content": "Hi"}],
    )


async def ids(node: Node) -> list[str]:
    async with node.raw as client:
        return [voice["id"] for voice in (await client.get("/v1/audio/voices")).json()["voices"]]


async def eventually(claim: Callable[[], Awaitable[bool]]) -> bool:
    """Whether an asynchronous claim comes true within a second."""
    async with asyncio.timeout(WITHIN_S):
        while not await claim():
            await asyncio.sleep(0.02)
    return True


async def test_openai_s_client_makes_a_voice_speaks_in_it_and_deletes_it(serve: Serve) -> None:
    node, openai = await serve()
    voice = await upload(openai)
    assert (voice.name, voice.object, voice.type) == ("Zoë 🎙", "audio.voice", "audio_sample")
    for ask in (say, chat):
        for named in (voice.name, voice.id, {"id": voice.id}, {"id": voice.name}):
            await ask(openai, named)
            stored = node.synthesizer.asked[-1]
            assert isinstance(stored, StoredVoice) and stored.id == voice.id
    deleted = await openai.audio.voices.delete(voice.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (voice.id, True, "audio.voice.deleted")
    for named in (voice.name, voice.id):
        with pytest.raises(BadRequestError, match="there is no voice"):
            await say(openai, named)
    with pytest.raises(NotFoundError):
        await openai.audio.voices.delete(voice.id)


async def test_the_recording_that_is_prepared_is_the_one_that_is_stored(serve: Serve) -> None:
    node, openai = await serve()
    await upload(openai, "me")
    await say(openai, "me")
    prepared, stored = node.synthesizer.asked
    store = node.app.state.server.voice_store
    assert prepared.data == SPEECH == await store.read(stored)  # type: ignore[union-attr]


async def test_the_list_has_configured_voices_aliases_and_uploads(serve: Serve) -> None:
    node, openai = await serve(voice_aliases={"alloy": "anna"})
    voice = await upload(openai, "me")
    async with node.raw as client:
        answer = (await client.get("/v1/audio/voices")).json()
        one = (await client.get(f"/v1/audio/voices/{voice.id}")).json()
        fixed = (await client.get("/v1/audio/voices/alloy")).json()
        missing = await client.get("/v1/audio/voices/nobody")
    assert answer["object"] == "list"
    names = ["default", "anna", "alloy", "me"]
    assert [item["name"] for item in answer["data"]] == names
    assert answer["voices"] == [
        {"id": name, "name": name} for name in names[:3]
    ] + [{"id": voice.id, "name": "me"}]  # fmt: skip
    assert answer["data"][-1] == one == voice.model_dump(exclude_none=True)
    assert fixed["object"] == "audio.voice" and missing.status_code == 404


@pytest.mark.parametrize("name", ["default", "anna", "alloy"])
async def test_voices_of_the_configuration_are_neither_replaced_nor_deleted(
    serve: Serve, name: str
) -> None:
    _, openai = await serve()
    with pytest.raises(BadRequestError, match="there is a voice"):
        await upload(openai, name)
    with pytest.raises(BadRequestError, match="in the server's configuration"):
        await openai.audio.voices.delete(name)


async def test_other_servers_and_the_next_one_know_a_voice_and_its_end(serve: Serve) -> None:
    (one, here), (two, there) = await serve(), await serve()
    assert await ids(one) == await ids(two)  # so that both have looked before
    voice = await upload(here, "me")
    await say(there, voice.id)
    await say(there, "me")
    assert await eventually(lambda: _lists(two, voice.id))

    _, restarted = await serve()
    await say(restarted, "me")
    await restarted.audio.voices.delete(voice.id)
    for node, client in ((one, here), (two, there)):
        assert await eventually(lambda client=client: _refuses(client, "me"))  # type: ignore[misc]
        assert await eventually(lambda node=node: _lists_not(node, voice.id))  # type: ignore[misc]
    assert (await upload(there, "me")).id != voice.id


async def _lists(node: Node, voice_id: str) -> bool:
    return voice_id in await ids(node)


async def _lists_not(node: Node, voice_id: str) -> bool:
    return voice_id not in await ids(node)


async def _refuses(openai: AsyncOpenAI, voice: str) -> bool:
    try:
        await say(openai, voice)
    except BadRequestError:
        return True
    return False


async def test_of_uploads_of_one_name_at_once_one_succeeds(serve: Serve) -> None:
    clients = [(await serve())[1] for _ in range(4)]
    answers = await asyncio.gather(
        *(upload(client, "me") for client in clients * 2), return_exceptions=True
    )
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, BadRequestError)]
    assert (len(made), len(refused)) == (1, 7)
    assert {error.code for error in refused} == {"voice_exists"}


async def test_names_that_differ_only_in_how_they_are_written_are_one(serve: Serve) -> None:
    _, openai = await serve()
    await upload(openai, "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}")
    with pytest.raises(BadRequestError, match="there is a voice"):
        await upload(openai, " Zoe\N{COMBINING DIAERESIS}")
    await say(openai, "Zoe\N{COMBINING DIAERESIS}")


@pytest.mark.parametrize("name", ["../../escaped", "/etc/passwd", "..", "a\\..\\b", "%2e%2e%2f"])
async def test_no_name_leaves_the_folder(serve: Serve, tmp_path: Path, name: str) -> None:
    node, openai = await serve()
    voice = await upload(openai, name)
    await say(openai, name)
    async with node.raw as client:
        for path in (f"/v1/audio/voices/{name}", "/v1/audio/voices/..%2fvoices"):
            assert (await client.delete(path)).status_code in (404, 405)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent == tmp_path / "voices"
    assert voice.id in await ids(node)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "voice_" + "0" * 40])
async def test_a_name_that_cannot_be_one_is_refused(serve: Serve, name: str) -> None:
    _, openai = await serve()
    with pytest.raises(BadRequestError, match="name"):
        await upload(openai, name)


def file_of(samples: np.ndarray, rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


VOICE = soundfile.read(io.BytesIO(SPEECH), dtype="float32")[0]
UNFIT = {
    "lasts 2.0 s, it must last 3 to 30 s": file_of(VOICE[:48_000]),
    "must last 3 to 30 s": file_of(np.tile(VOICE, 6)),
    "has 3 channels, it may have one or two": file_of(np.stack([VOICE] * 3, axis=1)),
    "rate is 8000 Hz, it must be 16000 Hz or more": file_of(VOICE[::3], 8000),
    "is silent": file_of(VOICE * 0.005),
    "is clipped": file_of(np.clip(VOICE * 8, -1, 1)),
    "0.0 s of it are speech": file_of(np.full(96_000, 0.1) * np.sin(np.arange(96_000))),
    "not numbers": file_of(np.full(96_000, np.nan)),
    "the file is empty": b"",
    "cannot be read": b"PK\x03\x04 not a recording" * 99,
}


@pytest.mark.parametrize("reason", UNFIT)
async def test_a_recording_that_is_no_voice_is_refused_with_its_reason(
    serve: Serve, reason: str
) -> None:
    node, openai = await serve()
    with pytest.raises(BadRequestError, match=reason) as refused:
        await upload(openai, data=UNFIT[reason])
    assert refused.value.param == "audio_sample"
    assert not node.synthesizer.asked
    assert len(await ids(node)) == 15


@pytest.mark.parametrize(
    ("error", "status"), [(VoiceUnusable("audio tokens"), 400), (ServerFull(), 429)]
)
async def test_a_voice_that_cannot_be_prepared_is_not_kept(
    serve: Serve, error: Exception, status: int
) -> None:
    node, openai = await serve()
    before = await ids(node)
    node.synthesizer.fails = error
    with pytest.raises(APIStatusError) as refused:
        await upload(openai)
    assert refused.value.status_code == status
    assert status == 429 or refused.value.param == "audio_sample"
    assert await ids(node) == before


async def test_forms_that_are_not_a_recording_of_a_voice_are_refused_by_name(serve: Serve) -> None:
    node, openai = await serve()
    sample, other = {"audio_sample": ("a.wav", SPEECH)}, {"other": b"x"}
    big = {"audio_sample": ("a.wav", bytes((10 << 20) + 1))}
    prompt = {"name": "me", "type": "prompt", "prompt": "old"}
    forms: list[tuple[dict[str, Any], int, str | None]] = [
        ({"data": prompt, "files": other}, 400, "type"),
        ({"data": {"name": "me", "prompt": "old"}, "files": sample}, 400, "prompt"),
        ({"data": {"name": "me"}, "files": other}, 400, "audio_sample"),
        ({"data": {"name": "me", "audio_sample": "text"}, "files": other}, 400, "audio_sample"),
        ({"data": {}, "files": sample}, 400, "name"),
        ({"data": {"name": "me"}, "files": big}, 413, "audio_sample"),
        ({"json": {"name": "me"}}, 415, None),
    ]
    async with node.raw as client:
        for form, status, param in forms:
            answer = await client.post("/v1/audio/voices", **form)
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), form
    with pytest.raises(BadRequestError, match="type='prompt' is not supported"):
        await openai.audio.voices.create(name="me", prompt="old", type="prompt")


async def test_a_server_without_a_store_says_which_key_is_missing(serve: Serve) -> None:
    node, openai = await serve(store=None)
    with pytest.raises(BadRequestError, match="voice_store names a folder"):
        await upload(openai)
    with pytest.raises(BadRequestError, match="voice_store names a folder"):
        await openai.audio.voices.delete("voice_" + "0" * 40)
    assert len(await ids(node)) == 15


async def test_a_full_store_takes_no_more_voices(serve: Serve) -> None:
    _, openai = await serve(max_voices=1)
    voice = await upload(openai, "one")
    with pytest.raises(BadRequestError, match="keeps 1 uploaded voices"):
        await upload(openai, "two")
    await openai.audio.voices.delete(voice.id)
    await upload(openai, "two")


async def test_a_store_that_fails_is_a_503_and_configured_voices_speak_on(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "voices").write_text("a file where the folder should be")
    node, openai = await serve()
    async with node.raw as client:
        body = {"model": MODEL, "voice": "me", "input": "Hi"}
        answer = await client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "voice_store_failed"
    assert str(tmp_path) not in answer.text
    assert await say(openai, "anna")


@pytest.mark.parametrize("is_open", [False, True])
async def test_only_the_list_needs_no_key_where_the_configuration_says_so(
    serve: Serve, is_open: bool
) -> None:
    node, _ = await serve(api_keys=("secret",), voices_listed_without_key=is_open)
    async with node.raw as client:
        statuses = [
            (await client.request(method, path)).status_code
            for method, path in [
                ("GET", "/v1/audio/voices"),
                ("HEAD", "/v1/audio/voices/"),
                ("POST", "/v1/audio/voices"),
                ("GET", "/v1/audio/voices/anna"),
                ("DELETE", "/v1/audio/voices/anna"),
                ("GET", "/v1/models"),
            ]
        ]
    listed = 200 if is_open else 401
    assert statuses == [listed, listed, 401, 401, 401, 401]
