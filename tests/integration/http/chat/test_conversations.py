"""The turns of a conversation say that they belong together; one-shot requests say nothing."""

from typing import Any

from tests.integration.http.chat.asks import ASK, END
from tests.integration.http.conftest import ScriptedBackend
from tests.integration.http.helpers import MODEL, wav_of

ANSWERED: list[Any] = [*ASK, {"role": "assistant", "content": "Well."}, *ASK]


async def test_each_turn_of_a_conversation_names_it(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    async with scripted_raw(backend) as client:
        for messages in (ASK, ANSWERED, [{"role": "system", "content": "be kind"}, *ASK]):
            body = {"model": MODEL, "messages": messages}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    first, second, other = (request.conversation for request in backend.thinker_requests)
    assert first and first == second != other


async def test_speech_and_transcription_name_none(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    async with scripted_raw(backend) as client:
        await client.post(
            "/v1/audio/speech", json={"model": MODEL, "input": "hello", "voice": "default"}
        )
        await client.post(
            "/v1/audio/transcriptions",
            data={"model": MODEL},
            files={"file": ("tone.wav", wav_of(1.5))},
        )
    assert [request.conversation for request in backend.thinker_requests] == ["", ""]
