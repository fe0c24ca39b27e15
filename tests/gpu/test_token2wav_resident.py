"""The resident Token2Wav engine on a GPU; `token2wav_resident.py` prints its figures."""

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)
pytest.importorskip("triton")

from deployments.token2wav.functional import Flow, Hift
from tests.benchmarks import resident_streams as script

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def networks() -> tuple[Flow, Hift]:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return script.random_networks()


@pytest.mark.parametrize(
    ("dtype", "mel_db", "sound_db"), [(torch.float32, 100, 60), (torch.float16, 40, 40)]
)
def test_44_chunks_with_streams_that_join_and_leave_equal_the_functional_engine(
    networks: tuple[Flow, Hift], dtype: torch.dtype, mel_db: float, sound_db: float
) -> None:
    oracle = script.check(networks, dtype, steps=44)
    assert oracle.captured_differs <= 1e-3
    assert len(oracle.mel_snr) == len(oracle.sound_snr) >= 44
    assert all(db >= mel_db for db in oracle.mel_snr)
    assert all(db >= sound_db for db in oracle.sound_snr)
    if dtype == torch.float32:
        assert oracle.mel_worst <= 1e-3


def test_a_thousand_streams_end_with_the_memory_they_began_with(
    networks: tuple[Flow, Hift],
) -> None:
    before, after = script.leak(networks)
    assert after == before
