"""Unmodified clients against the server, each in an environment of its own."""
