"""Reads events.json, a list of server events, by Pipecat's models; prints those that fail."""

import json
from pathlib import Path

from loguru import logger

logger.remove()

from pipecat.services.openai.realtime.events import parse_server_event  # noqa: E402

for event in json.loads(Path("events.json").read_text()):
    try:
        parse_server_event(json.dumps(event))
    except Exception as error:  # whatever it is, Pipecat's connection ends with it
        print(event["type"], error)
