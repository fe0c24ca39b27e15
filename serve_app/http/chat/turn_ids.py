"""What an `audio.id` is made of: token ids packed bit by bit, or a name, under a signature.

    audio_ + base64url(kind 1 byte | expiry 5 bytes | content | MAC 16 bytes)

    kind 1, content: bits an id takes (1 byte), then the token ids, that many bits each
    kind 2, content: 12 random bytes, by which a store keeps the answer

The MAC is HMAC-SHA256 over all of it and over the owner, whom the id itself does not name: an id
can be read by its owner alone. A turn of 10 s is 313 tokens: 716 characters with the 13 bits of
nano's vocabulary, 977 with the 18 bits of the published one.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from deployments.errors import SpokenTurnExpired, SpokenTurnInvalid

PREFIX = "audio_"
TOKENS, NAME = 1, 2  # kinds
HEAD_BYTES = 6
NAME_BYTES = 12
MAC_BYTES = 16
# A byte at least, so that the padding of the last one is never an id more; the most is more than
# any vocabulary needs.
MIN_BITS, MAX_BITS = 8, 24
MAX_CHARS = 12_000  # 120 s of speech at 31.25 tokens a second and 18 bits each are 11 300
DOMAIN = b"step-audio2 spoken turn"  # a key that signs other things too says nothing of these


@dataclass(frozen=True, slots=True)
class Opened:
    """What an id holds."""

    expires_at: int  # Unix time, seconds
    token_ids: tuple[int, ...] | None  # None: a store keeps them
    name: bytes = b""  # by which it does


class TurnIds:
    """Makes ids and reads them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """The first of `keys` signs; what any of them signed is valid."""
        self._keys = tuple(keys)

    def of_tokens(self, token_ids: Sequence[int], expires_at: int, owner: str) -> str:
        """An id that holds a whole spoken answer."""
        return _text(self.sealed(token_ids, expires_at, owner))

    def of_name(self, expires_at: int, owner: str) -> str:
        """An id for an answer whose tokens are yet to come."""
        body = _head(NAME, expires_at) + secrets.token_bytes(NAME_BYTES)
        return _text(body + self._mac(self._keys[0], body, owner))

    def sealed(
        self, token_ids: Sequence[int], expires_at: int, owner: str, name: bytes = b""
    ) -> bytes:
        """Token ids as a store keeps them by `name`, or as an id holds them, without one."""
        body = _head(TOKENS, expires_at) + _packed(token_ids)
        return body + self._mac(self._keys[0], body, owner, name)

    def read(self, turn_id: str, owner: str, now: float) -> Opened:
        """What an id holds.

        Raises:
            SpokenTurnInvalid: it is too long, damaged, or not signed for `owner` by a key.
            SpokenTurnExpired: its time is over.
        """
        if len(turn_id) > MAX_CHARS:
            raise SpokenTurnInvalid(f"it is longer than {MAX_CHARS} characters")
        return self.open(_bytes(turn_id), owner, now)

    def open(self, sealed: bytes, owner: str, now: float, name: bytes = b"") -> Opened:
        """The same of bytes; those that a store kept by `name` are valid under that name alone."""
        body, mac = sealed[:-MAC_BYTES], sealed[-MAC_BYTES:]
        macs = [self._mac(key, body, owner, name) for key in self._keys]
        if len(body) < HEAD_BYTES or not any(hmac.compare_digest(mac, ours) for ours in macs):
            raise SpokenTurnInvalid("this server has not signed it for this caller")
        kind, content = body[0], body[HEAD_BYTES:]
        expires_at = int.from_bytes(body[1:HEAD_BYTES], "big")
        if expires_at <= now:
            raise SpokenTurnExpired(expires_at)
        if kind == NAME:
            return Opened(expires_at, None, content)
        if kind == TOKENS:
            return Opened(expires_at, _unpacked(content))
        raise SpokenTurnInvalid("a newer server has made it")

    @staticmethod
    def _mac(key: bytes, body: bytes, owner: str, name: bytes = b"") -> bytes:
        parts = (DOMAIN, owner.encode(), name, body)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(key, message, sha256)[:MAC_BYTES]


def _head(kind: int, expires_at: int) -> bytes:
    return bytes([kind]) + expires_at.to_bytes(HEAD_BYTES - 1, "big")


def _text(data: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(turn_id: str) -> bytes:
    encoded = turn_id.removeprefix(PREFIX)
    if encoded == turn_id:
        raise SpokenTurnInvalid(f"it does not begin with {PREFIX!r}")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SpokenTurnInvalid("it is not base64url") from None


def _packed(token_ids: Sequence[int]) -> bytes:
    bits = max(MIN_BITS, max(token_ids, default=0).bit_length())
    places = np.arange(bits - 1, -1, -1)
    ids = np.asarray(token_ids, dtype=np.int64).reshape(-1, 1)  # [N, 1]
    return bytes([bits]) + np.packbits(((ids >> places) & 1).astype(np.uint8)).tobytes()


def _unpacked(content: bytes) -> tuple[int, ...]:
    bits = content[0] if content else 0
    if not MIN_BITS <= bits <= MAX_BITS:
        raise SpokenTurnInvalid(f"its token ids have {bits} bits")
    flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8, offset=1))
    rows = flat[: len(flat) // bits * bits].reshape(-1, bits)  # [N, bits]
    values = rows.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))
    return tuple(values.tolist())
