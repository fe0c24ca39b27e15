"""The formats of an answer's sound, what encodes them, and the tempo."""
