"""Where a server is, as a person writes it."""

from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from deployments.errors import ConfigError

API = "/v1"
SCHEMES = ("http", "https")


def server_url(given: str) -> str:
    """A server's address without the API's version: `http://host:port`.

    `host:port`, a slash at the end and `/v1` behind it are understood.

    Raises:
        ConfigError: it is no address of an HTTP server.
    """
    parts = _parts(given)
    path = parts.path.rstrip("/").removesuffix(API).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def api_url(given: str) -> str:
    """The address of an OpenAI-compatible API: `/v1` is added where there is no path.

    Raises:
        ConfigError: it is no address of an HTTP server.
    """
    parts = _parts(given)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or API}"


def unused_proxy(url: str) -> str | None:
    """A line about the environment's proxy for `url`; None where there is none.

    Our clients go past it, because a proxy would hold streams back.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.hostname or ""):
        return None
    return f"{parts.scheme}_proxy is not used: requests go to {url} directly"


def _parts(given: str) -> SplitResult:
    text = given.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port_is_wrong = parts.port == 0  # reading it raises ValueError where it is above 65535
    except ValueError as error:
        raise ConfigError(f"the base URL {given!r} cannot be read: {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname or " " in text:
        raise ConfigError(f"the base URL {given!r} is no address such as http://127.0.0.1:8000")
    if port_is_wrong:
        raise ConfigError(f"the base URL {given!r} has port 0, where no server can be")
    if parts.query or parts.fragment:
        raise ConfigError(f"the base URL {given!r} has a query, which an address has not")
    return parts
