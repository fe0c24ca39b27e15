"""`GET` and `HEAD` of `/v1/models`: the configured names of the model, without their aliases."""

from fastapi import APIRouter

from serve_app.http.dependencies import Server, ServerDep
from serve_app.http.documented import error_answers
from serve_app.http.models.types import Model, ModelList

router = APIRouter(tags=["models"])


@router.head("/models", include_in_schema=False)
@router.head("/models/", include_in_schema=False)
@router.get("/models/", include_in_schema=False)
@router.get("/models", summary="List the models")
async def list_models(server: ServerDep) -> ModelList:
    return ModelList(data=[_model(server, name) for name in server.settings.models])


@router.head("/models/{name:path}", include_in_schema=False)
@router.get(
    "/models/{name:path}", summary="One model", responses=error_answers(404)
)  # names may hold a slash
async def get_model(name: str, server: ServerDep) -> Model:
    server.require_model(name)
    return _model(server, name)


def _model(server: Server, name: str) -> Model:
    return Model(id=name, created=server.started_at, owned_by="step-audio2")
