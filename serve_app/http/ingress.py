"""The HTTP entry of the graph: the FastAPI application in a Ray Serve deployment."""

import asyncio

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.heap import HeapTender, keep_large_blocks_apart
from deployments.metrics import recorder
from deployments.replica_logs import complaints_shown, show_in_replica_log
from deployments.resume import Recovery
from deployments.voice_store import VoiceStore
from serve_app.graph.activity import Activity
from serve_app.graph.handles import ServeBackend
from serve_app.graph.stopping import StopWatch
from serve_app.http.access.gate import access_of
from serve_app.http.application import create_http_app
from serve_app.http.chat.spoken_turns import spoken_turns_of
from serve_app.http.dependencies import Server
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.rehearsal import rehearse
from serve_app.http.settings import HttpSettings, require_shared_turns

FEW_ANSWERS = 4  # under way: a full collection visits 6 000 objects then, with 64 it visits 27 000


@serve.deployment(name="Ingress")
@serve.ingress()
class Ingress:
    """Owns the HTTP application; each request is a generator of its own."""

    def __init__(
        self,
        settings: HttpSettings,
        thinker: DeploymentHandle,
        token2wav: DeploymentHandle | None,
        voice_store: str | None = None,
        recovery: Recovery = Recovery(),  # noqa: B008
    ) -> None:
        keep_large_blocks_apart()
        show_in_replica_log()
        show_in_replica_log("serve_app")
        # The configuration is checked before, but Serve's own `deployments:` section is not in it.
        with complaints_shown():
            replicas = serve.get_replica_context().world_size
            require_shared_turns(replicas, settings)
            self._turns = spoken_turns_of(settings)
            self._access = access_of(settings, replicas)
            self._voice_store = VoiceStore(voice_store) if voice_store else None
        self._settings = settings
        self._heap = HeapTender()
        self._stop_watch = StopWatch()
        self._activity = Activity()
        self._backend = ServeBackend(thinker, token2wav, recovery)

    def __serve_build_asgi_app__(self) -> FastAPI:  # Ray Serve calls it after __init__, in the loop
        app = create_http_app(
            self._backend,
            self._settings,
            self._turns,
            self._voice_store,
            self._access,
            recorder(),
        )
        server: Server = app.state.server
        self._activity = server.activity
        rehearsal = rehearse(app, self._backend, self._settings)
        server.readiness.rehearsal = asyncio.create_task(rehearsal)
        self._draining = asyncio.create_task(self._drain(app.state.sessions))
        return app

    async def check_health(self) -> None:  # Ray Serve calls it every `health_check_period_s`
        self._stop_watch.asked()
        self._heap.tend(idle=self._activity.answers <= FEW_ANSWERS)

    async def _drain(self, sessions: Sessions) -> None:
        """End the sessions when Serve stops this replica, which waits for them otherwise."""
        await self._stop_watch.stopped()
        sessions.drain()
