"""Whether Token2Wav makes the sound that the official package makes of the same tokens."""

import math
import random
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from deployments.errors import ConfigError, VoiceUnusable
from deployments.model_files import ModelFiles
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from deployments.token2wav.token2wav_config import Token2WavConfig
from serve_app.commands.verifying.findings import Finding, judged

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V")  # an encoded voice
P = TypeVar("P")  # one that is placed
CHECK = "Token2Wav against the official package"
TOKENS, SEED = 25, 0  # a second of sound
LEAST_SNR_DB = 40.0  # the difference is then a hundredth of the sound


def check_official_parity(files: ModelFiles) -> Finding:
    """Both on the CPU in float32, with the same noise: what differs is code and not precision."""
    try:
        snr_db = _snr_db(files)
    except ConfigError as error:
        return Finding(CHECK, "skipped", str(error))
    except VoiceUnusable as error:  # of weights that make nothing finite
        return Finding(CHECK, "fail", str(error))
    says = f"{snr_db:.0f} dB between the sound and the difference; {LEAST_SNR_DB:.0f} are needed"
    return judged(CHECK, snr_db >= LEAST_SNR_DB, says)


class Engine(Protocol[V, P]):
    """What both engines have."""

    codebook_size: int

    def encode_voice(self, data: bytes) -> V: ...

    def place_voice(self, voice: V, /) -> Generator[None, None, P]: ...

    def synthesize(self, tokens: Sequence[int], voice: P) -> "Tensor": ...


def _snr_db(files: ModelFiles) -> float:
    from deployments.token2wav.engines import engine_options
    from deployments.token2wav.functional.functional_engine import FunctionalEngine
    from deployments.token2wav.reference import ReferenceEngine

    options = engine_options(files.token2wav, Token2WavConfig(device="cpu"))
    theirs = _sound(ReferenceEngine.load(options))
    ours = _sound(FunctionalEngine.load(options))
    difference, power = float((ours - theirs).square().sum()), float(theirs.square().sum())
    if not (math.isfinite(difference) and power):
        return -math.inf
    return 10 * math.log10(power / difference) if difference else math.inf


def _sound(engine: Engine[V, P]) -> "Tensor":
    """[960 * TOKENS] float64, of tokens that are the same for every engine."""
    from deployments.token2wav.voice_preparation import place_whole

    draw = random.Random(SEED)
    tokens = [draw.randrange(engine.codebook_size) for _ in range(TOKENS)]
    voice = place_whole(engine.place_voice(engine.encode_voice(SHIPPED_VOICE.read_bytes())))
    return engine.synthesize(tokens, voice).double()
