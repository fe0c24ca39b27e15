"""The graph's deltas → a chat completion, whole or in chunks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import uuid4

from deployments.errors import AnswerSilent
from deployments.messages import SpeechDelta, ToolCall, Usage
from serve_app.graph.answers import Delta
from serve_app.http.chat.spoken_turns import CallersTurns, TurnName
from serve_app.http.chat.types import (
    AnswerMessage,
    AudioAnswer,
    ChatBody,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    CompletionUsage,
    FinishReason,
    FunctionCall,
    ToolCallOut,
    WholeMessage,
)
from serve_app.http.streaming import base64_of
from serve_app.sound.encoding.format_table import FORMATS


@dataclass(slots=True)
class Answer:
    """What has come of one answer so far."""

    text: str = ""
    reasoning: str = ""
    pcm: bytearray = field(default_factory=bytearray)
    heard: bool = False
    token_ids: list[int] = field(default_factory=list)
    tool_calls: list[ToolCallOut] = field(default_factory=list)
    finish_reason: FinishReason = "stop"  # the Thinker's, which comes last
    usage: Usage = field(default_factory=lambda: Usage(0, 0))

    def add(self, delta: Delta, *, keep_sound: bool) -> list[ToolCallOut]:
        """Take a delta in; gives the tool calls that came with it."""
        self.text += delta.text
        self.reasoning += delta.reasoning
        self.token_ids += delta.token_ids
        if delta.finish_reason is not None and delta.finish_reason != "abort":
            self.finish_reason = delta.finish_reason
        self.usage = delta.usage or self.usage
        if isinstance(delta, SpeechDelta) and delta.pcm:
            self.heard = True
            if keep_sound:
                self.pcm += delta.pcm
        calls = [
            _tool_call(call, len(self.tool_calls) + index)
            for index, call in enumerate(delta.tool_calls)
        ]
        self.tool_calls += calls
        return calls

    @property
    def is_turn(self) -> bool:
        """Whether it is a spoken turn, of no sound perhaps; a tool call alone is none."""
        return self.heard or not self.tool_calls

    def require_sound(self, stop: Sequence[str]) -> None:
        """Raise AnswerSilent if nothing can be heard, and no limit of the caller's forbade it.

        An answer may be a tool call alone. One that `max_tokens` or a string of `stop` ended before
        its first sound is what was asked for.
        """
        limited = self.finish_reason == "length" or any(stop)
        if self.is_turn and not self.heard and not limited:
            raise AnswerSilent


def _tool_call(call: ToolCall, index: int) -> ToolCallOut:
    function = FunctionCall(name=call.name, arguments=call.arguments)
    return ToolCallOut(index=index, id=f"call_{uuid4().hex}", function=function)


class ChatWriter:
    """Writes the completion of one request."""

    def __init__(self, body: ChatBody, turns: CallersTurns, *, spoken: bool) -> None:
        self._body = body
        self._spoken = spoken
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._turns = turns

    async def whole(self, deltas: list[Delta]) -> ChatCompletion:
        """The completion of an answer that is complete."""
        answer = Answer()
        for delta in deltas:
            answer.add(delta, keep_sound=True)
        message = WholeMessage(role="assistant", reasoning_content=answer.reasoning or None)
        if self._spoken:
            answer.require_sound(self._body.stop_strings)
        if self._spoken and answer.is_turn:
            turn = await self._turns.name(answer.token_ids)
            message.audio = AudioAnswer(
                id=turn.id,
                data=base64_of(await self._file(bytes(answer.pcm))),
                expires_at=turn.expires_at,
                transcript=answer.text,
            )
        elif answer.text or answer.is_turn:
            message.content = answer.text
        if answer.tool_calls:
            message.tool_calls = [
                call.model_copy(update={"index": None}) for call in answer.tool_calls
            ]
        choice = Choice(message=message, finish_reason=answer.finish_reason)
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._body.model,
            choices=[choice],
            usage=CompletionUsage.of(answer.usage),
            service_tier=self._body.served_tier,
        )

    async def chunks(self, deltas: AsyncGenerator[Delta]) -> AsyncGenerator[ChatChunk]:
        """The same in chunks; the first one comes with the answer's first delta."""
        answer = Answer()
        turn = self._turns.announce() if self._spoken else None
        first = True
        async with aclosing(deltas):
            async for delta in deltas:
                if first:
                    yield self._opening(turn)
                    first = False
                calls = answer.add(delta, keep_sound=False)
                message = _piece(delta, calls, self._spoken)
                if message is not None:
                    yield self._chunk(message)
        if turn is not None:
            answer.require_sound(self._body.stop_strings)
            if answer.is_turn:
                await self._turns.keep(turn, answer.token_ids)
                yield self._chunk(AnswerMessage(audio=AudioAnswer(expires_at=turn.expires_at)))
        yield self._chunk(AnswerMessage(), answer.finish_reason)
        options = self._body.stream_options
        if options is not None and options.include_usage:
            usage = CompletionUsage.of(answer.usage)
            yield self._chunk_of([], usage)

    def _opening(self, turn: TurnName | None) -> ChatChunk:
        if turn is not None:
            audio = AudioAnswer(id=turn.id, transcript="")
            return self._chunk(AnswerMessage(role="assistant", audio=audio))
        return self._chunk(AnswerMessage(role="assistant", content=""))

    def _chunk(self, message: AnswerMessage, finish: FinishReason | None = None) -> ChatChunk:
        return self._chunk_of([ChunkChoice(delta=message, finish_reason=finish)])

    def _chunk_of(
        self, choices: list[ChunkChoice], usage: CompletionUsage | None = None
    ) -> ChatChunk:
        return ChatChunk(
            id=self._id,
            created=self._created,
            model=self._body.model,
            choices=choices,
            usage=usage,
            service_tier=self._body.served_tier,
        )

    async def _file(self, pcm: bytes) -> bytes:
        """A whole spoken answer in the format that the request names."""
        form = FORMATS[self._body.audio.format if self._body.audio else "pcm16"]
        return await asyncio.to_thread(form.file, pcm) if form.compressed else form.file(pcm)


def _piece(delta: Delta, calls: list[ToolCallOut], spoken: bool) -> AnswerMessage | None:
    """What a delta brings, or None for nothing that a client sees."""
    pcm = delta.pcm if isinstance(delta, SpeechDelta) else b""
    if not (delta.text or delta.reasoning or calls or pcm):
        return None
    message = AnswerMessage(reasoning_content=delta.reasoning or None, tool_calls=calls or None)
    if not spoken:
        message.content = delta.text or None
    elif pcm or delta.text:
        data = base64_of(pcm) if pcm else None
        message.audio = AudioAnswer(data=data, transcript=delta.text or None)
    return message
