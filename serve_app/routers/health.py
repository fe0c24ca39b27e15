"""`GET /health`: 503 until the graph can serve."""

from fastapi import APIRouter

from serve_app.backend import NotReady
from serve_app.server import ServerDep

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the server ready?")
async def health(server: ServerDep) -> dict[str, str]:
    if not await server.readiness.ask():
        raise NotReady
    return {"status": "ok"}
