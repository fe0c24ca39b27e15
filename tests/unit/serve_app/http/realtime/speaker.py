"""A graph that speaks as the model does: nano's own tokens, and a voice whose word times are known.

The Thinker answers everything with one text, in the model's own pattern of tokens. Token2Wav makes
the sound of a recorded voice of them, whose words begin where `Spoken.starts_s` says.
"""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer

from deployments.chunker import Chunk
from deployments.messages import (
    SAMPLES_PER_AUDIO_TOKEN,
    Message,
    Role,
    ThinkerDelta,
    ThinkerRequest,
    Voice,
)
from deployments.thinker.answer import Answer, EngineOutput
from deployments.thinker.fake import FakeThinkerEngine
from deployments.thinker.heard import interleaved
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.tokens import Mode, OutputSplitter, SpecialTokens, Split, TextVocabulary
from deployments.token2wav.fake import FakeStream, FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import SCHEDULE, Graph
from tests.integration.http.helpers import MODEL
from tests.unit.serve_app.sound.captions.spoken import Spoken, spoken

NANO = Path(__file__).parents[5] / "configs" / "nano"
TOKENIZER = Tokenizer.from_file(str(NANO / "tokenizer.json"))
SPECIAL = SpecialTokens.from_tokenizer(TOKENIZER)
VOCABULARY = TextVocabulary(TOKENIZER)
PROMPTS = PromptBuilder(TOKENIZER, SPECIAL, vocabulary=VOCABULARY)
(CLIP,) = (clip for clip in spoken() if "nano" in clip.voice)
BYTES_PER_TOKEN = 2 * SAMPLES_PER_AUDIO_TOKEN


def ids_of(clip: Spoken) -> list[int]:
    """What the model makes of a clip after `<tts_start>`; the n-th audio token has the code n."""
    text = TOKENIZER.encode(clip.text, add_special_tokens=False).ids
    count = len(clip.pcm) // BYTES_PER_TOKEN
    return [*interleaved(text, range(SPECIAL.audio_first, SPECIAL.audio_first + count), SPECIAL)]


class SpeakingThinker(FakeThinkerEngine):
    """Says the clip, whatever it hears; notes what it was asked."""

    def __init__(self, seconds_per_delta: float = 0.0) -> None:
        super().__init__(seconds_per_delta)
        self.requests: list[ThinkerRequest] = []

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        self.requests.append(request)
        async for delta in super().generate(request):
            yield delta

    def _answer(self, request: ThinkerRequest) -> list[ThinkerDelta]:
        answer = Answer(request, SPECIAL, VOCABULARY, frozenset({SPECIAL.turn_end}))
        outputs = [EngineOutput((token_id,)) for token_id in ids_of(CLIP)]
        deltas = [answer.push(output) for output in outputs]
        return [*filter(None, deltas), answer.finish("stop")]


class RecordedVoice:
    """A stream of the fake synthesizer; its n-th token becomes the n-th 40 ms of the clip."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def synthesize(self, chunk: Chunk) -> bytes:
        values = np.frombuffer(await self._stream.synthesize(chunk), "<i2")
        starts = values[::SAMPLES_PER_AUDIO_TOKEN].astype(int) * BYTES_PER_TOKEN
        return b"".join(CLIP.pcm[start : start + BYTES_PER_TOKEN] for start in starts)


class SpeakingSynthesizer(FakeSynthesizer):
    async def open(self, voice: Voice, **options: Any) -> FakeStream:
        return cast(FakeStream, RecordedVoice(await super().open(voice, **options)))


class SpeakingGraph(Graph):
    def __init__(self, seconds_per_delta: float = 0.0) -> None:
        self.thinker = SpeakingThinker(seconds_per_delta)
        self.synthesizer = SpeakingSynthesizer(SCHEDULE, ("anna",))
        self.backend = FakeServeBackend(self.thinker, self.synthesizer)
        self.settings = HttpSettings(models=(MODEL,))
        self.app = create_http_app(self.backend, self.settings)


async def speaking_graph(seconds_per_delta: float = 0.0) -> SpeakingGraph:
    graph = SpeakingGraph(seconds_per_delta)
    await graph.backend.start()
    return graph


def remembered(messages: tuple[Message, ...]) -> list[Split]:
    """The spoken turns that a prompt of these messages holds, as the model reads them."""
    ids = PROMPTS.build(messages, "speech").token_ids
    turns = []
    for start in [at for at, token_id in enumerate(ids[:-1]) if token_id == SPECIAL.tts_start]:
        end = ids.index(SPECIAL.turn_end, start)
        splitter = OutputSplitter(SPECIAL, VOCABULARY, Mode.SPEECH)
        turns.append(splitter.push(ids[start + 1 : end]))
    assert len(turns) == sum(message.role is Role.ASSISTANT for message in messages)
    return turns
