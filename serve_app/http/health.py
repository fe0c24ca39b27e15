"""`GET /health`, and `HEAD` for load balancers: 503 until the graph can serve."""

from fastapi import APIRouter

from deployments.errors import NotReady
from serve_app.http.dependencies import ServerDep

router = APIRouter(tags=["health"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Is the server ready?")
async def health(server: ServerDep) -> dict[str, str]:
    if not await server.readiness.ask():
        raise NotReady
    return {"status": "ok"}
