"""An answer that goes on in another replica, behind every delta of the first one."""

from collections.abc import Iterator

import pytest

from deployments.chunker import ChunkSchedule
from deployments.messages import SamplingOptions, ThinkerDelta, ThinkerRequest
from deployments.thinker.answer import Answer, EngineOutput

PROMPT_TOKENS = 9
SCHEDULE = ChunkSchedule(ramp=(2,), steady=4, lookahead=1)


def speech(special, tokenizer) -> list[int]:
    """Text and codes by turns, as the model speaks, with letters of several bytes."""
    text = tokenizer.encode("so é 😀 it").ids
    codes = iter(range(special.audio_first, special.audio_first + 100))
    return [i for letter in text for i in (letter, *(next(codes) for _ in range(3)))]


def answers(special, tokenizer) -> Iterator[tuple[str, ThinkerRequest, list[int]]]:
    """What is asked, and the ids that a model answers."""
    text = tokenizer.encode("one é 😀 two STOP three").ids
    yield "text", ThinkerRequest("r", ()), text
    stop = SamplingOptions(stop=("STOP",))
    yield "a stop string", ThinkerRequest("r", (), sampling=stop), text
    spoken = ThinkerRequest("r", (), reply="speech", chunks=SCHEDULE)
    yield "speech", spoken, speech(special, tokenizer)
    yield (
        "speech without chunks",
        ThinkerRequest("r", (), reply="speech"),
        speech(special, tokenizer),
    )
    called = tokenizer.encode("function\nplay\n{}").ids
    call = [special.tool_call_start, *called, special.tool_call_end]
    yield "a call", ThinkerRequest("r", ()), [*text[:4], *call]


def outputs(ids: list[int], end: int) -> Iterator[EngineOutput]:
    """As vLLM reports them: one id at a time, the prompt's length with each."""
    for token_id in ids:
        yield EngineOutput((token_id,), prompt_tokens=PROMPT_TOKENS)
    yield EngineOutput((end,), "stop", prompt_tokens=PROMPT_TOKENS)


def run(answer: Answer, engine: Iterator[EngineOutput]) -> Iterator[ThinkerDelta]:
    for output in engine:
        if delta := answer.push(output):
            yield delta
        if answer.finished:
            return


@pytest.mark.parametrize("kind", range(5))
def test_behind_every_delta_the_rest_is_the_same(special, vocabulary, tokenizer, kind) -> None:
    _, request, ids = list(answers(special, tokenizer))[kind]

    def begin() -> Answer:
        ends = frozenset({special.turn_end})
        return Answer(request, special, vocabulary, ends)

    whole = list(run(begin(), outputs(ids, special.turn_end)))
    assert whole[-1].finish_reason is not None
    all_ids = [i for delta in whole for i in delta.made]
    for received in range(1, len(whole) + 1):
        made = [i for delta in whole[:received] for i in delta.made]
        assert made == all_ids[: len(made)]
        second = begin()
        last = second.go_on(made, PROMPT_TOKENS)
        if received == len(whole):  # only that it was the last one got lost
            assert last == ThinkerDelta(
                finish_reason=whole[-1].finish_reason, usage=whole[-1].usage, offset=len(made)
            )
            continue
        assert last is None
        rest = outputs(ids[len(made) :], special.turn_end)
        longer = (
            EngineOutput(one.token_ids, one.finish_reason, PROMPT_TOKENS + len(made))
            for one in rest
        )
        assert list(run(second, longer)) == whole[received:]
