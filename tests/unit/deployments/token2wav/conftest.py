from pathlib import Path

import pytest

from deployments.token2wav.functional.functional_engine import FunctionalEngine, PreparedVoice
from tests.unit.deployments.token2wav.samples import load_functional, make_wav, write_tiny_token2wav


@pytest.fixture(scope="session")
def token2wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_token2wav(tmp_path_factory.mktemp("token2wav"))


@pytest.fixture(scope="session")
def engine(token2wav_dir: Path) -> FunctionalEngine:
    return load_functional(token2wav_dir, num_threads=1)


@pytest.fixture(scope="session")
def voices(engine: FunctionalEngine) -> list[PreparedVoice]:
    """Three voices of different lengths: 26, 50 and 83 codes or thereabouts."""
    recordings = [(1.04, 130.0), (2.0, 180.0), (3.3, 240.0)]
    return [engine.encode_voice(make_wav(s, pitch_hz=pitch)) for s, pitch in recordings]
