import pytest

from deployments.chunker import ChunkSchedule
from deployments.errors import EngineFailed, UnsupportedRequest
from deployments.messages import SamplingOptions, ThinkerDelta, ThinkerRequest, ToolCall, Usage
from deployments.thinker.answer import Answer, EngineOutput


@pytest.fixture
def answer(special, vocabulary):
    def make(**fields) -> Answer:
        request = ThinkerRequest("r", messages=(), **fields)
        return Answer(request, special, vocabulary, frozenset({special.turn_end}))

    return make


def feed(answer: Answer, outputs: list[EngineOutput]) -> list[ThinkerDelta]:
    return [delta for output in outputs if (delta := answer.push(output))]


def test_without_a_schedule_each_output_is_passed_on_at_once(answer, tokenizer):
    ids = tokenizer.encode("abc").ids
    outputs = [EngineOutput((token_id,)) for token_id in ids]
    assert [delta.text for delta in feed(answer(), outputs)] == ["a", "b", "c"]


def test_with_a_schedule_a_delta_comes_when_the_next_chunk_is_complete(answer, special, tokenizer):
    speech = answer(reply="speech", chunks=ChunkSchedule(ramp=(4,), steady=8, lookahead=2))
    text = tokenizer.encode("abcdefgh").ids
    codes = [special.audio_first + code for code in range(32)]
    ids = [id_ for i in range(8) for id_ in (text[i], *codes[4 * i : 4 * i + 4])]
    deltas = feed(speech, [EngineOutput((token_id,)) for token_id in ids])
    # 4 + 2 tokens make the first chunk, 8 more the second, 8 more the third
    assert [len(delta.audio_tokens) for delta in deltas] == [6, 8, 8, 8]
    assert [delta.text for delta in deltas] == ["ab", "cd", "ef", "gh"]
    last = speech.push(EngineOutput((special.tts_end, special.turn_end), "stop"))
    assert last is not None and last.audio_tokens == (30, 31)
    deltas.append(last)
    assert [code for delta in deltas for code in delta.audio_tokens] == list(range(32))
    assert [id_ for delta in deltas for id_ in delta.token_ids] == [*ids, special.tts_end]


def test_text_after_speech_is_not_held(answer, special, tokenizer):
    speech = answer(reply="speech", chunks=ChunkSchedule())
    outputs = [EngineOutput((i,)) for i in (special.audio_first, special.tts_end)]
    outputs += [EngineOutput((i,)) for i in tokenizer.encode("ab").ids]
    deltas = feed(speech, outputs)
    assert [(delta.audio_tokens, delta.text) for delta in deltas] == [
        ((0,), ""),
        ((), "a"),
        ((), "b"),
    ]


def test_the_last_delta_alone_says_why_it_ended_and_counts_everything(answer, special, tokenizer):
    speech = answer(reply="speech")
    code = special.audio_first
    deltas = feed(
        speech,
        [
            EngineOutput((*tokenizer.encode("a").ids, code), None, 40, 32),
            EngineOutput((code, special.audio_pad, special.turn_end), "stop", 40, 99),
        ],
    )
    assert [delta.finish_reason for delta in deltas] == [None, "stop"]
    assert [delta.usage for delta in deltas] == [None, Usage(40, 5, 2, 32)]
    assert speech.finished


def test_a_turn_that_calls_a_tool_ends_for_that_reason(answer, special, tokenizer):
    call = tokenizer.encode("function\nnow\n{}").ids
    ids = (special.tool_call_start, *call, special.tool_call_end)
    deltas = feed(answer(), [EngineOutput(ids), EngineOutput((special.turn_end,), "stop")])
    assert deltas[0].tool_calls == (ToolCall("now", "{}"),)
    assert deltas[-1].finish_reason == "tool_calls"


def test_a_call_in_the_last_output_counts_as_one(answer, special, tokenizer):
    call = tokenizer.encode("function\nnow\n{}").ids
    ids = (special.tool_call_start, *call, special.tool_call_end, special.turn_end)
    (delta,) = feed(answer(), [EngineOutput(ids, "stop")])
    assert delta.finish_reason == "tool_calls"


def test_a_stop_string_ends_the_answer_before_itself(answer, tokenizer):
    stopped = answer(sampling=SamplingOptions(stop=("c",)))
    outputs = [EngineOutput((token_id,)) for token_id in tokenizer.encode("abcd").ids]
    deltas = feed(stopped, outputs[:3])
    assert "".join(delta.text for delta in deltas) == "ab"
    assert deltas[-1].finish_reason == "stop" and stopped.finished


def test_a_request_that_the_engine_gave_up_fails(answer):
    with pytest.raises(EngineFailed, match="error"):
        answer().push(EngineOutput((), "error"))


