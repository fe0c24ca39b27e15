"""The trace of each HTTP request: it begins here, or where the client's began."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import tracing
from serve_app.http.access.gate import is_from_inside
from serve_app.http.middleware import HEALTH
from serve_app.http.serve_middlewares import RawHeaders

TRACEPARENT = tracing.TRACEPARENT.encode()


class RequestTrace:
    """Sets `request.state.trace`: what the parts of this request have as their parent, or "".

    It stands behind `RequestId`. The parent of a request is Ray Serve's span of it. That span
    begins a trace of its own where the request came through a proxy of Serve's that traces nothing:
    then, and where there is no such span, the parent is what the client names in `traceparent`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        scope["state"]["trace"] = ""
        if not tracing.is_on() or scope["path"] == HEALTH or is_from_inside(scope):
            return await self._app(scope, receive, send)
        parent = tracing.parent_within(_clients(scope["headers"]))
        method = scope.get("method", "WEBSOCKET")
        with tracing.span(method, scope["state"]["request_id"], parent) as span:
            scope["state"]["trace"] = span.traceparent
            try:
                await self._app(scope, receive, _noting(send, span))
            finally:
                if (route := scope.get("route")) is not None:
                    span.name(f"{method} {route.path}")


def _clients(headers: RawHeaders) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == TRACEPARENT), "")


def _noting(send: Send, span: tracing.Span) -> Send:
    """`send`; the span notes the status, and the first byte of the body or the first frame."""
    has_begun = False

    async def send_and_note(message: Message) -> None:
        nonlocal has_begun
        if message["type"] == "http.response.start":
            span.describe(status=message["status"])
        elif not has_begun and (message.get("body") or message["type"] == "websocket.send"):
            has_begun = True
            span.note("first byte")
        await send(message)

    return send_and_note
