"""What browsers need to be told: whose pages may call the server, what our own pages may load."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from serve_app.http.rate_headers import RATE_HEADERS
from serve_app.http.settings import HttpSettings

METHODS = ("GET", "POST", "DELETE")
READABLE = ("Retry-After", "X-Request-Id", *RATE_HEADERS)  # by a page of another origin
FORBIDDEN = 1008  # a close code
MICROPHONE = "microphone=(self), camera=(), geolocation=()"

# Swagger UI writes styles into its elements and draws its icons from `data:` URLs.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

# The page at `/` needs less: its own files, its own server, and sounds that it makes up.
STRICT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def cross_origin(app: ASGIApp, settings: HttpSettings) -> ASGIApp:
    """`app`, which pages of the configured origins may call."""
    app = OwnSockets(app, settings.cors_origins)
    if not settings.cors_origins:
        return NoOtherOrigin(app)
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=METHODS,
        allow_headers=("*",),
        expose_headers=READABLE,
    )


class NoOtherOrigin:
    """Answers a preflight without the headers that would allow anything: the browser refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = Response(status_code=204) if is_preflight(scope) else self._app
        await app(scope, receive, send)


class OwnSockets:
    """Refuses a WebSocket that a page of another origin opens.

    A browser asks nobody before it opens one: any page that somebody visits could talk to a server
    on his own machine. Clients that are no browsers send no `Origin`.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "websocket" and not self._may_open(Headers(scope=scope)):
            app = WebSocketClose(FORBIDDEN)  # before the handshake: a 403
        await app(scope, receive, send)

    def _may_open(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._allowed or "*" in self._allowed:
            return True
        page = urlsplit(origin)
        # TLS may end before this server: of the two schemes neither is known to be right.
        default_port = "443" if page.scheme == "https" else "80"
        host = headers.get("host", "")
        return page.netloc != "" and page.netloc in (host, host.removesuffix(f":{default_port}"))


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks before it sends what a page of another origin wants."""
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    return "origin" in headers and "access-control-request-method" in headers


class PageHeaders:
    """Forbids a page of ours to load or send anything elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
                    headers.setdefault("Permissions-Policy", MICROPHONE)
                    headers.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        await self._app(scope, receive, send_with_headers)
