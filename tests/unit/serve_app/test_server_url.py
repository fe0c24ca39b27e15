"""Addresses as people write them."""

import pytest

from deployments.errors import ConfigError
from serve_app.server_url import api_url, server_url, unused_proxy

UNDERSTOOD = {
    "http://127.0.0.1:8000": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v1": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v1/": "http://127.0.0.1:8000",
    "127.0.0.1:8000": "http://127.0.0.1:8000",
    "localhost:8000/v1": "http://localhost:8000",
    "  speech.example  ": "http://speech.example",
    "https://speech.example/models/v1": "https://speech.example/models",
    "[::1]:8000": "http://[::1]:8000",
}
REFUSED = (
    "",
    "http://",
    "ftp://127.0.0.1",
    "http://127.0.0.1:99999",
    "127.0.0.1:99999",
    "http://127.0.0.1:port",
    "http://127.0.0.1:0",
    "http://[::1",
    "http://127.0.0.1:8000/?key=1",
    "not a server",
)


@pytest.mark.parametrize("given", UNDERSTOOD)
def test_scheme_slash_and_version_may_be_there_or_not(given: str) -> None:
    assert server_url(given) == UNDERSTOOD[given]
    assert api_url(given) == UNDERSTOOD[given] + "/v1"


def test_an_api_of_another_version_is_left_as_it_is() -> None:
    assert api_url("https://speech.example/openai/v2/") == "https://speech.example/openai/v2"


@pytest.mark.parametrize("given", REFUSED)
@pytest.mark.parametrize("read", [server_url, api_url])
def test_what_is_no_address_is_refused_in_one_line(given: str, read) -> None:
    with pytest.raises(ConfigError) as refused:
        read(given)
    assert "base URL" in str(refused.value) and "\n" not in str(refused.value)


def test_a_proxy_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    assert unused_proxy("http://speech.example") is None
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert "http_proxy is not used" in (unused_proxy("http://speech.example") or "")
    monkeypatch.setenv("no_proxy", "speech.example")
    assert unused_proxy("http://speech.example") is None
