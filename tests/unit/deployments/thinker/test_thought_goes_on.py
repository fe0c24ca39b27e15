"""An answer after a thought that goes on in another replica, behind each delta of the first one."""

from collections.abc import AsyncGenerator
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.chunker import ChunkSchedule
from deployments.messages import SamplingOptions, ThinkerDelta, ThinkerRequest
from deployments.thinker import tasks
from deployments.thinker.answer import EngineOutput
from deployments.thinker.prompt import Prompt, PromptBuilder
from deployments.thinker.turn import Model, Turn

THOUGHT, ANSWER = 6, 12  # ids
MAX_TOKENS = 100


class Runner:
    """Draws each id from the hash of all before it, so that another prompt has other ids.

    A thought has `THOUGHT` ids and the answer `ANSWER`, wherever the prompt ends.
    """

    most_prompt_tokens = 1000
    defaults = SimpleNamespace(max_tokens=MAX_TOKENS)

    def __init__(self, special: Any, letters: list[int], base: int, opening: int) -> None:
        self._special = special
        self._letters = letters
        self._base = base  # ids of the prompt
        self._opening = opening  # ids between the thought and the answer
        self.drawn = 0

    def room(self, prompt: Prompt) -> int:
        return 1000

    def sampling(self, options: SamplingOptions, left: int, *_: Any, **__: Any) -> int:
        return left

    async def run(self, prompt: Prompt, left: int, *_: Any, **__: Any) -> AsyncGenerator[Any]:
        ids = list(prompt.token_ids)
        for number in range(left):
            drawn = self._next(ids)
            ends = drawn in (self._special.think_end, self._special.turn_end)
            reason = "stop" if ends else "length" if number + 1 == left else None
            self.drawn += 1
            yield EngineOutput((drawn,), reason, prompt_tokens=prompt.length)
            if reason:
                return
            ids.append(drawn)

    def _next(self, ids: list[int]) -> int:
        made = ids[self._base :]
        end = self._special.think_end
        if end not in made:
            if len(made) == THOUGHT:
                return int(end)
        elif len(made) - made.index(end) - 1 - self._opening == ANSWER:
            return int(self._special.turn_end)
        digest = blake2b(repr(ids).encode(), digest_size=4).digest()
        return self._letters[int.from_bytes(digest, "big") % len(self._letters)]


class Replica:
    """A Thinker of a Think checkpoint, as far as a turn needs one."""

    def __init__(self, tokenizer: Any, special: Any, vocabulary: Any, reply: str) -> None:
        self.prompts = PromptBuilder(tokenizer, special, think=True)
        self.model = Model(special, vocabulary, frozenset({special.turn_end}), think=True)
        self.special = special
        self.letters = tokenizer.encode("abcdefgh é😀").ids
        base = self.prompts.build(tasks.converse("hello"), reply, 1000)
        self._base = len(base.token_ids)
        self._opening = len(self.prompts.after_thought(base, [], reply).token_ids) - self._base - 1

    async def answers(self, request: ThinkerRequest) -> list[ThinkerDelta]:
        runner = Runner(self.special, self.letters, self._base, self._opening)
        turn = Turn(request, runner, self.prompts, self.model)  # type: ignore[arg-type]
        deltas = [delta async for delta in turn.deltas()]
        assert runner.drawn + len(request.made) <= MAX_TOKENS
        return deltas


@pytest.mark.parametrize("reply", ["text", "speech"])
@pytest.mark.parametrize("max_tokens", [None, THOUGHT - 2, THOUGHT + 5])
async def test_behind_every_delta_the_rest_is_the_same(
    tokenizer, special, vocabulary, reply, max_tokens
) -> None:
    request = ThinkerRequest(
        "r",
        tasks.converse("hello"),
        reply=reply,
        sampling=SamplingOptions(max_tokens=max_tokens),
        chunks=ChunkSchedule() if reply == "speech" else None,
    )
    replica = Replica(tokenizer, special, vocabulary, reply)
    whole = await replica.answers(request)
    assert any(delta.reasoning for delta in whole)
    assert [delta.finish_reason for delta in whole[:-1]] == [None] * (len(whole) - 1)
    assert whole[-1].finish_reason == ("stop" if max_tokens is None else "length")
    for received in range(1, len(whole)):
        made = tuple(i for delta in whole[:received] for i in delta.made)
        again = ThinkerRequest(
            "r", request.messages, reply, request.sampling, request.chunks, made=made
        )
        assert await replica.answers(again) == whole[received:]
