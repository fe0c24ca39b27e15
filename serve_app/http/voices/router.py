"""`/v1/audio/voices`: create, list, look up, delete."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request

from deployments.errors import RequestError, UnsupportedRequest, VoiceExists
from deployments.messages import ReferenceAudio, StoredVoice
from deployments.ray_failures import unwrap
from deployments.voice_store import VoiceStore
from serve_app.graph.answers import text_only
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.dependencies import Server, ServerDep, require_multipart, require_ready
from serve_app.http.documented import OF_BODIES, error_answers
from serve_app.http.recordings import MAX_SAMPLE_BYTES, require_voice
from serve_app.http.streaming import unless_client_leaves
from serve_app.http.voices.types import ListedVoice, Voice, VoiceDeleted, VoiceForm, VoiceList

Multipart = Form(media_type="multipart/form-data")

router = APIRouter(tags=["voices"], dependencies=[Depends(require_ready)], route_class=CheckedRoute)


@router.post(
    "/audio/voices",
    summary="Make a voice",
    dependencies=[Depends(require_multipart)],
    responses=error_answers(*OF_BODIES),
)
async def create_voice(
    form: Annotated[VoiceForm, Multipart],
    request: Request,
    server: ServerDep,
) -> Voice:
    form.refuse_unsupported()
    store = require_store(server)
    await _require_free(form.name, server, store)
    recording = await _sample(form)
    await require_voice(recording, "audio_sample")
    await unless_client_leaves(request, _prepare(recording, request.state.request_id, server))
    limit = server.settings.max_voices
    return _uploaded(await store.create(form.name, recording, server.owner, limit))


@router.head("/audio/voices", include_in_schema=False)
@router.head("/audio/voices/", include_in_schema=False)
@router.get("/audio/voices/", include_in_schema=False)
@router.get("/audio/voices", summary="List the voices", responses=error_answers(503))
async def list_voices(server: ServerDep) -> VoiceList:
    uploaded = await server.voice_store.voices(server.owner) if server.voice_store else []
    data = [_fixed(name, server) for name in await _fixed_names(server)]
    data += [_uploaded(voice) for voice in uploaded]
    return VoiceList(data=data, voices=[ListedVoice(id=one.id, name=one.name) for one in data])


@router.head("/audio/voices/{voice_id:path}", include_in_schema=False)
@router.get("/audio/voices/{voice_id:path}", summary="One voice", responses=error_answers(404, 503))
async def get_voice(voice_id: str, server: ServerDep) -> Voice:
    if voice_id in await _fixed_names(server):
        return _fixed(voice_id, server)
    store = server.voice_store
    voice = await store.find(voice_id, server.owner) if store else None
    if voice is None:
        raise _not_found(voice_id)
    return _uploaded(voice)


@router.delete(
    "/audio/voices/{voice_id:path}",
    summary="Delete an uploaded voice",
    responses=error_answers(400, 404, 429, 503),
)
async def delete_voice(voice_id: str, server: ServerDep) -> VoiceDeleted:
    if voice_id in await _fixed_names(server):
        message = f"the voice {voice_id!r} is in the server's configuration: it cannot be deleted"
        raise UnsupportedRequest(message, param="voice_id")
    if not await require_store(server).delete(voice_id, server.owner):
        raise _not_found(voice_id)
    return VoiceDeleted(id=voice_id)


def require_store(server: Server) -> VoiceStore:
    """Where uploads are kept. Raises UnsupportedRequest where nothing is."""
    if server.voice_store is None:
        raise UnsupportedRequest(
            "this server takes no voices: its configuration does not say where they are kept; "
            "voice_store names a folder or a URL"
        )
    return server.voice_store


async def _require_free(name: str, server: Server, store: VoiceStore) -> None:
    if not await server.backend.voices():
        raise text_only()
    if name in await _fixed_names(server) or await store.find(name, server.owner):
        raise VoiceExists(name)


async def _sample(form: VoiceForm) -> bytes:
    if form.audio_sample is None:
        message = "audio_sample: a recording of the voice is needed"
        raise RequestError(message, param="audio_sample")
    return await form.audio_sample.read(MAX_SAMPLE_BYTES + 1)


async def _prepare(recording: bytes, request_id: str, server: Server) -> None:
    try:
        await server.backend.prepare_voice(request_id, ReferenceAudio(recording))
    except Exception as error:
        cause = unwrap(error)
        if isinstance(cause, RequestError) and cause.param == "voice":
            cause.param = "audio_sample"
            raise cause from None
        raise


async def _fixed_names(server: Server) -> list[str]:
    """The configured voices and the aliases, in this order."""
    configured = await server.backend.voices()
    return list(dict.fromkeys((*configured, *server.settings.voice_aliases))) if configured else []


def _fixed(name: str, server: Server) -> Voice:
    return Voice(id=name, name=name, created_at=server.started_at)


def _uploaded(voice: StoredVoice) -> Voice:
    return Voice(id=voice.id, name=voice.name, created_at=voice.created_at)


def _not_found(voice_id: str) -> HTTPException:
    message = f"there is no uploaded voice with the id {voice_id!r}"
    return HTTPException(404, {"message": message, "param": "voice_id", "code": "voice_not_found"})
