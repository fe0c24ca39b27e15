"""One turn through vLLM: up to three prompts, each of which goes on where the last one ended.

thought        of a Think checkpoint, up to `</think>`
function name  where the answer has to call one of several
answer         speech, text, JSON, or the arguments of that call
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from deployments.errors import PromptTooLong, SpeechTooLong
from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.thinker.answer import Answer, EngineOutput
from deployments.thinker.constraints import Constraint, Json, LiteralReader, OneOf
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.prompt_runner import PromptRunner
from deployments.thinker.remade_answer import Remade
from deployments.thinker.tokens import SpecialTokens, TextVocabulary


@dataclass(frozen=True, slots=True)
class Model:
    """What a checkpoint says of its tokens."""

    special: SpecialTokens
    vocabulary: TextVocabulary
    stop_ids: frozenset[int]
    think: bool  # whether it thinks before it answers


class Turn:
    """Answers one request."""

    def __init__(
        self, request: ThinkerRequest, runner: PromptRunner, prompts: PromptBuilder, model: Model
    ) -> None:
        """Build the prompt.

        Raises:
            AudioUnreadable, SpokenTurnInvalid: something in the conversation.
            PromptTooLong, SpeechTooLong: it does not fit the model's context.
        """
        self._request = request
        self._runner = runner
        self._prompts = prompts
        self._model = model
        self._reply: Literal["text", "speech"] = "text" if request.must_call else request.reply
        most = runner.most_prompt_tokens
        self._prompt = prompt = prompts.build(request.messages, self._reply, most)
        if prompt.length > most:
            raise PromptTooLong(prompt.length, most)
        room = runner.room(prompt)
        if room < request.needed_tokens:
            raise SpeechTooLong(request.needed_tokens, room)
        self._budget = request.sampling.max_tokens or runner.defaults.max_tokens
        self._remade = Remade(())
        self._answer = Answer(
            request,
            model.special,
            model.vocabulary,
            model.stop_ids,
            prompt.audio_tokens,
        )

    async def deltas(self) -> AsyncGenerator[ThinkerDelta]:
        """The whole answer, or what is left of it. Closing the iterator aborts it in vLLM."""
        has_thought = not self._model.think
        if made := self._request.made:
            thought, answer = self._parted(made)
            has_thought = has_thought or self._think_on(thought)
            if self._is_constrained:
                self._remade = Remade(answer)
            elif answer and (last := self._go_on(answer)):
                yield last
                return
        steps = [self._answer_itself]
        if self._request.must_call:
            steps.insert(0, self._choose_function)
        if not has_thought:
            steps.insert(0, self._think)
        for step in steps:
            if self._answer.finished:
                return
            if self._left < 1:
                yield self._answer.finish("length")
                return
            async with aclosing(step()) as deltas:
                async for delta in deltas:
                    yield delta

    def _parted(self, made: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of ids that another replica made: the thought, with its end, and the answer."""
        if not self._model.think:
            return (), made
        end = self._model.special.think_end
        thought = made.index(end) + 1 if end in made else len(made)
        return made[:thought], made[thought:]

    def _think_on(self, thought: tuple[int, ...]) -> bool:
        """Begin behind a thought that another replica began. Whether it is complete."""
        self._answer.go_on_thinking(thought, self._prompt.length)
        self._budget -= len(thought)
        complete = thought[-1] == self._model.special.think_end
        if complete:
            self._prompt = self._prompts.after_thought(self._prompt, thought[:-1], self._reply)
        else:
            self._prompt = self._prompts.behind(self._prompt, thought)
        return complete

    def _go_on(self, made: tuple[int, ...]) -> ThinkerDelta | None:
        """Begin behind the ids of the answer that another replica made.

        The last delta, if they are all.
        """
        last = self._answer.go_on(made, self._prompt.length)
        self._prompt = self._prompts.behind(self._prompt, made)
        self._budget -= len(made)
        return last

    @property
    def _left(self) -> int:
        """How many tokens may still come."""
        return min(self._budget, self._runner.room(self._prompt))

    async def _think(self) -> AsyncGenerator[ThinkerDelta]:
        end = self._model.special.think_end
        thought: list[int] = []
        reason: str | None = None
        async with aclosing(self._run(stop_ids=(end,))) as outputs:
            async for output in outputs:
                thought += output.token_ids
                reason = output.finish_reason
                if delta := self._answer.think(output):
                    yield delta
        if reason != "stop" or thought[-1] != end:
            yield self._answer.finish(reason or "abort")
            return
        self._prompt = self._prompts.after_thought(self._prompt, thought[:-1], self._reply)

    async def _choose_function(self) -> AsyncGenerator[ThinkerDelta]:
        names = tuple(dict.fromkeys(function.name for function in self._request.must_call))
        name, reason = names[0], "stop"
        if len(names) > 1:
            name, reason = await self._chosen(names)
        if name not in names:
            yield self._answer.finish(reason)
            return
        self._prompt = self._prompts.calling(self._prompt, name)
        self._answer.call(name)

    async def _chosen(self, names: tuple[str, ...]) -> tuple[str, str]:
        """What the model writes where a function's name belongs, and why it ended."""
        whole, self._prompt = self._prompt, self._prompts.calling(self._prompt)
        reader = LiteralReader(self._model.vocabulary.literally())
        name, reason = "", "abort"
        async with aclosing(self._run(OneOf(names), "tools")) as outputs:
            async for output in outputs:
                self._answer.count(output)
                ids = [i for i in output.token_ids if i not in self._model.stop_ids]
                name += reader.push(ids).text
                reason = output.finish_reason or reason
        self._prompt = whole
        return name, reason

    async def _answer_itself(self) -> AsyncGenerator[ThinkerDelta]:
        async with aclosing(self._run(*self._constraint())) as outputs:
            async for output in outputs:
                for delta in self._deltas_of(output):
                    yield delta
                if self._answer.finished:  # also by a stop string, of which vLLM knows nothing
                    return

    def _deltas_of(self, output: EngineOutput) -> Iterator[ThinkerDelta]:
        """What an output adds to the answer; of one that is made again, what is new."""
        if not self._remade.complete:
            new = self._remade.take(output)
            if new is None:
                return
            if last := self._answer.go_on(self._remade.ids, output.prompt_tokens):
                yield last
                return
            output = new
        if delta := self._answer.push(output):
            yield delta

    @property
    def _is_constrained(self) -> bool:
        return bool(self._request.must_call or self._request.json_schema)

    def _constraint(self) -> tuple[Constraint | None, str | None]:
        """What the answer has to be, and the request's field that says so."""
        if self._answer.called is not None:
            schemas = {function.name: function.parameters for function in self._request.must_call}
            return Json(schemas[self._answer.called]), "tools"
        if self._reply == "text" and self._request.json_schema is not None:
            return Json(self._request.json_schema), "response_format"
        return None, None

    async def _run(
        self,
        constraint: Constraint | None = None,
        param: str | None = None,
        stop_ids: Iterable[int] = (),
    ) -> AsyncGenerator[EngineOutput]:
        sampling = self._runner.sampling(
            self._request.sampling,
            self._left,
            stop_ids,
            constraint=constraint,
            chance=self._request.chance,
        )
        running = self._runner.run(
            self._prompt,
            sampling,
            self._request.request_id,
            param,
            self._request.priority,
            goes_on=bool(self._request.made),
            trace=self._request.trace,
        )
        async with aclosing(running) as outputs:
            async for output in outputs:
                self._budget -= len(output.token_ids)
                yield output
