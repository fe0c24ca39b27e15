"""Client secrets: short-lived tokens that a browser may hold, in place of an API key.

    ek_ + base64url(zlib(JSON of owner, expiry and session) | MAC 16 bytes)

The token itself says whose it is and how its sessions begin, so any replica that has the signing
key honours it, and nothing is stored. It opens WebSockets and nothing else.
"""

import base64
import binascii
import hmac
import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from deployments.errors import RequestError

PREFIX = "ek_"
MAC_BYTES = 16
DOMAIN = b"step-audio2 client secret"  # a key that signs other things too says nothing of these
# It is sent in a header. HAProxy and uvicorn take 16 and 64 KiB of headers.
MAX_CHARS = 8000


@dataclass(frozen=True, slots=True)
class Secret:
    """What a token holds."""

    owner: str  # the name of the API key that it was made with
    expires_at: int  # Unix time, seconds
    session: dict[str, Any] = field(default_factory=dict)  # how its sessions begin


class ClientSecrets:
    """Makes tokens and reads them."""

    def __init__(self, keys: Sequence[bytes], clock: Callable[[], float] = time.time) -> None:
        """The first of `keys` signs; what any of them signed is valid."""
        self._keys = tuple(keys)
        self._clock = clock

    def make(self, secret: Secret) -> str:
        """The token of `secret`.

        Raises:
            RequestError: its session is too long for a header.
        """
        content = [secret.owner, secret.expires_at, secret.session]
        body = zlib.compress(json.dumps(content, separators=(",", ":")).encode())
        sealed = body + _mac(self._keys[0], body)
        token = PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        if len(token) > MAX_CHARS:
            message = "the session is too long for a client secret: send it in session.update"
            raise RequestError(message, param="session")
        return token

    def read(self, token: str) -> Secret | None:
        """What a token holds; None unless this server made it and its time is not over."""
        encoded = token.removeprefix(PREFIX)
        if encoded == token or len(token) > MAX_CHARS:
            return None
        try:
            sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = sealed[:-MAC_BYTES], sealed[-MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, body)) for key in self._keys):
            return None
        secret = Secret(*json.loads(zlib.decompress(body)))
        return secret if self._clock() < secret.expires_at else None


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, DOMAIN + body, sha256)[:MAC_BYTES]
