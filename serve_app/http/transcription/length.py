"""How many tokens a transcript may have, from the length of its recording alone."""

# A fast speaker says 7 syllables a second. That is 7 tokens of Chinese and 5 of English, and up to
# 20 in a script whose characters are two or three tokens each.
TOKENS_PER_S = 25
LEAST_TOKENS = 100  # granted to the shortest recording


def most_tokens(seconds: float) -> int:
    """More than the speech of a recording should need; a longer answer has lost its way."""
    return LEAST_TOKENS + round(seconds * TOKENS_PER_S)
