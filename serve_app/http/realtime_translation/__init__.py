"""`WS /v1/realtime/translations`: an interpreter that speaks while it listens."""
