"""`WS /v1/audio/speech/stream`: a text is spoken while it is still being written."""
