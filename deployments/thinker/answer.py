"""One answer on its way out: tokens are sorted, counted, and held until a chunk is whole."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deployments.chunker import Chunker
from deployments.errors import EngineFailed
from deployments.messages import FinishReason, ThinkerDelta, ThinkerRequest, ToolCall, Usage
from deployments.thinker.constraints import CallReader, LiteralReader
from deployments.thinker.tokens import (
    Mode,
    OutputSplitter,
    SpecialTokens,
    Split,
    StopStrings,
    TextDecoder,
    TextVocabulary,
)

_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """New token ids of one request, as the engine reports them."""

    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    leads_nats: tuple[float, ...] = ()
    """Where log-probabilities were asked for: by how much each token's exceeds the second's."""


@dataclass(slots=True)
class _Held:
    """What was produced since the last delta."""

    text: str = ""
    reasoning: str = ""
    audio_tokens: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    made: list[int] = field(default_factory=list)


class _Ids:
    """Token ids of an answer, each held until the text that it belongs to is shown.

    A stop string takes its own text back, so the ids that made it are no part of the answer.
    """

    def __init__(self) -> None:
        self._held: deque[tuple[int, int]] = deque()  # an id, and characters of text with it
        self._characters = 0
        self._shown = 0

    def push(self, token_id: int, text: str, shown: str) -> None:
        """Take an id in, the text that it completes, and what of all text is shown by now."""
        self._characters += len(text)
        self._held.append((token_id, self._characters))
        self._shown += len(shown)

    def release(self) -> list[int]:
        """The ids of all text that is shown, and ids without text before the first hidden one."""
        released = []
        while self._held and self._held[0][1] <= self._shown:
            released.append(self._held.popleft()[0])
        return released

    def flush(self, shown: str) -> list[int]:
        """The ids that are left, `shown` being the last text."""
        self._shown += len(shown)
        return self.release()


class Answer:
    """Turns one request's engine outputs into deltas.

    With a chunk schedule, speech is held until the next chunk is complete, and what else was
    produced rides with it: one message a chunk between the stages instead of one a token.
    """

    def __init__(
        self,
        request: ThinkerRequest,
        special: SpecialTokens,
        vocabulary: TextVocabulary,
        stop_ids: frozenset[int],
        prompt_audio_tokens: int = 0,
    ) -> None:
        start = Mode.SPEECH if request.reply == "speech" else Mode.TEXT
        self._literal = vocabulary.literally()
        self._reader: OutputSplitter | LiteralReader | CallReader
        if start is Mode.TEXT and request.json_schema is not None:
            self._reader = LiteralReader(self._literal)
        else:
            self._reader = OutputSplitter(special, vocabulary, start)
        self._thought = TextDecoder(vocabulary)
        self._at_most_one_call = request.at_most_one_call
        self._prompt_audio_tokens = prompt_audio_tokens
        self._stop_ids = stop_ids
        self._stop = StopStrings(request.sampling.stop)
        self._chunker = Chunker(request.chunks) if request.chunks else None
        self._ids = _Ids()
        self._held = _Held()
        self._usage: Usage | None = None
        self._has_calls = False
        self._made = 0  # ids, of those that deltas have said
        self.called: str | None = None  # the function that the answer has to call
        self.finished = False

    def think(self, output: EngineOutput) -> ThinkerDelta | None:
        """Take the next ids of the thought that comes before the answer."""
        usage = self.count(output)
        thought = usage.reasoning_tokens + len(output.token_ids)
        self._usage = replace(usage, reasoning_tokens=thought)
        self._held.made += output.token_ids
        reasoning = "".join(map(self._thought.push, output.token_ids))
        return ThinkerDelta(reasoning=reasoning, **self._said()) if reasoning else None

    def go_on_thinking(self, made: Sequence[int], prompt_tokens: int) -> None:
        """Take in the ids of a thought that another replica made and sent.

        Args:
            prompt_tokens: of the prompt, without those ids.
        """
        self.think(EngineOutput(tuple(made), prompt_tokens=prompt_tokens))
        self._held.made, self._made = [], len(made)

    def call(self, name: str) -> None:
        """From here on the answer is the arguments of this function's call."""
        self.called = name
        self._reader = CallReader(self._literal, name)

    def go_on(self, made: Sequence[int], prompt_tokens: int) -> ThinkerDelta | None:
        """Take in the ids that another replica made and sent. The last delta, if they were all.

        Args:
            prompt_tokens: of the prompt, without those ids.
        """
        before = self._made
        ended = self.push(EngineOutput(tuple(made), prompt_tokens=prompt_tokens))
        if not self.finished and made[-1] in self._stop_ids:
            ended = self.finish("stop")
        self._release()
        self._held.made, self._made = [], before + len(made)
        if ended is None or not self.finished:
            return None
        return ThinkerDelta(finish_reason=ended.finish_reason, usage=ended.usage, offset=self._made)

    def push(self, output: EngineOutput) -> ThinkerDelta | None:
        """Take the next ids of the answer; None while they are held.

        Raises:
            EngineFailed: the engine gave the request up.
        """
        self.count(output)
        split = Split()
        for token_id in output.token_ids:
            if token_id not in self._stop_ids and not self._ended(split):
                self._take(token_id, split)
        held = self._held
        held.made += output.token_ids
        held.token_ids += self._ids.release()
        held.text += split.text
        held.reasoning += split.reasoning
        held.audio_tokens += split.audio_tokens
        held.tool_calls += split.tool_calls
        if self._ended(split):
            return self.finish("stop")
        if output.finish_reason is not None:
            return self.finish(output.finish_reason)
        if self._chunker is None:
            return self._release()
        complete = list(self._chunker.push(split.audio_tokens))
        return self._release() if complete or not self._reader.speaking else None

    def _ended(self, split: Split) -> bool:
        """Whether it ends with `split`, for a reason that vLLM does not know."""
        return self._stop.found or (self._at_most_one_call and bool(split.tool_calls))

    def _take(self, token_id: int, split: Split) -> None:
        """Sort one id into `split`, its text as far as no stop string may begin there."""
        new = self._reader.push((token_id,))
        shown = self._stop.push(new.text)
        self._ids.push(token_id, new.text, shown)
        split.text += shown
        split.reasoning += new.reasoning
        split.audio_tokens += new.audio_tokens
        split.tool_calls += new.tool_calls

    def finish(self, reason: str) -> ThinkerDelta:
        """The last delta: all that is held, why it ended, and the counts.

        Raises:
            EngineFailed: the engine gave the request up.
            UnsupportedRequest: the answer had to be JSON, and vLLM could not hold it to that.
        """
        if reason not in _FINISH_REASONS:
            raise EngineFailed(f"the engine gave the request up: {reason}")
        self.finished = True
        text = self._stop.flush()
        self._held.text += text
        self._held.token_ids += self._ids.flush(text)
        complete = reason == "stop" and not self._stop.found
        self._held.tool_calls += self._reader.finish(complete).tool_calls
        last = self._release() or ThinkerDelta(**self._said())
        finish_reason = _FINISH_REASONS[reason]
        if finish_reason == "stop" and self._has_calls:
            finish_reason = "tool_calls"
        return replace(last, finish_reason=finish_reason, usage=self._usage)

    def _release(self) -> ThinkerDelta | None:
        held = self._held
        delta = ThinkerDelta(
            text=held.text,
            reasoning=held.reasoning,
            audio_tokens=tuple(held.audio_tokens),
            token_ids=tuple(held.token_ids),
            tool_calls=tuple(held.tool_calls),
        )
        self._has_calls = self._has_calls or bool(delta.tool_calls)
        if self._usage is not None:
            spoken = self._usage.audio_tokens + len(delta.audio_tokens)
            self._usage = replace(self._usage, audio_tokens=spoken)
        if delta == ThinkerDelta():
            return None  # what was made shows nothing yet
        delta = replace(delta, **self._said())
        self._held = _Held()
        return delta

    def _said(self) -> dict[str, Any]:
        """The fields of a delta that another replica needs in order to go on behind it."""
        made, self._held.made = tuple(self._held.made), []
        offset, self._made = self._made, self._made + len(made)
        return {"made": made, "offset": offset}

    def count(self, output: EngineOutput) -> Usage:
        """Count the ids of an output; gives all that was counted."""
        if self._usage is None:  # the first output of the first prompt says how long that was
            self._usage = Usage(
                output.prompt_tokens,
                0,
                cached_prompt_tokens=output.cached_prompt_tokens,
                prompt_audio_tokens=self._prompt_audio_tokens,
            )
        produced = self._usage.completion_tokens + len(output.token_ids)
        self._usage = replace(self._usage, completion_tokens=produced)
        return self._usage
