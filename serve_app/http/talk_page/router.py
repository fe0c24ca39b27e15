"""`GET /`: the page, and below `/page` all that it loads. `GET /v1/load`: what it shows of it."""

from importlib.resources import files

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serve_app.http.browsers import STRICT_POLICY
from serve_app.http.dependencies import ServerDep
from serve_app.http.talk_page.load import Load, load_of

PAGE = files(__package__).joinpath("static/index.html").read_text("utf-8")
STATIC = (str(__package__), "static")  # package, folder
# A browser asks each time whether its copy is still right: a page never mixes two versions.
REVALIDATED = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.head("/")
@router.get("/")
async def page() -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": STRICT_POLICY, **REVALIDATED})


@router.head("/v1/load")
@router.get("/v1/load")
async def load(server: ServerDep) -> Load:
    return load_of(server.activity)


class PageFiles(StaticFiles):
    """The files of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers.update(REVALIDATED)
        return answer


def add_page(app: FastAPI) -> None:
    """Serve the page and all that it loads."""
    app.include_router(router)
    app.mount("/page", PageFiles(packages=[STATIC]))
