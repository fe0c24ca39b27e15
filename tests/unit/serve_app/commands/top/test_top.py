"""`step-audio2 top`: what it reads of a cluster, and what it says where there is none."""

import json
from collections import deque
from dataclasses import replace
from io import StringIO

import httpx
import pytest
from rich.console import Console

from deployments import metrics
from deployments.errors import ConfigError
from serve_app.commands import cli
from serve_app.commands.serving.listeners import free_port
from serve_app.commands.top import command
from serve_app.commands.top.cluster import Cluster, Reading
from serve_app.commands.top.command import as_values
from serve_app.commands.top.screen import screen
from serve_app.commands.top.view import Gpu, Resume, View, view_of
from tests.unit.serve_app.commands.top.stand_in import (
    DASHBOARD,
    NODES,
    StandIn,
    application,
    counted,
    histogram,
)


def seen(stand_in: StandIn, wanted: str | None = None) -> View:
    with Cluster(DASHBOARD, stand_in) as cluster:
        return view_of(cluster.read(), wanted)


def shown(view: View, complaint: str | None = None) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(screen(view, complaint))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def view() -> View:
    return seen(StandIn(application()))


def test_each_stage_has_its_replicas_and_what_they_do(view) -> None:
    stages = {stage.name: stage for stage in view.stages}
    assert [(one.running, one.wanted) for one in stages.values()] == [(1, 1), (1, 2), (1, 1)]
    (thinker,) = stages["Thinker"].replicas
    assert (thinker.requests_running, thinker.requests_waiting) == (12, 3)
    assert (thinker.kv_cache_used, thinker.headroom) == (0.25, 0.7)
    busy, starting = stages["Token2Wav"].replicas
    assert (busy.streams_open, busy.places, busy.headroom) == (30, 120, 0.4)
    assert (starting.state, starting.streams_open) == ("STARTING", None)


def test_the_cluster_has_its_sums(view) -> None:
    assert (view.streams_open, view.headroom) == (30, 0.4)
    assert view.answers == {"done": 95, "refused": 5}  # not those of another application
    assert view.refused == {"memory": 5}
    assert view.resumed == (Resume("Thinker", "ActorUnavailableError", 2),)
    assert view.gpus == (Gpu("10.0.0.1", "0", "H200", 60.0, 143.0, 0.75),)


def test_first_sounds_and_late_chunks_are_as_prometheus_has_them(view) -> None:
    assert view.first_sound_s.p50 == pytest.approx(0.15)
    assert view.first_sound_s.p95 == pytest.approx(1.0)
    assert view.late.share == pytest.approx(8 / 400)
    assert (view.late.by_cause, view.late.underruns) == ({"tokens": 8}, 7)


def test_a_node_without_metrics_is_named(view) -> None:
    assert view.nodes_without_metrics == (NODES[1],)
    assert f"no metrics from {NODES[1]}" in shown(view)


def test_a_later_look_has_what_happened_since() -> None:
    stand_in = StandIn(application())
    with Cluster(DASHBOARD, stand_in) as cluster:
        earlier = cluster.read()
        stand_in.page = [
            counted(metrics.ANSWERS, 97, end="done", reply="speech"),  # 90 before
            counted(metrics.ANSWERS, 2, end="refused", reply="speech"),  # 5 before: a new replica
            *histogram(metrics.FIRST_SOUND, [10, 80, 4, 5, 5]),  # four more below 0.5 s
        ]
        view = view_of(cluster.read(), earlier=earlier)
    assert view.answers == {"done": 7, "refused": 2}
    assert view.first_sound_s.p50 == pytest.approx(0.35)
    assert view.over_s is not None
    assert view.streams_open == 0


def test_a_graph_that_has_served_nothing_has_no_figures() -> None:
    stand_in = StandIn(application())
    stand_in.page = []
    view = seen(stand_in)
    assert (view.headroom, view.late.share, view.first_sound_s.p50) == (None, None, None)
    assert "first sound: p50 –, p95 –" in shown(view)


