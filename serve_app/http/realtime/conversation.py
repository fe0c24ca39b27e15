"""A conversation: its items in order, and the prompt that they make."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json

from deployments.messages import INPUT_SAMPLE_RATE_HZ, Message, Role, TextPart
from serve_app.http.realtime.items import CallItem, Item, MessageItem
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.session_types import FunctionTool

FIRST = "root"  # as the item before the first one
MAX_ITEMS = 4096
MAX_BYTES = 8 << 20  # of all items: far more text than any model's context holds


class Conversation:
    """What was said and done, as the client sees it."""

    def __init__(self, most_recorded_s: float) -> None:
        """Of the recordings so many seconds are kept; older ones leave prompts and memory."""
        self._most_samples = most_recorded_s * INPUT_SAMPLE_RATE_HZ
        self._items: list[Item] = []
        self._bytes = 0  # of all items as clients see them

    @property
    def items(self) -> Sequence[Item]:
        return self._items

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put `item` behind the one named `after`, or at the end. The id of the one before it.

        Raises:
            Refused: there is an item of that id, or none that is named `after`.
        """
        if self.has(item.id):
            message = f"there is an item {item.id!r} already"
            raise Refused("item_create_duplicate_item_id", message, "item.id")
        if len(self._items) >= MAX_ITEMS:
            raise Refused("invalid_value", f"the conversation has {MAX_ITEMS} items", "item")
        place = self._place_behind(after)
        size = len(to_json(item.shown()))
        if self._bytes + size > MAX_BYTES:
            raise Refused("invalid_value", f"the conversation has {self._bytes} bytes", "item")
        self._bytes += size
        self._items.insert(place, item)
        self._forget_recordings()
        return self._items[place - 1].id if place else None

    def _place_behind(self, after: str | None) -> int:
        if after is None:
            return len(self._items)
        if after == FIRST:
            return 0
        for place, each in enumerate(self._items, 1):
            if each.id == after:
                return place
        message = f"there is no item {after!r} to come after"
        raise Refused("item_create_invalid_previous_item_id", message, "previous_item_id")

    def has(self, item_id: str) -> bool:
        """Whether there is an item of that id."""
        return any(item.id == item_id for item in self._items)

    def find(self, item_id: str, what: str) -> Item:
        """The item of that id.

        Raises:
            Refused: there is none; the code says `what` was wanted: `retrieve`, `delete`…
        """
        for item in self._items:
            if item.id == item_id:
                return item
        message = f"there is no item {item_id!r}"
        raise Refused(f"item_{what}_invalid_item_id", message, "item_id")

    def remove(self, item_id: str) -> None:
        """Forget an item.

        Raises:
            Refused: there is none of that id.
        """
        item = self.find(item_id, "delete")
        self._items.remove(item)
        self._bytes = max(0, self._bytes - len(to_json(item.shown())))

    def _forget_recordings(self) -> None:
        kept = 0
        for item in reversed(self._items):
            if isinstance(item, MessageItem) and item.recorded_samples:
                kept += item.recorded_samples
                if kept > self._most_samples:
                    item.forget()

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None


def prompt_of(
    instructions: str, tools: Iterable[FunctionTool], items: Sequence[Item]
) -> tuple[Message, ...]:
    """The messages of a conversation, as the model was trained: tools behind the instructions."""
    messages = [Message(Role.SYSTEM, (TextPart(instructions),))] if instructions else []
    if schemas := [schema_of(tool) for tool in tools]:
        text = json.dumps(schemas, ensure_ascii=False)
        messages.append(Message(Role.TOOL_SCHEMAS, (TextPart(text),)))
    spoken = {id(item) for item in items}
    for item in items:
        if isinstance(item, CallItem) and id(item.spoken_in) in spoken:
            continue  # the ids of the turn hold the call
        if message := item.message():
            messages.append(message)
    return tuple(messages)


def schema_of(tool: FunctionTool) -> dict[str, Any]:
    """A tool as the model reads it, which is how chats declare theirs."""
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
