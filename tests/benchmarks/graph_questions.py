"""What the server's process can be asked about the graph that it serves, beside HTTP.

A question is a line of JSON with a number, the name of one of `QUESTIONS` and its arguments; the
answer goes out as an event.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, cast
from unittest.mock import patch

from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.stages import ThinkerEngine
from serve_app import app as graph
from serve_app.bench.stages.thinker import measure_thinker
from serve_app.config import AppConfig
from tests.benchmarks.loop_watch import watched
from tests.benchmarks.step_log import logged

DEPLOYMENTS = {  # by their names in Serve, what `serve_app.app` calls them
    "Ingress": "Ingress",
    "Token2Wav": "Token2WavDeployment",
    "Thinker": "ThinkerDeployment",
}


def watched_app(config: AppConfig) -> Any:
    """The graph as it serves, whose replicas can be asked what they do."""
    replaced = {name: watched(getattr(graph, name)) for name in DEPLOYMENTS.values()}
    replaced["Token2WavDeployment"] = logged(replaced["Token2WavDeployment"])
    with patch.multiple(graph, **replaced):
        return graph.app(config)


async def answer_until_stdin_ends(tell: Callable[..., None], application: str) -> None:
    """Answer one question after another; `tell` sends an event."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        question = QUESTIONS[asked["question"]]
        answer, error = None, None
        try:
            answer = await question(application, **asked["arguments"])
        except Exception as failure:  # the next question may have an answer
            error = f"{type(failure).__name__}: {failure}"
        tell("answer", number=asked["number"], answer=answer, error=error)


async def loops(application: str, seconds: float) -> dict[str, Any]:
    """For each deployment, what its replica's event loop was held up by in the next `seconds`."""
    handles = {name: _handle(name, application) for name in DEPLOYMENTS}
    reports = await asyncio.gather(*(h.watch_loop.remote(seconds) for h in handles.values()))
    return dict(zip(handles, reports, strict=True))


async def steps(application: str) -> list[dict[str, Any]]:
    """Token2Wav's steps since the last time, as `tests.benchmarks.step_log` notes them."""
    taken: list[dict[str, Any]] = await _handle("Token2Wav", application).take_steps.remote()
    return taken


async def thinker(
    application: str, requests: int, tokens: int, sampling: dict[str, Any], salt: str
) -> dict[str, Any]:
    """`measure_thinker` through the Thinker's handle, while Token2Wav has nothing to do.

    `sampling` replaces fields of the requests' sampling options.
    """
    engine = cast(ThinkerEngine, _HandleEngine(_handle("Thinker", application), sampling))
    return asdict(await measure_thinker(engine, requests, tokens, salt=salt))


QUESTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "loops": loops,
    "steps": steps,
    "thinker": thinker,
}


class _HandleEngine:
    """As much of a `ThinkerEngine` as a measurement needs, over the deployment's handle."""

    def __init__(self, handle: Any, sampling: dict[str, Any]) -> None:
        self._handle = handle.options(stream=True, _by_reference=False)
        self._sampling = sampling

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        sampling = replace(request.sampling, **self._sampling)
        async for delta in self._handle.generate.remote(replace(request, sampling=sampling)):
            yield delta


def _handle(deployment: str, application: str) -> Any:
    from ray import serve

    return serve.get_deployment_handle(deployment, application)
