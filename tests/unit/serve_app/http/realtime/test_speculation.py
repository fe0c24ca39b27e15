"""Answers that are begun before it is known that the turn is over."""

from typing import Any

from tests.integration.http.helpers import eventually
from tests.unit.serve_app.http.realtime.client import connected
from tests.unit.serve_app.http.realtime.conftest import started
from tests.unit.serve_app.http.realtime.microphone import (
    hears_loud_sounds,
    silence,
    speak,
    tone,
)
from tests.unit.serve_app.http.realtime.test_detected_turns import spied
from tests.unit.serve_app.http.realtime.test_typed_turns import kinds

PAUSE = silence(0.3)  # longer than a guess waits, shorter than a turn's end


async def speculating(**settings: Any) -> Any:
    return hears_loud_sounds(await started(realtime={"speculative": True}, **settings))


async def test_an_answer_begins_in_the_silence_and_is_heard_when_the_turn_is_over() -> None:
    graph = await speculating()
    requests = spied(graph)
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), PAUSE)
        assert await eventually(lambda: len(requests) == 1)
        await client.update()  # all that was appended is heard by then
        assert "response.created" not in kinds(client.seen)


async def test_the_answer_on_trial_is_the_answer() -> None:
    graph = await speculating()
    requests = spied(graph)
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), silence(0.7))
        events = await client.until("response.done")
        assert kinds(events)[:6] == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert events[-1]["response"]["status"] == "completed"
        (request,) = requests
        await client.answer()
    first, again = (r.messages[1].parts[0].samples for r in (request, requests[1]))
    assert first is again  # the next prompt begins as this one did


async def test_who_goes_on_drops_the_answer_and_both_stages_are_free() -> None:
    graph = await speculating(seconds_per_delta=0.05)
    requests = spied(graph)
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), PAUSE)
        assert await eventually(lambda: not graph.idle())
        await speak(client, tone(0.5))
        assert await eventually(graph.idle)
        await speak(client, silence(0.7))
        events = await client.until("response.done")
    assert len(requests) == 2
    transcript = events[-1]["response"]["output"][0]["content"][0]["transcript"]
    assert float(transcript.split()[1]) > 1.8


async def test_what_was_typed_meanwhile_is_answered_too() -> None:
    graph = await speculating()
    requests = spied(graph)
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), PAUSE)
        assert await eventually(lambda: len(requests) == 1)
        await client.say("and this")
        await speak(client, silence(0.4))
        await client.until("response.done")
    assert len(requests) == 2
    assert "and this" in str(requests[1].messages)


async def test_a_full_server_answers_when_the_turn_is_over_and_guesses_no_more() -> None:
    graph = await speculating()
    graph.synthesizer._max_streams = 0
    requests: list[Any] = []
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), PAUSE)
        assert await eventually(graph.app.state.sessions.were_refused)
        graph.synthesizer._max_streams = 1
        requests = spied(graph)
        await speak(client, silence(0.4))
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"
        await speak(client, tone(1.0), PAUSE)
        await client.update()
    assert len(requests) == 1


async def test_a_client_that_leaves_drops_the_guess() -> None:
    graph = await speculating(seconds_per_delta=0.05)
    async with connected(graph.app) as client:
        await speak(client, tone(1.0), PAUSE)
        assert await eventually(lambda: not graph.idle())
    assert await eventually(graph.idle)
