"""The life of a spoken answer, from its request to its last sound, whatever engines make it."""
