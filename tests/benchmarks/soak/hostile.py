"""What hostile clients of a soak do, each with the statuses that it may get."""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx

from tests.benchmarks.hostile_sounds import HostileSound, hostile_sounds
from tests.benchmarks.soak.bodies import bodies
from tests.benchmarks.soak.damage import DAMAGES
from tests.benchmarks.soak.outcomes import Outcome
from tests.benchmarks.soak.target import Target, user
from tests.benchmarks.soak.wire import wires
from tests.integration.http.hostile import Hostile as Drawn
from tests.integration.http.hostile import fault_of, hostile_request
from tests.unit.deployments.audio_decoding.recordings import MAKERS, make_recording

FULL = 429
# 422 says that a transcript has no end: nano was never taught what a tone is.
READ_OR_REFUSED = frozenset({200, 400, 422})
TONE_S = 0.5
DRAWN_PER_NAMED = 0.5  # how often a request is drawn, for one that has a name
KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"}
)  # uvicorn refuses others, in plain text
Send = Callable[[Target, random.Random], Awaitable[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a hostile client does."""

    name: str
    allowed: frozenset[int]
    send: Send  # gives the status, and the answer or what was sent

    async def outcome(self, target: Target, draw: random.Random) -> Outcome:
        try:
            status, of = await self.send(target, draw)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            status, of = 0, f"{type(error).__name__}: {error}"
        allowed = status in self.allowed or status == FULL
        return Outcome(self.name, status, None if allowed else "not a status that it may get", of)


def acts() -> list[Act]:
    """Everything that has a name, once."""
    return [*_sounds(), *_damaged(), *_bodies(), *_wires()]


async def drawn(target: Target, draw: random.Random) -> Outcome:
    """A request of the generator that the tests of the HTTP surface use."""
    request = hostile_request(draw)
    while request.method not in KNOWN_METHODS:
        request = hostile_request(draw)
    body = request.body.replace(b'"anna"', b'"%s"' % target.voices[0].encode())
    try:
        answer = await target.http.request(
            request.method, request.path, content=body, headers=request.headers
        )
    except (httpx.LocalProtocolError, httpx.InvalidURL):  # the client does not send it
        return Outcome("drawn, never sent", 0)
    except httpx.HTTPError as error:
        return Outcome(f"drawn, {_kind(request)}", 0, type(error).__name__, repr(request))
    wrong = fault_of(request, answer)
    return Outcome(f"drawn, {_kind(request)}", answer.status_code, wrong, repr(request))


def _kind(request: Drawn) -> str:
    return "form" if request.body.startswith(b"--b") else "JSON or other"


def _sounds() -> Iterator[Act]:
    for sound in hostile_sounds():
        for name, send in (("transcription", _transcribed), ("chat", _chatted)):
            yield Act(f"{sound.name}, {name}", sound.allowed, send(sound))


def _transcribed(sound: HostileSound) -> Send:
    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        return told(await target.transcribe(sound.wav))

    return send


def _chatted(sound: HostileSound) -> Send:
    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        return told(await target.chat(user(sound.wav), max_completion_tokens=20))

    return send


def _damaged() -> Iterator[Act]:
    """A recording of some container, damaged in one of the ways."""
    for how, damage in DAMAGES.items():

        async def send(
            target: Target, draw: random.Random, damage: Callable[..., bytes] = damage
        ) -> tuple[int, str]:
            container, seed = draw.choice(sorted(MAKERS)), draw.randrange(1 << 30)
            data = damage(make_recording(container, TONE_S), random.Random(seed))
            status, text = told(await target.transcribe(data))
            return status, f"{container}, seed {seed}: {text}"

        yield Act(f"recording, {how}", READ_OR_REFUSED, send)


def _bodies() -> Iterator[Act]:
    for name, method, path, content, headers, allowed in bodies():

        async def send(
            target: Target,
            draw: random.Random,
            method: str = method,
            path: str = path,
            content: Callable[[Target], bytes] = content,
            headers: dict[str, str] = headers,
        ) -> tuple[int, str]:
            http = target.http
            return told(await http.request(method, path, content=content(target), headers=headers))

        yield Act(name, allowed, send)


def _wires() -> Iterator[Act]:
    for name, allowed, send in wires():
        yield Act(name, allowed, send)


def told(answer: httpx.Response) -> tuple[int, str]:
    """An answer's status and the beginning of its text."""
    kind = answer.headers.get("content-type", "")
    return answer.status_code, "" if kind.startswith("audio/") else answer.text[:400]
