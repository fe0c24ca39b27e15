"""How a GPU's memory is divided among voices and streams."""

from dataclasses import replace

import pytest

from deployments.errors import ConfigError
from deployments.token2wav.resident.memory import (
    GIB,
    WORK_SPACE,
    Budget,
    MemoryPlan,
    Needs,
    PieceSizes,
)
from deployments.token2wav.token2wav_config import GpuMemory

MIB = 2**20
# of the published sizes in float16
SIZES = PieceSizes(40 * MIB, int(1.75 * MIB), int(1.3 * MIB))
VOICE_6S, VOICE_9S = Needs(5, 3, 1), Needs(8, 4, 1)
STREAM_6S, STREAM_9S = Needs(5, 17, 2), Needs(8, 17, 2)


def budget(gib: float) -> Budget:
    return Budget(int(gib * GIB), "gpu.memory_gb")


def plan(gib: float, voices: list[Needs], streams: list[Needs], most: int | None = None):
    return MemoryPlan.within(budget(gib), voices=voices, streams=streams, sizes=SIZES, most=most)


def test_the_shipped_voice_leaves_room_for_more_streams_than_a_longer_one():
    short, long = plan(32, [VOICE_6S], [STREAM_6S]), plan(32, [VOICE_9S], [STREAM_9S])
    assert (short.max_streams, long.max_streams) == (139, 91)
    assert short.in_longest == short.max_streams


@pytest.mark.parametrize("gib", [1.0, 7.3, 32.0, 104.0])
def test_what_is_planned_takes_no_more_than_the_budget_and_wastes_less_than_a_stream(gib):
    for streams in ([STREAM_6S], [STREAM_9S], [STREAM_9S, STREAM_6S]):
        made = plan(gib, [VOICE_9S], streams)
        assert gib * GIB - STREAM_9S.bytes(SIZES) < made.bytes(SIZES) <= gib * GIB


def test_streams_in_voices_of_other_lengths_share_the_memory():
    both = plan(32, [VOICE_9S, VOICE_6S], [STREAM_9S, STREAM_6S])
    assert 80 < both.in_longest < both.max_streams < 139
    spare = both.solver_blocks - 1 - VOICE_9S.solver_blocks - VOICE_6S.solver_blocks
    assert both.max_streams * STREAM_6S.solver_blocks <= spare
    assert both.in_longest * STREAM_9S.solver_blocks <= spare


def test_no_more_memory_is_taken_than_the_streams_need_that_are_wanted():
    few = plan(32, [VOICE_9S], [STREAM_9S, STREAM_6S], most=10)
    assert few.max_streams == few.in_longest == 10
    assert few.bytes(SIZES) < 4 * GIB


def test_where_fewer_fit_than_are_wanted_as_many_as_fit_are_planned():
    assert plan(4, [VOICE_6S], [STREAM_6S], most=1000) == plan(4, [VOICE_6S], [STREAM_6S])


def test_a_budget_without_room_for_one_stream_says_what_one_needs():
    with pytest.raises(ConfigError, match=r"gpu\.memory_gb.*is 0\.50 GiB.*needs 0\.71"):
        plan(0.5, [VOICE_9S], [STREAM_9S])


FREE, TOTAL, OWN = 70 * GIB, 80 * GIB, 2 * GIB


def of(memory_gb: float | None, share: float, free: int = FREE) -> Budget:
    return Budget.of(GpuMemory(memory_gb=memory_gb), share, free=free, total=TOTAL, own=OWN)


def test_a_budget_that_is_configured_holds_whatever_is_free():
    assert of(12.5, share=0.4) == Budget(int(12.5 * GIB), "gpu.memory_gb")


def test_a_gpu_of_its_own_is_used_as_far_as_it_is_free():
    assert of(None, share=1.0) == Budget(FREE - WORK_SPACE, "what the GPU has free")


def test_of_a_shared_gpu_no_more_than_the_share_is_taken():
    shared = of(None, share=0.4)
    assert shared.bytes == int(0.4 * TOTAL) - OWN - WORK_SPACE
    assert "num_gpus 0.4" in shared.source
    assert of(None, share=0.4, free=10 * GIB).bytes == 10 * GIB - WORK_SPACE


def test_pieces_add_up():
    assert STREAM_6S.bytes(SIZES) - replace(STREAM_6S, slots=0).bytes(SIZES) == 2 * SIZES.slot
