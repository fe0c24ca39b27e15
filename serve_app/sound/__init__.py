"""Formats of sound. Pure functions and encoders: no HTTP, no Ray."""
