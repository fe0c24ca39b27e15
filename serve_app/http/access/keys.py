"""API keys: where they come from, and whose key a request was sent with.

A key is kept as its SHA-256. The configuration, the file and the environment may hold that hash in
place of the key.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import ConfigError
from serve_app.http.settings import HttpSettings

KEYS_VARIABLE = "STEP_AUDIO2_API_KEYS"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_NAMED = re.compile(r"([^:\s]+):\s*(\S.*)")
UNNAMED_DIGITS = 8  # of the hash, which name a key without a name


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, and whose it is."""

    name: str
    digest: bytes  # SHA-256 of the key


class ApiKeys:
    """All keys of the server; without any it is open."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """Raises ConfigError where one key has two names."""
        self._keys = tuple(dict.fromkeys(keys))
        self.names = frozenset(key.name for key in self._keys)
        names: dict[bytes, str] = {}
        for key in self._keys:
            if names.setdefault(key.digest, key.name) != key.name:
                raise ConfigError(f"{names[key.digest]} and {key.name} have the same API key")

    def __bool__(self) -> bool:
        return bool(self._keys)

    def owner_of(self, key: bytes) -> str | None:
        """The name of a key that a request brought; None if it is no key of the server."""
        digest = hashlib.sha256(key).digest()
        matches = [hmac.compare_digest(each.digest, digest) for each in self._keys]  # all of them
        return self._keys[matches.index(True)].name if any(matches) else None


def api_keys(settings: HttpSettings) -> ApiKeys:
    """The keys of the configuration, of its file and of the environment.

    Raises:
        ConfigError: one of them cannot be used; the message does not repeat it.
    """
    return ApiKeys((*configured(settings), *_in_file(settings), *_in_environment()))


def configured(settings: HttpSettings) -> Iterator[ApiKey]:
    """The keys that the configuration itself holds."""
    where, given = "the configuration's http.api_keys", settings.api_keys
    if isinstance(given, Mapping):
        for name, value in given.items():
            yield _key(value.get_secret_value(), name, f"{where}.{name}")
    else:
        for place, value in enumerate(given):
            yield _key(value.get_secret_value(), None, f"{where}[{place}]")


def _in_file(settings: HttpSettings) -> Iterator[ApiKey]:
    if settings.api_keys_file is None:
        return
    path = Path(settings.api_keys_file).expanduser()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8"
        raise ConfigError(f"http.api_keys_file {path} cannot be read: {why}") from None
    entries = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    keys = [
        _entry(line, f"line {number} of {path}")
        for number, line in entries
        if line and not line.startswith("#")
    ]
    if not keys:  # it was meant to close the server
        raise ConfigError(f"http.api_keys_file {path} holds no key")
    yield from keys


def _in_environment() -> Iterator[ApiKey]:
    for place, entry in enumerate(os.environ.get(KEYS_VARIABLE, "").split(), 1):
        yield _entry(entry, f"entry {place} of {KEYS_VARIABLE}")


def _entry(text: str, where: str) -> ApiKey:
    """A key of `NAME: VALUE` or of `VALUE` alone."""
    named = None if _HASH.fullmatch(text) else _NAMED.fullmatch(text)
    return _key(named[2], named[1], where) if named else _key(text, None, where)


def _key(value: str, name: str | None, where: str) -> ApiKey:
    """A key of its value or of `sha256:` and the value's hash."""
    if not value.strip():
        raise ConfigError(f"{where} is empty")
    hashed = _HASH.fullmatch(value)
    if value.startswith("sha256:") and not hashed:
        raise ConfigError(f"{where} is no hash: 64 hexadecimal digits must follow sha256:")
    digest = bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(value.encode()).digest()
    name = name or f"key-{digest.hex()[:UNNAMED_DIGITS]}"
    if not NAME.fullmatch(name):
        what = "letters, digits and . _ @ -, 64 at most"
        raise ConfigError(f"{where} has a name that is no name: it may have {what}")
    return ApiKey(name, digest)
