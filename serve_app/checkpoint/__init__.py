"""Checkpoints of random weights in the published layout, for tests, demos and measurements."""

from serve_app.checkpoint.make import make_checkpoint

__all__ = ["make_checkpoint"]
