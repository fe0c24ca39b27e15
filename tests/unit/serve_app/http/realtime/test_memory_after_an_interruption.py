"""What the next prompt holds of an answer that was interrupted, by the model's own tokens."""

import asyncio
from collections.abc import AsyncIterator
from itertools import takewhile
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.serve_app.http.realtime.client import Client, Json, connected
from tests.unit.serve_app.http.realtime.microphone import (
    hears_loud_sounds,
    silence,
    speak,
    tone,
)
from tests.unit.serve_app.http.realtime.speaker import (
    CLIP,
    PROMPTS,
    SPECIAL,
    TOKENIZER,
    SpeakingGraph,
    ids_of,
    remembered,
    speaking_graph,
)


@pytest_asyncio.fixture(scope="module")
async def speaker() -> SpeakingGraph:
    return await speaking_graph()


@pytest_asyncio.fixture
async def talk(speaker: SpeakingGraph) -> AsyncIterator[Client]:
    async with connected(speaker.app) as client:
        await client.expect("session.created")
        yield client


def words_in(text: str) -> int:
    """How many of the words whose times are known stand in this beginning of the text."""
    return sum(character < len(text) for character in CLIP.starts_s)


def words_said(until_s: float) -> tuple[int, int]:
    """How many words had begun by then, and how many were over."""
    starts_s = [*CLIP.starts_s.values()]
    begun = sum(start_s < until_s for start_s in starts_s)
    over = sum(end_s <= until_s for end_s in [*starts_s[1:], CLIP.seconds])
    return over, begun


def require_memory(turn: Any, heard_s: float) -> None:
    """The turn has the sound up to there, and the words that were heard by then, ± 1."""
    assert turn.audio_tokens == [*range(round(25 * heard_s))]
    assert CLIP.text.startswith(turn.text)
    over, begun = words_said(heard_s)
    assert over - 1 <= words_in(turn.text) <= begun + 1


async def spoken_answer(client: Client) -> Json:
    await client.say("tell me something")
    item: Json = (await client.answer())[-1]["response"]["output"][0]
    return item


async def next_turns(client: Client, speaker: SpeakingGraph) -> list[Any]:
    """The spoken turns in the prompt of a next answer."""
    await client.say("go on")
    await client.answer()
    return remembered(speaker.thinker.requests[-1].messages)


@pytest.mark.parametrize("heard_ms", range(200, 11_900, 1300))
async def test_a_turn_that_the_client_cut_is_remembered_as_it_was_heard(
    talk: Client, speaker: SpeakingGraph, heard_ms: int
) -> None:
    item = await spoken_answer(talk)
    await talk.send(
        "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=heard_ms
    )
    told = await talk.expect("conversation.item.truncated")
    assert told["audio_end_ms"] == heard_ms
    (turn,) = await next_turns(talk, speaker)
    require_memory(turn, heard_ms / 1000)


async def test_a_turn_that_was_heard_to_its_end_is_remembered_whole(
    talk: Client, speaker: SpeakingGraph
) -> None:
    item = await spoken_answer(talk)
    await talk.send(
        "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=60_000
    )
    told = await talk.expect("conversation.item.truncated")
    assert abs(told["audio_end_ms"] - 1000 * CLIP.seconds) <= 40  # clamped, and no error
    (turn,) = await next_turns(talk, speaker)
    assert turn.text == CLIP.text
    assert len(turn.audio_tokens) == int(25 * CLIP.seconds)


async def test_of_an_answer_that_is_stopped_while_it_is_made_as_much_is_remembered() -> None:
    """Its text is far ahead of its sound by then."""
    speaker = hears_loud_sounds(await speaking_graph(seconds_per_delta=0.2))
    async with connected(speaker.app) as client:
        await client.say("tell me something")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await asyncio.sleep(0.5)
        await speak(client, tone(0.5), silence(0.8))
        done = (await client.until("response.done"))[-1]["response"]
        assert done["status_details"]["reason"] == "turn_detected"
        await client.until("response.created")
    (turn,) = remembered(speaker.thinker.requests[-1].messages)
    heard_s = len(turn.audio_tokens) / 25
    assert 0.3 < heard_s < 5
    require_memory(turn, heard_s)


async def test_the_prompt_begins_as_the_answer_was_made_as_far_as_its_text_was_heard(
    talk: Client, speaker: SpeakingGraph
) -> None:
    """So the Thinker finds that beginning in its cache."""
    item = await spoken_answer(talk)
    await talk.send(
        "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=6000
    )
    (turn,) = await next_turns(talk, speaker)
    prompt = PROMPTS.build(speaker.thinker.requests[-1].messages, "speech").token_ids
    again = prompt[prompt.index(SPECIAL.tts_start) + 1 :]
    pairs = zip(ids_of(CLIP), again, strict=False)
    same = len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])
    words = TOKENIZER.encode(turn.text, add_special_tokens=False).ids
    assert same >= 5 * len(words) > 50


async def test_words_come_with_the_times_at_which_they_are_heard(talk: Client) -> None:
    await talk.say("tell me something")
    events = await talk.answer()
    words = [each for each in events if each["type"] == "response.output_audio_transcript.delta"]
    assert "".join(word["delta"] for word in words) == CLIP.text
    errors, character = [], 0
    for word in words:
        begins = character + len(word["delta"]) - len(word["delta"].lstrip())
        if begins in CLIP.starts_s:
            errors.append(abs(word["start_time"] - CLIP.starts_s[begins]))
        character += len(word["delta"])
    assert len(errors) == len(CLIP.starts_s)
    assert sum(errors) / len(errors) < 0.15


async def test_the_transcript_of_a_turn_that_was_cut_ends_there(talk: Client) -> None:
    item = await spoken_answer(talk)
    await talk.send(
        "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=4000
    )
    await talk.expect("conversation.item.truncated")
    await talk.send("conversation.item.retrieve", item_id=item["id"])
    retrieved = (await talk.expect("conversation.item.retrieved"))["item"]
    transcript = retrieved["content"][0]["transcript"]
    over, begun = words_said(4.0)
    assert over - 1 <= words_in(transcript) <= begun + 1


async def test_at_another_speed_times_are_those_of_what_plays(
    talk: Client, speaker: SpeakingGraph
) -> None:
    """A turn is cut by the time at which it was heard, and remembered by what was said."""
    await talk.update(audio={"output": {"speed": 1.5}})
    item = await spoken_answer(talk)
    await talk.send(
        "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=4000
    )
    await talk.expect("conversation.item.truncated")
    (turn,) = await next_turns(talk, speaker)
    require_memory(turn, 4.0 * 1.5)
