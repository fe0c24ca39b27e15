"""Lines on their way: each is sent until the server has answered it."""

import asyncio
import random
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import httpx

from deployments.errors import ConfigError, StepAudioError
from serve_app.commands.batch.answers import Answer, message_of
from serve_app.commands.batch.endpoints import LineRefused, UnreadableAnswer
from serve_app.commands.batch.lines import Line
from serve_app.commands.batch.sounds import Sounds
from serve_app.whole_files import reason

ATTEMPTS = 3  # at a line that breaks off or finds a fault of the server
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0  # before the next attempt, where the server names none
TIMEOUT_S = httpx.Timeout(900.0, connect=10.0)  # live requests may keep one waiting for long
NOT_NOW = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class ServerGone(StepAudioError):
    """The server has answered nothing for too long. The run ends; another one goes on."""


class _TryAgain(Exception):
    """The same request may do better a little later."""

    def __init__(self, why: str, pause_s: float | None = None, *, counts: bool = False) -> None:
        super().__init__(why)
        self.pause_s = pause_s  # what the server asks for
        self.counts = counts  # whether the line itself may be at fault


class Patience:
    """How long the server may give no sign, over all lines of a run."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._heard_at_s = time.monotonic()

    def heard(self) -> None:
        """The server has answered."""
        self._heard_at_s = time.monotonic()

    def require(self, why: str) -> None:
        """Raise ServerGone where it has been silent for too long."""
        if time.monotonic() - self._heard_at_s > self._limit_s:
            raise ServerGone(f"the server has not answered for {self._limit_s:g} s: {why}")


class Sender:
    """Sends one line after another over a connection of its own."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        patience: Patience,
        recordings: Path,
        sounds: Sounds,
    ) -> None:
        self._http = http
        self._patience = patience
        self._recordings = recordings
        self._sounds = sounds

    async def answer(self, line: Line) -> Answer:
        """What the server answers, whatever it is; a full or absent server is asked again.

        Raises:
            ConfigError: the server refuses the API key.
            ServerGone: it has given no answer to any line for too long.
            OSError: a sound cannot be written.
        """
        pause_s, faults = FIRST_PAUSE_S, 0
        while True:
            try:
                return await self._attempt(line)
            except LineRefused as refused:
                return Answer(line.custom_id, error=str(refused))
            except _TryAgain as again:
                faults += again.counts
                if faults == ATTEMPTS:
                    return Answer(line.custom_id, error=f"{again}, {ATTEMPTS} times")
                self._patience.require(str(again))
                wait_s = pause_s if again.pause_s is None else again.pause_s
            await asyncio.sleep(wait_s * random.uniform(1, 1.2))  # not all at one moment
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _attempt(self, line: Line) -> Answer:
        response = await self._response(line)
        request_id = response.headers.get("x-request-id")
        if response.status_code != HTTPStatus.OK:
            self._require_final(response)
            return Answer(line.custom_id, response.status_code, request_id, _error(response))
        try:
            body = await line.endpoint.answer(response, line.custom_id, self._sounds)
        except UnreadableAnswer as error:
            raise _TryAgain(str(error), counts=True) from None
        return Answer(line.custom_id, response.status_code, request_id, body)

    async def _response(self, line: Line) -> httpx.Response:
        try:
            with line.endpoint.request(line.body, self._recordings) as arguments:
                response = await self._http.post(line.endpoint.url, **arguments)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _TryAgain(f"no connection: {error}") from None
        except httpx.TransportError as error:
            raise _TryAgain(f"the connection broke ({type(error).__name__})", counts=True) from None
        except OSError as error:
            raise LineRefused(f"body.file cannot be read: {reason(error)}") from None
        if response.status_code not in NOT_NOW:
            self._patience.heard()
        return response

    def _require_final(self, response: httpx.Response) -> None:
        """Raise where the same request may be answered otherwise, or none ever will be."""
        status, told = response.status_code, message_of(_error(response))
        if status == HTTPStatus.UNAUTHORIZED:
            raise ConfigError(f"the server refuses the API key: {told}; see --api-key")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status in NOT_NOW:
            raise _TryAgain(f"{status}: {told}", _retry_after_s(response.headers))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _TryAgain(f"{status}: {told}", counts=True)


def _error(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return response.text


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):  # a date is never ours
        return None
