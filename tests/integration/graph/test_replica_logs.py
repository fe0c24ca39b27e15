"""What the stages say at start, in the log files of their replicas and on the console."""

from pathlib import Path

import pytest
from ray.serve._private.logging_utils import get_serve_logs_dir

from tests.integration.graph.conftest import fake_graph, on_node, served
from tests.places import NANO

VOICE = NANO / "voices" / "high.wav"


@pytest.fixture(scope="module")
def application(base_url):
    """The Thinker is a fake, Token2Wav the real one on a CPU, with nano's weights."""
    config = fake_graph(
        token2wav={
            "engine": "native",
            "device": "cpu",
            "num_threads": 1,
            "max_streams": 13,
            "default_voice": str(VOICE),
            "deployment_config": on_node("second_node"),
        }
    )
    with served(config.model_copy(update={"model": str(NANO)})) as name:
        yield name


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("Thinker", "Thinker: ready after "),
        ("Token2Wav", "Token2Wav: holds up to 13 streams"),  # logged by code that knows no Ray
        ("Token2Wav", "Token2Wav: ready after "),
    ],
)
def test_a_stages_line_is_once_in_its_replicas_log_and_once_on_the_console(
    application, stage, line
):
    logs = Path(get_serve_logs_dir())
    (replica,) = logs.glob(f"replica_{application}_{stage}_*.log")
    (logged,) = lines([replica], line)
    assert logged.startswith("INFO ")
    assert replica.stem.rpartition("_")[2] in logged  # which replica it was

    # What Ray passes on to who started the graph. Other modules' replicas may be in there too.
    time_of_day = logged.split()[2]
    shown = [said for said in lines(logs.parent.glob("worker-*.err"), line) if time_of_day in said]
    assert len(shown) == 1


def lines(files, part: str) -> list[str]:
    return [text for path in files for text in path.read_text().splitlines() if part in text]
