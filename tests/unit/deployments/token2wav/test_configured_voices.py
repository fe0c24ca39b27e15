"""Configured voices are read before anything is loaded."""

from pathlib import Path

import pytest

from deployments.errors import ConfigError
from deployments.token2wav.configured_voices import read_voices
from deployments.token2wav.token2wav_config import ReferenceAudioLimits, Token2WavConfig
from tests.unit.deployments.token2wav.samples import make_wav

LIMITS = ReferenceAudioLimits()


def test_a_voice_is_read_with_its_length(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    path.write_bytes(make_wav(2.5))
    (voice,) = read_voices({"one": path}, LIMITS).values()
    assert (voice.path, voice.data) == (path, make_wav(2.5))
    assert voice.seconds == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"no sound", "cannot be read"),
        (b"", "cannot be read"),
        (make_wav(0.5, rate_hz=8000), "must last 1 to 30 s, this one 0.5 s"),
        (make_wav(31.0, rate_hz=8000), "must last 1 to 30 s, this one 31.0 s"),
    ],
    ids=["no recording", "empty", "too short", "too long"],
)
def test_a_voice_that_cannot_be_used_is_a_config_error_that_names_it(
    tmp_path: Path, data: bytes, complaint: str
) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="the voice 'bad'") as refused:
        read_voices({"bad": path}, LIMITS)
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_voice_without_a_file_is_a_config_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the voice 'gone'"):
        read_voices({"gone": tmp_path / "gone.wav"}, LIMITS)


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, 1.0), ({"num_gpus": 0.4}, 0.4), ({"num_gpus": 1}, 1.0), ({"num_gpus": 2}, 1.0)],
)
def test_the_share_of_a_gpu_is_what_ray_is_asked_for(options: dict, share: float) -> None:
    config = Token2WavConfig(deployment_config={"ray_actor_options": options})
    assert config.gpu_share == share
