"""What one response is to be: the session's settings, and what `response.create` says else."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.messages import (
    Function,
    Message,
    SamplingOptions,
    ThinkerRequest,
    Voice,
)
from serve_app.http.realtime.client_events import Item as SentItem
from serve_app.http.realtime.client_events import ResponseFields
from serve_app.http.realtime.client_items import item_of
from serve_app.http.realtime.conversation import Conversation, prompt_of
from serve_app.http.realtime.items import Item
from serve_app.http.realtime.session_settings import SessionSettings, modality_of
from serve_app.http.realtime.session_types import FunctionTool, Modality, SoundFormat
from serve_app.http.realtime.tools import functions_to_call, offered_tools
from serve_app.http.types import voice_name


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is known of a response before it begins."""

    modality: Modality
    instructions: str
    items: Sequence[Item]  # that the model reads
    tools: Sequence[FunctionTool]
    must_call: tuple[Function, ...]
    max_output_tokens: int | None  # None: as many as the model has
    format: SoundFormat
    voice: Voice
    voice_name: str
    speed: float
    joins: bool  # whether it becomes a part of the conversation
    remembers: bool  # whether the model reads the conversation
    metadata: dict[str, str] | None = None

    @property
    def spoken(self) -> bool:
        return self.modality == "audio" and not self.must_call  # a call has no sound

    def messages(self) -> tuple[Message, ...]:
        """The prompt."""
        return prompt_of(self.instructions, self.tools, self.items)

    def thinker_request(self, request_id: str, conversation: str) -> ThinkerRequest:
        """What the Thinker is asked; `conversation` is the same in all of a session's turns."""
        return ThinkerRequest(
            request_id=request_id,
            messages=self.messages(),
            reply="speech" if self.spoken else "text",
            sampling=SamplingOptions(max_tokens=self.max_output_tokens),
            must_call=self.must_call,
            conversation=conversation,
        )


async def plan_of(
    fields: ResponseFields, settings: SessionSettings, conversation: Conversation
) -> Plan:
    """The plan of a response to what the conversation holds now.

    Raises:
        Refused, RequestError: a field of `response` is wrong.
        UnknownVoice: there is no such voice.
    """
    output = fields.output
    tools = settings.fields.tools if fields.tools is None else fields.tools
    choice = fields.tool_choice or settings.fields.tool_choice
    limit = fields.max_output_tokens or settings.fields.max_output_tokens
    form = output.format or settings.output_format
    name, voice = settings.voice_name, settings.voice
    if asked := voice_name(output.voice):
        name, voice = asked, await settings.find_voice(asked, "response.audio.output.voice")
    return Plan(
        modality=modality_of(fields.output_modalities, settings.modality),
        instructions=fields.instructions or settings.instructions,
        items=await _items(fields.input, settings.input_format, conversation),
        tools=offered_tools(tools or (), choice),
        must_call=functions_to_call(tools or (), choice, "response"),
        max_output_tokens=limit if isinstance(limit, int) else None,
        format=form,
        voice=voice,
        voice_name=name,
        speed=settings.speed,
        joins=fields.conversation != "none",
        remembers=fields.input is None,
        metadata=fields.metadata,
    )


async def _items(
    given: Sequence[SentItem] | None, form: SoundFormat, conversation: Conversation
) -> Sequence[Item]:
    if given is None:
        return tuple(conversation.items)
    return [
        conversation.find(item.id or "", "retrieve")
        if item.type == "item_reference"
        else await item_of(item, form, f"response.input[{index}]")
        for index, item in enumerate(given)
    ]