def test_thoughts_are_counted_and_stay_out_of_the_history(answer, special, tokenizer):
    thinking = answer()
    ids = tuple(tokenizer.encode("hm").ids)
    thought = thinking.think(EngineOutput(ids, None, 10, 0))
    assert thought == ThinkerDelta(reasoning="hm", made=ids, offset=0)
    end = (special.turn_end,)
    last = thinking.push(EngineOutput(end, "stop", 20, 16))
    usage = Usage(10, 3, reasoning_tokens=2)
    assert last == ThinkerDelta(finish_reason="stop", usage=usage, made=end, offset=2)


def test_ids_of_a_stop_string_and_behind_it_are_no_part_of_the_answer(answer, tokenizer, special):
    ids = tokenizer.encode("abXYcd").ids
    stopping = answer(sampling=SamplingOptions(stop=("XY",)))
    deltas = feed(stopping, [EngineOutput(tuple(ids[:3])), EngineOutput(tuple(ids[3:]))])
    assert "".join(delta.text for delta in deltas) == "ab"
    assert [i for delta in deltas for i in delta.token_ids] == ids[:2]
    assert deltas[-1].finish_reason == "stop"


def test_ids_wait_with_the_text_that_may_begin_a_stop_string(answer, tokenizer):
    ids = tokenizer.encode("aXb").ids
    waiting = answer(sampling=SamplingOptions(stop=("XY",)))
    deltas = feed(waiting, [EngineOutput((i,)) for i in ids])
    assert [(delta.text, delta.token_ids) for delta in deltas] == [
        ("a", (ids[0],)),
        ("Xb", (ids[1], ids[2])),
    ]


def test_what_was_held_for_a_stop_string_comes_with_its_ids_at_the_end(answer, tokenizer):
    ids = tokenizer.encode("aX").ids
    waiting = answer(sampling=SamplingOptions(stop=("XY",)))
    deltas = feed(waiting, [EngineOutput((ids[0],)), EngineOutput((ids[1],), "length")])
    assert [i for delta in deltas for i in delta.token_ids] == ids
    assert "".join(delta.text for delta in deltas) == "aX"


def call_of(name: str, special, tokenizer) -> tuple[int, ...]:
    body = tokenizer.encode(f"function\n{name}\n{{}}").ids
    return (special.tool_call_start, *body, special.tool_call_end)


def test_with_one_call_at_most_the_answer_ends_behind_the_first(answer, special, tokenizer):
    two = (*call_of("now", special, tokenizer), *call_of("then", special, tokenizer))
    calls = [ToolCall("now", "{}"), ToolCall("then", "{}")]
    (delta,) = feed(answer(), [EngineOutput(two)])
    assert list(delta.tool_calls) == calls
    (delta,) = feed(answer(at_most_one_call=True), [EngineOutput(two)])
    assert (list(delta.tool_calls), delta.finish_reason) == (calls[:1], "tool_calls")


def test_json_keeps_the_characters_of_every_token(answer, special, tokenizer):
    limited = answer(json_schema="{}")
    quote, end = tokenizer.encode('"').ids, special.turn_end
    ids = (*quote, special.audio_first + 7, special.tts_start, *tokenizer.encode("é").ids, *quote)
    deltas = feed(limited, [EngineOutput((token_id,)) for token_id in ids])
    last = limited.push(EngineOutput((end,), "stop"))
    assert "".join(delta.text for delta in deltas) == '"<audio_7><tts_start>é"'
    assert last is not None and last.finish_reason == "stop"


@pytest.mark.parametrize(("text", "reason"), [('{"a', "length"), ("{}", "stop")])
def test_json_that_a_limit_cuts_is_an_answer(answer, tokenizer, special, text, reason):
    ids = tokenizer.encode(text).ids
    last = answer(json_schema="{}").push(EngineOutput(tuple(ids), reason))
    assert last is not None and (last.text, last.finish_reason) == (text, reason)


def test_json_that_the_engine_gave_up_is_the_schemas_fault(answer, tokenizer):
    ids = tuple(tokenizer.encode('{"a').ids)
    with pytest.raises(UnsupportedRequest, match="too complex") as refused:
        answer(json_schema="{}").push(EngineOutput(ids, "stop"))
    assert refused.value.param == "response_format"


def test_json_that_a_stop_string_cuts_is_an_answer(answer, tokenizer):
    stopping = answer(json_schema="{}", sampling=SamplingOptions(stop=("c",)))
    last = stopping.push(EngineOutput(tuple(tokenizer.encode('{"abc":1}').ids)))
    assert last is not None and (last.text, last.finish_reason) == ('{"ab', "stop")


def test_audio_in_the_prompt_is_counted(special, vocabulary):
    request = ThinkerRequest("r", messages=())
    answer = Answer(request, special, vocabulary, frozenset(), prompt_audio_tokens=12)
    last = answer.push(EngineOutput((), "stop", prompt_tokens=40))
    assert last is not None and last.usage == Usage(40, 0, prompt_audio_tokens=12)
