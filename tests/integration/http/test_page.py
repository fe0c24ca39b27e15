"""The page at `/`: what it loads, what it may load, and the server's load."""

import asyncio
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx

from deployments import metrics
from deployments.metrics import Recorder, Unrecorded
from serve_app.graph.activity import Activity, CountedBackend, NotingRecorder
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL, eventually

STATIC = Path("serve_app/http/talk_page/static")
LARGEST = 150_000  # bytes, of all files
SPEECH = {"model": MODEL, "input": "Good morning", "response_format": "pcm"}
IMPORTS = re.compile(r'(?:from|import\() ?"\./([^"]+)"|new URL\("([^"]+\.js)", import\.meta')


async def client_of(**settings: Any) -> tuple[Graph, httpx.AsyncClient]:
    graph = Graph(**settings)
    await graph.backend.start()
    transport = httpx.ASGITransport(graph.app, raise_app_exceptions=False)
    return graph, httpx.AsyncClient(transport=transport, base_url="http://server")


async def test_everything_that_the_page_loads_is_served(raw: httpx.AsyncClient) -> None:
    page = await raw.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    waiting = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.text))
    seen: set[str] = set()
    while waiting - seen:
        path = (waiting - seen).pop()
        seen.add(path)
        answer = await raw.get(str(page.url.join(path)))
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-cache"
        for names in IMPORTS.findall(answer.text):
            waiting.add("page/" + "".join(names))
    assert {path.removeprefix("page/") for path in seen} | {"index.html"} == {
        file.name for file in STATIC.iterdir()
    }


def test_the_page_is_smaller_than_150_kilobytes() -> None:
    assert sum(file.stat().st_size for file in STATIC.iterdir()) < LARGEST


async def test_the_page_may_load_nothing_from_elsewhere(raw: httpx.AsyncClient) -> None:
    page = await raw.get("/")
    header = page.headers["content-security-policy"]
    policy = dict(part.split(" ", 1) for part in header.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"https?:|\*|unsafe", header)
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""["'(]\s*(?:https?:)?//\w""", text), file.name
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|<style|style=", page.text)


async def test_the_page_needs_no_key_but_the_load_does() -> None:
    _, client = await client_of(api_keys=["secret"])
    async with client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/page/main.js")).status_code == 200
        assert (await client.get("/v1/load")).status_code == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.get("/v1/load", headers=key)).status_code == 200


async def test_head_of_the_page_answers_where_get_does(raw: httpx.AsyncClient) -> None:
    for path in ("/", "/page/main.js", "/v1/load"):
        assert (await raw.head(path)).status_code == 200


async def test_the_load_counts_answers_while_they_are_made() -> None:
    graph, client = await client_of(seconds_per_delta=0.02)
    async with client:
        before = (await client.get("/v1/load")).json()
        assert (before["spoken_answers"], before["text_answers"]) == (0, 0)
        assert "first_sound_s" not in before
        asking = asyncio.create_task(client.post("/v1/audio/speech", json=SPEECH))
        activity = graph.app.state.server.activity
        assert await eventually(lambda: activity.spoken_answers == 1)
        assert (await client.get("/v1/load")).json()["spoken_answers"] == 1
        assert (await asking).status_code == 200
        after = (await client.get("/v1/load")).json()
    assert after["spoken_answers"] == 0
    assert 0 < after["first_sound_s"] < 5
    assert after["real_time_factor"] > 0
    assert after["processors"]["count"] >= 1 and 0 <= after["processors"]["busy"] <= 1


async def test_an_answer_that_is_left_is_not_under_way() -> None:
    activity = Activity()
    backend = CountedBackend(ScriptedBackend("one", "two"), activity)  # type: ignore[arg-type]
    for answer in (backend.speech(Mock()), backend.text(Mock())):
        await anext(answer)
        assert activity.answers == 1
        await answer.aclose()
        assert activity.answers == 0


def test_figures_are_recorded_and_the_shown_ones_remembered() -> None:
    recorded: list[Any] = []

    class Recording(Unrecorded):
        def record(self, metric: Any, value: float = 1.0, **tags: str) -> None:
            recorded.append((metric.name, value, tags))

    activity = Activity()
    recorder: Recorder = NotingRecorder(Recording(), activity)
    for value in range(100):
        recorder.record(metrics.FIRST_SOUND, value)
    recorder.record(metrics.REFUSED, reason="full")
    assert len(recorded) == 101 and recorded[-1][2] == {"reason": "full"}
    assert activity.first_sounds_s == tuple(range(68, 100))
    assert activity.real_time_factors == ()
