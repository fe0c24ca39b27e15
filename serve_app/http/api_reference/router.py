"""`GET /docs`: Swagger UI, from the files that the package `fastapi-offline` brings."""

from importlib.resources import files

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

PAGE = files(__package__).joinpath("page.html").read_text("utf-8")
SCRIPT = files(__package__).joinpath("page.js").read_text("utf-8")
SWAGGER_UI = ("fastapi_offline", "static")  # package, folder

router = APIRouter(include_in_schema=False)


@router.head("/docs")
@router.get("/docs")
async def docs() -> Response:
    return HTMLResponse(PAGE)


@router.head("/docs/page.js")
@router.get("/docs/page.js")
async def script() -> Response:
    return Response(SCRIPT, media_type="text/javascript")


def add_docs(app: FastAPI) -> None:
    """Serve the page and all that it loads."""
    app.include_router(router)
    app.mount("/docs/assets", StaticFiles(packages=[SWAGGER_UI]))
