"""An uploaded voice in nano's own Token2Wav: the sound of a configured one, and as soon."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import pytest_asyncio

from deployments.chunker import Chunker
from deployments.errors import UnknownVoice
from deployments.messages import ReferenceAudio, StoredVoice, Voice
from deployments.token2wav.deployment import build_synthesizer
from deployments.token2wav.observer import Unobserved
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import ChunkSizes, Token2WavConfig
from deployments.voice_store import VoiceStore
from tests.places import NANO

RECORDING = NANO / "voices" / "low.wav"
TOKENS = list(range(8))


class Counting(Unobserved):
    """Counts the voices that were prepared."""

    def __init__(self) -> None:
        self.prepared = 0

    def voice_prepared(self, seconds: float) -> None:
        self.prepared += 1


@pytest_asyncio.fixture(scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimpleNamespace]:
    """A replica of Token2Wav that has the recording as a configured voice, and a store."""
    url = str(tmp_path_factory.mktemp("voices"))
    config = Token2WavConfig(
        device="cpu",
        num_threads=1,
        chunks=ChunkSizes(ramp=(4,), steady=6),  # a short warm-up
        voices={"low": str(RECORDING)},
    )
    count = Counting()
    synthesizer = build_synthesizer(str(NANO), config, count, VoiceStore(url))
    assert isinstance(synthesizer, BatchingSynthesizer)
    await synthesizer.start()
    yield SimpleNamespace(synthesizer=synthesizer, count=count, store=VoiceStore(url))
    synthesizer.close()


async def sound(synthesizer: BatchingSynthesizer, voice: Voice) -> bytes:
    stream = await synthesizer.open(voice)
    chunker = Chunker(stream.schedule)
    chunks = [*chunker.push(TOKENS), chunker.finish()]
    pcm = [await stream.synthesize(chunk) for chunk in chunks if chunk]
    stream.close()
    return b"".join(pcm)


async def test_it_sounds_as_the_same_file_configured(replica: SimpleNamespace) -> None:
    voice = await replica.store.create("uploaded", RECORDING.read_bytes())
    configured = await sound(replica.synthesizer, "low")
    assert len(configured) == 2 * 960 * len(TOKENS) and any(configured)
    assert await sound(replica.synthesizer, voice) == configured


async def test_where_it_was_prepared_its_first_use_prepares_nothing(
    replica: SimpleNamespace,
) -> None:
    recording = RECORDING.read_bytes() + bytes(2)  # another file
    await replica.synthesizer.prepare(ReferenceAudio(recording))
    voice = await replica.store.create("prepared", recording)
    before = replica.count.prepared
    (await replica.synthesizer.open(voice)).close()
    assert replica.count.prepared == before


async def test_elsewhere_it_is_prepared_once_for_all_who_use_it_first(
    replica: SimpleNamespace,
) -> None:
    voice = await replica.store.create("elsewhere", RECORDING.read_bytes() + bytes(4))
    before = replica.count.prepared
    for stream in await asyncio.gather(*(replica.synthesizer.open(voice) for _ in range(2))):
        stream.close()
    assert replica.count.prepared == before + 1


async def test_one_that_was_deleted_meanwhile_is_unknown(replica: SimpleNamespace) -> None:
    voice = await replica.store.create("deleted", RECORDING.read_bytes() + bytes(6))
    await replica.store.delete(voice.id)
    with pytest.raises(UnknownVoice, match="'deleted'"):
        await sound(replica.synthesizer, voice)
    assert isinstance(voice, StoredVoice) and replica.synthesizer.open_streams == 0
