"""Bugs planted on purpose: the schedules of faults must find each of them."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from deployments.liveness import watch
from deployments.liveness.heartbeats import Beating, Heartbeats
from deployments.liveness.interruptible import Interruptible
from deployments.messages import SpeechRequest, ThinkerRequest
from deployments.resume import SpokenProgress, Tries, WrittenProgress, attempts
from deployments.spoken_answer import answer_aloud, long_texts
from tests.unit.deployments.resume import test_schedules as schedules
from tests.unit.deployments.resume import world
from tests.unit.deployments.resume.chained import ChainedSynthesizer
from tests.unit.deployments.resume.world import Undisturbed

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


def another_chance(patch: pytest.MonkeyPatch) -> None:
    def request(self: WrittenProgress) -> ThinkerRequest:
        asked = written_request(self)
        return replace(asked, chance=asked.chance + len(asked.made))

    patch.setattr(WrittenProgress, "request", request)


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
            lambda self, delta, accept=accept: accept(self, without_offsets(delta)),
        )
    # without offsets nothing could go on at all
    patch.setattr(SpokenProgress, "can_go_on", True)


def words_twice(patch: pytest.MonkeyPatch) -> None:
    accept: Any = SpokenProgress.accept
    patch.setattr(
        SpokenProgress, "accept", lambda self, delta: accept(self, replace(delta, made_offset=None))
    )


def without_offsets(delta: Any) -> Any:
    offsets = {name: None for name in ("offset", "made_offset") if hasattr(delta, name)}
    return replace(delta, **offsets)


def joints_forgotten(patch: pytest.MonkeyPatch) -> None:
    asked = long_texts._ask_for_all

    async def ask(parts: Any, ask_one: Any, on_joint: Any, made: Any, so_far: Any) -> None:
        def joint(tokens: int, pause_s: float) -> None:
            if not so_far:
                on_joint(tokens, pause_s)

        await asked(parts, ask_one, joint, made, so_far)

    patch.setattr(long_texts, "_ask_for_all", ask)


def cancellations_are_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempts, "is_cancelled", lambda: True)


def no_more_tries(patch: pytest.MonkeyPatch) -> None:
    spend = Tries.spend

    def spend_two(self: Tries) -> None:
        spend(self)
        spend(self)

    patch.setattr(Tries, "spend", spend_two)


def silence_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch._Stream, "on_tick", lambda self, late: None)


def silence_counts_while_nobody_reads(patch: pytest.MonkeyPatch) -> None:
    on_tick = watch._Stream.on_tick

    def always(self: Any, late: bool) -> None:
        self.is_read = True
        on_tick(self, late)

    patch.setattr(watch._Stream, "on_tick", always)


def silence_is_never_broken(patch: pytest.MonkeyPatch) -> None:
    silent = property(lambda self: 2.0, lambda self, value: None)
    patch.setattr(watch._Stream, "silent_s", silent, raising=False)


def no_heartbeats_in_silence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Beating, "on_tick", lambda self, late: None)


def stuck_is_not_said(patch: pytest.MonkeyPatch) -> None:
    beat = Heartbeats.beat
    patch.setattr(Heartbeats, "beat", lambda self, *how: replace(beat(self, *how), stuck=False))


def first_delta_without_a_heartbeat(patch: pytest.MonkeyPatch) -> None:
    """A replica that hangs soon after it is not missed."""
    patch.setattr(Beating, "first", lambda self, item: item)


def heartbeats_are_deltas(patch: pytest.MonkeyPatch) -> None:
    beat = Heartbeats.beat
    patch.setattr(Heartbeats, "beat", lambda self, *how: replace(beat(self, *how), alone=False))


def patience_for_the_first_sound(patch: pytest.MonkeyPatch) -> None:
    begun_within = attempts._begun_within

    def sounding(deltas: Any, within_s: float | None) -> Any:
        async def without_heartbeats() -> Any:
            async with aclosing(deltas):
                async for delta in deltas:
                    if delta.heartbeat is None or not delta.heartbeat.alone:
                        yield delta

        return begun_within(without_heartbeats(), within_s)

    patch.setattr(attempts, "_begun_within", sounding)


def a_first_hang_is_not_due(patch: pytest.MonkeyPatch) -> None:
    is_due = watch._Stream._is_due
    patch.setattr(watch._Stream, "_is_due", lambda self: self.has_begun and is_due(self))


def calls_go_on(patch: pytest.MonkeyPatch) -> None:
    """Who is given up is not told, and the stream goes on to listen."""
    patch.setattr(world.RemoteCall, "cancel", lambda self: None)


def lost_behind_silence(patch: pytest.MonkeyPatch) -> None:
    next_item = Interruptible.__anext__

    async def later_one(self: Any) -> Any:
        was_interrupted = self._next is not None
        item = await next_item(self)
        is_lost = was_interrupted and not world.is_alone(item)
        return await next_item(self) if is_lost else item

    patch.setattr(Interruptible, "__anext__", later_one)


def interruptions_cancel(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Interruptible, "interrupt", lambda self: self._future and self._future.cancel())


BUGS: dict[str, Plant] = {
    "an id is left out": made(lambda ids: ids[:-1]),
    "an id comes twice": made(lambda ids: (*ids, *ids[-1:])),
    "the Thinker begins anew": made(lambda ids: ()),
    "the rest is drawn by another chance": another_chance,
    "the last ids of a part are left out": last_part(made=lambda ids: ids[:-1]),
    "the last sound of a part is left out": last_part(audio_tokens=lambda ids: ids[:-1]),
    "two audio tokens change places": last_part(audio_tokens=lambda ids: ids[::-1]),
    "one sample is sent again": so_far(lambda told: replace(told, samples=told.samples - 1)),
    "the usage of earlier parts is lost": so_far(lambda told: replace(told, usage=None)),
    "the stream has a schedule of its own": own_schedule,
    "all sound is sent again": all_sound_again,
    "what comes twice is taken": offsets_unread,
    "words without sound that come twice are taken": words_twice,
    "pauses are forgotten": joints_forgotten,
    "a replica's cancellation ends the answer": cancellations_are_ours,
    "tries are counted twice": no_more_tries,
    "silence is not heard": silence_is_not_heard,
    "silence counts while nobody reads": silence_counts_while_nobody_reads,
    "silence is never broken": silence_is_never_broken,
    "there are no heartbeats in silence": no_heartbeats_in_silence,
    "an engine does not say that it is stuck": stuck_is_not_said,
    "a first delta has no heartbeat": first_delta_without_a_heartbeat,
    "a heartbeat counts as a delta": heartbeats_are_deltas,
    "patience is for the first sound": patience_for_the_first_sound,
    "a first replica that hangs is waited for": a_first_hang_is_not_due,
    "a call that is given up goes on": calls_go_on,
    "what comes behind a silence is lost": lost_behind_silence,
    "a heartbeat cancels what is waited for": interruptions_cancel,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Undisturbed(parts=2)
    BUGS[bug](monkeypatch)
    with pytest.raises(BaseException):  # noqa: B017  # an assertion's, or whatever the bug causes
        schedules.require_patience(expected)
        schedules.require_exact_at_random(expected, range(60))
        schedules.require_all_exact(expected)
