"""What `step-audio2 verify` asks a server, over fake engines."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx

from deployments.messages import INPUT_SAMPLE_RATE_HZ, AudioPart, ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from serve_app.commands.verifying.findings import Finding
from serve_app.commands.verifying.server_checks import SENTENCES, check_answer, check_speech
from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL


class HearingEngine(FakeThinkerEngine):
    """Understands a recording by its length, which no two of the sentences have in common."""

    def __init__(self, deaf_to: str = "") -> None:
        super().__init__()
        self._deaf_to = deaf_to

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        part = request.messages[-1].parts[0]
        if request.reply == "text" and isinstance(part, AudioPart):
            yield ThinkerDelta(text=self._heard(part), finish_reason="stop")
            return
        async for delta in super().generate(request):
            yield delta

    def _heard(self, part: AudioPart) -> str:
        seconds = len(part.samples) / INPUT_SAMPLE_RATE_HZ
        said = {round(len(audio_tokens_of(text)) / 25, 2): text for text in SENTENCES}
        text = said.get(round(seconds, 2), "")
        return "nothing at all" if text == self._deaf_to else text


async def found(listening: Any, engine: FakeThinkerEngine, folder: Path) -> dict[str, Finding]:
    graph = Graph()
    graph.thinker = graph.backend._thinker = engine
    await graph.backend.start()

    def ask(url: str) -> list[Finding]:
        with httpx.Client(base_url=url, trust_env=False) as client:
            speech = check_speech(client, MODEL, "default", folder)
            return [*speech, check_answer(client, MODEL, "default", folder)]

    async with listening(graph.app) as url:
        findings = await asyncio.to_thread(ask, url)
    return {one.check: one for one in findings}


def test_the_sentences_have_lengths_of_their_own() -> None:
    assert len({len(text) for text in SENTENCES}) == len(SENTENCES)


async def test_a_server_that_understands_itself_passes(listening: Any, tmp_path: Path) -> None:
    findings = await found(listening, HearingEngine(), tmp_path)
    assert {one.verdict for one in findings.values()} == {"pass", "figure"}, findings
    assert "0.0%" in findings["text → speech → text"].says


async def test_one_that_does_not_fails_and_says_where(listening: Any, tmp_path: Path) -> None:
    findings = await found(listening, HearingEngine(deaf_to=SENTENCES[-1]), tmp_path)
    meaning = findings["text → speech → text"]
    assert meaning.verdict == "fail"
    assert "nothing at all" in meaning.says


async def test_a_server_that_refuses_fails(listening: Any, tmp_path: Path) -> None:
    findings = await found(listening, FakeThinkerEngine(spoilt_by=SENTENCES[2]), tmp_path)
    assert findings["text → speech → text"].verdict == "fail"
