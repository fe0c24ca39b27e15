"""What each client does without one event: the table of docs/realtime.md.

    python -m tests.clients.dropped_events [CLIENT ...]

Each event in turn is kept back from a client that types, speaks and has a tool called. It prints a
row for each event that somebody misses.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.runs import TEXT, Run, run
from tests.clients.test_realtime import CLIENTS, DELTA_S, SPOKEN, command_of

CALLS = {"typed": TEXT, "spoken": SPOKEN, "tool": "rain"}  # and what is heard of each
HEARD = {"typed": "typed", "spoken": "spoken", "tool": "result"}
TRIES_S = (8.0, 20.0)  # for all three, which run at once; what is lost twice is lost
EVENTS = (
    "session.created",
    "session.updated",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.done",
)


def effects(client: str, event: str | None) -> str:
    """What is lost of the calls of `client` where the server never sends `event`."""
    for within_s in TRIES_S:
        os.environ["WITHIN_S"] = str(within_s)
        if not (lost := losses(client, event)):
            break
    print(client, event, lost or "–", file=sys.stderr, flush=True)
    return lost


def losses(client: str, event: str | None) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            ran = run([*command_of(client, folder), *CALLS], folder, delta_s=DELTA_S, without=event)
        except (AssertionError, subprocess.TimeoutExpired, FileNotFoundError):
            return "the client ends"
        return "; ".join(lost for call in CALLS if (lost := loss(ran, call)))


def loss(ran: Run, call: str) -> str:
    """What is wrong with one call; nothing if it went as it should."""
    if f"{call} failed" in ran.heard:
        return f"{call}: no end"
    sound = ran.folder / f"{call}.pcm"
    if sound.exists() and not sound.stat().st_size:
        return f"{call}: no sound"
    words = str(ran.heard.get(HEARD[call], "")).strip('"')
    return "" if words == CALLS[call] else f"{call}: no words"


def main(clients: list[str]) -> None:
    """Print the table of `clients`, or of all."""
    clients = clients or list(CLIENTS)
    found = {
        client: {event: effects(client, event) for event in (None, *EVENTS)} for client in clients
    }
    for client in clients:
        assert not found[client][None], (client, found[client][None])
    print("| without | " + " | ".join(clients) + " |\n|" + "---|" * (len(clients) + 1))
    for event in EVENTS:
        row = [found[client][event] or "–" for client in clients]
        print(f"| `{event}` | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
