"""A Thinker that answers at once by echoing: for tests and for writing clients without a GPU."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

from deployments.chunker import Chunker
from deployments.errors import EngineFailed
from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    AudioPart,
    Heard,
    Message,
    Role,
    SpokenPart,
    TextPart,
    ThinkerDelta,
    ThinkerRequest,
    ToolCall,
    Usage,
)
from deployments.stages import LONGEST_GPU_STEP_S, Steps

AUDIO_TOKENS_PER_CHARACTER = 4
CODEBOOK_SIZE = 6561
PLACES = 64  # requests at once that its headroom counts


class FakeThinkerEngine:
    """Repeats what was said. Its audio tokens are a hash of the text, so each text has its own.

    Recordings are echoed as "heard 1.50 s", earlier spoken turns as "after N ids", interrupted ones
    as "after N tokens of 'what was heard'". With tool schemas in the prompt and no result yet, the
    first tool is called with no arguments. So is the first of those that have to be called. An
    answer in JSON has one member, "said".
    """

    longest_step_s = LONGEST_GPU_STEP_S

    def __init__(
        self,
        seconds_per_delta: float = 0.0,
        max_tokens: int = 1024,
        spoilt_by: str | None = None,
    ) -> None:
        """After a message equal to `spoilt_by`, the engine is unhealthy and fails every request."""
        self._seconds_per_delta = seconds_per_delta
        self._max_tokens = max_tokens
        self._spoilt_by = spoilt_by
        self._spoilt = False
        self._active: set[str] = set()
        self._deltas_made = 0

    async def start(self) -> None:
        pass

    async def check_health(self) -> None:
        if self._spoilt:
            raise EngineFailed("an answer of this engine was not finite")

    def close(self) -> None:
        pass

    def active_requests(self) -> int:
        """Requests that are neither finished nor aborted."""
        return len(self._active)

    def headroom(self) -> float:
        return 1 - len(self._active) / PLACES

    def steps(self) -> Steps:
        """A step is a delta, and takes no time."""
        return Steps(self._deltas_made)

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        if self._spoilt_by is not None and echo(request.messages[-1]) == self._spoilt_by:
            self._spoilt = True
        await self.check_health()
        self._active.add(request.request_id)
        try:
            for delta in self._answer(request):
                await asyncio.sleep(self._seconds_per_delta)
                self._deltas_made += 1
                yield delta
        finally:
            self._active.discard(request.request_id)

    def _answer(self, request: ThinkerRequest) -> list[ThinkerDelta]:
        prompt_tokens = sum(len(echo(message)) for message in request.messages)
        if call := _tool_call(request):
            usage = Usage(prompt_tokens, completion_tokens=1)
            return [ThinkerDelta(tool_calls=(call,), finish_reason="tool_calls", usage=usage)]
        text = echo(request.messages[-1]) or "nothing"
        if request.json_schema is not None:
            text = json.dumps({"said": text}, ensure_ascii=False)
        limit = request.sampling.max_tokens or self._max_tokens
        if request.reply == "text":
            deltas = [
                ThinkerDelta(text=c, token_ids=(ord(c),), made=(ord(c),)) for c in text[:limit]
            ]
            cut, tokens, spoken = len(text) > limit, min(len(text), limit), 0
        else:
            whole = audio_tokens_of(text)
            audio = whole[:limit]
            deltas = _spoken_deltas(request, text, audio)
            cut, tokens, spoken = len(whole) > limit, len(audio), len(audio)
        usage = Usage(prompt_tokens, completion_tokens=tokens, audio_tokens=spoken)
        finish = ThinkerDelta(finish_reason="length" if cut else "stop", usage=usage)
        return _behind(request.made, [*deltas, finish])


def audio_tokens_of(text: str) -> tuple[int, ...]:
    """The audio tokens that the fake Thinker says `text` with."""
    digest = hashlib.sha256(text.encode()).digest()
    start = int.from_bytes(digest[:4], "big")
    count = AUDIO_TOKENS_PER_CHARACTER * len(text)
    return tuple((start + 7 * i) % CODEBOOK_SIZE for i in range(count))


def echo(message: Message) -> str:
    """What the fake Thinker understands of a message."""
    pieces = []
    for part in message.parts:
        match part:
            case TextPart(text):
                pieces.append(text)
            case AudioPart():
                pieces.append(f"heard {len(part.samples) / INPUT_SAMPLE_RATE_HZ:.2f} s")
            case SpokenPart(_, Heard(audio_tokens, said)):
                pieces.append(f"after {audio_tokens} tokens of {said!r}")
            case SpokenPart(token_ids):
                pieces.append(f"after {len(token_ids)} ids")
    return " ".join(pieces)


def _tool_call(request: ThinkerRequest) -> ToolCall | None:
    if request.must_call:
        return ToolCall(request.must_call[0].name, arguments="{}")
    roles = [message.role for message in request.messages]
    if Role.TOOL_SCHEMAS not in roles or Role.TOOL_RESULT in roles:
        return None
    schemas = json.loads(echo(request.messages[roles.index(Role.TOOL_SCHEMAS)]))
    first = schemas[0] if isinstance(schemas, list) else schemas
    return ToolCall(name=first.get("function", first)["name"], arguments="{}")


def _spoken_deltas(
    request: ThinkerRequest, text: str, audio: tuple[int, ...]
) -> list[ThinkerDelta]:
    if request.chunks is None:
        step = AUDIO_TOKENS_PER_CHARACTER
        pieces = [audio[i : i + step] for i in range(0, len(audio), step)]
    else:
        chunker, pieces, start = Chunker(request.chunks), [], 0
        while start < len(audio):
            piece = audio[start : start + chunker.missing]
            list(chunker.push(piece))
            pieces.append(piece)
            start += len(piece)
    deltas = [ThinkerDelta(audio_tokens=piece, token_ids=piece, made=piece) for piece in pieces]
    return [replace(deltas[0], text=text), *deltas[1:]] if deltas else []


def _behind(made: tuple[int, ...], deltas: list[ThinkerDelta]) -> list[ThinkerDelta]:
    """What is left of `deltas` behind the ids `made`, which end with one of them.

    Raises:
        EngineFailed: this model would not have made these ids.
    """
    offset, left = 0, []
    for delta in deltas:
        if offset >= len(made):
            left.append(replace(delta, offset=offset))
        elif delta.made != made[offset : offset + len(delta.made)]:
            raise EngineFailed("the ids that were made before are of another answer")
        offset += len(delta.made)
    return left
