"""`GET /health`: 503 until the graph can serve."""

from fastapi import APIRouter

from deployments.errors import NotReady
from serve_app.http.dependencies import ServerDep

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the server ready?")
async def health(server: ServerDep) -> dict[str, str]:
    if not await server.readiness.ask():
        raise NotReady
    return {"status": "ok"}
