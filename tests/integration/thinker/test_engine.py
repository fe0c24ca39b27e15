import asyncio
import inspect
import multiprocessing
import os
import signal
from contextlib import aclosing
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from deployments.chunker import Chunker, ChunkSchedule
from deployments.errors import (
    ConfigError,
    EngineFailed,
    PromptTooLong,
    ServerFull,
    SpeechTooLong,
)
from deployments.liveness.heartbeats import require_health
from deployments.messages import Message, Role, SamplingOptions, SpokenPart, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker import tasks, warm_up
from deployments.thinker.engine import VllmEngine
from deployments.thinker.thinker_config import ThinkerConfig
from tests.integration.thinker.conftest import Answers, collect, ids_of

numbers = count()
ENDLESS = SamplingOptions(max_tokens=5000, stop=("never said",))


def ask(messages=None, **fields) -> ThinkerRequest:
    return ThinkerRequest(f"r{next(numbers)}", messages or tasks.converse("hello"), **fields)


def speech(text: str, **fields) -> ThinkerRequest:
    return ask(tasks.speak(text), reply="speech", **fields)


async def until_idle(engine: VllmEngine) -> None:
    async with asyncio.timeout(5):
        while engine.active_requests():
            await asyncio.sleep(0.01)


async def test_on_a_cpu_nothing_is_compiled(engine, compiled):
    """It takes 23 s, and a C++ compiler. The canary's probabilities are in the engine's start."""
    assert await collect(engine, ask())
    assert not [*compiled.rglob("*.cpp")]


async def test_closing_the_iterator_frees_the_request(engine):
    async with aclosing(engine.generate(ask(sampling=ENDLESS))) as deltas:
        await anext(deltas)
        assert engine.active_requests() == 1
    await until_idle(engine)


async def test_an_engine_process_that_hangs_is_in_a_step_until_it_goes_on(engine):
    await collect(engine, ask())
    before = engine.steps()
    assert before.made > 0
    assert before.under_way_s == 0.0
    (process,) = multiprocessing.active_children()
    async with aclosing(engine.generate(ask(sampling=ENDLESS))) as deltas:
        await anext(deltas)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                while engine.steps().under_way_s < 0.5:
                    await asyncio.sleep(0.05)
            with pytest.raises(EngineFailed, match="in one step"):
                await require_health(engine, stuck_s=0.5)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        for _ in range(5):
            await anext(deltas)
        await require_health(engine, stuck_s=engine.longest_step_s)
        assert engine.steps().made > before.made + 5
    await until_idle(engine)
    assert engine.steps().under_way_s == 0.0


async def test_cancelling_frees_the_request(engine):
    task = asyncio.create_task(collect(engine, ask(sampling=ENDLESS)))
    while not engine.active_requests():
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(engine)


async def test_a_spoken_answer_comes_in_what_the_next_chunk_needs(engine):
    schedule = ChunkSchedule()
    sampling = SamplingOptions(max_tokens=200, seed=3)
    deltas = await collect(engine, speech("hello", chunks=schedule, sampling=sampling))
    *middle, last = deltas
    chunker = Chunker(schedule)
    for delta in middle:
        assert len(delta.audio_tokens) >= chunker.missing
        assert list(chunker.push(delta.audio_tokens))
    assert last.finish_reason is not None
    audio = [code for delta in deltas for code in delta.audio_tokens]
    assert last.usage.audio_tokens == len(audio) > 20
    assert all(0 <= code < 6561 for code in audio)
    assert "".join(delta.text for delta in deltas)


async def test_the_same_seed_says_the_same_with_and_without_chunks(engine):
    sampling = SamplingOptions(max_tokens=100, seed=5)
    whole = await collect(engine, speech("hello", sampling=sampling))
    chunked = await collect(engine, speech("hello", sampling=sampling, chunks=ChunkSchedule()))
    assert ids_of(whole) == ids_of(chunked)
    assert len(chunked) < len(whole)


