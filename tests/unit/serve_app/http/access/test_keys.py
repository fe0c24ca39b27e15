"""Where API keys come from, and whose a request's key is."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import ConfigError
from serve_app.http.access.keys import KEYS_VARIABLE, ApiKeys, api_keys
from serve_app.http.settings import HttpSettings

SECRET = "correct-horse-battery"


def hash_of(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def keys(**settings: Any) -> ApiKeys:
    return api_keys(HttpSettings.model_validate(settings))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)


def test_a_server_without_keys_is_open() -> None:
    assert not keys()


@pytest.mark.parametrize("given", [SECRET, hash_of(SECRET), hash_of(SECRET).upper().lower()])
def test_a_key_or_its_hash_may_stand_in_the_configuration(given: str) -> None:
    named = keys(api_keys={"anna": given})
    assert named.owner_of(SECRET.encode()) == "anna"
    assert named.owner_of(given.encode()) == ("anna" if given == SECRET else None)
    assert named.owner_of(b"") is None


def test_a_list_of_keys_gives_each_a_name_that_its_place_does_not_change() -> None:
    one, other = keys(api_keys=["one", SECRET]), keys(api_keys=[hash_of(SECRET), "one"])
    assert one.names == other.names and len(one.names) == 2
    assert one.owner_of(SECRET.encode()) == other.owner_of(SECRET.encode())
    assert one.owner_of(b"one") != one.owner_of(SECRET.encode())


def test_configuration_file_and_environment_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who: what\n\nben: {hash_of('bens')}\nben:bens-next\nunnamed\n")
    monkeypatch.setenv(KEYS_VARIABLE, f"carol:carols {hash_of('lone')}")
    all_of_them = keys(api_keys={"anna": SECRET}, api_keys_file=str(file))
    owners = [
        all_of_them.owner_of(key)
        for key in (SECRET.encode(), b"bens", b"bens-next", b"carols", b"lone", b"unnamed", b"who")
    ]
    assert owners[:4] == ["anna", "ben", "ben", "carol"]
    assert all(owner and owner.startswith("key-") for owner in owners[4:6])
    assert owners[6] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# none\n", "holds no key"),
        (f"ann/a: {SECRET}", "line 1 .* has a name that is no name"),
        (f"\nanna: sha256:{SECRET}", "line 2 .* is no hash"),
        (f"anna: {SECRET}\nben: {hash_of(SECRET)}", "anna and ben have the same API key"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_repeating_its_keys(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message) as refused:
        keys(api_keys_file=str(file))
    assert SECRET not in str(refused.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="/nowhere/keys cannot be read: No such file"):
        keys(api_keys_file="/nowhere/keys")


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"http.api_keys\[1\] is empty"):
        keys(api_keys=["one", " "])
