"""The keys that sign `audio.id`s and client secrets: configured, from a file, or made up."""

import secrets
from pathlib import Path

from deployments.errors import ConfigError
from serve_app.http.settings import HttpSettings

MIN_KEY_CHARS = 16  # `openssl rand -base64 32` writes 44


def signing_keys(settings: HttpSettings) -> tuple[bytes, ...]:
    """Every key that verifies; the first one signs.

    Raises:
        ConfigError: the file cannot be read or holds no key, or a key is too short.
    """
    keys = [key.get_secret_value() for key in settings.spoken_turn_keys]
    if settings.spoken_turn_keys_file is not None:
        keys += _keys_in(settings.spoken_turn_keys_file)
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        raise ConfigError(
            f"a key of http.spoken_turn_keys has less than {MIN_KEY_CHARS} characters; "
            "`openssl rand -base64 32` makes one"
        )
    return tuple(key.encode() for key in keys) or (secrets.token_bytes(32),)


def _keys_in(path: str) -> list[str]:
    """The keys of a file, one a line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"http.spoken_turn_keys_file cannot be read: {error}") from error
    if not lines:
        raise ConfigError(f"http.spoken_turn_keys_file {path} holds no key")
    return lines
