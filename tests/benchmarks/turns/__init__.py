"""Turns with pauses in them, made of recordings, and what the rules make of them."""
