"""LiveKit Agents, Pipecat and openai-agents, with the names that they ask for by default."""

import pytest

from tests.clients.runs import SCRIPTS, TEXT, TOKENS, Run, python_of, run
from tests.sounds import CLOSING, FRAME, LEAD

SAMPLES = 960 * TOKENS
HEARD = "heard 6.15 s"  # what the fake engine writes down of the sample
LIVEKIT_S = 0.01  # of silence that LiveKit adds to raw samples
SPEECH, TRANSCRIPTS = "/v1/audio/speech", "/v1/audio/transcriptions"


def ran(client: str, folders: pytest.TempPathFactory) -> Run:
    return run([python_of(client), SCRIPTS / client / "calls.py"], folders.mktemp(client))


@pytest.fixture(scope="module")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ran("livekit", tmp_path_factory)


@pytest.fixture(scope="module")
def pipecat(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ran("pipecat", tmp_path_factory)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ran("agents", tmp_path_factory)


@pytest.mark.parametrize(
    ("client", "spoken", "written"), [("livekit", 11, 4), ("pipecat", 4, 2), ("agents", 6, 3)]
)
def test_no_call_warns_and_none_is_tried_again(
    request: pytest.FixtureRequest, client: str, spoken: int, written: int
) -> None:
    run: Run = request.getfixturevalue(client)
    assert run.said == ""
    assert (run.asked(SPEECH), run.asked(TRANSCRIPTS)) == (spoken, written)
    assert not [asked for asked in run.requests if asked.retries]


@pytest.mark.parametrize("form", ["default", "raw", "opus", "aac", "flac", "wav", "pcm"])
def test_livekit_hears_every_format_whole(livekit: Run, form: str) -> None:
    encoded = {"default": "mp3", "raw": "mp3"}.get(form, form)
    most = SAMPLES + {"wav": 0, "pcm": round(24_000 * LIVEKIT_S)}.get(
        encoded, CLOSING + LEAD.get(encoded, 0) + FRAME.get(encoded, 0)
    )
    assert SAMPLES <= livekit.samples(f"{form}.wav") <= most
    assert livekit.heard[f"rate of {form}"] == 24_000


def test_livekit_opens_its_connection_with_a_request_that_is_answered(livekit: Run) -> None:
    opened = {request.status for request in livekit.requests if request.path == "/v1/"}
    assert opened <= {200}


@pytest.mark.parametrize("model", ["default", "whisper-1", "gpt-transcribe"])
def test_livekit_gets_its_transcript_and_its_language(livekit: Run, model: str) -> None:
    assert livekit.heard[f"transcript of {model}"].startswith("heard ")
    assert livekit.heard[f"language of {model}"] == "en"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("no such model", ["APIStatusError", 404]),
        ("wrong key", ["APIStatusError", 401]),
        ("no such transcriber", ["APIStatusError", 404]),
        ("breaks off", ["APIConnectionError", None]),
        ("breaks off as events", ["APIConnectionError", None]),
    ],
)
def test_a_fault_is_livekit_s_own_exception(livekit: Run, fault: str, error: list[object]) -> None:
    assert livekit.heard[fault] == error


def test_pipecat_speaks_and_writes_down(pipecat: Run) -> None:
    assert pipecat.samples("default.pcm") == SAMPLES
    assert pipecat.heard["transcripts"] == ["heard 6.65 s"]  # half a second of silence is Pipecat's
    assert pipecat.heard["errors of speech"] == []
    assert pipecat.heard["errors of transcripts"] == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no such model", "there is no model 'gpt-5'"),
        ("too fast", "less than or equal to 4"),
        ("breaks off", "without sending complete message body"),
        ("no such transcriber", "there is no model 'gpt-5'"),
    ],
)
def test_a_fault_is_an_error_frame_of_pipecat(pipecat: Run, fault: str, message: str) -> None:
    assert message in pipecat.heard[fault][0]


def test_openai_agents_speak_and_write_down(agents: Run) -> None:
    assert agents.samples("default.pcm") == SAMPLES
    assert agents.samples("quick.pcm") == SAMPLES // 2
    assert agents.heard["transcript"] == HEARD


def test_openai_agents_pipeline_speaks_what_its_workflow_answers(agents: Run) -> None:
    spoken = 960 * TOKENS * len(f"{HEARD}.") // len(TEXT)
    assert agents.samples("pipeline.pcm") == spoken


def test_a_fault_is_the_exception_that_openai_agents_raise(agents: Run) -> None:
    heard = agents.heard
    assert heard["no such transcriber"] == "NotFoundError"
    assert heard["wrong key"] == "AuthenticationError"
    assert heard["no such voice"] == "BadRequestError"
    assert heard["breaks off"] == "RemoteProtocolError"
