"""How voices are prepared: the configured ones, and the recordings of requests."""

import asyncio
import hashlib

import pytest

from deployments.errors import AudioUnreadable, ConfigError, UnknownVoice, VoiceUnusable
from deployments.messages import ReferenceAudio, StoredVoice
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    StandIn,
    chunk,
    recording,
    synthesizer_over,
)


async def test_a_configured_voice_that_cannot_be_used_is_named_at_start():
    class Choosy(StandIn):
        def encode_voice(self, data: bytes) -> str:
            raise VoiceUnusable("embedding is not finite")

    synthesizer = synthesizer_over(Choosy, {"default": recording(b"")})
    with pytest.raises(ConfigError, match=r"'default'.*voice.*embedding is not finite"):
        await synthesizer.start()


async def test_a_recording_is_encoded_while_steps_go_on(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.may_encode.clear()
    newcomer = asyncio.create_task(synthesizer.open(ReferenceAudio(b"mine")))
    while b"mine" not in engine.prepared:
        await asyncio.sleep(0.001)
    assert await stream.synthesize(chunk(5)) == b"\x05"
    assert not newcomer.done()
    engine.may_encode.set()
    await newcomer


async def test_a_recording_is_prepared_once_for_all_that_bring_it(started):
    synthesizer, engine = started
    engine.prepared.clear()
    voice = ReferenceAudio(b"mine")
    streams = await asyncio.gather(*(synthesizer.open(voice) for _ in range(3)))
    assert engine.prepared == [b"mine"]
    for stream in streams:
        stream.close()
    for name in (b"two", b"three", b"mine"):  # the cache holds two
        (await synthesizer.open(ReferenceAudio(name))).close()
    assert engine.prepared == [b"mine", b"two", b"three", b"mine"]


async def test_an_uploaded_voice_is_the_recording_that_was_prepared(started):
    synthesizer, engine = started
    engine.prepared.clear()
    await synthesizer.prepare(ReferenceAudio(b"mine"))
    (await synthesizer.open(uploaded(b"mine"))).close()  # nothing is stored here: it reads nothing
    assert engine.prepared == [b"mine"]


async def test_an_uploaded_voice_that_cannot_be_read_leaves_nothing_behind(started):
    synthesizer, _ = started
    for _ in range(2):
        with pytest.raises(UnknownVoice, match="hers"):
            await synthesizer.open(uploaded(b"hers"))
    assert synthesizer.open_streams == 0


def uploaded(data: bytes) -> StoredVoice:
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredVoice("voice_0", data.decode(), owner="", created_at=0, sha256=sha256)


async def test_a_recording_that_cannot_be_prepared_leaves_nothing_behind(started):
    synthesizer, engine = started
    for _ in range(2):
        with pytest.raises(AudioUnreadable):
            await synthesizer.open(ReferenceAudio(b"broken"))
    assert engine.prepared.count(b"broken") == 2
    assert synthesizer.open_streams == 0


async def test_named_voices_are_ready_and_others_unknown(started):
    synthesizer, engine = started
    assert synthesizer.voices() == ("default", "other")
    assert engine.prepared == [b"default", b"other"]
    with pytest.raises(UnknownVoice, match="nobody"):
        await synthesizer.open("nobody")
