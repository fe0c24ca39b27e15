"""The items of a conversation: what the client sees of them, and what the model reads."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from deployments.messages import (
    AUDIO_TOKENS_PER_SECOND,
    AudioPart,
    Heard,
    Message,
    Part,
    Role,
    SpokenPart,
    TextPart,
    ToolCall,
)
from serve_app.sound.captions import Captions

Json = dict[str, Any]
Status = Literal["completed", "incomplete", "in_progress"]
ROLES = {"user": Role.HUMAN, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


@dataclass(slots=True)
class Text:
    """Written by somebody."""

    text: str
    shown_type: Literal["input_text", "output_text"]

    def shown(self) -> Json:
        return {"type": self.shown_type, "text": self.text}

    def part(self) -> Part | None:
        return TextPart(self.text)


@dataclass(slots=True, eq=False)
class Recording:
    """Said by the user."""

    samples: np.ndarray  # [N] float32, 16 kHz
    transcript: str | None = None

    def shown(self) -> Json:
        return {"type": "input_audio", "transcript": self.transcript}

    def part(self) -> Part | None:
        return AudioPart(self.samples) if len(self.samples) else None


@dataclass(slots=True)
class Speech:
    """Said by the assistant."""

    transcript: str = ""  # all of it, heard or not
    token_ids: list[int] = field(default_factory=list)
    captions: Captions = field(default_factory=Captions)
    speed: float = 1.0  # that it is played at
    sent_s: float = 0.0  # of sound, as it plays
    complete: bool = False  # whether all of its tokens became sound that was sent
    began_s: float | None = None  # when the first of it was sent, on a monotonic clock
    heard_s: float | None = None  # where it was cut; None: it is whole

    def sent(self, seconds: float, now_s: float) -> None:
        """Note that so much more sound was sent."""
        if seconds and self.began_s is None:
            self.began_s = now_s
        self.sent_s += seconds

    def played_s(self, now_s: float) -> float:
        """How much of it a client has played that plays it at once."""
        return 0.0 if self.began_s is None else min(self.sent_s, now_s - self.began_s)

    def plays_for_s(self, now_s: float) -> float:
        """How much longer it plays; nothing once it was cut."""
        return 0.0 if self.heard_s is not None else self.sent_s - self.played_s(now_s)

    def cut(self, heard_s: float) -> None:
        """Keep only what was heard by then."""
        self.heard_s = heard_s if heard_s < self.sent_s else None

    def shown(self) -> Json:
        return {"type": "output_audio", "transcript": self.said()}

    def said(self) -> str:
        """The words up to where it was cut."""
        if self.is_whole:
            return self.transcript
        return self.captions.heard(self._end_s * self.speed)

    @property
    def is_whole(self) -> bool:
        """Whether it was said to its end, and nobody cut it."""
        return self.complete and self.heard_s is None

    @property
    def _end_s(self) -> float:
        return self.sent_s if self.heard_s is None else self.heard_s

    def part(self) -> Part | None:
        if self.is_whole:
            return SpokenPart(tuple(self.token_ids)) if self.token_ids else self._words()
        tokens = round(self._end_s * self.speed * AUDIO_TOKENS_PER_SECOND)
        if not tokens:
            return None
        return SpokenPart(tuple(self.token_ids), Heard(tokens, self.said()))

    def _words(self) -> Part | None:
        """Of history from elsewhere: the sound is not there."""
        return TextPart(self.transcript) if self.transcript else None


Content = Text | Recording | Speech


@dataclass(slots=True, eq=False)
class MessageItem:
    id: str
    role: Literal["user", "assistant", "system"]
    content: list[Content]
    status: Status = "completed"
    forgotten: bool = False

    @property
    def recorded_samples(self) -> int:
        """Of sound that it holds."""
        recordings = (each for each in self.content if isinstance(each, Recording))
        return sum(len(each.samples) for each in recordings)

    def forget(self) -> None:
        """Leave it out of all prompts from now on."""
        self.forgotten = True
        for each in self.content:
            if isinstance(each, Recording):
                each.samples = each.samples[:0].copy()

    def shown(self) -> Json:
        content = [each.shown() for each in self.content]
        return _shown(self, type="message", role=self.role, content=content)

    def message(self) -> Message | None:
        parts = tuple(part for each in self.content if (part := each.part()))
        return Message(ROLES[self.role], parts) if parts else None


@dataclass(slots=True, eq=False)
class CallItem:
    """A function that the assistant asks for."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status = "completed"
    spoken_in: MessageItem | None = None  # whose token ids hold the call, too
    forgotten: bool = False

    def forget(self) -> None:
        """Leave it out of all prompts from now on."""
        self.forgotten = True

    def shown(self) -> Json:
        return _shown(
            self,
            type="function_call",
            call_id=self.call_id,
            name=self.name,
            arguments=self.arguments,
        )

    def message(self) -> Message | None:
        return Message(Role.ASSISTANT, (ToolCall(self.name, self.arguments),))


@dataclass(slots=True, eq=False)
class OutputItem:
    """What a function gave."""

    id: str
    call_id: str
    output: str
    status: Status = "completed"
    forgotten: bool = False

    def forget(self) -> None:
        """Leave it out of all prompts from now on."""
        self.forgotten = True

    def shown(self) -> Json:
        return _shown(self, type="function_call_output", call_id=self.call_id, output=self.output)

    def message(self) -> Message | None:
        return Message(Role.TOOL_RESULT, (TextPart(self.output),))


Item = MessageItem | CallItem | OutputItem


def _shown(item: Item, **fields: Any) -> Json:
    return {"id": item.id, "object": "realtime.item", "status": item.status, **fields}
