"""What all turns of a conversation have in common, as a short key.

A Thinker that had the turns before has the beginning of the prompt in its cache. The key says which
requests begin alike; it is no identity of a user, and two who ask the same have the same.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from deployments.messages import AudioPart, Message, Part, Role, SpokenPart, TextPart, ToolCall

MOST_CHARACTERS = 1000  # of each part, from its beginning: the key must cost microseconds
MOST_SAMPLES = 500  # of each recording, evenly spread: 0.06 s apart in one of 30 s
KEY_BYTES = 8


def conversation_of(messages: Sequence[Message]) -> str:
    """The key of the conversation: of everything up to the user's first message."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for message in messages:
        digest.update(f"\n{message.role}".encode())
        for part in message.parts:
            digest.update(_sample(part))
        if message.role is Role.HUMAN:
            break
    return digest.hexdigest()


def _sample(part: Part) -> bytes:
    """Of a part as much as tells it from others."""
    match part:
        case TextPart(text):
            return f"\n{len(text)} {text[:MOST_CHARACTERS]}".encode(errors="surrogatepass")
        case AudioPart(samples):
            step = max(1, len(samples) // MOST_SAMPLES)
            return f"\n{len(samples)} ".encode() + np.ascontiguousarray(samples[::step]).tobytes()
        case SpokenPart(token_ids):
            return f"\n{token_ids[:MOST_CHARACTERS]}".encode()
        case ToolCall(name, arguments):
            return f"\n{name} {arguments[:MOST_CHARACTERS]}".encode(errors="surrogatepass")
