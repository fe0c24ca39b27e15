"""Answers that are held to a JSON Schema, and calls that have to be made: a real, tiny vLLM.

The weights are random, so nothing but the constraint makes these answers what they are.
"""

import json

import jsonschema
import pytest

from deployments.errors import EngineFailed, UnsupportedRequest
from deployments.messages import Function, SamplingOptions, ThinkerDelta
from tests.integration.thinker.conftest import collect
from tests.integration.thinker.test_engine import ask

WEATHER = {
    "type": "object",
    "properties": {
        "answer": {"enum": ["yes", "no"]},
        "degrees": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["answer", "degrees"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
FUNCTIONS = (
    Function("get_weather", json.dumps(WEATHER)),
    Function("now", json.dumps(NOTHING)),
)


def drawn(seed: int, **fields) -> SamplingOptions:
    return SamplingOptions(temperature=1.0, max_tokens=100, seed=seed, **fields)


def text_of(deltas: list[ThinkerDelta]) -> str:
    return "".join(delta.text for delta in deltas)


@pytest.mark.parametrize("seed", range(4))
async def test_an_answer_follows_its_schema(engine, seed):
    deltas = await collect(engine, ask(sampling=drawn(seed), json_schema=json.dumps(WEATHER)))
    jsonschema.validate(json.loads(text_of(deltas)), WEATHER)
    assert deltas[-1].finish_reason == "stop"
    assert len(deltas) > 2  # it streams


@pytest.mark.parametrize("sampling", [SamplingOptions(temperature=0, max_tokens=40), drawn(2)])
async def test_an_answer_that_follows_a_schema_goes_on_in_another_engine(engine, sampling):
    fields = {"sampling": sampling, "json_schema": json.dumps(WEATHER)}
    whole = await collect(engine, ask(**fields))
    for received in (1, len(whole) // 2, len(whole) - 1):
        made = tuple(i for delta in whole[:received] for i in delta.made)
        rest = await collect(engine, ask(**fields, made=made))
        assert text_of(whole[:received]) + text_of(rest) == text_of(whole)
        assert rest[0].offset == len(made)
        assert rest[-1].finish_reason == whole[-1].finish_reason
        assert rest[-1].usage.completion_tokens == whole[-1].usage.completion_tokens
    with pytest.raises(EngineFailed, match="could not be made again"):
        await collect(engine, ask(**fields, made=(whole[0].made[0] + 1,)))


async def test_an_answer_cut_by_its_limit_is_the_beginning_of_one(engine):
    cut = SamplingOptions(max_tokens=2, seed=1)
    deltas = await collect(engine, ask(sampling=cut, json_schema=json.dumps(WEATHER)))
    assert text_of(deltas).startswith("{")
    assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize("reply", ["text", "speech"])
@pytest.mark.parametrize("functions", [FUNCTIONS, FUNCTIONS[:1]], ids=["one of two", "this one"])
async def test_a_call_that_has_to_be_made_is_made_whole(engine, functions, reply):
    schemas = {"get_weather": WEATHER, "now": NOTHING}
    request = ask(sampling=drawn(1), must_call=functions, reply=reply)
    deltas = await collect(engine, request)
    (call,) = [call for delta in deltas for call in delta.tool_calls]
    assert call.name in {function.name for function in functions}
    jsonschema.validate(json.loads(call.arguments), schemas[call.name])
    assert deltas[-1].finish_reason == "tool_calls"
    assert not text_of(deltas)
    assert not any(delta.audio_tokens for delta in deltas)
    assert deltas[-1].usage.completion_tokens > 2


async def test_either_function_can_be_chosen(engine):
    called = set()
    for seed in range(12):
        request = ask(sampling=drawn(seed), must_call=FUNCTIONS)
        called |= {call.name for d in await collect(engine, request) for call in d.tool_calls}
    assert called == {"get_weather", "now"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "string", "pattern": "(?<=a)b"},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
    ],
    ids=["no type", "no pattern", "too complex"],
)
async def test_a_schema_that_cannot_be_followed_is_refused(engine, schema):
    with pytest.raises(UnsupportedRequest, match="its JSON Schema") as refused:
        await collect(engine, ask(sampling=drawn(1), json_schema=json.dumps(schema)))
    assert refused.value.param == "response_format"
    (function,) = FUNCTIONS[:1]
    with pytest.raises(UnsupportedRequest) as refused:
        broken = (Function(function.name, json.dumps(schema)),)
        await collect(engine, ask(sampling=drawn(1), must_call=broken))
    assert refused.value.param == "tools"


async def test_a_schema_that_takes_xgrammar_minutes_delays_nobody(engine):
    members = {f"p{i}": {"type": "string"} for i in range(200)}
    schema = json.dumps({"type": "object", "properties": members})
    request = ask(sampling=SamplingOptions(max_tokens=5, seed=1), json_schema=schema)
    assert text_of(await collect(engine, request)).startswith("{")
    deltas = await collect(engine, ask(sampling=SamplingOptions(max_tokens=2, seed=1)))
    assert deltas[-1].usage.completion_tokens == 2
