"""The file of one uploaded voice: a line of JSON that describes it, then the recording as it came.

A file's name is a hash of the voice's owner and name: so a name is free or taken, whichever replica
asks, and nothing that a caller writes becomes part of a path. An id holds the same hash, so that a
voice is found by its name and by its id without reading any other.
"""

import hashlib
import re
import secrets
import time
import unicodedata

from pydantic import TypeAdapter, ValidationError

from deployments.messages import StoredVoice

SUFFIX = ".voice"
HEAD_BYTES = 4096
"""The description ends before it: 100 characters of name and 100 of owner take 6 at most each."""

MAX_NAME_CHARS = 100
KEY_DIGITS, NONCE_DIGITS = 24, 16  # hexadecimal: 96 bits of the hash, 64 that nobody guesses
_ID = re.compile(rf"voice_([0-9a-f]{{{KEY_DIGITS}}})[0-9a-f]{{{NONCE_DIGITS}}}")
_STORED_VOICE = TypeAdapter(StoredVoice)  # ignores fields that a later version adds


def tidy_name(name: str) -> str:
    """The form in which names are kept and compared: composed characters, no space around them."""
    return unicodedata.normalize("NFC", name).strip()


def key_of_name(name: str, owner: str) -> str:
    """Where the voice of that name and owner lies."""
    return hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:KEY_DIGITS]


def key_of_id(voice_id: str) -> str | None:
    """Where the voice of that id lies; None for what is no id."""
    match = _ID.fullmatch(voice_id)
    return match and match[1]


def is_id(text: str) -> bool:
    """Whether `text` can be the id of a voice, and so cannot be a name."""
    return key_of_id(text) is not None


def new_voice(name: str, owner: str, recording: bytes) -> StoredVoice:
    """A voice that is to be stored; no other has its id, even if it has its name."""
    return StoredVoice(
        id=f"voice_{key_of_name(name, owner)}{secrets.token_hex(NONCE_DIGITS // 2)}",
        name=name,
        owner=owner,
        created_at=int(time.time()),
        sha256=hashlib.sha256(recording).hexdigest(),
    )


def to_file(voice: StoredVoice, recording: bytes) -> bytes:
    """The content of its file."""
    return _STORED_VOICE.dump_json(voice) + b"\n" + recording


def voice_in(data: bytes) -> StoredVoice | None:
    """The voice that a file describes, of which `data` is the beginning; None if it is no voice."""
    try:
        voice = _STORED_VOICE.validate_json(data[:HEAD_BYTES].partition(b"\n")[0])
    except ValidationError:
        return None
    return voice if key_of_id(voice.id) else None


def recording_in(data: bytes, voice: StoredVoice) -> bytes | None:
    """The recording that a whole file holds; None if that is another one than `voice` has."""
    recording = data.partition(b"\n")[2]
    return recording if hashlib.sha256(recording).hexdigest() == voice.sha256 else None
