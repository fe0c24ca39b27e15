"""The traffic of a soak, a few seconds of it, over fake engines and a real listener."""

import random
import time
from collections.abc import AsyncGenerator

import pytest

from deployments.errors import PromptTooLong
from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine, echo
from tests.benchmarks.hostile_clients import HonestSound
from tests.benchmarks.soak.honest import ASKS, HonestClient
from tests.benchmarks.soak.hostile import Act, acts, drawn
from tests.benchmarks.soak.outcomes import Tally
from tests.benchmarks.soak.target import Target, client
from tests.benchmarks.soak.traffic import Load, Traffic
from tests.integration.http.helpers import MODEL, eventually, wav_of

VOICES = ("anna",)
SOUNDS = (HonestSound(wav_of(1.0)),)
SECONDS = 1.0
DRAWN = 20
CONTEXT = 100_000  # characters
ONCE = {act.name: act for act in acts()}


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    """Slow clients are quicker here."""
    monkeypatch.setattr("tests.benchmarks.soak.wire.SLOW_BETWEEN_S", 0.01)
    monkeypatch.setattr("tests.benchmarks.soak.wire.LEAVES_WITHIN_S", 0.1)


class ShortContext(FakeThinkerEngine):
    """Has a context, as a model has."""

    def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        length = sum(len(echo(message)) for message in request.messages)
        if length > CONTEXT:
            raise PromptTooLong(length, CONTEXT)
        return super().generate(request)


async def test_every_hostile_client_gets_what_it_may_get(graph, listening):
    graph.thinker = graph.backend._thinker = ShortContext()
    draw = random.Random(0)
    async with listening(graph.app) as url, client(url) as http:
        target = Target(http, MODEL, VOICES)
        outcomes = [await act.outcome(target, draw) for act in ONCE.values()]
        outcomes += [await drawn(target, draw) for _ in range(DRAWN)]
        wrong = [outcome for outcome in outcomes if outcome.wrong]
        assert await eventually(graph.idle, within_s=5)
    assert [(each.name, each.status, each.of) for each in wrong] == []


async def test_every_honest_client_is_answered(graph, listening):
    tally = Tally()
    async with listening(graph.app) as url, client(url) as http:
        honest = HonestClient(Target(http, MODEL, VOICES), SOUNDS, tally, random.Random(0))
        for ask, _ in ASKS:
            await ask(honest)
    assert tally.examples == []
    asked = tally.by_name()
    kinds = {"honest transcription", "honest chat", "honest spoken turn", "honest second turn"}
    assert kinds < asked.keys() and any(name.endswith(", heard") for name in asked)
    assert all(counts.keys() == {"200"} for counts in asked.values())
    assert graph.idle()


async def test_honest_clients_beside_hostile_ones_are_answered(graph, listening):
    tally = Tally()
    load = Load(honest_clients=2, hostile_clients=2, pause_s=0.01, hostile_pause_s=0.01)
    async with listening(graph.app) as url, client(url) as http:
        traffic = Traffic(Target(http, MODEL, VOICES), SOUNDS, load, tally)
        await traffic.quiet(time.monotonic() + SECONDS / 4, pause_s=0.01)
        await traffic.mixed(time.monotonic() + SECONDS)
        assert await eventually(graph.idle, within_s=5)
    assert tally.examples == []
    assert tally.by_name()["health"].keys() == {"200"}
    assert tally.by_name().keys() & ONCE.keys()


@pytest.mark.parametrize("status", [500, 503, 0])
async def test_an_answer_that_blames_the_server_is_wrong(status):
    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        return status, "said"

    act = Act("any", frozenset({400}), send)
    outcome = await act.outcome(None, random.Random(0))  # type: ignore[arg-type]
    assert outcome.wrong and outcome.of == "said"


async def test_a_server_that_answers_what_it_must_refuse_is_noted(graph, listening):
    """Every act that needs a refusal, against a server that takes everything."""

    async def everything_is_fine(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    draw = random.Random(0)
    async with listening(everything_is_fine) as url, client(url) as http:
        target = Target(http, MODEL, VOICES)
        strict = [act for act in ONCE.values() if not act.allowed & {200, 0}]
        wrong = [(await act.outcome(target, draw)).wrong for act in strict]
    assert len(strict) > 30 and all(wrong)
