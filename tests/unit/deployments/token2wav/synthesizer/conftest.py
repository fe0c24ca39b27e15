import pytest

from deployments.token2wav.admission import Admission
from tests.unit.deployments.token2wav.clock import Clock
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    StandIn,
    recording,
    synthesizer_over,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission() -> Admission:
    return Admission(min_rows=4)


@pytest.fixture
async def started(clock, admission):
    engine = StandIn()
    recordings = {name: recording(name.encode()) for name in ("default", "other")}
    synthesizer = synthesizer_over(
        lambda: engine, recordings, admission=lambda rows: admission, now_s=clock
    )
    await synthesizer.start()
    engine.batches.clear()
    yield synthesizer, engine
    synthesizer.close()
