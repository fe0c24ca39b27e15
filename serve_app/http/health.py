"""`GET /health`: 503 until the graph can serve. `GET /v1/`: whether the server is there at all.

`HEAD` is for load balancers. LiveKit's client gets `/v1/` to open its connection beforehand.
"""

from fastapi import APIRouter

from deployments.errors import NotReady
from serve_app.http.dependencies import ServerDep
from serve_app.http.documented import error_answers

router = APIRouter(tags=["health"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Is the server ready?", responses=error_answers(413, 500, 503))
async def health(server: ServerDep) -> dict[str, str]:
    if not await server.readiness.ask():
        raise NotReady
    return {"status": "ok"}


@router.head("/v1", include_in_schema=False)
@router.head("/v1/", include_in_schema=False)
@router.get("/v1", include_in_schema=False)
@router.get("/v1/", include_in_schema=False)
async def index() -> dict[str, str]:
    return {"object": "api", "documentation": "/docs"}
