"""Bugs planted on purpose: the schedules of faults must find each of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deployments import resume
from deployments.messages import SpeechRequest, ThinkerRequest
from deployments.resume import SpokenProgress, Tries, WrittenProgress
from deployments.spoken_answer import answer_aloud, long_texts
from tests.unit.deployments.resume import test_schedules as schedules
from tests.unit.deployments.resume.chained import ChainedSynthesizer

Plant = Callable[[pytest.MonkeyPatch], None]
spoken_request = SpokenProgress.request
written_request = WrittenProgress.request


def so_far(change: Callable[[Any], Any]) -> Plant:
    """Another Token2Wav is told something else of the answer so far."""

    def request(self: SpokenProgress) -> SpeechRequest:
        asked = spoken_request(self)
        return replace(asked, so_far=asked.so_far and change(asked.so_far))

    return lambda patch: patch.setattr(SpokenProgress, "request", request)


def last_part(**changes: Callable[[Any], Any]) -> Plant:
    def change(told: Any) -> Any:
        *others, last = told.parts
        fields = {name: how(getattr(last, name)) for name, how in changes.items()}
        return replace(told, parts=(*others, replace(last, **fields)))

    return so_far(change)


def made(change: Callable[[Any], Any]) -> Plant:
    """Another Thinker is told other ids."""

    def request(self: WrittenProgress) -> ThinkerRequest:
        asked = written_request(self)
        return replace(asked, made=change(asked.made))

    return lambda patch: patch.setattr(WrittenProgress, "request", request)


def own_schedule(patch: pytest.MonkeyPatch) -> None:
    opened = ChainedSynthesizer.open

    async def open(self: Any, voice: Any, *, so_far: Any = None, **options: Any) -> Any:
        return await opened(self, voice, **options)

    patch.setattr(ChainedSynthesizer, "open", open)


def all_sound_again(patch: pytest.MonkeyPatch) -> None:
    begin = answer_aloud._Sound.__init__
    patch.setattr(answer_aloud._Sound, "__init__", lambda self, received: begin(self, 0))


def offsets_unread(patch: pytest.MonkeyPatch) -> None:
    for progress in (SpokenProgress, WrittenProgress):
        accept: Any = progress.accept
        patch.setattr(
            progress,
            "accept",
            lambda self, delta, accept=accept: accept(self, replace(delta, offset=None)),
        )
    # without offsets nothing could go on at all
    patch.setattr(SpokenProgress, "can_go_on", True)


def joints_forgotten(patch: pytest.MonkeyPatch) -> None:
    asked = long_texts._ask_for_all

    async def ask(parts: Any, ask_one: Any, on_joint: Any, made: Any, so_far: Any) -> None:
        def joint(tokens: int, pause_s: float) -> None:
            if not so_far:
                on_joint(tokens, pause_s)

        await asked(parts, ask_one, joint, made, so_far)

    patch.setattr(long_texts, "_ask_for_all", ask)


def cancellations_are_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resume, "_is_cancelled", lambda: True)


def no_more_tries(patch: pytest.MonkeyPatch) -> None:
    spend = Tries.spend

    def spend_two(self: Tries) -> None:
        spend(self)
        spend(self)

    patch.setattr(Tries, "spend", spend_two)


BUGS: dict[str, Plant] = {
    "an id is left out": made(lambda ids: ids[:-1]),
    "an id comes twice": made(lambda ids: (*ids, *ids[-1:])),
    "the Thinker begins anew": made(lambda ids: ()),
    "the last ids of a part are left out": last_part(made=lambda ids: ids[:-1]),
    "the last sound of a part is left out": last_part(audio_tokens=lambda ids: ids[:-1]),
    "two audio tokens change places": last_part(audio_tokens=lambda ids: ids[::-1]),
    "one sample is sent again": so_far(lambda told: replace(told, samples=told.samples - 1)),
    "the usage of earlier parts is lost": so_far(lambda told: replace(told, usage=None)),
    "the stream has a schedule of its own": own_schedule,
    "all sound is sent again": all_sound_again,
    "what comes twice is taken": offsets_unread,
    "pauses are forgotten": joints_forgotten,
    "a replica's cancellation ends the answer": cancellations_are_ours,
    "tries are counted twice": no_more_tries,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = schedules.Undisturbed(2)
    BUGS[bug](monkeypatch)
    with pytest.raises(BaseException):  # noqa: B017  # an assertion's, or whatever the bug causes
        schedules.require_all_exact(expected, parts=2)
        schedules.require_exact_at_random(expected, parts=2, runs=30)
