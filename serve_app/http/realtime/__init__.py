"""`WS /v1/realtime`: conversations by voice, under OpenAI's names."""