def said(deltas: Answers) -> tuple[object, ...]:
    """All of an answer; how it comes in deltas depends on how fast it is read."""
    text = "".join(delta.text for delta in deltas)
    made = [token_id for delta in deltas for token_id in delta.made]
    audio = [token for delta in deltas for token in delta.audio_tokens]
    return text, made, audio, ids_of(deltas), deltas[0].offset, deltas[-1].finish_reason


DRAWN = {
    "greedily": {"sampling": SamplingOptions(temperature=0.0, max_tokens=60)},
    "by a seed": {"sampling": SamplingOptions(temperature=1.0, max_tokens=60, seed=5)},
    "by chance": {"sampling": SamplingOptions(temperature=1.0, max_tokens=60), "chance": 2**61},
}


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("reply", ["text", "speech"])
async def test_an_answer_goes_on_behind_what_another_engine_made(engine, reply, drawn):
    """The engine that goes on reads as a prompt what the first one drew, and draws as it would."""
    fields = DRAWN[drawn] | {
        "reply": reply,
        "chunks": ChunkSchedule() if reply == "speech" else None,
    }
    messages = tasks.speak("hello") if reply == "speech" else tasks.converse("hello")
    whole = await collect(engine, ask(messages, **fields))
    assert len(whole) > 2
    for received in {1, len(whole) // 2, len(whole) - 1}:
        made = tuple(i for delta in whole[:received] for i in delta.made)
        rest = await collect(engine, ask(messages, made=made, **fields))
        assert said(rest) == said(whole[received:])
        uncached = replace(whole[-1].usage, cached_prompt_tokens=0)
        assert replace(rest[-1].usage, cached_prompt_tokens=0) == uncached


async def test_answers_by_other_chances_differ(engine):
    drawn = [
        ask(sampling=DRAWN["by chance"]["sampling"], chance=chance) for chance in (1, 2, 2, 0, 0)
    ]
    one, two, two_again, free, other = [ids_of(await collect(engine, each)) for each in drawn]
    assert two == two_again
    assert one != two and free != other


async def test_answers_with_seeds_whose_prompts_are_computed_in_pieces_are_drawn(engine):
    longest = engine._runner.llm.vllm_config.scheduler_config.max_num_batched_tokens
    context = engine._runner.most_prompt_tokens
    sampling = SamplingOptions(max_tokens=3, seed=1)
    asked = [
        ask(tasks.converse("hi " * (context - 200 - number)), sampling=sampling)
        for number in range(1 + 2 * longest // context)
    ]
    answers = await asyncio.gather(*(collect(engine, each) for each in asked))
    assert sum(answer[-1].usage.prompt_tokens for answer in answers) > longest
    assert {answer[-1].finish_reason for answer in answers} <= {"length", "stop"}


async def test_max_tokens_ends_an_answer_for_its_length(engine):
    sampling = SamplingOptions(max_tokens=3, seed=1)
    last = (await collect(engine, ask(sampling=sampling)))[-1]
    assert last.usage.completion_tokens == 3
    assert last.finish_reason == "length"


async def test_the_end_of_a_turn_is_not_part_of_the_history(engine):
    deltas = await collect(
        engine, speech("hello", sampling=SamplingOptions(max_tokens=2000, seed=1))
    )
    assert deltas[-1].finish_reason == "stop"
    assert len(ids_of(deltas)) == deltas[-1].usage.completion_tokens - 1


async def test_a_stop_string_ends_the_answer_and_frees_the_request(engine):
    sampling = SamplingOptions(temperature=0.0, max_tokens=60)
    text = "".join(delta.text for delta in await collect(engine, ask(sampling=sampling)))
    stop = text[8:10]
    stopping = SamplingOptions(temperature=0.0, max_tokens=60, stop=(stop,))
    deltas = await collect(engine, ask(sampling=stopping))
    assert "".join(delta.text for delta in deltas) == text[: text.index(stop)]
    assert deltas[-1].finish_reason == "stop"
    await until_idle(engine)


async def test_the_next_turn_finds_the_spoken_one_in_the_cache(engine):
    first = speech("hello", sampling=SamplingOptions(max_tokens=120, seed=2))
    answer = await collect(engine, first)
    said = Message(Role.ASSISTANT, (SpokenPart(tuple(ids_of(answer))),))
    turn = tasks.converse("go on", (*first.messages, said))
    last = (await collect(engine, ask(turn, sampling=SamplingOptions(max_tokens=2))))[-1]
    seen = answer[-1].usage.prompt_tokens + answer[-1].usage.completion_tokens
    assert last.usage.cached_prompt_tokens >= seen // 32 * 32 - 32


async def test_the_prompts_length_is_known_before_it_is_submitted(engine):
    for samples in (401, 16_000, 50_001, 400_000, 400_001, 1_000_000):
        messages = tasks.transcribe(np.zeros(samples, dtype=np.float32))
        prompt = engine._prompts.build(messages, "text")
        last = (await collect(engine, ask(messages, sampling=SamplingOptions(max_tokens=1))))[-1]
        assert last.usage.prompt_tokens == prompt.length


async def test_a_prompt_that_does_not_fit_is_refused_before_the_engine_sees_it(engine):
    with pytest.raises(PromptTooLong) as refused:
        await collect(engine, ask(tasks.converse("hi " * 20_000)))
    assert refused.value.limit == 8191
    assert engine.active_requests() == 0


async def test_a_text_whose_speech_does_not_fit_is_refused_before_the_engine_sees_it(engine):
    with pytest.raises(SpeechTooLong) as refused:
        await collect(engine, speech("hello", needed_tokens=9000))
    assert refused.value.limit < 8192
    assert engine.active_requests() == 0


async def test_two_requests_of_one_id_do_not_mix(engine):
    sampling = SamplingOptions(temperature=0.0, max_tokens=20)
    request = ThinkerRequest("same", tasks.converse("hello"), sampling=sampling)
    alone = ids_of(await collect(engine, request))
    twice = await asyncio.gather(collect(engine, request), collect(engine, request))
    assert [ids_of(answer) for answer in twice] == [alone, alone]


async def test_a_recording_that_does_not_fit_is_refused_before_the_engine_sees_it(engine):
    with pytest.raises(PromptTooLong):
        await collect(engine, ask(tasks.transcribe(np.zeros(16_000 * 700, dtype=np.float32))))
    assert engine.active_requests() == 0


async def test_an_answer_ends_where_the_context_does(engine):
    def prompt_tokens(words: int) -> int:
        return engine._prompts.build(tasks.converse("hi " * words), "text").length

    per_word = (prompt_tokens(1000) - prompt_tokens(500)) / 500
    fitting = "hi " * int(500 + (8189 - prompt_tokens(500)) / per_word)
    deltas = await collect(engine, ask(tasks.converse(fitting), sampling=ENDLESS))
    usage = deltas[-1].usage
    assert 1 <= usage.completion_tokens < 10
    assert usage.prompt_tokens + usage.completion_tokens == 8192
    assert deltas[-1].finish_reason == "length"


def test_our_hooks_have_the_signatures_that_the_installed_vllm_calls():
    from vllm.multimodal.processing import (
        BaseDummyInputsBuilder,
        BaseMultiModalProcessor,
        BaseProcessingInfo,
    )

    from deployments.thinker.vllm_plugin import processor

    for ours, base in (
        (processor.StepAudio2Processor, BaseMultiModalProcessor),
        (processor.StepAudio2ProcessingInfo, BaseProcessingInfo),
        (processor.StepAudio2DummyInputs, BaseDummyInputsBuilder),
    ):
        overridden = [
            (name, method)
            for part in ours.__mro__
            if part.__module__.startswith("deployments.")
            for name, method in vars(part).items()
            if inspect.isfunction(method) and hasattr(base, name)
        ]
        assert overridden
        for name, method in overridden:
            expected = list(inspect.signature(getattr(base, name)).parameters)
            assert list(inspect.signature(method).parameters) == expected, name


async def test_a_misspelt_engine_argument_is_named(tiny_model):
    config = ThinkerConfig(engine_kwargs={"max_model_length": 100})
    with pytest.raises(ConfigError, match="max_model_length"):
        await VllmEngine(ModelFiles(tiny_model), config).start()


async def test_an_engine_argument_that_vllm_refuses_is_a_configuration_error(tiny_model):
    config = ThinkerConfig(engine_kwargs={"dtype": "float3"})
    with pytest.raises(ConfigError, match="float3"):
        await VllmEngine(ModelFiles(tiny_model), config).start()


async def test_a_dead_engine_fails_its_requests_and_its_health_check(tiny_model, engine):
    before = set(multiprocessing.active_children())
    mortal = VllmEngine(ModelFiles(tiny_model), ThinkerConfig())
    with pytest.raises(EngineFailed, match="not running"):
        await mortal.check_health()
    await mortal.start()
    try:
        await mortal.check_health()
        answer = mortal.generate(ask(sampling=ENDLESS))
        await anext(answer)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        with pytest.raises(EngineFailed):
            async for _ in answer:
                pass
        with pytest.raises(EngineFailed):
            await mortal.check_health()
        with pytest.raises(EngineFailed):
            await collect(mortal, ask())
    finally:
        mortal.close()
    await engine.check_health()


async def test_a_gpu_is_warmed_up_with_every_batch_and_answers_of_just_their_lengths(
    engine, monkeypatch
):
    made = []
    run = engine._runner.run

    async def counted(prompt, parameters, request_id="counted"):
        tokens = 0
        async with aclosing(run(prompt, parameters, request_id)) as outputs:
            async for output in outputs:
                tokens += len(output.token_ids)
                yield output
        made.append(tokens)

    # would end nearly every answer at its first token
    monkeypatch.setattr(engine._runner, "_stop_ids", range(engine._special.audio_pad))
    monkeypatch.setattr(engine._runner, "run", counted)
    monkeypatch.setattr(warm_up, "RECORDINGS_AT_ONCE", 2)
    exercises = 0
    for batch in warm_up.batches(engine._prompts, rows=20, longest=200):
        await warm_up.exercise(engine._runner, batch)
        assert sorted(made[exercises:]) == sorted(exercise.tokens for exercise in batch)
        exercises += len(batch)
    assert len(made) == exercises > 40


@pytest.mark.timeout(90)
async def test_a_live_request_goes_into_a_full_batch_before_one_in_the_background(engine):
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    runner, order = engine._runner, []
    prompt = engine._prompts.build(tasks.converse("hello"), "text")
    # A model with random weights may end an answer at once, and its place would be free.
    parameters = SamplingParams(
        max_tokens=5000,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )

    async def run(name, priority):
        async with aclosing(runner.run(prompt, parameters, name, priority=priority)) as outputs:
            await anext(outputs)
            order.append(name)
            if name.startswith("full"):
                await asyncio.Event().wait()

    async def begun(count):
        async with asyncio.timeout(60):
            while len(order) < count:
                await asyncio.sleep(0.01)

    places = runner.llm.vllm_config.scheduler_config.max_num_seqs
    full = [asyncio.create_task(run(f"full {i}", "background")) for i in range(places)]
    await begun(places)
    waiting = [asyncio.create_task(run("background", "background"))]
    while engine.active_requests() <= places:
        await asyncio.sleep(0.01)
    waiting.append(asyncio.create_task(run("live", "live")))
    while engine.active_requests() <= places + 1:
        await asyncio.sleep(0.01)
    full[0].cancel()
    await begun(places + 2)
    for task in full:
        task.cancel()
    await asyncio.gather(*full, *waiting, return_exceptions=True)
    await until_idle(engine)
    assert order[places:] == ["live", "background"]


@pytest.mark.timeout(90)
async def test_background_work_has_half_of_the_batch_and_the_rest_is_refused(engine):
    half = engine._runner.llm.vllm_config.scheduler_config.max_num_seqs // 2
    working = [
        asyncio.create_task(collect(engine, ask(sampling=ENDLESS, priority="background")))
        for _ in range(half)
    ]
    while engine.active_requests() < half:
        await asyncio.sleep(0.01)
    with pytest.raises(ServerFull):
        await collect(engine, ask(priority="background"))
    live = await collect(engine, ask(sampling=SamplingOptions(max_tokens=2)))
    assert live[-1].finish_reason == "length"
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await until_idle(engine)
