"""Where a request brings its key: a header or, in browsers' WebSockets, a subprotocol."""

from starlette.datastructures import Headers
from starlette.types import Scope

# Browsers cannot set headers of a WebSocket. OpenAI's clients offer the key as a subprotocol there.
SUBPROTOCOL_KEY = "openai-insecure-api-key."


def key_of(scope: Scope) -> bytes:
    """The very bytes of the key; none where there is no key."""
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1")
    for offered in scope.get("subprotocols", ()):
        if offered.startswith(SUBPROTOCOL_KEY):
            return str(offered).removeprefix(SUBPROTOCOL_KEY).encode("latin-1", "replace")
    return b""
