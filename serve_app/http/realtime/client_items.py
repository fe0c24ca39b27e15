"""Items as clients send them -> items of a conversation."""

import asyncio
import json

from serve_app.http.realtime import client_events as sent
from serve_app.http.realtime.audio_formats import whole_recording
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import (
    CallItem,
    Content,
    Item,
    MessageItem,
    OutputItem,
    Recording,
    Speech,
    Text,
)
from serve_app.http.realtime.refusals import INVALID_VALUE, MISSING, Refused
from serve_app.http.realtime.session_types import SoundFormat

MAX_SHOWN_BYTES = 200 << 10  # no event may have more than 256 KiB, and events show items
SPOKEN = ("input_audio", "output_audio", "audio")


async def item_of(given: sent.Item, form: SoundFormat, place: str = "item") -> Item:
    """The item that a client means; its recordings have the session's format.

    Raises:
        Refused: it is none; the error names the field below `place`.
    """
    item = await _item(given, form, place)
    shown = len(json.dumps(item.shown(), ensure_ascii=False).encode())
    if shown > MAX_SHOWN_BYTES:
        message = f"an item of {shown} bytes; the limit is {MAX_SHOWN_BYTES}"
        raise Refused(INVALID_VALUE, message, place)
    return item


async def _item(given: sent.Item, form: SoundFormat, place: str) -> Item:
    item_id = given.id or new_id("item")
    match given.type:
        case "function_call":
            name = _needed(given.name, f"{place}.name")
            call_id = given.call_id or new_id("call")
            return CallItem(item_id, call_id, name, given.arguments or "{}")
        case "function_call_output":
            call_id = _needed(given.call_id, f"{place}.call_id")
            return OutputItem(item_id, call_id, _needed(given.output, f"{place}.output"))
        case "message":
            role = _needed(given.role, f"{place}.role")
            content = [
                await _content(each, role, form, f"{place}.content[{index}]")
                for index, each in enumerate(given.content or ())
            ]
            return MessageItem(item_id, role, content)  # type: ignore[arg-type]
    raise Refused(INVALID_VALUE, "a reference belongs into response.input", f"{place}.type")


async def _content(given: sent.Content, role: str, form: SoundFormat, place: str) -> Content:
    if given.type == "input_image":
        raise Refused("unsupported", f"{place}: the model sees no images", place)
    if given.type not in SPOKEN:
        text = _needed(given.text, f"{place}.text")
        return Text(text, "output_text" if role == "assistant" else "input_text")
    if role == "assistant":
        return Speech(given.transcript or given.text or "", complete=True)
    if role != "user" or given.audio is None:
        if given.transcript is not None:  # history from elsewhere, of which the words are left
            return Text(given.transcript, "input_text")
        raise Refused(MISSING, f"{place}.audio: a recording is missing", f"{place}.audio")
    place = f"{place}.audio"
    samples = await asyncio.to_thread(whole_recording, given.audio, form, place)
    return Recording(samples, given.transcript)


def _needed(value: str | None, place: str) -> str:
    if value is None:
        raise Refused(MISSING, f"{place}: the field is missing", place)
    return value
