"""The OpenAPI document is true: schemathesis draws requests from it and compares the answers."""

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode

from deployments.token2wav.fake import FakeSynthesizer
from deployments.voice_store import VoiceStore
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from serve_app.sound.encoding.format_table import MEDIA_TYPES
from tests.integration.http.conftest import SCHEDULE
from tests.integration.http.helpers import MODEL, wav_of
from tests.integration.http.test_hostile_requests import Strict

KEY = "an API key"
# `make fuzz` asks for more, and for others each time.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SPEECH = Path("deployments/token2wav/assets/default_voice.wav").read_bytes()
WAV = wav_of(0.1)


def application() -> Any:
    """The whole surface, with a key and a store of voices."""
    backend = FakeServeBackend(Strict(), FakeSynthesizer(SCHEDULE, voices=("anna",)))
    asyncio.run(backend.start())
    store = VoiceStore(tempfile.mkdtemp())
    http = HttpSettings(models=(MODEL,), api_keys=(KEY,))
    return create_http_app(backend, http, voice_store=store)


APP = application()
SCHEMA = schemathesis.openapi.from_dict(
    APP.openapi(),
    config=schemathesis.Config.from_dict(
        {
            "headers": {"Authorization": f"Bearer {KEY}"},
        }
    ),
)
SCHEMA.app = Front(APP)


# A schema cannot say all that makes a request valid.
BEYOND_SCHEMAS = [schemathesis.checks.positive_data_acceptance]
# A form has text alone, so `stream` is true where it says "1", too.
UNTRUE_OF_FORMS = [*BEYOND_SCHEMAS, schemathesis.checks.negative_data_rejection]


def is_form(case: schemathesis.Case) -> bool:
    return case.media_type == "multipart/form-data"


def made_fit(case: schemathesis.Case) -> None:
    """Let more requests come as far as the model: the schema knows neither names nor recordings."""
    draw = random.Random(repr(case.body))
    if not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("model"), str):
        case.body["model"] = MODEL
    for name, sound in (("file", WAV), ("audio_sample", SPEECH)):
        if isinstance(case.body.get(name), str | bytes) and draw.random() < 0.5:
            case.body[name] = sound


OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations()}
HAVE_NOTHING_WRONG = ("GET /v1/audio/voices", "GET /v1/models", "GET /health")  # but their headers


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_the_document_describes(name: str) -> None:
    modes = list(GenerationMode)[: 1 if name in HAVE_NOTHING_WRONG else 2]
    cases = (OPERATIONS[name].as_strategy(generation_mode=mode) for mode in modes)

    @settings(
        max_examples=EXAMPLES or 8,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=tuple(Phase) if EXAMPLES else (Phase.generate,),
        suppress_health_check=tuple(HealthCheck),
    )
    @given(strategies.one_of(*cases))
    def compare(case: schemathesis.Case) -> None:
        made_fit(case)
        case.call_and_validate(excluded_checks=UNTRUE_OF_FORMS if is_form(case) else BEYOND_SCHEMAS)

    compare()


def test_the_document_is_valid() -> None:
    SCHEMA.validate()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in APP.openapi()["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_error_is_described_in_openai_s_shape_and_none_is_fastapi_s_own() -> None:
    described: dict[str, set[str]] = {}
    for name, operation in operations():
        errors = {key: one for key, one in operation["responses"].items() if key >= "400"}
        for answer in errors.values():
            schema = answer["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorBody"}
        described[name] = set(errors)
    bodies = {"400", "401", "408", "413", "415", "429", "500", "503"}
    assert described["post /v1/audio/speech"] == bodies | {"404", "422"}
    assert described["post /v1/chat/completions"] == bodies | {"404"}
    assert described["post /v1/audio/transcriptions"] == bodies | {"404", "422"}
    assert described["post /v1/audio/voices"] == bodies
    assert described["delete /v1/audio/voices/{voice_id}"] == {
        *("400", "401", "404", "413", "429", "500", "503")
    }
    assert described["get /v1/models"] == {"401", "413", "500"}
    assert described["get /health"] == {"413", "500", "503"}


def test_retry_after_is_described_where_it_is_sent() -> None:
    for _, operation in operations():
        for status, answer in operation["responses"].items():
            assert ("Retry-After" in answer.get("headers", {})) == (status in ("429", "503"))


def contents(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = dict(operations())[name]["responses"]["200"]["content"]
    return answer


def test_sound_text_and_events_are_described_by_their_content_types() -> None:
    assert contents("post /v1/audio/speech").keys() == {*MEDIA_TYPES, "text/event-stream"}
    for name in ("transcriptions", "translations"):
        kinds = contents(f"post /v1/audio/{name}").keys()
        assert kinds == {"application/json", "text/plain", "text/event-stream"}
    data = contents("post /v1/audio/speech")["text/event-stream"]["schema"]["properties"]["data"]
    events = data["contentSchema"]["anyOf"]
    assert [one["properties"]["type"]["const"] for one in events] == [
        *("speech.audio.delta", "speech.audio.done", "error")
    ]


def test_answers_are_described_by_their_fields() -> None:
    schemas = APP.openapi()["components"]["schemas"]
    for name in ("ChatCompletion", "Transcription", "VerboseTranscription", "Voice", "ModelList"):
        assert schemas[name]["properties"], name


def test_forms_are_multipart() -> None:
    bodies = {
        name: list(operation["requestBody"]["content"])
        for name, operation in operations()
        if "requestBody" in operation
    }
    assert bodies.pop("post /v1/audio/speech") == ["application/json"]
    assert bodies.pop("post /v1/chat/completions") == ["application/json"]
    assert bodies.pop("post /v1/realtime/client_secrets") == ["application/json"]
    assert bodies.pop("post /v1/realtime/translations/client_secrets") == ["application/json"]
    assert set(map(tuple, bodies.values())) == {("multipart/form-data",)}


def test_a_message_may_be_described_by_its_text_alone() -> None:
    message = APP.openapi()["components"]["schemas"]["ChatMessage"]["properties"]
    kinds = [one["type"] for one in message["content"]["anyOf"]]
    assert kinds == ["string", "array", "null"]
