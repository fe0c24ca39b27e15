"""A Think checkpoint's two steps, with the engine's outputs written by hand."""

import pytest

from deployments.errors import PromptTooLong
from deployments.messages import Function, SamplingOptions, ThinkerRequest, ToolCall
from deployments.model_files import ModelFiles
from deployments.priority import Places
from deployments.thinker import tasks
from deployments.thinker.answer import EngineOutput
from deployments.thinker.constraints import Json, OneOf
from deployments.thinker.engine import VllmEngine
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.thinker_config import ThinkerConfig


class ScriptedRunner:
    """Plays one list of outputs per prompt instead of running vLLM."""

    def __init__(self, tokenizer, scripts) -> None:
        self._scripts = list(scripts)
        self._spell = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
        self.prompts: list[str] = []
        self.budgets: list[int] = []
        self.constraints: list[object] = []

    most_prompt_tokens = 999

    def require_trust(self) -> None:
        pass

    def room(self, prompt) -> int:
        return 1000 - prompt.length

    def sampling(self, options, max_tokens, stop_ids=(), *, constraint=None, **_) -> int:
        self.constraints.append(constraint)
        return max_tokens

    async def run(self, prompt, parameters, request_id, *_, **__):
        self.prompts.append(self._spell(prompt.token_ids))
        self.budgets.append(parameters)
        for output in self._scripts.pop(0):
            yield output


class ScriptedEngine(VllmEngine):
    """An engine that has started, with a scripted runner."""

    def __init__(self, tokenizer, special, vocabulary, runner, tmp_path) -> None:
        super().__init__(ModelFiles(tmp_path), ThinkerConfig(think=True))
        self._special, self._vocabulary = special, vocabulary
        self._prompts = PromptBuilder(tokenizer, special, think=True)
        self._stop_ids = frozenset({special.turn_end})
        self._runner = runner
        self._places = Places(16)


@pytest.fixture
def answer(tokenizer, special, vocabulary, tmp_path):
    async def answer(*scripts, **fields):
        runner = ScriptedRunner(tokenizer, scripts)
        engine = ScriptedEngine(tokenizer, special, vocabulary, runner, tmp_path)
        request = ThinkerRequest(
            "r",
            tasks.converse("hi"),
            reply="speech",
            sampling=SamplingOptions(max_tokens=20),
            **fields,
        )
        return runner, [delta async for delta in engine.generate(request)]

    return answer


async def test_a_prompt_is_built_for_the_context_that_there_is(tmp_path, tokenizer, special):
    built = []

    class Prompts:
        def build(self, messages, reply, most_tokens):
            built.append(most_tokens)
            raise PromptTooLong(most_tokens + 1, most_tokens)

    engine = ScriptedEngine(tokenizer, special, None, ScriptedRunner(tokenizer, []), tmp_path)
    engine._prompts = Prompts()
    with pytest.raises(PromptTooLong):
        await anext(engine.generate(ThinkerRequest("r", tasks.converse("hi"))))
    assert built == [ScriptedRunner.most_prompt_tokens]


async def test_the_thought_is_finished_before_the_answer_is_begun(answer, tokenizer, special):
    thought = tokenizer.encode("hello").ids
    code = special.audio_first
    runner, deltas = await answer(
        [EngineOutput(tuple(thought), None, 9), EngineOutput((special.think_end,), "stop", 9)],
        [EngineOutput((code + 4, special.tts_end, special.turn_end), "stop", 14)],
    )
    first, second = runner.prompts
    assert first.endswith("assistant\n\n<think>\n")
    assert second == first + "hello</think>\n\n<tts_start>"
    assert runner.budgets == [20, 20 - len(thought) - 1]
    assert "".join(delta.reasoning for delta in deltas) == "hello"
    assert [code for delta in deltas for code in delta.audio_tokens] == [4]
    assert [i for delta in deltas for i in delta.token_ids] == [code + 4, special.tts_end]
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage.prompt_tokens == 9


async def test_a_thought_that_never_ends_is_all_there_is(answer, tokenizer):
    thought = tuple(tokenizer.encode("hello").ids)
    runner, deltas = await answer([EngineOutput(thought, "length", 9)])
    assert len(runner.prompts) == 1
    assert deltas[-1].finish_reason == "length"


async def test_a_turn_that_ends_within_its_thought_has_no_answer(answer, special):
    runner, deltas = await answer([EngineOutput((special.turn_end,), "stop", 9)])
    assert len(runner.prompts) == 1
    assert deltas[-1].finish_reason == "stop"


async def test_a_call_that_has_to_be_made_follows_the_thought(answer, tokenizer, special):
    def output(text: str, *ids: int) -> list[EngineOutput]:
        return [EngineOutput((*tokenizer.encode(text).ids, *ids), "stop", 9)]

    functions = (Function("now", "{}"), Function("then", '{"type": "object"}'))
    runner, deltas = await answer(
        output("hello", special.think_end),
        output("then", special.turn_end),
        output("{}", special.turn_end),
        must_call=functions,
    )
    first, second, third = runner.prompts
    assert second == first + "hello</think>\n\n<tool_call>function\n"
    assert third == second + "then\n"
    assert runner.constraints == [None, OneOf(("now", "then")), Json('{"type": "object"}')]
    assert runner.budgets[0] > runner.budgets[1] > runner.budgets[2]
    assert [call for delta in deltas for call in delta.tool_calls] == [ToolCall("then", "{}")]
    assert deltas[-1].finish_reason == "tool_calls"


async def test_a_function_name_that_the_limit_cuts_is_no_call(answer, tokenizer, special):
    functions = (Function("now", "{}"), Function("then", "{}"))
    runner, deltas = await answer(
        [EngineOutput((special.think_end,), "stop", 9)],
        [EngineOutput(tuple(tokenizer.encode("th").ids), "length", 9)],
        must_call=functions,
    )
    assert len(runner.prompts) == 2
    assert not any(delta.tool_calls for delta in deltas)
    assert deltas[-1].finish_reason == "length"
