"""Two versions of the messages talk to each other, each in a process of its own."""

import ast
import pickle
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest

from deployments import chunker, errors, messages
from deployments.chunker import ChunkSchedule
from deployments.messages import (
    AudioPart,
    Function,
    Heard,
    Heartbeat,
    Message,
    Role,
    SamplingOptions,
    SpeechDelta,
    SpeechRequest,
    SpokenPart,
    TextPart,
    ThinkerDelta,
    ThinkerRequest,
    ToolCall,
    Usage,
)
from deployments.wire import Wire

ROOT = Path(__file__).parents[3]
CROSSING = (messages, chunker)  # modules whose dataclasses are sent
GROUND_FLOOR = ("__init__.py", "chunker.py", "errors.py", "messages.py", "priority.py", "wire.py")

THINKER = ThinkerRequest(
    "req_1",
    (
        Message(Role.SYSTEM, (TextPart("be kind"),)),
        Message(Role.ASSISTANT, (SpokenPart((1, 2)), ToolCall("f", "{}"))),
    ),
    "speech",
    SamplingOptions(temperature=0.0, seed=3, stop=("x",)),
    ChunkSchedule(ramp=(4, 5)),
)
EXAMPLES = [
    THINKER,
    ThinkerRequest("req_2", (), json_schema="{}", must_call=(Function("f", "{}"),)),
    ThinkerRequest("req_3", (), priority="background"),
    ThinkerRequest("req_4", (Message(Role.ASSISTANT, (SpokenPart((1, 2), Heard(1, "hi")),)),)),
    SpeechRequest(THINKER, "high", beats=True),
    ThinkerDelta("hi", audio_tokens=(1, 2), finish_reason="stop", usage=Usage(1, 2, 3)),
    ThinkerDelta(heartbeat=Heartbeat(7, 0.5, stuck=False, alone=True)),
    SpeechDelta(b"\0\1", "hi", token_ids=(7,), tool_calls=(ToolCall("f", "{}"),)),
]

# What another version does with a message: reads it, shows it, sends it back.
REPLY = """
import pickle, sys
got = pickle.load(sys.stdin.buffer)
print(repr(got), file=sys.stderr)
pickle.dump(got, sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory) -> Path:
    """A checkout whose messages all have a field more, and whose errors have a kind more."""
    checkout = tmp_path_factory.mktemp("newer")
    (checkout / "deployments").mkdir()
    for name in GROUND_FLOOR:
        shutil.copy(ROOT / "deployments" / name, checkout / "deployments" / name)
    for name in ("chunker.py", "messages.py"):
        grow(checkout / "deployments" / name)
    with (checkout / "deployments" / "errors.py").open("a") as module:
        module.write("\n\nclass NewKind(UnknownVoice):\n    pass\n")
    return checkout


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    """A checkout that knows no interrupted turns: neither the field nor its class."""
    checkout = tmp_path_factory.mktemp("older")
    (checkout / "deployments").mkdir()
    for name in GROUND_FLOOR:
        shutil.copy(ROOT / "deployments" / name, checkout / "deployments" / name)
    module = checkout / "deployments" / "messages.py"
    tree = ast.parse(module.read_text())
    tree.body = [part for part in tree.body if getattr(part, "name", "") != "Heard"]
    spoken = next(part for part in tree.body if getattr(part, "name", "") == "SpokenPart")
    spoken.body = spoken.body[:2]  # its docstring and `token_ids`
    module.write_text(ast.unparse(tree))
    return checkout


def grow(module: Path) -> None:
    """Give every message of a module a last field more."""
    lines = module.read_text().splitlines()
    last_fields = [
        max(part.end_lineno for part in message.body if isinstance(part, ast.AnnAssign))
        for message in ast.parse(module.read_text()).body
        if isinstance(message, ast.ClassDef) and "Wire" in map(ast.unparse, message.bases)
    ]
    assert last_fields
    for number in sorted(last_fields, reverse=True):
        lines.insert(number, "    added_later: int = 7")
    module.write_text("\n".join(lines) + "\n")


def exchanged(checkout: Path, message: object) -> tuple[object, str]:
    """What comes back of a message that another version has read, and how that one saw it."""
    process = subprocess.run(
        [sys.executable, "-c", REPLY],
        input=pickle.dumps(message),
        capture_output=True,
        check=True,
        cwd=checkout,
        env={"PYTHONPATH": str(checkout)},
    )
    return pickle.loads(process.stdout), process.stderr.decode()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_messages_cross_to_a_newer_version_and_back(newer, message):
    again, seen = exchanged(newer, message)
    assert again == message
    assert "added_later=7" in seen  # the newer version had its default for what it missed


def test_the_version_before_reads_an_interrupted_turn_as_a_whole_one(older):
    heard = SpokenPart((1, 2), Heard(1, "hi"))
    again, seen = exchanged(older, heard)
    assert seen == "SpokenPart(token_ids=(1, 2))\n"
    assert again == SpokenPart((1, 2))


def made_by(checkout: Path, expression: str) -> object:
    """What another version makes and sends."""
    make = (
        "import pickle, sys; from deployments.messages import *; from deployments.errors import *;"
        f"pickle.dump({expression}, sys.stdout.buffer)"
    )
    process = subprocess.run(
        [sys.executable, "-c", make],
        capture_output=True,
        check=True,
        cwd=checkout,
        env={"PYTHONPATH": str(checkout)},
    )
    return pickle.loads(process.stdout)


def test_a_field_that_is_not_known_is_ignored(newer):
    assert made_by(newer, "Usage(1, 2, added_later=9)") == Usage(1, 2)


def test_an_error_of_a_kind_that_is_not_known_becomes_its_nearest_base(newer):
    error = made_by(newer, "NewKind('nobody')")
    assert type(error) is errors.UnknownVoice
    assert (error.name, error.param) == ("nobody", "voice")


def test_samples_cross_whole():
    samples = np.arange(5, dtype=np.float32)
    again = pickle.loads(pickle.dumps(AudioPart(samples)))
    assert np.array_equal(again.samples, samples)


def test_every_dataclass_that_is_sent_is_a_wire_and_its_optional_fields_have_defaults():
    sent = [
        cls
        for module in CROSSING
        for cls in vars(module).values()
        if is_dataclass(cls) and cls.__module__ == module.__name__ and cls is not chunker.Chunk
    ]
    assert len(sent) > 12
    for cls in sent:
        assert issubclass(cls, Wire), cls
        assert fields(cls)
