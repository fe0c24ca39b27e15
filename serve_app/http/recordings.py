"""Recordings of a request on their way to a stage: out of base64, and fit to be a voice."""

import asyncio
import binascii

import pybase64
from fastapi import HTTPException

from deployments.audio_decoding import channels_of, decode_audio
from deployments.errors import AudioTooLong, AudioUnreadable, RequestError
from serve_app.http.types import InputAudio
from serve_app.sound.voice_samples import MAX_S, check_sample, energetic_s, wrong_length

MAX_SAMPLE_BYTES = 10 << 20  # OpenAI's limit


async def file_of(audio: InputAudio, param: str) -> bytes:
    """The file that `audio` holds; `param` names it in a request.

    Raises:
        AudioUnreadable: it is no base64.
    """
    try:
        return await asyncio.to_thread(pybase64.b64decode, audio.data, validate=True)
    except (binascii.Error, ValueError):  # no base64, or a character outside ASCII
        raise AudioUnreadable("its data is not base64", param=f"{param}.data") from None


async def require_voice(recording: bytes, param: str) -> None:
    """Refuse a file that is no recording of a voice; it is looked at beside the event loop.

    Raises:
        HTTPException: 413, it is larger than MAX_SAMPLE_BYTES.
        AudioUnreadable, VoiceSampleUnfit: it is no recording, or nobody can be heard well in it.
    """
    if len(recording) > MAX_SAMPLE_BYTES:
        message = f"{param} is larger than {MAX_SAMPLE_BYTES} bytes"
        raise HTTPException(413, {"message": message, "param": param})
    try:
        await asyncio.to_thread(_require_voice, recording)
    except RequestError as error:
        error.param = param
        raise


def _require_voice(recording: bytes) -> None:
    try:
        samples, rate_hz = decode_audio(recording, max_s=MAX_S)
    except AudioTooLong as error:
        raise wrong_length(error.seconds) from None
    check_sample(samples, rate_hz, channels_of(recording), energetic_s)
