"""Every field of OpenAI's request bodies, as its client's types name them, has an answer here."""

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types.audio import speech_create_params as speech
from openai.types.audio import transcription_create_params as transcription
from openai.types.audio import translation_create_params as translation
from openai.types.chat import completion_create_params as chat
from pydantic import BaseModel

from serve_app.http.chat.types import ChatBody
from serve_app.http.speech.types import SpeechBody
from serve_app.http.transcription.types import TranscriptionForm, TranslationForm
from tests.integration.http.helpers import MODEL

ASK: list[Any] = [{"role": "user", "content": "How are you?"}]
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
HONOURED, NO_EFFECT, REFUSED = "honoured", "no effect", "refused"

# field → what becomes of it, and a value that means something (None: every request here has it)
CHAT_FIELDS: dict[str, tuple[str, Any]] = {
    "audio": (HONOURED, {"voice": "anna", "format": "wav"}),
    "frequency_penalty": (REFUSED, 0.5),
    "function_call": (REFUSED, "auto"),
    "functions": (REFUSED, [{"name": "f"}]),
    "logit_bias": (REFUSED, {"1": 5}),
    "logprobs": (REFUSED, True),
    "max_completion_tokens": (HONOURED, 100),
    "max_tokens": (HONOURED, 100),
    "messages": (HONOURED, None),
    "metadata": (NO_EFFECT, {"a": "b"}),
    "modalities": (HONOURED, ["text"]),
    "model": (HONOURED, None),
    "moderation": (REFUSED, {"model": "omni-moderation-latest"}),
    "n": (REFUSED, 2),
    "parallel_tool_calls": (HONOURED, False),
    "prediction": (REFUSED, {"type": "content", "content": "x"}),
    "presence_penalty": (REFUSED, 0.5),
    "prompt_cache_key": (NO_EFFECT, "key"),
    "prompt_cache_options": (NO_EFFECT, {"mode": "explicit"}),
    "prompt_cache_retention": (NO_EFFECT, "24h"),
    "reasoning_effort": (REFUSED, "high"),
    "response_format": (HONOURED, SCHEMA),
    "safety_identifier": (NO_EFFECT, "someone"),
    "seed": (HONOURED, 7),
    "service_tier": (HONOURED, "flex"),
    "stop": (HONOURED, ["END"]),
    "store": (NO_EFFECT, True),
    "stream": (HONOURED, False),
    "stream_options": (HONOURED, {"include_usage": True}),
    "temperature": (HONOURED, 0.3),
    "tool_choice": (HONOURED, "none"),
    "tools": (HONOURED, [TOOL]),
    "top_logprobs": (REFUSED, 3),
    "top_p": (HONOURED, 0.5),
    "user": (NO_EFFECT, "someone"),
    "verbosity": (REFUSED, "high"),
    "web_search_options": (REFUSED, {}),
}
BODIES = [
    (chat.CompletionCreateParamsStreaming, ChatBody),
    (speech.SpeechCreateParams, SpeechBody),
    (transcription.TranscriptionCreateParamsStreaming, TranscriptionForm),
    (translation.TranslationCreateParams, TranslationForm),
]


@pytest.mark.parametrize(("theirs", "ours"), BODIES, ids=lambda body: body.__name__)
def test_no_field_of_a_body_is_forgotten(theirs: Any, ours: Any) -> None:
    forgotten = set(get_type_hints(theirs)) - known(ours) - ours.without_effect
    assert not forgotten


def known(body: type[BaseModel]) -> set[str]:
    """The fields of a body by the names that clients give them; lists come as `name[]`."""
    names = {field.alias or name for name, field in body.model_fields.items()}
    return {name.removesuffix("[]") for name in names}


def test_every_field_of_a_chat_is_tried_here() -> None:
    assert set(CHAT_FIELDS) == set(get_type_hints(chat.CompletionCreateParamsStreaming))


@pytest.mark.parametrize("field", CHAT_FIELDS)
async def test_a_field_of_a_chat_is_accepted_or_refused_by_its_name(
    openai: AsyncOpenAI, field: str
) -> None:
    outcome, value = CHAT_FIELDS[field]
    body: Any = {"model": MODEL, "messages": ASK} | ({} if value is None else {field: value})
    if outcome == REFUSED:
        with pytest.raises(BadRequestError, match=f"{field}=.*is not supported") as refused:
            await openai.chat.completions.create(**body)
        assert refused.value.param == field
    else:
        answer = await openai.chat.completions.create(**body)
        assert answer.choices[0].finish_reason in ("stop", "tool_calls")


def test_the_documentation_has_every_field_of_a_chat_in_its_row() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    table = page.partition("### Fields of a chat")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (honoured|no effect|refused)\b", table, re.MULTILINE)
    told = {field: outcome for fields, outcome in rows for field in re.findall(r"`(\w+)`", fields)}
    assert told == {field: outcome for field, (outcome, _) in CHAT_FIELDS.items()}
