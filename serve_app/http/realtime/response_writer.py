"""The graph's deltas -> the events of one response, in the order that clients rely on."""

import time
from collections.abc import Callable
from typing import Any

from deployments.errors import AnswerSilent
from deployments.messages import ToolCall
from serve_app.graph.answers import Delta
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.content_writers import ContentWriter, SpeechWriter, TextWriter
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import CallItem, Item, MessageItem, Speech, Status
from serve_app.http.realtime.refusals import error_of
from serve_app.http.realtime.response import Reason, Response

Put = Callable[[dict[str, Any]], None]


class ResponseWriter:
    """Writes one response: items as they come, and how it ends."""

    def __init__(self, response: Response, conversation: Conversation, put: Put) -> None:
        self.response = response
        self._conversation = conversation
        self._put = put
        self._message: MessageItem | None = None
        self._content: ContentWriter | None = None
        self._early_ids: list[int] = []  # of a turn of which nothing is seen or heard yet
        self._previous: dict[str, str | None] = {}  # by item, the one before it
        self._finish_reason: str | None = None

    def begin(self) -> None:
        self._put(events.response("created", self.response.told()))

    async def take(self, delta: Delta) -> None:
        """Send what a delta of the answer brings."""
        pcm: bytes = getattr(delta, "pcm", b"")
        if self._content is None and (delta.text or pcm):
            self._open_message()
        if self._content is not None:
            await self._content.take(delta)
        else:
            self._early_ids += delta.token_ids
        for call in delta.tool_calls:
            self._write_call(call)
        self._finish_reason = delta.finish_reason or self._finish_reason
        self.response.usage = delta.usage or self.response.usage

    async def finish(self) -> None:
        """The answer has ended by itself."""
        if self._content is not None:
            await self._content.finish()
        if self.speech is not None:
            self.speech.complete = True
        cut = self._finish_reason == "length"
        self._require_sound(cut)
        self._close_message("incomplete" if cut else "completed")
        if cut:
            self._end("incomplete", "max_output_tokens")
        else:
            self._end("completed")

    def cancel(self, reason: Reason) -> None:
        """It was stopped; by the user's speech where it had been played up to then."""
        if self.speech is not None and reason == "turn_detected":
            self.speech.cut(self.speech.played_s(time.monotonic()))
        self._close_message("incomplete")
        self._end("cancelled", reason)

    def fail(self, error: BaseException) -> None:
        """It broke off."""
        self._close_message("incomplete")
        self._end("failed", error=error_of(error))

    @property
    def speech(self) -> Speech | None:
        """What is spoken of it so far."""
        content = self._content.content if self._content else None
        return content if isinstance(content, Speech) else None

    def _require_sound(self, cut: bool) -> None:
        """Raise AnswerSilent if nothing can be heard of an answer that should be."""
        silent = self.speech is None or not self.speech.sent_s
        if self.response.plan.spoken and silent and not self.response.output and not cut:
            raise AnswerSilent

    def _end(self, *how: Any, **fields: Any) -> None:
        self.response.end(*how, **fields)
        self._put(events.response("done", self.response.told()))

    # Items

    def _open_message(self) -> None:
        message = MessageItem(new_id("item"), "assistant", [], "in_progress")
        self._message = message
        self._add(message)
        self._content = self._new_content()
        self._about_content("content_part.added", part=self._content.part())
        message.content.append(self._content.content)
        for item in self.response.output:
            if isinstance(item, CallItem):
                item.spoken_in = self._spoken()

    def _new_content(self) -> ContentWriter:
        plan = self.response.plan
        if plan.spoken:
            speech = Speech(token_ids=self._early_ids, speed=plan.speed)
            return SpeechWriter(self._about_content, plan, speech)
        return TextWriter(self._about_content)

    def _close_message(self, status: Status) -> None:
        message, content = self._message, self._content
        if message is None or content is None or message.status != "in_progress":
            return
        content.close()
        message.status = status
        content.end()
        self._about_content("content_part.done", part=content.part())
        self._done(message)

    def _write_call(self, call: ToolCall) -> None:
        item = CallItem(
            new_id("item"), new_id("call"), call.name, "", "in_progress", spoken_in=self._spoken()
        )
        self._add(item)
        item.arguments, item.status = call.arguments, "completed"
        fields: dict[str, Any] = {"item_id": item.id, "call_id": item.call_id}
        kind = "function_call_arguments"
        self._about(item, f"{kind}.delta", **fields, delta=call.arguments)
        self._about(item, f"{kind}.done", **fields, arguments=call.arguments, name=call.name)
        self._done(item)

    def _spoken(self) -> MessageItem | None:
        return self._message if self.speech is not None else None

    def _add(self, item: Item) -> None:
        self.response.output.append(item)
        self._about(item, "output_item.added", item=item.shown())
        if self.response.plan.joins:
            previous = self._conversation.add(item)
            self._previous[item.id] = previous
            self._put(events.item_added(item.shown(), previous))

    def _done(self, item: Item) -> None:
        self._about(item, "output_item.done", item=item.shown())
        if self.response.plan.joins:
            self._put(events.item_done(item.shown(), self._previous[item.id]))

    def _about(self, about: Item, kind: str, /, **fields: Any) -> None:
        index = self.response.output.index(about)
        self._put(events.of_response(kind, self.response.id, index, **fields))

    def _about_content(self, kind: str, /, **fields: Any) -> None:
        assert self._message is not None
        self._about(self._message, kind, item_id=self._message.id, content_index=0, **fields)
