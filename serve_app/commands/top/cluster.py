"""Asks Ray's dashboard what it serves, and every node for its metrics, as Prometheus does."""

import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from deployments.errors import ConfigError
from serve_app.server_url import server_url

ANSWERS_WITHIN_S = 10.0  # the dashboard asks Serve's controller, which a busy machine delays
ASKED_AT_ONCE = 16  # nodes
READ = ("ray_step_audio2_", "ray_vllm_num_requests_", "ray_vllm_kv_cache_usage_", "ray_node_g")
"""What metrics that are read begin with. Ray's own are twenty times as many."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cluster said at one moment."""

    at: float  # seconds since 1970
    details: Mapping[str, Any]  # `ray.serve.schema.ServeInstanceDetails`
    samples: tuple[Sample, ...]
    silent: tuple[str, ...] = ()  # addresses of nodes that gave no metrics


class Cluster:
    """A running Ray, known by the address of its dashboard."""

    def __init__(self, dashboard: str, transport: httpx.BaseTransport | None = None) -> None:
        """Raises ConfigError where `dashboard` is no address."""
        self._url = server_url(dashboard)
        self._client = httpx.Client(timeout=ANSWERS_WITHIN_S, trust_env=False, transport=transport)
        self._token = _token()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self) -> Reading:
        """Ask everybody once.

        Raises:
            ConfigError: the dashboard does not answer, or it is not Ray's.
        """
        details = self._ask("/api/serve/applications/")
        if not isinstance(details, Mapping) or "applications" not in details:
            raise ConfigError(f"{self._url} is not Ray's dashboard: it names no applications")
        addresses = _addresses(self._ask("/api/prometheus/sd"))
        with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
            pages = dict(zip(addresses, threads.map(self._page, addresses), strict=True))
        samples = [one for page in pages.values() if page is not None for one in samples_of(page)]
        silent = tuple(address for address, page in pages.items() if page is None)
        return Reading(time.time(), details, tuple(samples), silent)

    def _ask(self, path: str) -> Any:
        try:
            answer = self._client.get(self._url + path, headers=self._token)
        except httpx.TimeoutException as error:
            raise ConfigError(
                f"Ray's dashboard at {self._url} does not answer within {ANSWERS_WITHIN_S:g} s"
            ) from error
        except httpx.HTTPError as error:
            raise ConfigError(
                f"no Ray dashboard answers at {self._url} ({_why(error)}); start the server, or "
                "name the dashboard with --dashboard"
            ) from error
        if answer.status_code in (401, 403):
            raise ConfigError(
                f"Ray's dashboard at {self._url} refuses the token of this cluster: set "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            )
        try:
            return answer.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:
            raise ConfigError(
                f"{self._url}{path} answers {answer.status_code}: that is not Ray's dashboard, or "
                "Ray Serve is starting"
            ) from error

    def _page(self, address: str) -> str | None:
        """What a node exports; None where it does not answer."""
        try:
            return self._client.get(f"http://{address}/metrics").raise_for_status().text
        except httpx.HTTPError:
            return None


def samples_of(page: str) -> list[Sample]:
    """Those of a page of metrics that are read, as `READ` says."""
    lines = "\n".join(line for line in page.splitlines() if line.startswith(READ))
    families = text_string_to_metric_families(lines + "\n")
    return [sample for family in families for sample in family.samples]


def _addresses(discovered: Any) -> list[str]:
    """Of the nodes' pages, of what Ray gives to Prometheus' service discovery."""
    groups = discovered if isinstance(discovered, list) else []
    return [address for group in groups for address in group.get("targets", ())]


def _token() -> dict[str, str]:
    """The header that Ray's dashboard asks for; none where this user has no token."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

    return AuthenticationTokenLoader.instance().get_token_for_http_header(ignore_auth_mode=True)


def _why(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError | socket.gaierror):
        cause = cause.__cause__ or cause.__context__
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error) or repr(error)