def test_the_first_line_says_how_old_the_figures_are(view) -> None:
    assert view.figures_age_s == pytest.approx(7, abs=1)  # not of a replica that is gone
    assert "figures up to 7 s old" in shown(replace(view, figures_age_s=7.2))
    assert "figures up to" not in shown(replace(view, figures_age_s=None))


@pytest.mark.parametrize("said", ["0 streams open", "1 stream open", "21 streams open"])
def test_one_stream_is_one(view, said) -> None:
    count, _ = said.split(maxsplit=1)
    assert f" {said}" in shown(replace(view, streams_open=int(count)))


def test_the_screen_says_what_a_person_looks_for(view) -> None:
    text = shown(view, "gone")
    for piece in ("Token2Wav 1/2", "STARTING", "30 streams open", "5 memory", "60.0 GB", "gone"):
        assert piece in text


def test_json_has_all_of_it(view) -> None:
    read = json.loads(json.dumps(as_values(view)))
    assert read["stages"][1]["replicas"][0]["headroom"] == 0.4
    assert read["late"]["by_cause"] == {"tokens": 8}
    assert read["over_s"] is None
    assert "T" in read["at"]


def test_one_application_of_several_has_to_be_named() -> None:
    stand_in = StandIn(application("one"), application("two"))
    with pytest.raises(ConfigError, match="--application: one, two"):
        seen(stand_in)
    assert seen(stand_in, "two").application == "two"
    with pytest.raises(ConfigError, match="no application 'three'; it has: one, two"):
        seen(stand_in, "three")


def test_a_ray_without_our_graph_is_named() -> None:
    other = {"name": "other", "status": "RUNNING", "message": "", "deployments": {}}
    with pytest.raises(ConfigError, match="serves no Step-Audio 2"):
        seen(StandIn(other))


def test_a_dashboard_that_refuses_the_token_says_what_to_set(monkeypatch) -> None:
    monkeypatch.setattr("serve_app.commands.top.cluster._token", dict)
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN"):
        seen(StandIn(application(), token="secret"))


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(200, json=[]), httpx.Response(404)],
)
def test_what_is_no_dashboard_is_named(answer) -> None:
    with (
        Cluster(DASHBOARD, httpx.MockTransport(lambda request: answer)) as cluster,
        pytest.raises(ConfigError, match="not Ray's dashboard"),
    ):
        cluster.read()


def test_where_nothing_answers_the_command_says_so_in_one_line(capsys) -> None:
    dashboard = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SystemExit) as left:
        cli.main(["top", "--once", "--json", "--dashboard", dashboard])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"step-audio2: no Ray dashboard answers at {dashboard}")
    assert "Connection refused" in error and error.count("\n") == 1


def test_a_cluster_that_stops_answering_is_shown_as_it_was(monkeypatch) -> None:
    stand_in, screens = StandIn(application()), []

    class Screens:
        def __init__(self, first, **_) -> None:
            screens.append(first)

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None: ...

        def update(self, renderable, refresh: bool) -> None:
            screens.append(renderable)
            if len(screens) > 2:
                raise KeyboardInterrupt
            stand_in.gone = httpx.ConnectError("gone")

    monkeypatch.setattr(command, "Live", Screens)
    monkeypatch.setattr(command, "Cluster", lambda dashboard: Cluster(dashboard, stand_in))
    options = command.Options(DASHBOARD, None, once=False, as_json=False, every_s=0.01)
    console = Console(file=StringIO(), width=140, force_terminal=True)
    command.run(options, console)
    console.print(screens[-1])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no Ray dashboard answers" in text and "streams open" in text


def test_the_last_minute_is_compared() -> None:
    readings = deque([Reading(0.0, {}, ())])
    compared = []
    for at in range(5, 100, 5):
        readings.append(Reading(float(at), {}, ()))
        compared.append(at - command.earlier(readings).at)
    assert compared[:3] == [5, 10, 15]
    assert compared[-3:] == [60, 60, 60]
